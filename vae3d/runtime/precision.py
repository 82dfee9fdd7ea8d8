"""`Precision`: autocast and gradient scaling behind one interface."""

import contextlib
import logging
from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor, nn

from vae3d.errors import ConfigError
from vae3d.runtime.choices import PRECISIONS

log = logging.getLogger(__name__)

AUTOCAST = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_precision(name: str, device: torch.device, key: str = "precision") -> str:
    """Return the precision by name; `auto` is bf16 if the device computes in it, else fp32.

    `key` is the setting that `name` is the value of. A precision that the device only emulates is
    reported once.
    """
    if name not in PRECISIONS:
        raise ConfigError(f"{key} must be one of {', '.join(PRECISIONS)}, got {name!r}")
    if name == "fp16" and device.type == "cpu":
        raise ConfigError(f"{key}=fp16 needs a GPU; on a CPU use bf16 or fp32")
    if name == "bf16" and not has_bf16(device):
        _warn_of_emulation(key, device.type)
    if name != "auto":
        return name
    return "bf16" if has_bf16(device) else "fp32"


@cache
def _warn_of_emulation(key: str, kind: str) -> None:
    log.warning(
        f"{key}=bf16: this {kind} has no bfloat16 instructions and computes several times slower "
        f"than in fp32; type {key}=auto"
    )


def has_bf16(device: torch.device) -> bool:
    """Return whether the device has bfloat16 instructions; emulation is slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # torch has no public query for the bfloat16 instructions of a CPU.
    capabilities = torch.backends.cpu.get_cpu_capability()
    return capabilities.startswith("AVX512") and bool(torch.cpu._is_avx512_bf16_supported())


class Precision:
    """Runs the forward pass in a precision, scales the loss and steps the optimizer."""

    def __init__(self, name: str, device: torch.device, key: str = "precision") -> None:
        self.name = choose_precision(name, device, key)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.name == "fp16")

    def autocast(self, device: torch.device) -> contextlib.AbstractContextManager[None]:
        """Return the context for the forward pass."""
        dtype = AUTOCAST[self.name]
        if dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(device.type, dtype)

    def scaled(self, loss: Tensor) -> Tensor:
        """Return the loss to compute gradients of, scaled where float16 needs it."""
        scaled: Tensor = self.scaler.scale(loss)
        return scaled

    def backward(self, loss: Tensor, inputs: Sequence[Tensor] | None = None) -> None:
        """Add the gradients of the loss, scaled where float16 needs it, to all leaves or some."""
        torch.autograd.backward(self.scaled(loss), inputs=inputs)

    def share_overflow(self, *models: nn.Module) -> None:
        """Make the gradients of all models not finite where some are, if there is a scale.

        The scaler skips the step of each optimizer on its own; then it skips all of them.
        """
        if not self.scaler.is_enabled() or len(models) == 1:
            return
        gradients = [[p.grad for p in m.parameters() if p.grad is not None] for m in models]
        # Zero if everything is finite, else not a number.
        parts = [gradient.sum() * 0 for of_model in gradients for gradient in of_model]
        zero = torch.stack(parts).sum()
        for of_model in gradients:
            of_model[0].add_(zero)

    def clip(self, model: nn.Module, optimizer: torch.optim.Optimizer, max_norm: float) -> Tensor:
        """Unscale the gradients, clip their norm and return the norm before clipping."""
        self.scaler.unscale_(optimizer)
        return torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm)

    def step(
        self, optimizer: torch.optim.Optimizer, finite: Tensor, *others: torch.optim.Optimizer
    ) -> None:
        """Update all weights if `finite` is true, without waiting for the device.

        In float16 the scaler detects an overflow, skips the step and lowers its scale.
        """
        for each in (optimizer, *others):
            if not self.scaler.is_enabled():
                # A fused optimizer skips the update where this is one; the device decides.
                each.found_inf = (~finite).float()  # type: ignore[attr-defined]
            self.scaler.step(each)
        self.scaler.update()

    @property
    def skips_overflow(self) -> bool:
        """Whether a gradient that overflows is expected (float16) or an error."""
        return self.name == "fp16"
