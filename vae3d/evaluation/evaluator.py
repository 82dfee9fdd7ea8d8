"""`Evaluator`: every case through the model once, scored on the whole volume, and shown."""

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from vae3d.data.cases import Case, Cases
from vae3d.errors import Interrupted
from vae3d.evaluation.config import EvaluationConfig
from vae3d.evaluation.gallery import Gallery, chosen_by, chosen_places
from vae3d.inference.runner import ModelRunner, OnPosterior, ignore
from vae3d.latents.health import LatentHealth
from vae3d.logger.base import Logger
from vae3d.pictures.figures import case_figure, scroll_frames
from vae3d.pictures.media import write_gif, write_mp4, write_png
from vae3d.pictures.views import CaseView
from vae3d.report.result import CaseScore, EvaluationResult
from vae3d.runtime.distributed import Distributed
from vae3d.runtime.seeding import torch_generator
from vae3d.scans.files import write_volume
from vae3d.scoring.scorer import CaseScorer
from vae3d.scoring.scores import worth
from vae3d.values.naming import file_stem

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True)
class Read:
    """A case with its voxels: in the scan's units, and as the model sees them in [-1, 1]."""

    case: Case
    values: Tensor
    image: Tensor


@dataclass(frozen=True)
class Done:
    """A case that went through the model, with its reconstruction in [-1, 1]."""

    read: Read
    reconstruction: Tensor

    @property
    def view(self) -> CaseView:
        """What can be shown of it."""
        case = self.read.case
        range_, stem = case.range, file_stem(case.case_id)
        return CaseView(
            title=case.case_id if case.case_id.isprintable() else stem,
            stem=stem,
            original=range_.clipped(self.read.values[:1])[0].numpy(),
            reconstruction=range_.from_model(self.reconstruction[:1])[0].numpy(),
            low=range_.low,
            high=range_.high,
            unit=range_.unit,
            spacing=tuple(case.spacing),
        )


