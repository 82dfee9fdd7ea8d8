"""Trainings in forked processes, which start in a moment and can be killed by the hundred."""

import contextlib
import hashlib
import os
import signal
import socket
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # else every child imports it again in its first step

from tests.conftest import tiny_model, tiny_trainer, tiny_training
from vae3d.checkpoints.folder import CheckpointFolder
from vae3d.commands.train_run import train
from vae3d.errors import UserError
from vae3d.run.config import TrainConfig
from vae3d.trainer.trainer import Trainer

Setup = Callable[[], None]


def toy(folder: Path, **trainer: Any) -> TrainConfig:
    """Thirty steps of two micro-batches, with an average and dropout; a checkpoint every third."""
    settings = {
        "steps": 30,
        "accumulation": 2,
        "val_every": 10,
        "checkpoint_every": 3,
        "keep_checkpoints": 2,
        "ema_decay": 0.9,
    }
    return tiny_training(
        folder,
        model=tiny_model(dropout=0.1),
        trainer=tiny_trainer(**{**settings, **trainer}),
    )


def started(config: TrainConfig, setup: Setup = lambda: None) -> int:
    """Fork a process that trains, after `setup`; return its id."""
    with warnings.catch_warnings():
        # Python warns of locks that other threads may hold; here no other thread holds one.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.setsid()
        log = os.open(log_of(config), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(log, 1)
        os.dup2(log, 2)
        # The parent's streams may be those of a test that captures output.
        sys.stdout, sys.stderr = (os.fdopen(n, "w", buffering=1) for n in (1, 2))
        torch.set_num_threads(1)
        setup()
        train(config)
        code = 0
    except UserError as error:
        sys.stderr.write(f"vae3d: {error}\n")
        code = error.exit_code
    except KeyboardInterrupt:
        code = 130
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):  # a test may have taken its stderr away
            sys.stderr.flush()
        os._exit(code)


def log_of(config: TrainConfig) -> Path:
    """The output of the trainings of this config."""
    return Path(config.runs_dir) / f"{config.name}.log"


def ended(pid: int) -> int:
    """The exit code of a process, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def killed_after(pid: int, seconds: float) -> bool:
    """Kill a process and its children after `seconds`; return whether it was still running."""
    time.sleep(seconds)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    return ended(pid) == -signal.SIGKILL


def completed(config: TrainConfig) -> Path:
    """Train to the end in a fork; return the run folder."""
    code = ended(started(config))
    said = log_of(config).read_text()
    assert code == 0, said
    assert "Traceback" not in said
    return config.folder


def digest(folder: Path) -> str:
    """The SHA-256 of weights, averages, optimizer, metrics and summary of a run."""
    checkpoints = CheckpointFolder(folder / "checkpoints")
    checkpoint = checkpoints.load(checkpoints.steps()[-1])
    sha256 = hashlib.sha256(repr((checkpoint.step, sorted(checkpoint.about.items()))).encode())
    _add(sha256, checkpoint.state)
    for name in ("metrics.csv", "summary.json", "cases.csv", "weights/latest/model.safetensors"):
        sha256.update((folder / name).read_bytes())
    return sha256.hexdigest()


def _add(sha256: Any, value: Any) -> None:
    if isinstance(value, torch.Tensor):
        sha256.update(repr((value.dtype, tuple(value.shape))).encode())
        sha256.update(value.contiguous().view(torch.uint8).numpy().tobytes() if value.dim() else
                    repr(value.item()).encode())  # fmt: skip
    elif isinstance(value, dict):
        for key in value:
            sha256.update(repr(key).encode())
            _add(sha256, value[key])
    elif isinstance(value, list | tuple):
        for item in value:
            _add(sha256, item)
    else:
        sha256.update(repr(value).encode())


def at_step(step: int, act: Callable[[Trainer], None]) -> Setup:
    """A setup that acts in the training process right after a step."""

    def setup() -> None:
        original = Trainer.train_step

        def patched(trainer: Trainer, micro_batches: Any) -> Any:
            result = original(trainer, micro_batches)
            if trainer.state.step == step:
                act(trainer)
            return result

        Trainer.train_step = patched  # type: ignore[method-assign]

    return setup


def signalled(number: int) -> Callable[[Trainer], None]:
    """An act for `at_step`: this process gets a signal."""
    return lambda trainer: os.kill(os.getpid(), number)


def ranks(config: TrainConfig, setup: Callable[[int], Setup], world: int = 2) -> list[int]:
    """The processes of a training of several ranks, each with a setup of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return [started(config, _member(rank, world, port, setup(rank))) for rank in range(world)]


def _member(rank: int, world: int, port: int, setup: Setup) -> Setup:
    def joined() -> None:
        names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "MASTER_PORT": port}
        os.environ.update({name: str(value) for name, value in names.items()})
        os.environ["MASTER_ADDR"] = "127.0.0.1"
        setup()

    return joined


def undisturbed(rank: int) -> Setup:
    """The setup of a rank to which nothing happens."""
    return lambda: None
