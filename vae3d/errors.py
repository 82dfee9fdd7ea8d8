"""What can go wrong through no fault of the program, as a tree.

UserError                one line on stderr that names key or file, rule, value and way out
├── ConfigError          a key or a value of the command line or a YAML file
├── DataError            a folder, a list of cases or a data set
│   └── VolumeError      one scan: unreadable, empty, constant, not finite, of an unknown kind
├── RunError             a run folder that belongs to other settings, or holds nothing to load
└── NonFiniteError       the loss or a gradient stopped being a number
"""

from pathlib import Path


class UserError(Exception):
    """A mistake that the user can mend; the command ends with `exit_code` and no traceback."""

    exit_code = 2


class ConfigError(UserError):
    """A key that does not exist or a value out of its range."""


class DataError(UserError):
    """A data set that cannot be used as asked."""


class VolumeError(DataError):
    """A scan that cannot be used; the message begins with its path."""

    def __init__(self, path: str | Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = str(path)
        self.reason = reason

    def __reduce__(self) -> tuple[type["VolumeError"], tuple[str, str]]:
        # The default would call VolumeError(message) when a loader worker sends it home.
        return VolumeError, (self.path, self.reason)


class RunError(UserError):
    """A run folder that cannot be continued or evaluated as asked."""


class NonFiniteError(UserError):
    """Training stopped before a non-finite number reached the weights."""

    exit_code = 5