class Evaluator:
    """Scores cases with a model; each case on exactly one rank.

    While one case goes through the model the next one is read, and the one before is scored, drawn
    and written: what is not inference hides behind it.
    """

    def __init__(
        self,
        runner: ModelRunner,
        cases: Cases,
        config: EvaluationConfig,
        distributed: Distributed,
    ) -> None:
        self.runner = runner
        self.cases = cases
        self.config = config
        self.distributed = distributed
        self.scorer = CaseScorer(config, cases.contract, runner)
        self.gallery = Gallery()

    def evaluate(
        self,
        indices: list[int],
        folder: Path,
        logger: Logger,
        step: int = 0,
        interrupted: Callable[[], bool] = lambda: False,
    ) -> EvaluationResult:
        """Scores these cases, puts their pictures into `folder`; every rank gets all scores.

        Raises:
            Interrupted: on all ranks, because `interrupted` became true on one between two cases.
        """
        places = range(self.distributed.rank, len(indices), self.distributed.world)
        self.gallery = Gallery()

        def finish(place: int, done: Done) -> CaseScore:
            return self._finished(done, place, folder, logger, step)

        mine: dict[int, CaseScore] = {}
        # One a case, so that their sum does not depend on the ranks to the last bit.
        health: dict[int, LatentHealth] = {}
        behind: tuple[int, Future[CaseScore]] | None = None
        with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as finisher:
            for place, read in ahead(reader, places, lambda p: self._read(indices[p])):
                if interrupted():
                    break
                health[place] = LatentHealth()
                done = self._through(read, health[place].add if self.config.latents else ignore)
                # One case behind, no more: what waits is whole volumes.
                if behind:
                    mine[behind[0]] = behind[1].result()
                behind = place, finisher.submit(finish, place, done)
        if behind:
            mine[behind[0]] = behind[1].result()
        if self.distributed.any(interrupted()):
            raise Interrupted("a signal", "the evaluation was interrupted")
        scores = self._from_all_ranks(mine)
        latents = LatentHealth.merged(self._from_all_ranks(health)).summary()
        return EvaluationResult(scores, self.protocol(), latents if self.config.latents else {})

    def _from_all_ranks(self, mine: dict[int, T]) -> list[T]:
        """What the ranks have of their places, in the order of the places."""
        found = {k: v for part in self.distributed.gather(mine) for k, v in part.items()}
        return [found[place] for place in sorted(found)]

    def views(self, result: EvaluationResult, indices: list[int]) -> list[tuple[str, CaseView]]:
        """The best, the median and the worst case, to be shown; every rank must ask."""
        chosen = chosen_places(result)
        mine = {}
        for place in {*chosen.values()}:
            if place % self.distributed.world == self.distributed.rank:
                # Of many large cases the gallery may lack the median: it goes through again.
                again = self.gallery.get(place) or self._through(self._read(indices[place])).view
                mine[place] = again
        found = dict(zip(sorted({*chosen.values()}), self._from_all_ranks(mine), strict=True))
        return [(label, found[place]) for label, place in chosen.items()]

    def protocol(self) -> dict[str, Any]:
        """What must be known to compare these scores with others."""
        return {
            **self.scorer.protocol(),
            **self.runner.protocol,
            "latent": "sample" if self.config.sample else "mode of the posterior",
            "precision": self.runner.precision.name,
        }

    def _read(self, index: int) -> Read:
        case = self.cases[index]
        values = case.volume().data
        return Read(case, values, case.range.to_model(values))

    def _through(self, read: Read, on_posterior: OnPosterior = ignore) -> Done:
        name = f"posterior:{read.case.case_id}"
        generator = torch_generator(self.config.seed, name) if self.config.sample else None
        return Done(read, self.runner.reconstruct(read.image, generator, on_posterior))

    def _finished(
        self, done: Done, place: int, folder: Path, logger: Logger, step: int
    ) -> CaseScore:
        """Scores a case, draws it and writes it."""
        case = done.read.case
        scores = self.scorer.score(case, done.read.values, done.read.image, done.reconstruction)
        shown = self.config.media_cases is None or place < self.config.media_cases
        if (self.config.media and shown) or self.config.report:
            view = done.view
            if self.config.report:
                by = chosen_by(self.config.metrics)
                score = worth(by, scores[by]) if by in scores else -math.inf
                self.gallery.take(place, score, view)
            if shown:
                show(view, self.config.media, folder, logger, step)
        if self.config.save_reconstructions:
            volume = replace(case.volume(), data=case.range.from_model(done.reconstruction))
            suffix = ".nii.gz" if len(volume.shape) == 3 else ".tiff"
            write_volume(volume, folder / "reconstructions" / f"{file_stem(case.case_id)}{suffix}")
        return CaseScore(case.case_id, case.range.low, case.range.high, scores)


def ahead(
    reader: ThreadPoolExecutor, places: Sequence[int], read: Callable[[int], Read]
) -> Iterator[tuple[int, Read]]:
    """Each place with its case, while the next one is being read."""
    coming: Future[Read] | None = None
    for number, place in enumerate(places):
        now = coming or reader.submit(read, place)
        following = places[number + 1 : number + 2]
        found = now.result()
        coming = reader.submit(read, following[0]) if following else None
        yield place, found


def show(view: CaseView, media: Sequence[str], folder: Path, logger: Logger, step: int) -> None:
    """Draws a case as `media` say, into `folder` and for the logger."""
    path = folder / "cases" / view.stem
    window: dict[str, Any] = {"low": view.low, "high": view.high, "spacing": view.spacing}
    pair = view.original, view.reconstruction
    if "png" in media:
        figure = case_figure(*pair, unit=view.unit, title=view.title, **window)
        write_png(path.with_name(f"{path.name}.png"), figure)
        logger.log_image(step, view.stem, figure)
    moving = [suffix for suffix in ("gif", "mp4") if suffix in media]
    if not moving or view.original.ndim == 2:
        return
    frames = list(scroll_frames(*pair, **window))
    for suffix in moving:
        write = {"gif": write_gif, "mp4": write_mp4}[suffix]
        write(path.with_name(f"{path.name}.{suffix}"), frames)
    logger.log_video(step, view.stem, path.with_name(f"{path.name}.{moving[-1]}"))
