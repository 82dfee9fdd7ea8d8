"""`Evaluator`: reconstruct every case once, score it on the whole volume, and draw it."""

import contextlib
import logging
import math
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from vae3d.data.cases import Case, Cases
from vae3d.data.config import ScansConfig, StoreConfig
from vae3d.errors import Interrupted
from vae3d.evaluation.config import EvaluationConfig
from vae3d.evaluation.gallery import Gallery
from vae3d.inference.runner import ModelRunner, OnPosterior, ignore
from vae3d.latents.health import LatentHealth
from vae3d.logger.base import Logger
from vae3d.logger.console import ProgressBar
from vae3d.pictures.figures import CaseView, case_figure, scroll_frames
from vae3d.pictures.media import write_gif, write_mp4, write_png
from vae3d.report.result import CaseScore, EvaluationResult, chosen_by
from vae3d.runtime.case_loop import CaseLoop, read_ahead
from vae3d.runtime.distributed import Distributed
from vae3d.runtime.progress import Progress
from vae3d.runtime.seeding import torch_generator
from vae3d.runtime.threads import Lanes
from vae3d.scans.files import write_volume
from vae3d.scoring.scorer import CaseScorer, ScoredCase
from vae3d.scoring.scores import worth
from vae3d.values.naming import check_file_stems, file_stem

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True)
class LoadedImage:
    """A case with its voxels (C, *spatial): `values` in the scan's units, `image` in [-1, 1]."""

    case: Case
    values: Tensor
    image: Tensor


@dataclass(frozen=True)
class ReconstructedCase:
    """A case with its reconstruction (C, *spatial) in [-1, 1]."""

    loaded: LoadedImage
    reconstruction: Tensor

    @property
    def view(self) -> CaseView:
        """The first channel of the case and of its reconstruction, in the scan's units."""
        return view_of(self.loaded.case, self.loaded.values, self.reconstruction)


def view_of(case: Case, values: Tensor, reconstruction: Tensor) -> CaseView:
    """Return the view of a case, given its values and its reconstruction in [-1, 1]."""
    range_, stem = case.range, file_stem(case.case_id)
    return CaseView(
        title=case.case_id if case.case_id.isprintable() else stem,
        stem=stem,
        original=range_.clipped(values[:1])[0].numpy(),
        reconstruction=range_.from_model(reconstruction[:1])[0].numpy(),
        low=range_.low,
        high=range_.high,
        unit=range_.unit,
        spacing=tuple(case.spacing),
    )


