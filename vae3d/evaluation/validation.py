"""`Validation`: the held-out cases of a training, scored every `val_every` steps."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from vae3d.evaluation.config import EvaluationConfig
from vae3d.evaluation.evaluator import Evaluator
from vae3d.logger.base import Logger
from vae3d.values.latent_statistics import LatentStatistics


@dataclass
class Validation:
    """Scores the model of a training on its held-out cases, and measures their latents.

    The pictures of the first case are written into `folder`.
    """

    evaluator: Evaluator
    indices: list[int]
    folder: Path
    logger: Logger
    _latents: dict[int, LatentStatistics | None] = field(default_factory=dict, init=False)

    def __call__(self, step: int, interrupted: Callable[[], bool]) -> dict[str, float]:
        """Return the mean scores at a step; empty where no case is held out.

        Raises:
            Interrupted: `interrupted` became true.
        """
        if not self.indices:
            return {}
        result = self.evaluator.evaluate(self.indices, self.folder, self.logger, step, interrupted)
        # Kept for this step only: the statistics must not be saved with other weights.
        self._latents = {step: LatentStatistics.of(result.latents, len(result.cases))}
        return {name: result.mean(name) for name in self.evaluator.config.metrics}

    def latents_at(self, step: int) -> LatentStatistics | None:
        """Return the latent statistics of the weights of a step, if exactly they were measured."""
        return self._latents.get(step)


def brief(config: EvaluationConfig, metrics: list[str]) -> EvaluationConfig:
    """Return the settings of a validation: the scores of whole volumes, and one case's pictures.

    Regions, references and the page are for `vae3d eval`; the latents' scale is saved with the
    weights.
    """
    return replace(
        config,
        media=[kind for kind in config.media if kind != "gif"],
        media_cases=1,
        save_reconstructions=False,
        metrics=metrics,
        sets=[],
        features=None,
        regions=[],
        floor=False,
        baselines=[],
        latents=True,
        report=False,
    )
