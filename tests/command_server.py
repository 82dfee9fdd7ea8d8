"""Runs `vae3d` commands in processes forked from one that has imported torch already.

Most of the time of a short command is importing torch, hydra and vae3d. `CommandServer.run` starts
one process that imports them, and forks a process for each command. The forked process calls
`vae3d.cli.main` in its own working folder, environment and session, and ends as any Python process
ends: with the exit code of `main`, its exit handlers run and its threads joined.
"""

import importlib
import json
import os
import pkgutil
import select
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

ROOT = Path(__file__).parent.parent
MODULES = ("torch._dynamo", "hydra", "omegaconf", "vae3d.config", "vae3d.cli")


class CommandServer:
    """A process that forks commands, started with the first one."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None

    def run(
        self, arguments: list[str], cwd: Path, environment: dict[str, str], timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """Runs `vae3d *arguments` and returns its exit code and what it printed.

        Raises:
            subprocess.TimeoutExpired: it took longer; it has been killed.
        """
        process = self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        with TemporaryDirectory() as folder:
            outputs = [Path(folder, name) for name in ("stdout", "stderr")]
            request = [arguments, str(cwd), environment, *map(str, outputs)]
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            pid = int(process.stdout.readline())
            if not select.select([process.stdout], [], [], timeout)[0]:
                os.killpg(pid, signal.SIGKILL)
                process.stdout.readline()
                raise subprocess.TimeoutExpired(arguments, timeout, outputs[0].read_bytes())
            code = int(process.stdout.readline())
            texts = [path.read_text() for path in outputs]
        return subprocess.CompletedProcess(arguments, code, *texts)

    def close(self) -> None:
        """Ends the process, if it was started."""
        if self.process is not None:
            self.process.communicate()
            self.process = None

    def _started(self) -> "subprocess.Popen[str]":
        if self.process is None or self.process.poll() is not None:
            self.process = subprocess.Popen(
                [sys.executable, __file__],
                env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        return self.process


def serve(requests: IO[str], answers: IO[str]) -> tuple[list[str], str, dict[str, str], str, str]:
    """Forks a process for each line of `requests`; returns its request in each of them.

    Writes the process id and later the exit code of each, negative for a signal, to `answers`.
    """
    for line in requests:
        pid = os.fork()
        if pid == 0:
            answers.close()
            os.setsid()
            request: tuple[list[str], str, dict[str, str], str, str] = tuple(json.loads(line))
            return request
        answers.write(f"{pid}\n")
        answers.flush()
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        with suppress(BrokenPipeError):
            answers.write(f"{code}\n")
            answers.flush()
    # The server itself: nothing is left to do.
    os._exit(0)


def main() -> int:
    """Imports what commands import, and runs one command in each process that is forked."""
    sys.path[0] = ""  # as for `python -m`: the working folder, not that of this file
    for name in MODULES:
        importlib.import_module(name)
    commands = importlib.import_module("vae3d.commands")
    for module in pkgutil.iter_modules(commands.__path__):
        importlib.import_module(f"vae3d.commands.{module.name}")
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    arguments, cwd, environment, *outputs = serve(sys.stdin, answers)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    for number, path in ((0, os.devnull), (1, outputs[0]), (2, outputs[1])):
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(file, number)
        os.close(file)
    sys.argv = [f"{ROOT}/vae3d/__main__.py", *arguments]
    from vae3d.cli import main as command

    return command()


if __name__ == "__main__":
    sys.exit(main())
