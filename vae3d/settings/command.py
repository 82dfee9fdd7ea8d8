"""`Command`: one word of the command line as data."""

from dataclasses import dataclass, field


@dataclass(frozen=True, eq=False)
class Command:
    """A word of the command line, known without what it runs.

    `config` is the dataclass of its settings, `run` the `module:function` that takes them. `plain`
    is the key that words without `=` are for. `options` are those of a group that this command
    takes, where it does not take all. `spares_heap` is for those that keep to a `memory`.
    """

    name: str
    summary: str
    about: str
    config: type
    run: str
    examples: tuple[tuple[str, str], ...]
    plain: str | None = None
    options: dict[str, tuple[str, ...]] = field(default_factory=dict)
    spares_heap: bool = False
