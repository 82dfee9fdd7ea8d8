"""Writes docs/settings.md from the dataclasses of all commands."""

from pathlib import Path

from vae3d.commands import COMMANDS
from vae3d.settings.reference import reference

PAGE = Path(__file__).parent.parent / "docs" / "settings.md"


def main() -> None:
    """Writes the page."""
    PAGE.write_text(reference([*COMMANDS.values()]), encoding="utf-8")


if __name__ == "__main__":
    main()
