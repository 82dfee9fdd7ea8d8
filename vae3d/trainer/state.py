"""`TrainState`: the few numbers that say where a training stands."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass
class TrainState:
    """`step` updates are done; `best_score` was reached at `best_step`."""

    step: int = 0
    best_score: float | None = None
    best_step: int = 0

    def state_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def load_state_dict(self, values: dict[str, Any]) -> None:
        """Takes over what `state_dict` gave."""
        for name in asdict(self):
            setattr(self, name, values[name])
