"""`CaseLoop`: the cases of this rank, one after the other, and what all ranks made of theirs."""

import contextlib
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, TypeVar, cast

from vae3d.errors import DataError, VolumeError, with_way_out
from vae3d.runtime.distributed import Distributed
from vae3d.runtime.progress import Progress
from vae3d.runtime.threads import Lanes

K = TypeVar("K")
A = TypeVar("A")
B = TypeVar("B")
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
        results: _Results[K, R] = _Results(self, len(cases))
        with results.reported(len(share)):
            for case in share:
                if interrupted():
                    break
                results.take(case, partial(work, case))
        return results.by_case

    def run_staged(
        self,
        cases: Sequence[K],
        read: Callable[[K], A],
        compute: Callable[[K, A], B],
        write: Callable[[K, B], R],
        lanes: int = 1,
    ) -> dict[K, R]:
        """Read, compute and write this rank's share; return what `write` made of each case.

        All ranks call this together. While `lanes` cases are computed, the next ones are read and
        the previous one is written, in threads of their own. In memory are, besides those that are
        computed, two to read and one to write. Reading and writing take the cases in order, and
        the error of an earlier case comes first.

        Raises:
            VolumeError, DataError: as `run`.
        """
        share = self.share(cases)
        results: _Results[K, R] = _Results(self, len(cases))
        writing: list[tuple[K, Future[R]]] = []

        def take_written() -> None:
            while writing:
                case, written = writing.pop()
                results.take(case, written.result)

        with (
            results.reported(len(share)),
            ThreadPoolExecutor(1) as reader,
            ThreadPoolExecutor(1) as writer,
            Lanes.of(lanes) as computing,
        ):

            def computed(loaded: tuple[K, Future[A]]) -> tuple[K, Future[B]]:
                case, voxels = loaded
                return case, _outcome(lambda: compute(case, voxels.result()))

            loading = zip(share, read_ahead(reader, read, share), strict=True)
            for case, outcome in computing.map(computed, loading):
                take_written()
                if outcome.exception() is None:
                    writing.append((case, writer.submit(write, case, outcome.result())))
                else:
                    results.take(case, cast("Future[R]", outcome).result)
                # The next case is computed before this name has another value.
                del outcome
            take_written()
        return results.by_case


@dataclass
class _Results(Generic[K, R]):
    """What a loop made of its cases, and the errors of those that were skipped."""

    loop: CaseLoop
    cases: int
    by_case: dict[K, R] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)

    def take(self, case: K, result: Callable[[], R]) -> None:
        """Add the result of a case, or skip it."""
        try:
            self.by_case[case] = result()
        except VolumeError as error:
            if self.loop.on_error == "fail" and self.loop.key and self.cases > 1:
                raise with_way_out(error, self.loop.key) from error
            if self.loop.on_error == "fail":
                raise
            self.skipped.append(str(error))
        self.loop.progress.advance()

    @contextlib.contextmanager
    def reported(self, total: int) -> Iterator[None]:
        """Show the progress of the context, and log at its end what all ranks skipped."""
        self.loop.progress.start(0, total)
        try:
            yield
        finally:
            self.loop.progress.close()
        parts = self.loop.distributed.gather((len(self.by_case), self.skipped))
        lines = [line for _, lines in parts for line in lines]
        for line in lines:
            log.info(f"skipped {line}")
        if lines and not sum(count for count, _ in parts):
            verb = self.loop.verb
            raise DataError(f"none of the cases can be {verb}, the first: {lines[0]}")


def read_ahead(
    reader: ThreadPoolExecutor, read: Callable[[K], A], cases: Iterable[K]
) -> Iterator[Future[A]]:
    """Yield each case's reading in order, while the next case is being read."""
    coming: deque[Future[A]] = deque()
    for case in cases:
        coming.append(reader.submit(read, case))
        if len(coming) > 1:
            yield coming.popleft()
    while coming:
        yield coming.popleft()


def _outcome(call: Callable[[], R]) -> Future[R]:
    """Return what a call returned or raised."""
    future: Future[R] = Future()
    try:
        future.set_result(call())
    except Exception as error:
        future.set_exception(error)
    return future
