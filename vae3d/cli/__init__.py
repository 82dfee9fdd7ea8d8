"""The command line: parsing, help, completion, and errors on one line."""

from vae3d.cli.dispatch import main

__all__ = ["main"]