class Evaluator:
    """Scores cases with a model, each case on exactly one rank.

    While one case goes through the model, the next one is read and the previous one is scored,
    drawn and written in other threads, so that this work takes no extra time.
    """

    def __init__(
        self,
        runner: ModelRunner,
        cases: Cases,
        config: EvaluationConfig,
        distributed: Distributed,
        progress: Progress | None = None,
    ) -> None:
        self.runner = runner
        self.progress = progress or ProgressBar("score", shown=False)
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
        """Score these cases, write their pictures to `folder`; return all scores on every rank.

        Raises:
            Interrupted: on all ranks, if `interrupted` became true on one between two cases.
            DataError: two cases would share a file.
        """
        if self.config.media or self.config.save_reconstructions:
            check_file_stems(folder, map(self.cases.case_id, indices))
        places = range(len(indices))
        self.gallery = Gallery()
        loop = CaseLoop(self.distributed, self.progress, "scored")
        # One per case, merged in order: the result is bit-identical for any number of ranks.
        health: dict[int, LatentHealth] = {}
        share = loop.share(places)
        with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as finisher:
            images = read_ahead(reader, self._load, (indices[place] for place in share))
            unfinished: Future[tuple[CaseScore, ScoredCase]] | None = None

            def reconstruct(placed: tuple[int, Future[LoadedImage]]) -> ReconstructedCase:
                place, image = placed
                health[place] = LatentHealth.of_levels(self.runner.model.codes)
                on_posterior = health[place].add if self.config.latents else ignore
                return self._reconstruct(image.result(), on_posterior)

            def score_case(place: int) -> Future[tuple[CaseScore, ScoredCase]]:
                nonlocal unfinished
                case = next(reconstructed)
                # At most one case is unfinished, because it holds whole volumes in memory.
                if unfinished:
                    unfinished.result()
                finish = partial(self._finish, case, place, len(indices), folder, logger, step)
                unfinished = finisher.submit(finish)
                return unfinished

            with self.runner.concurrently(len(share)) as count, Lanes.of(count) as lanes:
                reconstructed = lanes.map(reconstruct, zip(share, images, strict=True))
                with contextlib.closing(reconstructed):
                    mine = loop.run(places, score_case, interrupted)
        if self.distributed.any(interrupted()):
            raise Interrupted("a signal", "the evaluation was interrupted")
        done = self._of_all_ranks({place: score.result() for place, score in mine.items()})
        latents = LatentHealth.merged(self._of_all_ranks(health)).summary()
        return EvaluationResult(
            [score for score, _ in done],
            self.protocol(),
            latents if self.config.latents else {},
            sets=self.scorer.compare_sets([scored for _, scored in done]),
        )

    def _of_all_ranks(self, mine: dict[int, T]) -> list[T]:
        """Return the values of all ranks, in the order of the cases."""
        values = self.distributed.merge(mine)
        return [values[place] for place in sorted(values)]

    def views(self, result: EvaluationResult, indices: list[int]) -> list[tuple[str, CaseView]]:
        """Return the best, the median and the worst case by label; every rank calls this."""
        chosen = result.ranks(result.chosen_by)
        mine: dict[int, CaseView] = {}
        for place in {*chosen.values()}:
            if place % self.distributed.world == self.distributed.rank:
                # Of many large cases the gallery may lack the median: it is reconstructed again.
                view = self.gallery.get(place)
                mine[place] = view or self._reconstruct(self._load(indices[place])).view
        views = self.distributed.merge(mine)
        return [(label, views[place]) for label, place in chosen.items()]

    def protocol(self) -> dict[str, Any]:
        """Return the settings of the scores, which a comparison with other runs checks."""
        return {
            **self.scorer.protocol(),
            **self.runner.protocol,
            "latent": "sample" if self.config.sample else "mode of the posterior",
            "precision": self.runner.precision.name,
            **self._reading(),
        }

    def _reading(self) -> dict[str, Any]:
        """Return how scans were read and resampled, where that may make a difference."""
        cases = self.cases
        protocol: dict[str, Any] = {}
        if cases.spacing is not None:
            protocol["resampling"] = cases.resampling
        if isinstance(cases.config, ScansConfig | StoreConfig):
            protocol["reader"] = cases.reader
        return protocol

    def _load(self, index: int) -> LoadedImage:
        case = self.cases[index]
        values = case.volume().data
        return LoadedImage(case, values, case.range.to_model(values))

    def _reconstruct(
        self, loaded: LoadedImage, on_posterior: OnPosterior = ignore
    ) -> ReconstructedCase:
        name = f"posterior:{loaded.case.case_id}"
        generator = torch_generator(self.config.seed, name) if self.config.sample else None
        image = self.runner.reconstruct(loaded.image, generator, on_posterior)
        return ReconstructedCase(loaded, image)

    def _finish(
        self,
        reconstructed: ReconstructedCase,
        place: int,
        images: int,
        folder: Path,
        logger: Logger,
        step: int,
    ) -> tuple[CaseScore, ScoredCase]:
        """Score a case, one of `images`, draw it and write it."""
        case, loaded = reconstructed.loaded.case, reconstructed.loaded
        scored = self.scorer.score(
            case, loaded.values, loaded.image, reconstructed.reconstruction, images
        )
        scores = scored.scores
        if self.config.report:
            by = chosen_by(self.config.metrics)
            worth_of_case = worth(by, scores[by]) if by in scores else -math.inf
            # Of most cases no view is shown: it is made when the gallery is asked for it.
            kept = loaded.values, reconstructed.reconstruction
            nbytes = sum(tensor.nbytes for tensor in kept)
            self.gallery.take(place, worth_of_case, partial(view_of, case, *kept), nbytes)
        is_drawn = self.config.media_cases is None or place < self.config.media_cases
        if self.config.media and is_drawn:
            write_media(reconstructed.view, self.config.media, folder, logger, step)
        if self.config.save_reconstructions:
            volume = replace(
                case.volume(), data=case.range.from_model(reconstructed.reconstruction)
            )
            suffix = ".nii.gz" if len(volume.shape) == 3 else ".tiff"
            write_volume(volume, folder / "reconstructions" / f"{file_stem(case.case_id)}{suffix}")
        shape = tuple(loaded.values.shape[1:])
        ends = case.range.low, case.range.high
        score = CaseScore(case.case_id, *ends, scores, case.identity, shape, scored.sharpness)
        return score, scored


def write_media(
    view: CaseView, media: Sequence[str], folder: Path, logger: Logger, step: int
) -> None:
    """Draw a case in the formats of `media`; write them to `folder` and log them."""
    path = folder / "cases" / view.stem
    window: dict[str, Any] = {"low": view.low, "high": view.high, "spacing": view.spacing}
    pair = view.original, view.reconstruction
    if "png" in media:
        figure = case_figure(*pair, unit=view.unit, title=view.title, **window)
        write_png(path.with_name(f"{path.name}.png"), figure)
        logger.log_image(step, view.stem, figure)
    video_formats = [suffix for suffix in ("gif", "mp4") if suffix in media]
    if not video_formats or view.original.ndim == 2:
        return
    frames = list(scroll_frames(*pair, unit=view.unit, **window))
    for suffix in video_formats:
        write = {"gif": write_gif, "mp4": write_mp4}[suffix]
        write(path.with_name(f"{path.name}.{suffix}"), frames)
    logger.log_video(step, view.stem, path.with_name(f"{path.name}.{video_formats[-1]}"))
