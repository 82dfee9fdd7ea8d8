"""`TrainState`: the few numbers that say where a training stands."""

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class TrainState:
    """`step` updates are done; `best` holds (score, step) of the best ones, the very best first.

    `validation_due` says that a signal came before the validation of this step. `stale` counts
    the validations since the best one, `skipped` the steps in a row that were not finite.
    """

    step: int = 0
    best: list[tuple[float, int]] = field(default_factory=list)
    validation_due: bool = False
    stale: int = 0
    skipped: int = 0

    @property
    def best_steps(self) -> list[int]:
        """The steps of the best scores."""
        return [step for _, step in self.best]

    def take(self, score: float, keep: int) -> bool:
        """Notes this step's score, more is better; whether it is the very best."""
        improved = not self.best or score > self.best[0][0]
        ranked = [*self.best, (score, self.step)]
        # Of equal scores the earlier step stands first.
        self.best = sorted(ranked, key=lambda entry: (-entry[0], entry[1]))[:keep]
        self.stale = 0 if improved else self.stale + 1
        return improved

    def is_exhausted(self, patience: int | None) -> bool:
        """Whether so many validations have passed without a better one."""
        return patience is not None and self.stale >= patience

    def is_finished(self, total: int, patience: int | None) -> bool:
        """Whether nothing is left to do of `total` steps."""
        done = self.step >= total or self.is_exhausted(patience)
        return done and not self.validation_due

    def state_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def load_state_dict(self, values: dict[str, Any]) -> None:
        """Takes over what `state_dict` gave.

        Raises:
            KeyError: a value is missing.
        """
        for name in asdict(self):
            setattr(self, name, values[name])
        self.best = [(float(score), int(step)) for score, step in values["best"]]
