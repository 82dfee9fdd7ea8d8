"""`CaseLoop`: the cases of this rank, one after the other, and what all ranks made of theirs."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from vae3d.errors import DataError, VolumeError, with_way_out
from vae3d.runtime.distributed import Distributed
from vae3d.runtime.progress import Progress

K = TypeVar("K")
R = TypeVar("R")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CaseLoop:
    """Runs a piece of work over cases, each on exactly one rank.

    With `on_error="skip"` a case that cannot be read is logged and left out, with "fail" its error
    ends the loop and names the setting `key`. `verb` names the work in messages, as in "none of
    the cases can be encoded".
    """

    distributed: Distributed
    progress: Progress
    verb: str
    on_error: str = "fail"
    key: str = ""

    def share(self, cases: Sequence[K]) -> list[K]:
        """Return the cases of this rank: every `world`-th one."""
        return [*cases[self.distributed.rank :: self.distributed.world]]

    def run(
        self,
        cases: Sequence[K],
        work: Callable[[K], R],
        interrupted: Callable[[], bool] = lambda: False,
    ) -> dict[K, R]:
        """Return what `work` made of this rank's share of the cases; all ranks call this together.

        The loop ends early, between two cases, once `interrupted` returns true.

        Raises:
            VolumeError: a case cannot be read, with `on_error="fail"`.
            DataError: no case of any rank could be read.
        """
        share = self.share(cases)
        results: dict[K, R] = {}
        skipped: list[str] = []
        self.progress.start(0, len(share))
        try:
            for case in share:
                if interrupted():
                    break
                try:
                    results[case] = work(case)
                except VolumeError as error:
                    if self.on_error == "fail" and self.key and len(cases) > 1:
                        raise with_way_out(error, self.key) from error
                    if self.on_error == "fail":
                        raise
                    skipped.append(str(error))
                self.progress.advance()
        finally:
            self.progress.close()
        self._report(len(results), skipped)
        return results

    def _report(self, done: int, skipped: list[str]) -> None:
        parts = self.distributed.gather((done, skipped))
        lines = [line for _, lines in parts for line in lines]
        for line in lines:
            log.info(f"skipped {line}")
        if lines and not sum(count for count, _ in parts):
            raise DataError(f"none of the cases can be {self.verb}, the first: {lines[0]}")
