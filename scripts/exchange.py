"""Opens what vae3d wrote under one Python with another: every ordered pair of interpreters.

    python scripts/exchange.py PYTHON_A PYTHON_B ...

Each interpreter has torch and the other requirements; vae3d is the one beside this script. It
writes tiny scans, a store of each codec, a list, a short training with checkpoints, a report,
weights and latents. A copy of those is then opened with every interpreter: its `vae3d` commands
verify each folder, decode the latents, compare the report with one of its own, and resume the
training one step further. What is read must have one digest. What is computed (the decoded scans,
the weights after the further step) may differ in rounding between builds of torch; the table says
whether it does. The exit code is 1 if a pair fails.
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
CODECS = ("lz4", "lz4_fast", "zstd", "none")
PACKAGES = ("torch", "numpy", "blosc2", "nibabel", "safetensors")
SCANS, STEPS = 4, 4
TRAIN = """
    train name=run runs_dir=. data=store data.root=store_lz4 data.val_fraction=0.25
    data.test_fraction=0.25 patching=random_parts patching.size=[8] patching.per_volume=2
    model=tiny trainer=debug trainer.log_every=1 trainer.val_every=2 trainer.checkpoint_every=2
    trainer.keep_checkpoints=9 trainer.precision=fp32 trainer.ema_decay=0.9 trainer.device=cpu
    evaluation.media=[]
"""
FOLDERS = (*(f"store_{codec}" for codec in CODECS), "run", "run/report/full", "latents")


def main() -> int:
    """Run all pairs, or as a child of that one half of a pair."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pythons", nargs="*", metavar="PYTHON")
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--open", type=Path, nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.make:
        return make(arguments.make)
    if arguments.open:
        return open_all(*arguments.open)
    if not arguments.pythons:
        parser.error("name the interpreters")
    with tempfile.TemporaryDirectory(prefix="vae3d-exchange-") as work:
        return all_pairs(arguments.pythons, Path(work))


def all_pairs(pythons: list[str], work: Path) -> int:
    """Print the versions and the table; return 1 if a pair failed."""
    makers = {}
    for number, python in enumerate(pythons):
        makers[python] = work / str(number)
        sys.stdout.write(f"{child(python, '--make', str(makers[python]))['versions']}\n")
    sys.stdout.write("\n| written by | opened by | read | decoded | resumed | |\n")
    sys.stdout.write("|---|---|---|---|---|---|\n")
    failed = 0
    for maker, folder in makers.items():
        # Its own results first: the others are compared with those.
        own = child(maker, "--open", *copied(folder, work), str(folder))
        for opener in pythons:
            result = own
            if opener != maker:
                result = child(opener, "--open", *copied(folder, work), str(makers[opener]))
            equal = {
                key: own.get(key) is not None and own[key] == result.get(key)
                for key in ("read", "decoded", "resumed")
            }
            error = result.get("error", "")
            failed += bool(error) or not equal["read"]
            shown = (
                "equal" if equal["read"] else "DIFFERS",
                *("same bits" if equal[key] else "rounding" for key in ("decoded", "resumed")),
            )
            row = [name_of(maker), name_of(opener), *(("-",) * 3 if error else shown), error]
            sys.stdout.write(f"| {' | '.join(row)} |\n")
            sys.stdout.flush()
    return int(failed > 0)


def copied(folder: Path, work: Path) -> list[str]:
    """Copy what an interpreter wrote to the one place where pairs are tried; return that."""
    place = work / "opened"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(folder, place)
    return [str(place)]


