"""`OneOfOrGlobs`: a word, or a list of patterns."""

from typing import Any

from vae3d.bounds.fields import did_you_mean
from vae3d.bounds.markers import OneOf
from vae3d.errors import ConfigError


class OneOfOrGlobs(OneOf):
    """One of some words, or a list of at least one shell-style pattern."""

    def checked(self, value: Any, key: str) -> Any:
        """Return the word, or the patterns as a list."""
        if isinstance(value, list | tuple):
            if not value or not all(isinstance(item, str) and item for item in value):
                raise ConfigError(f"{key} must hold at least one pattern, got {[*value]}")
            return [*value]
        if value not in self.choices():
            near = did_you_mean(value, self.choices())
            way = f"; type {key}=[{value}] for a pattern" if _is_pattern(value) else ""
            raise ConfigError(f"{key} must be {self.describe()}, got {value!r}{near}{way}")
        return value

    def describe(self) -> str:
        """Return the words and the form of the patterns."""
        return f"{', '.join(self.choices())} or a list of patterns"


def _is_pattern(value: Any) -> bool:
    """Return whether a word looks like a pattern that can be typed."""
    return isinstance(value, str) and value.isprintable() and any(sign in value for sign in "*?.[")
