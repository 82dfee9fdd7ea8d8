"""`Page`: the report of an evaluation."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vae3d.evaluation.evaluator import Evaluator
from vae3d.evaluation.gallery import shown_places
from vae3d.logger.base import Logger
from vae3d.pictures.figures import Picture
from vae3d.pictures.probes import probes
from vae3d.report.page import write_page
from vae3d.report.result import EvaluationResult
from vae3d.runtime.distributed import Distributed
from vae3d.runtime.run_folder import RunFolder


@dataclass(frozen=True)
class Page:
    """The report of an evaluation, an HTML file for a browser."""

    evaluator: Evaluator
    result: EvaluationResult
    indices: list[int]
    output: Path
    about: dict[str, Any]

    def write(self, folder: RunFolder, logger: Logger, distributed: Distributed) -> None:
        """Write `index.html`; every rank calls this, the main one writes."""
        views = self.evaluator.views(self.result, self.indices)
        if not distributed.is_main:
            return
        path = self.output / "index.html"
        curves = folder.metrics if folder.metrics.exists() else None
        write_page(path, self.result, views, self._probes(), self.about, curves)
        logger.log_file("report", path)

    def _probes(self) -> list[tuple[str, Picture]]:
        """Return the pictures of the latents of the best and the worst case under change."""
        if not self.result.latents:
            return []
        chosen = shown_places(self.result)
        numbers = [self.indices[place] for place in dict.fromkeys(chosen.values())]
        first, *others = (self.evaluator.cases[number] for number in (numbers[0], numbers[-1]))
        images = [case.range.to_model(case.volume().data) for case in (first, *others)]
        second = images[1] if len(numbers) > 1 else None
        return probes(
            self.evaluator.runner,
            images[0],
            second,
            self.result.latents,
            first.range,
            first.spacing,
            self.evaluator.config.seed,
        )
