"""`FiniteWatch`: which steps were not finite, and whether training must stop."""

import torch
from torch import Tensor

from vae3d.errors import NonFiniteError
from vae3d.trainer.state import TrainState

MAX_OVERFLOWS = 25
"""Steps in a row of which only the gradient may overflow in float16. Each halves the scale, which
begins at 2^16, so that after these it is far below one and no longer the reason."""
GRADIENT_NORMS = {"grad_norm", "discriminator_grad_norm"}
"""Scores that are norms of gradients."""


class FiniteWatch:
    """Records on the device whether each step was finite, and reads the flags on request.

    The flags are of sums over the ranks, equal on all ranks, so that all ranks decide alike. A
    step that is not finite does not change the weights. `limit` of them in a row may be skipped.
    With `overflow_is_planned`, MAX_OVERFLOWS in a row with a gradient that overflows do not count.
    """

    def __init__(self, limit: int, overflow_is_planned: bool) -> None:
        self.limit = limit
        self.overflow_is_planned = overflow_is_planned
        self._names: list[str] = []
        self._steps: list[int] = []
        self._flags: list[Tensor] = []
        self._longest = 0
        self._overflows = 0

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
            if wrong and not self._is_planned(wrong):
                bad[step] = wrong
                state.skipped += 1
            else:
                state.skipped = 0
            if not wrong:
                self._overflows = 0
            # The longest row counts, even if finite steps followed before this call.
            self._longest = max(self._longest, state.skipped)
        self._steps, self._flags = [], []
        return bad

    def _is_planned(self, wrong: list[str]) -> bool:
        """Return whether float16 mends a step itself, by a smaller scale of the gradients."""
        if not (self.overflow_is_planned and {*wrong} <= GRADIENT_NORMS):
            return False
        self._overflows += 1
        return self._overflows <= MAX_OVERFLOWS

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
