"""`FiniteWatch`: which steps were not finite, and whether training must stop."""

import torch
from torch import Tensor

from vae3d.errors import NonFiniteError
from vae3d.trainer.state import TrainState


class FiniteWatch:
    """Records on the device whether each step was finite, and reads the flags on request.

    The flags are of sums over the ranks, equal on all ranks, so that all ranks decide alike. A
    step that is not finite does not change the weights. `limit` of them in a row may be skipped.
    """

    def __init__(self, limit: int, overflow_is_planned: bool) -> None:
        self.limit = limit
        self.overflow_is_planned = overflow_is_planned
        self._names: list[str] = []
        self._steps: list[int] = []
        self._flags: list[Tensor] = []
        self._longest = 0

    def note(self, step: int, scores: dict[str, Tensor]) -> Tensor:
        """Record a step; return whether its scores are all finite, as a tensor on their device."""
        finite = torch.stack([*scores.values()]).isfinite()
        self._names = [*scores]
        self._steps.append(step)
        self._flags.append(finite)
        return finite.all()

    def bad_steps(self, state: TrainState) -> dict[int, list[str]]:
        """Return the skipped steps since the last call, with the scores that were not finite.

        Updates `state.skipped`. On a GPU this waits for the device.
        """
        if not self._flags:
            return {}
        rows = torch.stack(self._flags).tolist()
        bad: dict[int, list[str]] = {}
        for step, row in zip(self._steps, rows, strict=True):
            wrong = [name for name, finite in zip(self._names, row, strict=True) if not finite]
            # float16 lowers its scale by itself where a gradient overflows.
            if wrong and not (self.overflow_is_planned and wrong == ["grad_norm"]):
                bad[step] = wrong
                state.skipped += 1
            else:
                state.skipped = 0
            # The longest row counts, even if finite steps followed before this call.
            self._longest = max(self._longest, state.skipped)
        self._steps, self._flags = [], []
        return bad

    def check(self, bad: dict[int, list[str]], where: str) -> None:
        """Raise a NonFiniteError if more than `limit` steps in a row were skipped."""
        if self._longest <= self.limit:
            return
        step, wrong = [*bad.items()][-1]
        raise NonFiniteError(
            f"step {step}: {', '.join(wrong)} stopped being finite; the weights are "
            f"unchanged. Its patches are in {where}. Lower trainer.lr, lengthen "
            "trainer.warmup_steps, set trainer.precision=fp32, or allow some in a row with "
            "trainer.max_nonfinite"
        )
