"""The command table, Hydra, and user errors as one line with their exit code.

Nothing heavy is imported before a command is known: `vae3d --help` must not wait for torch.
"""

import difflib
import errno
import importlib
import itertools
import os
import re
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from vae3d import __version__
from vae3d.errors import ConfigError, UserError
from vae3d.runtime.heap import spare_the_heap


@dataclass(frozen=True)
class Command:
    """One word of the command line: where its function lives, and what it is for."""

    module: str
    function: str
    config: str
    summary: str


COMMANDS = {
    "prepare": Command(
        "vae3d.commands.prepare",
        "prepare",
        "PrepareConfig",
        "copy scans into a store that patches are read from; train and eval do it by themselves",
    ),
    "inspect": Command(
        "vae3d.commands.inspect",
        "inspect",
        "InspectConfig",
        "show the cases and their patches as the model will see them",
    ),
    "info": Command(
        "vae3d.commands.info",
        "info",
        "InfoConfig",
        "show what a model is, and what it takes on this machine",
    ),
    "train": Command(
        "vae3d.commands.train",
        "train",
        "TrainConfig",
        "train a VAE, or go on where the run of this name stopped",
    ),
    "eval": Command(
        "vae3d.commands.eval",
        "evaluate",
        "EvalConfig",
        "score a run's reconstructions, whole or patch by patch, and show them",
    ),
    "compare": Command(
        "vae3d.commands.compare",
        "compare",
        "CompareConfig",
        "put the scores of two or more runs side by side, case by case",
    ),
    "encode": Command(
        "vae3d.commands.encode",
        "encode",
        "EncodeConfig",
        "write the latents of a data set, for a diffusion model to train on",
    ),
    "decode": Command(
        "vae3d.commands.decode",
        "decode",
        "DecodeConfig",
        "make scans of latents, encoded ones or those of a diffusion model",
    ),
    "reconstruct": Command(
        "vae3d.commands.reconstruct",
        "reconstruct",
        "ReconstructConfig",
        "send scans through a model and back onto their own grids",
    ),
}

SLAB_BY_SLAB = ("encode", "decode", "reconstruct")
"""Commands whose `memory` is kept to by computing volumes slab by slab."""

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

QUOTED_OR_PLAIN = r"""\s*(?:'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|[^,]+)\s*(?=,|$)"""
"""One of several paths between commas; one that holds a comma has quotes around it."""
PATH_KEYS = (
    *("data.root", "data.list", "data.store", "run", "runs_dir"),
    *("input", "output", "like", "statistics"),
)
"""Values that are paths, in which Hydra's grammar must not find commas or equal signs."""

USAGE = """\
usage: vae3d COMMAND [key=value ...]

{commands}

Every command takes Hydra's own words: --help, --cfg job, -m for sweeps, +experiment=NAME.
  vae3d train                                        phantoms, made on the fly
  vae3d train data=ct data.root=/scans name=ct64     your own scans
  vae3d eval run=runs/ct64 mode=patch
  vae3d compare runs/ct64 runs/ct96
  vae3d encode run=runs/ct64 output=latents
  vae3d decode run=runs/ct64 input=latents output=decoded
"""


def main() -> int:
    """Runs the command that `sys.argv` names; gives the exit code."""
    try:
        return dispatch(sys.argv[1:])
    except UserError as error:
        return fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        return fail("interrupted; the same command goes on from the last checkpoint", 130)


def dispatch(arguments: list[str]) -> int:
    """Runs `COMMAND key=value ...`."""
    if not arguments or arguments[0] in ("-h", "--help"):
        sys.stdout.write(usage())
        return 0 if arguments else 2
    if arguments[0] in ("-V", "--version"):
        sys.stdout.write(f"vae3d {__version__}\n")
        return 0
    name, *overrides = arguments
    if name not in COMMANDS:
        raise ConfigError(f"unknown command {name!r}{nearest(name, [*COMMANDS])}")
    run_under_hydra(name, as_typed(name, overrides))
    return 0


def usage() -> str:
    """The help text with the table of commands."""
    lines = [f"  {name:11s} {command.summary}" for name, command in COMMANDS.items()]
    return USAGE.format(commands="\n".join(lines))


def run_under_hydra(name: str, overrides: list[str]) -> None:
    """Composes the command's settings and calls its function, once or for each job of a sweep."""
    command = COMMANDS[name]
    if name in SLAB_BY_SLAB:
        spare_the_heap()
    function: Callable[[Any], Any] = getattr(
        importlib.import_module(command.module), command.function
    )
    config = importlib.import_module("vae3d.config")
    sweep = importlib.import_module("vae3d.commands.sweep")
    hydra = importlib.import_module("hydra")
    config.register_schemas()
    keys = config.known_keys(name)
    refused = importlib.import_module("omegaconf.errors").OmegaConfBaseException
    folders: list[Any] = []
    started = False

    def job(composed: Any) -> Any:
        nonlocal started
        started = True
        try:
            settings = config.to_object(composed, getattr(config, command.config))
            refuse_saved_dataset(settings)
            if name != "train":
                function(settings)
                return None
            settings.name = sweep.job_name(settings.name, overrides)
            folders.append(function(settings))
            return sweep.best_score(folders[-1])
        except UserError as error:
            # Of any other exception Hydra would print lines of its own.
            raise SystemExit(fail(str(error), error.exit_code)) from error
        except refused as error:
            raise SystemExit(fail(explain(error, keys), ConfigError.exit_code)) from error
        except OSError as error:
            if error.errno not in DISK_FULL:
                raise
            place = error.filename or "the working folder"
            raise SystemExit(fail(f"{place}: the disk is full; make room", 6)) from error

    # Hydra shall raise its errors, not print them.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    sys.argv = [f"vae3d {name}", *in_order(overrides)]
    try:
        hydra.main(version_base="1.3", config_path="pkg://vae3d.conf", config_name=name)(job)()
    except Exception as error:
        # Before a job has started it is the settings that are wrong, later it is the program:
        # Hydra also raises its asserts and ValueErrors for settings that it did not foresee.
        if started and not isinstance(error, (hydra.errors.HydraException, refused)):
            raise
        raise ConfigError(explain(error, keys)) from error
    if len(folders) > 1:
        sweep.summarise(folders)


