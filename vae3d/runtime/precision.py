"""`Precision`: autocast and gradient scaling behind one interface."""

import contextlib

import torch
from torch import Tensor, nn

from vae3d.errors import ConfigError
from vae3d.runtime.choices import PRECISIONS

AUTOCAST = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_precision(name: str, device: torch.device) -> str:
    """The precision by name; `auto` is bf16 where the device computes in it, else fp32."""
    if name not in PRECISIONS:
        raise ConfigError(
            f"trainer.precision must be one of {', '.join(PRECISIONS)}, got {name!r}"
        )
    if name == "fp16" and device.type == "cpu":
        raise ConfigError("trainer.precision=fp16 needs a GPU; on a CPU say bf16 or fp32")
    if name != "auto":
        return name
    return "bf16" if has_bf16(device) else "fp32"


def has_bf16(device: torch.device) -> bool:
    """Whether the device has instructions for bfloat16; emulated they are slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.backends.cpu.get_cpu_capability()
    return capabilities.startswith("AVX512") and bool(torch.cpu._is_avx512_bf16_supported())


class Precision:
    """Runs the model in a precision and steps the optimizer with the gradients it gives."""

    def __init__(self, name: str, device: torch.device) -> None:
        self.name = choose_precision(name, device)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.name == "fp16")

    def autocast(self, device: torch.device) -> contextlib.AbstractContextManager[None]:
        """The context that the forward pass runs in."""
        dtype = AUTOCAST[self.name]
        if dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(device.type, dtype)

    def backward(self, loss: Tensor) -> None:
        """Adds the gradients of the loss, scaled where float16 needs it."""
        torch.autograd.backward(self.scaler.scale(loss))

    def clip(self, model: nn.Module, optimizer: torch.optim.Optimizer, max_norm: float) -> Tensor:
        """Unscales the gradients, clips their norm and gives the norm before clipping."""
        self.scaler.unscale_(optimizer)
        return torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm)

    def step(self, optimizer: torch.optim.Optimizer, finite: Tensor) -> None:
        """Updates the weights where `finite` says so, without waiting for the device.

        float16 finds an overflow by itself, skips the step and lowers its scale.
        """
        if not self.scaler.is_enabled():
            # A fused optimizer changes nothing where this is one.
            optimizer.found_inf = (~finite).float()  # type: ignore[attr-defined]
        self.scaler.step(optimizer)
        self.scaler.update()

    @property
    def skips_overflow(self) -> bool:
        """Whether a gradient that overflowed is part of the plan (float16) or an error."""
        return self.name == "fp16"
