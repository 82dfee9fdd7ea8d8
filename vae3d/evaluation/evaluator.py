"""`Evaluator`: every case through the model once, scored on the whole volume, and shown."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from vae3d.data.cases import Case, Cases
from vae3d.data.writers import write_volume
from vae3d.errors import ConfigError, Interrupted
from vae3d.evaluation.figures import case_figure, scroll_frames
from vae3d.evaluation.media import write_gif, write_mp4, write_png
from vae3d.evaluation.metrics import METRICS, unit_of
from vae3d.evaluation.report import CaseScore, EvaluationResult
from vae3d.inference import InferenceConfig, Reconstructor
from vae3d.logger.base import Logger
from vae3d.runtime.distributed import Distributed
from vae3d.runtime.seeding import torch_generator

MEDIA = ("png", "gif", "mp4")
MAX_STEM_BYTES = 160
"""File systems end at 255, with suffix and what stands before a name while it is written."""
_PLAIN = re.compile(
    r"(?!(con|prn|aux|nul|com\d|lpt\d)(\.|$))\w([\w. +=,@()-]*[\w+=,@()-])?", re.IGNORECASE
)
"""Letters of any script, digits, some signs; no device of Windows, no dot or dash in front."""


@dataclass
class EvaluationConfig:
    """What is measured and shown.

    `media` are the pictures made of each case, for at most `media_cases` of them (null: all).
    `save_reconstructions` writes them as scans in the scan's own geometry and units. `sample`
    decodes a sample of the posterior instead of its mode, drawn from (seed, case).
    """

    metrics: list[str] = field(default_factory=lambda: list(METRICS))
    media: list[str] = field(default_factory=lambda: list(MEDIA))
    media_cases: int | None = None
    save_reconstructions: bool = False
    sample: bool = False
    seed: int = 0
    precision: str = "auto"
    inference: InferenceConfig = field(default_factory=InferenceConfig)

    def __post_init__(self) -> None:
        for key, chosen, choices in (
            ("metrics", self.metrics, [*METRICS]),
            ("media", self.media, [*MEDIA]),
        ):
            for name in chosen:
                if name not in choices:
                    raise ConfigError(
                        f"evaluation.{key} may hold {', '.join(choices)}, got {name!r}"
                    )
        if not self.metrics:
            raise ConfigError(f"evaluation.metrics must name one of {', '.join(METRICS)}")


class Evaluator:
    """Scores cases with a model; each case on exactly one rank."""

    def __init__(
        self,
        reconstructor: Reconstructor,
        cases: Cases,
        config: EvaluationConfig,
        distributed: Distributed,
    ) -> None:
        self.reconstructor = reconstructor
        self.cases = cases
        self.config = config
        self.distributed = distributed

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
        mine = {}
        ranks = self.distributed.world
        for place in range(self.distributed.rank, len(indices), ranks):
            if interrupted():
                break
            mine[place] = self._evaluate_case(indices[place], place, folder, logger, step)
        if self.distributed.any(interrupted()):
            raise Interrupted("a signal", "the evaluation was interrupted")
        everywhere = {k: v for part in self.distributed.gather(mine) for k, v in part.items()}
        scores = [everywhere[place] for place in range(len(indices))]
        return EvaluationResult(scores, self.protocol())

    def protocol(self) -> dict[str, Any]:
        """What must be known to compare these scores with others."""
        contract = self.cases.contract
        unit = contract.unit
        patch = self.reconstructor.mode == "patch"
        inference = self.reconstructor.config
        return {
            "metrics": {name: unit_of(name, unit) for name in self.config.metrics},
            "intensity": contract.describe(),
            "data_range": "width of the intensity range, high - low",
            "compared": "scan clipped to its intensity range with the reconstruction clipped too",
            "region": "whole volume, no crop, no mask, padding left out",
            "grid": "the grid the model sees (resampled where data.spacing is set)",
            "mode": self.reconstructor.mode,
            "patch_size": list(self.reconstructor.size) if patch else None,
            "overlap": inference.overlap if patch else None,
            "blend": inference.blend if patch else None,
            "latent": "sample" if self.config.sample else "mode of the posterior",
            "precision": self.reconstructor.precision.name,
            "ssim": "Gaussian window 11, sigma 1.5, valid windows only",
        }

    def _evaluate_case(
        self, index: int, place: int, folder: Path, logger: Logger, step: int
    ) -> CaseScore:
        case = self.cases[index]
        image = case.range.to_model(case.volume().data)
        generator = (
            torch_generator(self.config.seed, f"posterior:{case.case_id}")
            if self.config.sample
            else None
        )
        reconstruction = self.reconstructor.reconstruct(image, generator)
        if self.config.media_cases is None or place < self.config.media_cases:
            self._show(case, image, reconstruction, folder, logger, step)
        if self.config.save_reconstructions:
            self._save(case, reconstruction, folder)
        scores = {
            name: METRICS[name](image, reconstruction, case.range.span)
            for name in self.config.metrics
        }
        return CaseScore(case.case_id, case.range.low, case.range.high, scores)

    def _show(
        self,
        case: Case,
        image: Tensor,
        reconstruction: Tensor,
        folder: Path,
        logger: Logger,
        step: int,
    ) -> None:
        name = case.case_id
        stem = file_stem(name)
        path = folder / "cases" / stem
        title = name if name.isprintable() else stem
        original = case.range.from_model(image)[0].numpy()
        decoded = case.range.from_model(reconstruction)[0].numpy()
        window: dict[str, Any] = {
            "low": case.range.low,
            "high": case.range.high,
            "spacing": case.spacing,
        }
        if "png" in self.config.media:
            figure = case_figure(original, decoded, unit=case.range.unit, title=title, **window)
            write_png(path.with_name(f"{path.name}.png"), figure)
            logger.log_image(step, stem, figure)
        moving = [suffix for suffix in ("gif", "mp4") if suffix in self.config.media]
        if not moving or original.ndim == 2:
            return
        frames = list(scroll_frames(original, decoded, **window))
        for suffix in moving:
            write = {"gif": write_gif, "mp4": write_mp4}[suffix]
            write(path.with_name(f"{path.name}.{suffix}"), frames)
        logger.log_video(step, stem, path.with_name(f"{path.name}.{moving[-1]}"))

    def _save(self, case: Case, reconstruction: Tensor, folder: Path) -> None:
        volume = replace(case.volume(), data=case.range.from_model(reconstruction))
        suffix = ".nii.gz" if len(volume.shape) == 3 else ".tiff"
        name = file_stem(volume.case_id) + suffix
        write_volume(volume, folder / "reconstructions" / name)


def file_stem(case_id: str) -> str:
    """A case's name as one file name, which no other case has.

    Two underscores part its folders. A name that this would make ambiguous, or that some file
    system would not take or would mistake, ends with `~` and a hash, which no other name does.
    """
    flat = case_id.replace("/", "__")
    plain = _PLAIN.fullmatch(flat) and flat.replace("__", "/") == case_id
    if plain and len(flat.encode()) <= MAX_STEM_BYTES:
        return flat
    digest = hashlib.sha256(case_id.encode(errors="surrogatepass")).hexdigest()[:16]
    readable = re.sub(r"[^\w. -]", "_", flat).strip(". -") or "case"
    cut = readable.encode()[: MAX_STEM_BYTES - 20].decode(errors="ignore")
    return f"{cut}~{digest}"
