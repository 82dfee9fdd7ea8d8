"""The memory of a training step against the least it could take, and the largest patch per GiB.

`scripts/bench_memory.py` measures it, each model with what its blocks recompute.
"""

from dataclasses import dataclass

from benchmarks.result import Block
from benchmarks.scripts import script_blocks

TITLE = "Memory of a training step"
PEERS = ("monai", "vae3d2d")
SCRIPT = "bench_memory.py"


@dataclass(frozen=True)
class Sizes:
    """Models, the batch of patches of a side, and the GiB to find the largest patch for."""

    models: tuple[str, ...] = ("tiny", "small", "base")
    batch: int = 4
    side: int = 32
    patches: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0)


SIZES = {
    "full": Sizes(),
    "quick": Sizes(models=("tiny", "small"), batch=1, patches=()),
    "miniature": Sizes(models=("tiny",), batch=1, side=16, patches=()),
}


def measure(sizes: Sizes) -> list[Block]:
    """Measure steps, and the largest patches if there are sizes for them."""
    batch = f"--batch={sizes.batch}", f"--size={sizes.side}"
    caption = (
        f"Batch {sizes.batch} of {sizes.side}^3, MiB. The minimum is weights, gradients, state of "
        "the optimizer and what autograd has saved when the backward pass begins."
    )
    blocks = script_blocks(SCRIPT, *batch, "--models", *sizes.models, captions=[caption])
    if sizes.patches:
        gib = [f"{size:g}" for size in sizes.patches]
        caption = "The largest cubic patch of a training step by memory, batch 1."
        blocks += script_blocks(SCRIPT, "--patches", *gib, captions=[caption])
    return blocks
