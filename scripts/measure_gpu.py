"""Test and measure vae3d on a CUDA device, in parts of at most nine minutes; write docs/gpu.md.

    python scripts/measure_gpu.py PART                     # tests, train, inference, peers, volume
    python scripts/measure_gpu.py PART --wheels FOLDER     # on a machine without a package index
    python scripts/measure_gpu.py --download FOLDER        # on a machine with one
    python scripts/measure_gpu.py all --tiny               # a rehearsal on a CPU

Rows are kept in `results.json` of the folder `--out`. The same command measures what is missing.
It ends with exit code 0 if all rows of the part are there, 75 if some are still to be measured,
and 1 if one failed.
"""

import argparse
import os
import sys
from pathlib import Path

from gpu.wheels import download, install

ROOT = Path(__file__).parent.parent
PARTS = ("tests", "train", "inference", "peers", "volume")
PAGE = ROOT / "docs" / "gpu.md"
UNFINISHED = 75


def main() -> int:
    """Measure one part, or all of them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", nargs="?", choices=(*PARTS, "all"), default="all")
    parser.add_argument("--minutes", type=float, default=6.5, help="begin no row after this time")
    parser.add_argument("--out", type=Path, default=ROOT / ".gpu", help="folder of the results")
    parser.add_argument("--wheels", type=Path, help="folder of wheels to install from")
    parser.add_argument("--download", type=Path, help="download the wheels into this folder")
    parser.add_argument(
        "--tiny", action="store_true", help="a rehearsal on a CPU, in a small size"
    )
    options = parser.parse_args()
    if options.download:
        download(options.download)
        return 0
    if options.wheels:
        run_with_wheels(options.wheels.resolve(), options.out.resolve() / "site")
    return measure(options)


def run_with_wheels(wheels: Path, site: Path) -> None:
    """Install the wheels and replace this process by one that uses them."""
    install(wheels, site)
    at = sys.argv.index("--wheels")
    words = [*sys.argv[1:at], *sys.argv[at + 2 :]]
    os.environ["PYTHONPATH"] = os.pathsep.join(
        [str(site), os.environ.get("PYTHONPATH", "")]
    ).strip(os.pathsep)
    os.execv(sys.executable, [sys.executable, __file__, *words])


def measure(options: argparse.Namespace) -> int:
    """Measure the part's rows, write the page, and return the exit code."""
    import torch

    from gpu.page import page
    from gpu.results import Results, Task, describe, say
    from gpu.speed import Scale, inference_tasks, peer_tasks, train_tasks
    from gpu.tests import test_tasks
    from gpu.volume import volume_tasks

    if not options.tiny and not torch.cuda.is_available():
        say("vae3d: no CUDA device is visible to torch; --tiny rehearses on the CPU")
        return 2
    device = torch.device("cpu" if options.tiny else "cuda")
    scale = Scale(device, options.tiny)
    makers = dict(
        zip(
            PARTS,
            (test_tasks, train_tasks, inference_tasks, peer_tasks, volume_tasks),
            strict=True,
        )
    )
    parts = PARTS if options.part == "all" else (options.part,)
    tasks: list[Task] = [task for part in parts for task in makers[part](scale)]
    results = Results(options.out, describe(device))
    left = results.run(tasks, options.minutes)
    text = page(results)
    (options.out / "gpu.md").write_text(text, encoding="utf-8")
    if not options.tiny:
        PAGE.write_text(text, encoding="utf-8")
    for failure in results.failed():
        say(f"failed: {failure}")
    if results.failed():
        return 1
    say(f"{left} rows are left: type the same command again" if left else "all rows are measured")
    return UNFINISHED if left else 0


if __name__ == "__main__":
    sys.exit(main())
