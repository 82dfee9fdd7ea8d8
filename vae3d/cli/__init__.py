"""The command line: words to settings, help, completion, and errors as one line."""

from vae3d.cli.dispatch import main

__all__ = ["main"]
