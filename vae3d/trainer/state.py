"""`TrainState`: the progress of a training, a few plain values."""

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class TrainState:
    """The progress of a training.

    `step` is the number of updates so far. `best` holds (score, step) of the best steps, the best
    one first. `validation_due` is true if a signal came before the validation of this step.
    `stale` counts the validations since the best one, `skipped` the latest steps in a row that
    were not finite.
    """

    step: int = 0
    best: list[tuple[float, int]] = field(default_factory=list)
    validation_due: bool = False
    stale: int = 0
    skipped: int = 0

    @property
    def best_steps(self) -> list[int]:
        """The steps of the best scores, the best one first."""
        return [step for _, step in self.best]

    def take(self, score: float, keep: int) -> bool:
        """Record this step's score; return whether it is the best so far.

        Higher is better; the `keep` best are recorded.
        """
        improved = not self.best or score > self.best[0][0]
        ranked = [*self.best, (score, self.step)]
        # Of equal scores the earlier step ranks first.
        self.best = sorted(ranked, key=lambda entry: (-entry[0], entry[1]))[:keep]
        self.stale = 0 if improved else self.stale + 1
        return improved

    def is_exhausted(self, patience: int | None) -> bool:
        """Return whether `patience` validations have passed without a better score."""
        return patience is not None and self.stale >= patience

    def is_finished(self, total: int, patience: int | None) -> bool:
        """Return whether nothing is left to do of `total` steps."""
        done = self.step >= total or self.is_exhausted(patience)
        return done and not self.validation_due

    def state_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    def load_state_dict(self, values: dict[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Raises:
            KeyError: a value is missing.
        """
        for name in asdict(self):
            setattr(self, name, values[name])
        self.best = [(float(score), int(step)) for score, step in values["best"]]
