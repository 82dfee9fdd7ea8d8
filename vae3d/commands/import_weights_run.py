"""`vae3d import`: weights of another program."""

from vae3d.exchange import importing
from vae3d.exchange.config import ImportConfig
from vae3d.logger.console import print_lines


def import_weights(config: ImportConfig) -> list[str]:
    """Write the folder, print what it holds, and return the printed lines.

    Raises:
        UserError: the file is of no known network, or `output` holds something else.
    """
    lines = importing.import_weights(config)
    print_lines(lines)
    return lines
