"""The learning rate as a function of the step."""

import math


def learning_rate(
    step: int, total: int, peak: float, warmup_steps: int, min_ratio: float
) -> float:
    """Return the rate of a step: linear warm-up to `peak`, then a cosine to `peak * min_ratio`.

    Step 0 has the rate `peak / warmup_steps`, not 0; the cosine ends at step `total`.
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    progress = min(1.0, (step - warmup_steps) / max(1, total - warmup_steps))
    return peak * (min_ratio + (1 - min_ratio) * 0.5 * (1 + math.cos(math.pi * progress)))
