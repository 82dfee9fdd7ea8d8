"""`python -m benchmarks.command_cost WORD...`: the seconds and the peak of a `vae3d` command.

A process begins with the peak of the one that started it. This one is small, so that the peak that
it prints is the command's own.
"""

import json
import resource
import subprocess
import sys
import time

from benchmarks.processes import module_command


def main(*words: str) -> None:
    """Run the command, and print its seconds, its CPU seconds and its peak in MiB as JSON."""
    start = time.perf_counter()
    command = module_command("vae3d", *words)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"vae3d {' '.join(words)}: {done.returncode}\n{done.stderr}")
    seconds = time.perf_counter() - start
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    cost = {
        "seconds": seconds,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "mib": usage.ru_maxrss / 1024,
    }
    sys.stdout.write(json.dumps(cost) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
