"""The nightly tier of the fault tests, in parts: what passed on this commit is not run again.

    python scripts/nightly.py --minutes 150

Each test runs in a process of its own. Results are kept in `nightly/COMMIT.json`, so that an
interrupted night is continued by the same command. It ends with exit code 0 when all tests of the
tier have passed on this commit, 1 if one failed, and 75 if some are still to be run.
"""

import argparse
import json
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "nightly"
UNFINISHED = 75


def main() -> int:
    """Run the tests that have not passed yet, until the time is over; print what is known."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=150, help="start no test after this time")
    parser.add_argument("--only", default="", help="part of the names of the tests to run")
    options = parser.parse_args()
    end = time.monotonic() + 60 * options.minutes
    place = FOLDER / f"{commit()}.json"
    results: dict[str, dict[str, object]] = json.loads(place.read_text()) if place.exists() else {}
    names = [name for name in collected() if options.only in name]
    for name in names:
        if time.monotonic() > end:
            break
        if results.get(name, {}).get("outcome") not in ("passed", "skipped"):
            results[name] = run(name)
            FOLDER.mkdir(exist_ok=True)
            place.write_text(json.dumps(results, indent=2) + "\n")
            show(f"{results[name]['outcome']:8} {results[name]['seconds']:7} s  {name}")
    return summary({name: results.get(name, {}) for name in names})


def commit() -> str:
    """Return the commit of the working tree, which must have no changes."""
    changed = output("git", "status", "--porcelain", "--untracked-files=no")
    if changed:
        raise SystemExit(f"commit first, results belong to a commit:\n{changed}")
    return output("git", "rev-parse", "--short=10", "HEAD")


def collected() -> list[str]:
    """Return the names of the tests of the nightly tier."""
    listed = output(sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", "faults")
    return [line for line in listed.splitlines() if "::" in line]


def run(name: str) -> dict[str, object]:
    """Run one test; return its outcome, its seconds, and what it printed if it failed."""
    start = time.monotonic()
    command = [sys.executable, "-m", "pytest", "-q", "-m", "faults", name]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    seconds = round(time.monotonic() - start)
    if done.returncode:
        said = done.stdout + done.stderr
        return {"outcome": "failed", "seconds": seconds, "output": said[-4000:]}
    skipped = not re.search(r"\d+ passed", done.stdout)
    return {"outcome": "skipped" if skipped else "passed", "seconds": seconds}


def output(*command: str) -> str:
    """Return what a command prints."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def summary(results: dict[str, dict[str, object]]) -> int:
    """Print how many tests have which outcome, and the failed ones; return the exit code."""
    outcomes = [str(result.get("outcome", "to be run")) for result in results.values()]
    minutes = sum(float(str(result.get("seconds", 0))) for result in results.values()) / 60
    counts = ", ".join(f"{outcomes.count(one)} {one}" for one in sorted({*outcomes}))
    show(f"{len(outcomes)} tests: {counts}; {minutes:.0f} minutes")
    for name, result in results.items():
        if result.get("outcome") == "failed":
            show(f"failed: {name}")
    if "failed" in outcomes:
        return 1
    return UNFINISHED if "to be run" in outcomes else 0


def show(line: str) -> None:
    """Print a line now, also into a pipe."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
