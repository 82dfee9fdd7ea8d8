"""Runs `vae3d` commands in processes forked from one that has imported torch already.

Most of the time of a short command is importing torch, hydra and vae3d. `CommandServer.run` starts
one process that imports them, and forks a process for each command. The forked process calls
`vae3d.cli.main` in its own working folder, environment and process group, and ends as any Python
process ends: with the exit code of `main`, its exit handlers run and its threads joined.
"""

import importlib
import json
import os
import pkgutil
import resource
import select
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

ROOT = Path(__file__).parent.parent
MODULES = ("torch._dynamo", "hydra", "omegaconf", "vae3d.cli.jobs", "vae3d.library")


class CommandServer:
    """A process that forks one command at a time; it is started with the first one."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None

    def start(
        self,
        arguments: list[str],
        cwd: Path,
        environment: dict[str, str],
        stdout: Path | None = None,
    ) -> "Command":
        """Starts `vae3d *arguments`; the one before must have ended.

        `stdout` is a device or a pipe to print to; what is printed there is not returned.
        """
        if self.process is None:
            self.process = subprocess.Popen(
                [sys.executable, __file__],
                env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,  # so that `select` sees every answer that was not read
            )
        command = Command(arguments, self.process.stdout)
        command.outputs[0] = stdout or command.outputs[0]
        request = [arguments, str(cwd), environment, *map(str, command.outputs)]
        self.process.stdin.write(json.dumps(request).encode() + b"\n")  # type: ignore[union-attr]
        command.pid = int(command.answers.readline())
        return command

    def run(
        self, arguments: list[str], cwd: Path, environment: dict[str, str], timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """Runs `vae3d *arguments` and returns its exit code and what it printed.

        Raises:
            subprocess.TimeoutExpired: it took longer; it has been killed.
        """
        command = self.start(arguments, cwd, environment)
        try:
            return command.completed(timeout)
        except subprocess.TimeoutExpired:
            command.kill()
            command.completed(timeout)
            raise

    def close(self) -> None:
        """Ends the process, if it was started."""
        if self.process is not None:
            self.process.communicate()
            self.process = None


class Command:
    """A command that runs in a forked process."""

    def __init__(self, arguments: list[str], answers: Any) -> None:
        self.arguments = arguments
        self.answers: IO[bytes] = answers
        self.folder = TemporaryDirectory()
        self.outputs = [Path(self.folder.name, name) for name in ("stdout", "stderr")]
        self.pid = 0

    def runs(self) -> bool:
        """Whether it has not ended yet."""
        return not select.select([self.answers], [], [], 0)[0]

    def completed(self, timeout: float) -> subprocess.CompletedProcess[str]:
        """Waits for its end.

        Raises:
            subprocess.TimeoutExpired: it still runs.
        """
        if not select.select([self.answers], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired(self.arguments, timeout)
        code = int(self.answers.readline())
        texts = [path.read_text() if path.is_file() else "" for path in self.outputs]
        self.folder.cleanup()
        return subprocess.CompletedProcess(self.arguments, code, *texts)

    def kill(self) -> None:
        """Kills it and what it started, at once."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)


COMMANDS = CommandServer()
"""That of this process."""


def serve(requests: IO[str], answers: IO[str]) -> tuple[list[str], str, dict[str, str], str, str]:
    """Forks a process for each line of `requests`; returns its request in each of them.

    Writes the process id and later the exit code of each, negative for a signal, to `answers`.
    """
    for line in requests:
        pid = os.fork()
        if pid == 0:
            answers.close()
            os.setpgid(0, 0)
            request: tuple[list[str], str, dict[str, str], str, str] = tuple(json.loads(line))
            return request
        with suppress(ProcessLookupError, PermissionError):
            # Whoever comes first, the command or this: it can be killed from now on.
            os.setpgid(pid, pid)
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
    if kinds := environment.get("VAE3D_TEST_DENY"):
        denied: Any = importlib.import_module("tests.faults.denied")
        denied.deny(kinds.split(","))
    if size := environment.get("VAE3D_TEST_FILE_SIZE"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(size), int(size)))
    sys.argv = [f"{ROOT}/vae3d/__main__.py", *arguments]
    from vae3d.cli import main as command

    return command()


if __name__ == "__main__":
    sys.exit(main())
