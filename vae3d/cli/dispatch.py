"""`main`: runs the command that was typed, or prints one line with the error.

Settings are checked before torch is imported, so that a mistake is reported immediately.
"""

import errno
import sys
from collections.abc import Sequence

from vae3d.bounds import did_you_mean
from vae3d.cli.catalog import Catalog
from vae3d.cli.completion import answer
from vae3d.cli.explain import fail
from vae3d.cli.line import Line
from vae3d.commands import COMMANDS
from vae3d.errors import ConfigError, ResourceError, UserError
from vae3d.runtime.registry import load, load_plugins
from vae3d.settings.command import Command
from vae3d.settings.groups import option_values
from vae3d.settings.help import command_help, usage
from vae3d.system.streams import keep_streams, lost_streams
from vae3d.version import WINDOWS, __version__

HELP = ("-h", "--help")
PRINTING = ("compare", "info", "runs")
"""Commands of which the results are what they print."""


def main() -> int:
    """Run the command that `sys.argv` names and return the exit code."""
    if sys.platform == "win32":
        return fail(WINDOWS, 2)
    keep_streams()
    arguments = sys.argv[1:]
    return _run_reporting_errors(arguments) or _lost_results(arguments)


def _run_reporting_errors(arguments: list[str]) -> int:
    try:
        return dispatch(arguments)
    except UserError as error:
        return fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        # While a command runs, sys.argv[0] is `vae3d NAME`.
        name = sys.argv[0].rpartition(" ")[2] if " " in sys.argv[0] else "".join(sys.argv[1:2])
        way = COMMANDS[name].interrupted if name in COMMANDS else ""
        return fail(f"interrupted; {way}" if way else "interrupted", 130)


def dispatch(arguments: list[str]) -> int:
    """Run `COMMAND key=value ...` and return the exit code."""
    first = arguments[0] if arguments else ""
    if not first or first in HELP or arguments == ["help"]:
        return _print(usage([*COMMANDS.values()]), 0 if first else 2)
    if first in ("-V", "--version"):
        return _print(f"vae3d {__version__}\n")
    if first == "completion":
        return _print(answer(Catalog(), arguments[1:]))
    if first == "help":
        arguments = [*arguments[1:], "--help"]
    name, *typed = arguments
    if name not in COMMANDS:
        near = did_you_mean(name, COMMANDS) or f", choose from {', '.join(COMMANDS)}"
        raise ConfigError(f"unknown command {name!r}{near}")
    command = COMMANDS[name]
    if any(word in HELP for word in typed) or typed == ["help"]:
        return _print(help_of(command, [word for word in typed if word not in (*HELP, "help")]))
    run(command, typed)
    return 0


def help_of(command: Command, typed: Sequence[str]) -> str:
    """Return the help of a command under the options that were typed."""
    line = Line.of(command, typed)
    line.check()
    return command_help(
        command,
        line.chosen,
        {**option_values(command, line.chosen, line.config_dir), **line.set_values},
        line.config_dir,
    )


def run(command: Command, typed: Sequence[str]) -> None:
    """Compose and check the settings of a command, and run it, or each job of a sweep.

    Raises:
        UserError: a word, a key or a value is wrong, or the command itself fails.
    """
    line = Line.of(command, typed)
    load_plugins(line.plugins)
    line.check()
    # Importing OmegaConf and Hydra takes a third of a second; most mistakes are found before.
    load(f"vae3d.cli.jobs:{'run_under_hydra' if line.for_hydra else 'run_once'}")(line)


def _print(text: str, code: int = 0) -> int:
    sys.stdout.write(text)
    return code


def _lost_results(arguments: list[str]) -> int:
    """Report results that could not be printed; return the exit code.

    A reader such as `head`, which closes its pipe, has what it wants.
    """
    sys.stdout.flush()
    error = lost_streams().get("stdout")
    if error is None or error.errno == errno.EPIPE:
        return 0
    works = arguments[0] in {*COMMANDS} - {*PRINTING}
    printed_only = not works or not {*HELP, "--cfg", "-c"}.isdisjoint(arguments)
    return fail(
        f"stdout: what was printed is incomplete ({error.strerror})",
        ResourceError.exit_code if printed_only else 0,
    )
