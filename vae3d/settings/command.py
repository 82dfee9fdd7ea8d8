"""`Command`: a command of the command line as data."""

from dataclasses import dataclass, field


@dataclass(frozen=True, eq=False)
class Command:
    """A command, without importing what it runs.

    `config` is the dataclass of its settings, `run` the `module:function` that takes them. `plain`
    is the key that words without `=` set. `options` are the options that it takes of a group, if
    it does not take all. `maps_large_blocks` is for commands with a limit of `memory`; a training
    has one if `trainer.memory` is set. A command that is `quick` starts without torch, and its
    results alone are on stdout. `interrupted` is what a user does after Ctrl-C.
    """

    name: str
    summary: str
    about: str
    config: type
    run: str
    examples: tuple[tuple[str, str], ...]
    plain: str | None = None
    options: dict[str, tuple[str, ...]] = field(default_factory=dict)
    maps_large_blocks: bool = False
    quick: bool = False
    interrupted: str = ""
