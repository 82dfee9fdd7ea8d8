"""`Shard`: the part of the cases that one machine prepares."""

from dataclasses import dataclass

from vae3d.runtime.choices import parse_part
from vae3d.values.splits import case_rank


@dataclass(frozen=True)
class Shard:
    """Part `index` of `count`: the part of a case depends on its name alone."""

    index: int = 0
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Return the shard of a text `K/N`: `3/8` is the fourth of eight parts.

        Raises:
            ConfigError: the text has another form.
        """
        return cls(*parse_part(text, "shard"))

    @property
    def is_whole(self) -> bool:
        """Whether this part is the whole set."""
        return self.count == 1

    def __contains__(self, case_id: object) -> bool:
        return case_rank(str(case_id)) % self.count == self.index

    def __str__(self) -> str:
        return f"{self.index:05d}-of-{self.count:05d}"
