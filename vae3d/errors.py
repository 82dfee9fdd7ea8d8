"""What can go wrong through no fault of the program, as a tree.

UserError                one line on stderr that names key or file, rule, value and way out
├── ConfigError          a key or a value of the command line or a YAML file
├── DataError            a folder, a list of cases or a data set
│   └── VolumeError      one scan: unreadable, empty, constant, not finite, of an unknown kind
├── RunError             a run folder that belongs to other settings, or holds nothing to load
│   ├── CheckpointError  a checkpoint that is missing, damaged, or of other settings
│   └── LockedError      a run folder in which another process trains
├── ResourceError        no room on the disk, no memory on the device
├── NonFiniteError       the loss or a gradient stopped being a number
├── RankError            another rank of a training died or does not answer
└── Interrupted          a signal asked for an end; what was reached is saved

Exit codes: 2 a mistake in what was asked for, 4 a checkpoint, 5 not finite, 6 resources, 7 locked,
70 another rank, 75 stopped by a signal and resumable, 130 stopped by Ctrl-C.
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


class CheckpointError(RunError):
    """A checkpoint that cannot be gone on from."""

    exit_code = 4


class LockedError(RunError):
    """A run folder that another process holds."""

    exit_code = 7


class ResourceError(UserError):
    """The machine has too little of something."""

    exit_code = 6


class NonFiniteError(UserError):
    """Training stopped before a non-finite number reached the weights."""

    exit_code = 5


class RankError(UserError):
    """Another rank died, or did not answer in time."""

    exit_code = 70


class Interrupted(UserError):  # noqa: N818 - not an error
    """A signal ended the training; the same command goes on."""

    exit_code = 75

    def __init__(self, signal: str, message: str) -> None:
        super().__init__(message)
        self.signal = signal
        self.exit_code = 130 if signal == "SIGINT" else 75