def refuse_saved_dataset(settings: Any) -> None:
    """A Dataset to import may come from the command line alone."""
    dataset = getattr(getattr(settings, "data", None), "dataset", None)
    given = any(argument.startswith("data.dataset=") for argument in sys.argv)
    if dataset is not None and not given:
        raise ConfigError(
            "data.dataset is code that runs: give it on the command line, not in a file"
        )


def in_order(arguments: list[str]) -> list[str]:
    """`key=value` first, then Hydra's own words: it understands no other order.

    Raises:
        ConfigError: a word that Hydra does not know, which it would answer with its whole usage.
    """
    parser = importlib.import_module("hydra._internal.utils").get_args_parser()

    def refuse(message: str) -> NoReturn:
        raise ConfigError(f"{message}; vae3d COMMAND --hydra-help lists what there is")

    parser.error = refuse
    if "--" in arguments:
        refuse("unrecognized arguments: --")
    known = parser.parse_intermixed_args(arguments)
    if known.experimental_rerun is not None:
        raise ConfigError("--experimental-rerun would run a pickled file; give its settings anew")
    words = Counter(arguments) - Counter(known.overrides)
    return [*known.overrides, *(word for word in arguments if word in words)]


def as_typed(name: str, arguments: list[str]) -> list[str]:
    """The arguments of a command with their paths such that Hydra takes them literally.

    `vae3d compare` also takes its run folders as words before everything else.
    """
    if name != "compare":
        return [quoted(argument) for argument in arguments]
    runs = [*itertools.takewhile(is_path, arguments)]
    overrides = [listed(argument) for argument in arguments[len(runs) :]]
    return [f"run=[{','.join(map(literal, runs))}]", *overrides] if runs else overrides


def is_path(word: str) -> bool:
    """Whether a word is the folder of a run rather than `key=value` or Hydra's own."""
    key, equals, _ = word.partition("=")
    named = not equals or ("/" in key and not key.startswith("hydra/"))
    return named and not word.startswith(("-", "+")) and word != ""


def listed(override: str) -> str:
    """`run=[a,b]` or `run=a` as a list of literal paths; those with commas must be quoted."""
    key, equals, value = override.partition("=")
    if key.lstrip("+") != "run" or value in ("", "null"):
        return quoted(override)
    if not (value[0] == "[" and value[-1] == "]"):
        return f"{key}{equals}[{literal(value)}]"
    items = re.findall(QUOTED_OR_PLAIN, value[1:-1]) if value != "[]" else []
    paths = [item if item[:1] in ("'", '"') else literal(item) for item in map(str.strip, items)]
    return f"{key}{equals}[{','.join(paths)}]"


def quoted(override: str) -> str:
    """An override whose value is a path, so that Hydra takes it literally."""
    key, equals, value = override.partition("=")
    if key.lstrip("+") not in PATH_KEYS or value in ("", "null") or value[0] in "'\"":
        return override
    return f"{key}{equals}{literal(value)}"


def literal(text: str) -> str:
    """A text between quotes, in which backslashes count before a quote alone."""
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", text)
    return "'" + re.sub(r"(\\+)$", r"\1\1", escaped) + "'"


def explain(error: BaseException, keys: list[str]) -> str:
    """What is wrong with the settings, on one line, with the nearest right key."""
    cause = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    text, reason = (" ".join(str(e).split()) for e in (error, cause))
    if match := re.search(r"Could not override '([^']+)'", text):
        return unknown_key(match[1].split("@")[0], keys)
    if match := re.search(r"Could not find '([^']+)' Available options in '([^']+)': (.*)", text):
        options = match[3].partition(" Config search path")[0].split()
        chosen, group = match[1].split("/")[-1], match[2]
        return f"{group} has no option {chosen!r}, choose from {', '.join(options)}"
    if match := re.search(r"full_key: (\S+)", reason):
        return (
            f"{match[1]}: {re.split(r' (?:full_key|reference_type|object_type)[:=]', reason)[0]}"
        )
    if isinstance(cause, AssertionError | TypeError) or not text:
        return "the command line cannot be understood; look for a stray + ~ @ = or $"
    return text.partition(" See https")[0]


def unknown_key(key: str, keys: list[str]) -> str:
    """Why a key cannot be set, with the nearest one that can."""
    if key in keys:
        group = key.split(".")[0]
        return f"{key} does not belong to the chosen option of {group}, choose another {group}="
    return f"unknown key {key!r}{nearest(key, keys)}"


def nearest(word: str, words: list[str]) -> str:
    """`, did you mean X?`, or the choices where nothing is near."""
    close = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    if close:
        return f", did you mean {close[0]!r}?"
    return f", choose from {', '.join(words)}" if len(words) <= 12 else ""


def fail(message: str, code: int) -> int:
    """One line on stderr; none where another rank has said why."""
    if not message:
        return code
    rank = int(os.environ.get("RANK", "0"))
    who = f"vae3d: rank {rank}" if rank else "vae3d"
    # A foreign key must not move the cursor.
    shown = "".join(c if c.isprintable() else "?" for c in " ".join(message.split()))
    sys.stderr.write(f"{who}: {shown}\n")
    return code
