"""The exceptions for errors that a user can fix, as a tree.

UserError                one line on stderr with key or file, rule, value and what to type
├── ConfigError          a key or a value of the command line or a YAML file
├── DataError            a folder, a list of cases or a data set
│   └── VolumeError      one scan: unreadable, empty, constant, not finite, of an unknown kind
├── RunError             a run folder that belongs to other settings, or has nothing to load
│   ├── CheckpointError  a checkpoint that is missing, damaged, or of other settings
│   └── LockedError      a folder to which another process writes
├── DamageError          files whose checksums are wrong, found by vae3d verify
├── UnfinishedError      a folder whose command did not end, found by vae3d verify
├── ResourceError        the disk is full, or the device is out of memory
├── NonFiniteError       the loss or a gradient is not finite
├── RankError            another rank of a training ended or does not answer
└── Interrupted          a signal stopped the training; its state is saved

Exit codes: 2 a mistake in the settings or the data, 3 damaged files, 4 a checkpoint, 5 not finite,
6 resources, 7 locked, 70 another rank, 75 stopped by a signal or unfinished, and resumable, 130
stopped by Ctrl-C.
"""

from pathlib import Path


class UserError(Exception):
    """An error that the user can fix; the command ends with `exit_code` and no traceback."""

    exit_code = 2


class ConfigError(UserError):
    """A key that does not exist or a value out of its range."""


class DataError(UserError):
    """A data set that cannot be used with these settings."""


class VolumeError(DataError):
    """A scan that cannot be used; the message begins with its path."""

    def __init__(self, path: str | Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = str(path)
        self.reason = reason

    def __reduce__(self) -> tuple[type["VolumeError"], tuple[str, str]]:
        # The default would call VolumeError(message) when a loader worker pickles it.
        return VolumeError, (self.path, self.reason)


def with_way_out(error: VolumeError, key: str) -> VolumeError:
    """Return the error of one scan among several, with the setting `key` that leaves it out."""
    return VolumeError(error.path, f"{error.reason}; {key}=skip leaves such scans out")


class RunError(UserError):
    """A run folder that cannot be resumed or evaluated with these settings."""


class CheckpointError(RunError):
    """A checkpoint that a training cannot resume from."""

    exit_code = 4


class LockedError(RunError):
    """A folder that another process has locked."""

    exit_code = 7


class DamageError(UserError):
    """Files are damaged, missing or changed since they were written."""

    exit_code = 3


class UnfinishedError(UserError):
    """A command did not end in this folder; the same command resumes."""

    exit_code = 75


class ResourceError(UserError):
    """The machine has too little memory or disk space."""

    exit_code = 6


class NonFiniteError(UserError):
    """Training stopped before a non-finite number reached the weights."""

    exit_code = 5


class RankError(UserError):
    """Another rank ended, or did not answer in time."""

    exit_code = 70


class Interrupted(UserError):  # noqa: N818 - not an error
    """A signal ended the training; the same command resumes."""

    exit_code = 75

    def __init__(self, signal: str, message: str) -> None:
        super().__init__(message)
        self.signal = signal
        self.exit_code = 130 if signal == "SIGINT" else 75
