"""Laws of the case loop: reading and writing in other threads change neither order nor errors."""

import threading
import weakref
from pathlib import Path

import pytest

from vae3d.errors import DataError, VolumeError
from vae3d.runtime.case_loop import CaseLoop
from vae3d.runtime.distributed import Distributed
from vae3d.runtime.progress import Silent

STAGES = ("read", "compute", "write")


class Item:
    """What a stage holds of a case; weak references count those that are alive."""


class Stages:
    """The three stages of a loop, which record what they did and fail where they are asked to."""

    def __init__(self, fails: dict[tuple[str, int], Exception] | None = None) -> None:
        self.fails = fails or {}
        self.done: list[tuple[str, int]] = []
        self.threads: dict[str, set[int]] = {stage: set() for stage in STAGES}
        self.alive: weakref.WeakSet[Item] = weakref.WeakSet()
        self.most = 0

    def _do(self, stage: str, case: int) -> Item:
        if (stage, case) in self.fails:
            raise self.fails[stage, case]
        self.threads[stage].add(threading.get_ident())
        self.done.append((stage, case))
        item = Item()
        self.alive.add(item)
        self.most = max(self.most, len(self.alive))
        return item

    def read(self, case: int) -> Item:
        return self._do("read", case)

    def compute(self, case: int, item: Item) -> Item:
        assert isinstance(item, Item)
        return self._do("compute", case)

    def write(self, case: int, item: Item) -> int:
        assert isinstance(item, Item)
        self._do("write", case)
        return 10 * case

    def of(self, stage: str) -> list[int]:
        return [case for name, case in self.done if name == stage]


def run(
    stages: Stages, cases: list[int], on_error: str = "fail", key: str = "", lanes: int = 1
) -> dict[int, int]:
    loop = CaseLoop(Distributed(), Silent(), "read", on_error, key)
    return loop.run_staged(cases, stages.read, stages.compute, stages.write, lanes)


def broken(case: int) -> VolumeError:
    return VolumeError(Path(f"{case}.nii"), "is broken")


def test_stages_take_the_cases_in_order_in_threads_of_their_own() -> None:
    stages = Stages()
    assert list(run(stages, [*range(20)]).items()) == [(n, 10 * n) for n in range(20)]
    assert all(stages.of(stage) == [*range(20)] for stage in STAGES)
    threads = [*stages.threads.values()]
    assert [len(ids) for ids in threads] == [1, 1, 1]
    assert len(set.union(*threads)) == 3
    assert threads[1] == {threading.get_ident()}
    # Two of the case that is computed, and one each of the cases that are read and written, and
    # what this stage of the writer makes.
    assert stages.most <= 5


def test_the_next_case_is_read_and_the_previous_one_written_meanwhile() -> None:
    read, written = [threading.Event() for _ in range(4)], threading.Event()

    def compute(case: int, _: None) -> None:
        if case < 3:
            assert read[case + 1].wait(20), "the next case is read while this one is computed"
        if case == 2:
            # The write of case 1 waits for this, and so cannot be waited for before.
            written.set()

    def write(case: int, _: None) -> None:
        if case == 1:
            assert written.wait(20), "a case is computed while the previous one is written"

    loop = CaseLoop(Distributed(), Silent(), "read")
    assert [*loop.run_staged([0, 1, 2, 3], lambda case: read[case].set(), compute, write)] == [
        *range(4)
    ]


def test_cases_are_computed_in_lanes_and_written_in_order() -> None:
    met = threading.Barrier(2, timeout=20)

    class Together(Stages):
        def compute(self, case: int, item: Item) -> Item:
            # Each case waits for the other of its pair, the first of which ends last.
            met.wait()
            return super().compute(case, item)

    stages = Together()
    assert list(run(stages, [*range(8)], lanes=2).items()) == [(n, 10 * n) for n in range(8)]
    assert stages.of("read") == stages.of("write") == [*range(8)]
    assert len(stages.threads["compute"]) == 2


@pytest.mark.parametrize("lanes", [1, 2])
@pytest.mark.parametrize("stage", STAGES)
def test_a_case_that_cannot_be_used_is_skipped_or_ends_the_loop(
    stage: str, lanes: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    stages = Stages({(stage, 1): broken(1)})
    assert [*run(stages, [0, 1, 2, 3], "skip", lanes=lanes)] == [0, 2, 3]
    assert "skipped 1.nii: is broken" in caplog.text
    with pytest.raises(VolumeError, match=r"1\.nii: is broken.*data\.on_error=skip"):
        run(stages, [0, 1, 2, 3], key="data.on_error", lanes=lanes)
    with pytest.raises(DataError, match=r"none of the cases can be read, the first: 1\.nii"):
        run(stages, [1], "skip")


@pytest.mark.parametrize("stage", STAGES)
def test_what_came_before_an_error_is_written(stage: str) -> None:
    stages = Stages({(stage, 2): DataError("damaged")})
    with pytest.raises(DataError, match="damaged"):
        run(stages, [0, 1, 2, 3, 4], "skip")
    assert stages.of("write") == [0, 1]
    assert 4 not in stages.of("compute")


def test_the_error_of_the_earlier_case_comes_first() -> None:
    stages = Stages({("write", 1): broken(1), ("compute", 2): DataError("later")})
    with pytest.raises(VolumeError, match=r"1\.nii"):
        run(stages, [0, 1, 2, 3])