def child(python: str, *words: str) -> dict[str, Any]:
    """Run one half with an interpreter; return the JSON that it printed, or the error."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [python, __file__, *words], env=environment, capture_output=True, text=True, check=False
    )
    lines = done.stdout.splitlines()
    if done.returncode:
        error = (done.stderr.splitlines() or ["no message"])[-1]
        if words[0] == "--make":
            raise SystemExit(f"{python}: {error}")
        return {"error": error}
    result: dict[str, Any] = json.loads(lines[-1])
    return result


def name_of(python: str) -> str:
    """Return the version of an interpreter."""
    code = "import platform; print(platform.python_version())"
    return subprocess.run(
        [python, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


def make(folder: Path) -> int:
    """Write everything into a new folder."""
    from importlib.metadata import version

    folder.mkdir()
    write_scans(folder / "scans")
    names = [path.name for path in sorted((folder / "scans").iterdir())]
    rows = [f"{name.partition('.')[0]},scans/{name}" for name in names]
    (folder / "list.csv").write_text("\n".join(["case,image", *rows]) + "\n")
    import_commands()
    scans = ("data=ct", "data.list=list.csv")
    for codec in CODECS:
        vae3d(folder, "prepare", *scans, f"data.store=store_{codec}", f"data.codec={codec}")
    vae3d(folder, *TRAIN.split(), f"trainer.steps={STEPS}")
    vae3d(folder, "eval", "run=run", "mode=full", "device=cpu", "evaluation.media=[]")
    vae3d(folder, "encode", "run=run", "output=latents", "device=cpu")
    python = f"Python {sys.version.split()[0]}"
    versions = ", ".join([python, *(f"{name} {version(name)}" for name in PACKAGES)])
    sys.stdout.write(json.dumps({"versions": versions}) + "\n")
    return 0


def open_all(folder: Path, own: Path) -> int:
    """Read and use everything in `folder`; compare its report with that of `own`."""
    import_commands()
    for name in FOLDERS:
        vae3d(folder, "verify", name)
    result: dict[str, Any] = {"read": read(folder)}
    vae3d(folder, "inspect", "data=ct", "data.list=list.csv", "patching=none", "output=inspected")
    vae3d(folder, "decode", "run=run", "input=latents", "output=decoded", "device=cpu")
    vae3d(folder, "compare", "run", str(own / "run"), "output=compared")
    vae3d(folder, *TRAIN.split(), f"trainer.steps={STEPS + 1}")
    status = json.loads((folder / "run/status.json").read_text())
    if (status["state"], status["step"]) != ("finished", STEPS + 1):
        raise SystemExit(f"the training ended as {status}")
    result |= {"decoded": decoded(folder), "resumed": checkpoint(folder, STEPS + 1)}
    sys.stdout.write(json.dumps(result) + "\n")
    return 0


def write_scans(folder: Path) -> None:
    """Write four int16 scans with a bright ball in noise, with anisotropic voxels."""
    import nibabel
    import numpy as np

    folder.mkdir()
    draw = np.random.default_rng(0)
    for number in range(SCANS):
        shape = (16 + number, 18, 17)
        places = np.moveaxis(np.indices(shape), 0, -1) - np.array(shape) / 2
        inside = np.linalg.norm(places, axis=-1) < 6
        voxels = np.where(inside, 60 + 40 * number, -960) + draw.integers(-40, 40, shape)
        image = nibabel.Nifti1Image(voxels.astype(np.int16), np.diag([0.8, 0.9, 2.0, 1.0]))
        nibabel.save(image, folder / f"case_{number}.nii.gz")


def import_commands() -> None:
    """Import what all commands need, so that the forked ones start quickly."""
    import torch

    import conf
    import vae3d.cli.jobs
    import vae3d.library  # noqa: F401

    # In the repository the option files are beside the package, not in it as once installed.
    sys.modules["vae3d.conf"] = conf
    torch.set_num_threads(1)


def vae3d(folder: Path, *words: str) -> None:
    """Run a command in a forked process in `folder`; what it prints goes to log.txt."""
    process = multiprocessing.get_context("fork").Process(target=command, args=(folder, words))
    process.start()
    process.join()
    if process.exitcode:
        last = (folder / "log.txt").read_text().strip().splitlines()[-1:]
        raise SystemExit(f"vae3d {words[0]}: {''.join(last) or process.exitcode}")


def command(folder: Path, words: tuple[str, ...]) -> None:
    """Be the command: the body of the forked process."""
    from vae3d.cli import main as run

    os.chdir(folder)
    log = os.open("log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.argv = ["vae3d", *words]
    sys.exit(run())


def read(folder: Path) -> dict[str, str]:
    """Return the digest of every kind of artefact, as this interpreter reads it."""
    from vae3d import CustomVAE, LatentDataset
    from vae3d.data.build import open_cases
    from vae3d.data.config import StoreConfig
    from vae3d.logger.console import ProgressBar
    from vae3d.run.saved import load_config
    from vae3d.settings.saved import describe

    digests = {}
    for codec in CODECS:
        config = StoreConfig(root=str(folder / f"store_{codec}"))
        cases = open_cases(config, ProgressBar("prepare", shown=False))
        volumes = [case.volume() for case in map(cases.__getitem__, range(SCANS))]
        values = [(v.case_id, v.data, v.affine.tolist()) for v in volumes]
        digests[f"store {codec}"] = digest(values)
    for which in ("latest", "best"):
        model = CustomVAE.from_pretrained(folder / "run/weights" / which)
        digests[f"weights {which}"] = digest(model.state_dict())
    latents = LatentDataset(folder / "latents")
    digests["latents"] = digest([latents[index]["latent"] for index in range(len(latents))])
    digests["scale"] = digest(latents.statistics.describe())
    digests["settings"] = digest(describe(load_config(folder / "run/config.yaml")))
    digests["checkpoint"] = checkpoint(folder, STEPS)
    for name in ("metrics.csv", "report/full/scores.csv", "report/full/summary.json"):
        digests[name] = hashlib.sha256((folder / "run" / name).read_bytes()).hexdigest()
    return digests


def checkpoint(folder: Path, step: int) -> str:
    """Return the digest of everything in the checkpoint of a step."""
    from vae3d.checkpoints.folder import CheckpointFolder

    return digest(CheckpointFolder(folder / "run/checkpoints").load(step).state)


def decoded(folder: Path) -> str:
    """Return the digest of the decoded scans."""
    import nibabel
    import numpy as np

    files = sorted((folder / "decoded").glob("*.nii.gz"))
    scans = [nibabel.load(path) for path in files]
    if not scans:
        raise SystemExit("nothing was decoded")
    return digest([(np.asarray(s.dataobj).tolist(), s.affine.tolist()) for s in scans])


def digest(value: Any) -> str:
    """Return the SHA-256 of a tree of tensors and plain values."""
    total = hashlib.sha256()
    for part in parts(value):
        total.update(part)
    return total.hexdigest()


def parts(value: Any) -> Iterable[bytes]:
    """Yield the bytes of a tree, with the type and the shape of each tensor."""
    import torch

    if isinstance(value, torch.Tensor):
        yield f"{value.dtype} {tuple(value.shape)} ".encode()
        yield value.detach().reshape(-1).contiguous().view(torch.uint8).numpy().tobytes()
    elif isinstance(value, dict):
        for key in sorted(value, key=str):
            yield f"{key}: ".encode()
            yield from parts(value[key])
    elif isinstance(value, list | tuple):
        for item in value:
            yield from parts(item)
            yield b", "
    else:
        yield repr(value).encode()


if __name__ == "__main__":
    sys.exit(main())
