"""`vae3d verify`: every checksum of a folder, in full."""

import sys

from vae3d.commands.verify import VerifyConfig
from vae3d.errors import ConfigError
from vae3d.files.paths import user_path
from vae3d.verification import folder as verification
from vae3d.verification.console import lines, refuse


def verify(config: VerifyConfig) -> verification.Verification:
    """Print what is whole, damaged, changed and without a checksum; return it.

    Raises:
        UserError: files are not whole, or a command did not end.
    """
    if config.folder is None:
        raise ConfigError("folder must name what to check: vae3d verify FOLDER")
    result = verification.verify(user_path(config.folder))
    if config.accept:
        result = verification.accepted(result)
    sys.stdout.writelines(f"{line}\n" for line in lines(result))
    refuse(result)
    return result
