"""Check once per command whether the values of all of its cases fit the intensity range."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from vae3d.data.cases import Case, Cases
from vae3d.data.loaded import LoadedCases
from vae3d.errors import ConfigError
from vae3d.runtime.distributed import Distributed
from vae3d.values.value_check import ValueCheck


def check_values(
    cases: Cases,
    indices: Iterable[int] | None = None,
    *,
    warns: bool = True,
    is_fixed: bool = False,
) -> None:
    """Report what does not fit about the values of cases, once for all of them.

    Without `indices` they are all cases whose values are known. All ranks call this, and `warns`
    is true on one of them. `is_fixed` states that the range is that of trained weights.

    Raises:
        DataError: the values do not fit, and `data.check` makes that an error.
    """
    check = ValueCheck(cases.contract, cases.config.check, is_fixed)
    if check.level != "off":
        for index in sorted(cases.split_of()) if indices is None else indices:
            check.add(cases.case_id(index), cases.statistics(index))
        check.report(warns)


@contextmanager
def checked_as_read(
    cases: Cases, distributed: Distributed, switch: str = "data.check"
) -> Iterator[None]:
    """Check the values of cases for trained weights, where each is read only once.

    Cases of a store are checked when the context is entered. Others are refused when they are
    read, and warnings follow at its end, once for the cases of all ranks.

    Raises:
        DataError: the values do not fit, and `data.check` makes that an error.
    """
    if not isinstance(cases, LoadedCases):
        check_values(cases, warns=distributed.is_main, is_fixed=True)
        yield
        return
    cases.check = ValueCheck(cases.contract, cases.config.check, is_fixed=True, switch=switch)
    yield
    cases.check.findings = distributed.merge(cases.check.findings)
    cases.check.report(distributed.is_main)


def check_channels(case: Case, expected: int) -> None:
    """Raise a ConfigError if a case has another number of channels than the model takes."""
    if case.channels != expected:
        raise ConfigError(
            f"model.in_channels must be the cases' number of channels ({case.channels}), "
            f"got {expected}"
        )
