"""`python -m benchmarks.trainee_process`: a process that trains when it is asked to.

It reads a request as a line of JSON, and prints its answer: a `Job` is built and stepped twice,
`{"count": N}` makes N steps.
"""

import json
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from vae3d.runtime.heap import map_large_blocks

if TYPE_CHECKING:
    from vae3d.runtime.distributed import Distributed


def main() -> None:
    """Answer requests until the input ends."""
    # As the commands do, before torch is imported.
    map_large_blocks()
    from vae3d.runtime.distributed import start_distributed

    with start_distributed("cpu") as distributed:
        step: Callable[[], object] = int
        for line in sys.stdin:
            request = json.loads(line)
            if "count" in request:
                answer = {"seconds": mean_seconds(step, request["count"])}
            else:
                # The former job returns its memory first.
                step = int
                step, answer = built(request, distributed)
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()


def built(
    request: dict[str, Any], distributed: "Distributed"
) -> tuple[Callable[[], object], dict[str, float]]:
    """Return a job's step, its seconds, and the peak in MiB of building it and of two steps."""
    from benchmarks.training import Job, training_step
    from vae3d.runtime.memory import peak_memory

    made: list[tuple[Callable[[], object], float]] = []

    def build() -> None:
        step = training_step(Job(**request), distributed)
        step()
        made.append((step, mean_seconds(step, 1)))

    peak = peak_memory(build, distributed.device)
    step, seconds = made[0]
    return step, {"seconds": seconds, "mib": (peak or 0) / 2**20}


def mean_seconds(step: Callable[[], object], count: int) -> float:
    """Return the mean seconds of `count` steps."""
    start = time.perf_counter()
    for _ in range(count):
        step()
    return (time.perf_counter() - start) / count


if __name__ == "__main__":
    main()
