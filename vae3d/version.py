"""The version of the package, and where it runs."""

__version__ = "0.1.0"

WINDOWS = "vae3d runs on Linux and macOS; on Windows use WSL 2 (type `wsl --install`)"
"""What is reported on Windows, whose files and processes work in other ways."""
