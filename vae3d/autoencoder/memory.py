"""`memory_lines`: what an image takes in one pass and slab by slab, in words."""

import torch

from vae3d.autoencoder.vae import CustomVAE
from vae3d.errors import ConfigError
from vae3d.model.config import VAEConfig
from vae3d.streaming.plan import StreamingPlan, streamed_plans


def memory_lines(config: VAEConfig, size: tuple[int, ...], memory: float | None) -> list[str]:
    """Return lines with the memory of the image in one pass and slab by slab.

    With `memory` in GiB a last line states which of the two fits.

    Raises:
        ConfigError: neither fits into `memory`.
    """
    with torch.device("meta"):
        model = CustomVAE(config)
    whole = f"in one pass      {_memory(model.plan(size, None))}"
    try:
        plans = [*streamed_plans(model, size)]
    except ConfigError as error:
        # A norm of a plugin: which statistics of other slabs it needs is unknown.
        return [whole, f"slab by slab     {error}"]
    thickest, thinnest = plans[0], plans[-1]
    lines = [
        whole,
        f"slab by slab     {_memory(thinnest)} to {_memory(thickest)}, the same result",
    ]
    if thickest.way == "passes":
        norms = thickest.passes - 2
        lines.append(f"                 {norms} norms need all of it first: {norms} more passes")
    if memory is not None:
        plan = model.plan(size, memory)
        way = "in one pass" if plan.way == "whole" else f"slab by slab, {plan.planes} planes"
        lines.append(f"in {memory:g} GiB".ljust(17) + way)
    return lines


def _memory(plan: StreamingPlan) -> str:
    planes = "" if plan.way == "whole" else f" ({plan.planes} planes)"
    return f"{plan.bytes / 2**30:.2f} GiB{planes}"
