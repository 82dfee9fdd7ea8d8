"""`vae3d verify`: every checksum of a folder, in full."""

import sys

from vae3d.commands.verify import VerifyConfig
from vae3d.errors import ConfigError, DamageError, UnfinishedError
from vae3d.files.paths import user_path
from vae3d.verification import folder as verification
from vae3d.verification.console import lines, verdict
from vae3d.verification.findings import UNFINISHED


def verify(config: VerifyConfig) -> verification.Verification:
    """Print what is whole, damaged, changed and without a checksum; return it.

    Raises:
        DamageError: files are damaged or missing, or were changed and not accepted.
        UnfinishedError: all are whole, but a command did not end.
    """
    if config.folder is None:
        raise ConfigError("folder must name what to check: vae3d verify FOLDER")
    result = verification.verify(user_path(config.folder))
    if config.accept:
        result = verification.accepted(result)
    sys.stdout.writelines(f"{line}\n" for line in lines(result))
    if not result.is_whole:
        raise DamageError(verdict(result))
    if result.of(UNFINISHED):
        raise UnfinishedError(verdict(result))
    return result
