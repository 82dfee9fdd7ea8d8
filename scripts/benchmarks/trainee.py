"""`Trainee`: vae3d's trainer in processes of its own, one for each rank.

`benchmarks/trainee_process.py` is what runs in them.
"""

import json
import math
import socket
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.processes import SCRIPTS, environment, module_command

if TYPE_CHECKING:
    from benchmarks.training import Job


class Trainee:
    """Processes that build a step of training and make it when they are asked to.

    `threads` is the number of torch's threads in each; None leaves it to torch.
    """

    def __init__(self, ranks: int = 1, threads: int | None = None, source: str = "") -> None:
        given = environment(Path(source).resolve() if source else None)
        if threads is not None:
            given["OMP_NUM_THREADS"] = str(threads)
        if ranks > 1:
            port = str(free_port())
            given.update(WORLD_SIZE=str(ranks), MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
        self._processes = [
            subprocess.Popen(
                module_command("benchmarks.trainee_process"),
                env={**given, "RANK": str(rank), "LOCAL_RANK": str(rank)} if ranks > 1 else given,
                cwd=SCRIPTS,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for rank in range(ranks)
        ]
        self._count = 1

    def __enter__(self) -> "Trainee":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
            process.communicate()

    def prepare(self, job: "Job", seconds: float) -> float:
        """Build a job, of which `step` then measures `seconds`; return the peak of a step in MiB.

        The peak is resident memory above that of the process before the job was built, of all
        ranks together.
        """
        answers = self._ask(asdict(job))
        slowest = max(answer["seconds"] for answer in answers)
        self._count = max(1, math.ceil(seconds / max(slowest, 1e-6)))
        return sum(float(answer["mib"]) for answer in answers)

    def step(self) -> float:
        """Return the seconds of a step, the mean of as many as `prepare` asked for."""
        answers = self._ask({"count": self._count})
        return max(float(answer["seconds"]) for answer in answers)

    def _ask(self, request: dict[str, Any]) -> list[dict[str, float]]:
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
        answers = []
        for process in self._processes:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                raise RuntimeError(f"a process of training ended: {request}")
            answers.append(json.loads(line))
        return answers


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
