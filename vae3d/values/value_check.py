"""`ValueCheck`: one report for a whole command on values that do not fit the intensity range."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median

from vae3d.errors import ConfigError, DataError
from vae3d.values.intensity import IntensityContract
from vae3d.values.plausible import SENTENCES, Finding, find_implausible
from vae3d.values.voxel_statistics import VoxelStatistics

log = logging.getLogger(__name__)

MAX_NAMES = 3
"""Cases that a message names."""


@dataclass
class ValueCheck:
    """Collects what does not fit about the values of cases, and reports it once for all of them.

    `level` is `data.check`. `is_fixed` states that the range is that of trained weights, so that
    another one cannot be advised. `switch` is the setting that messages name.
    """

    contract: IntensityContract
    level: str = "auto"
    is_fixed: bool = False
    switch: str = "data.check"
    findings: dict[str, list[Finding]] = field(default_factory=dict)

    def add(self, case_id: str, statistics: VoxelStatistics | None) -> None:
        """Collect the findings on a case; one without statistics is not counted."""
        if self.level != "off" and statistics is not None:
            self.findings[case_id] = find_implausible(statistics, self.contract)

    def refuse(self) -> None:
        """Raise a DataError if the level makes an error of what was found up to now."""
        found = [one for several in self.findings.values() for one in several]
        errors = [one for one in found if self.level == "fail" or one.is_error]
        if errors and self.level in ("auto", "fail"):
            raise DataError(f"{self._describe()}; {self.switch}=warn continues anyway")

    def report(self, warns: bool = True) -> None:
        """Log one warning of what was found, if there is something and this rank warns.

        Raises:
            DataError: the level makes an error of it.
        """
        self.refuse()
        if warns and any(self.findings.values()):
            log.warning(f"{self._describe()}; {self.switch}=off switches this check off")

    def _describe(self) -> str:
        """Return one line on everything that was found, errors first."""
        window = self.contract
        found = [one for several in self.findings.values() for one in several]
        low, high = min(one.seen[0] for one in found), max(one.seen[1] for one in found)
        question = ": are these Hounsfield units?" if window.unit == "HU" else "."
        text = (
            f"{', and '.join(self._sentences())}{question} Percentiles 1 to 99 are "
            f"{low:.4g} to {high:.4g}"
        )
        if window.kind != "window":
            return text
        text += f", the window is [{window.low:g}, {window.high:g}] {window.unit}"
        if self.is_fixed:
            return (
                f"{text}, that of the weights: convert the scans, or use weights for such values"
            )
        ends = min(one.fitting[0] for one in found), max(one.fitting[1] for one in found)
        way = f"data.window=[{ends[0]:.4g},{ends[1]:.4g}] would fit"
        return f"{text}; {way}{', or data=mri for MR' if window.unit == 'HU' else ''}"

    def _sentences(self) -> Iterator[str]:
        total = len(self.findings)
        scans = "1 scan" if total == 1 else f"{total} scans"
        for kind, sentence in SENTENCES.items():
            chosen = {
                name: one
                for name, several in self.findings.items()
                for one in several
                if one.kind == kind
            }
            if not chosen:
                continue
            more = len(chosen) - MAX_NAMES
            names = ", ".join([*chosen][:MAX_NAMES]) + (f" and {more} more" if more > 0 else "")
            which = f" ({names})" if len(chosen) < total or total == 1 else ""
            share = 100 * median(one.share for one in chosen.values())
            text = sentence.format(
                share=f"{share:.0f}" if share >= 10 else f"{share:.2g}",
                have="has" if len(chosen) == 1 else "have",
                use="uses" if len(chosen) == 1 else "use",
            )
            yield f"{len(chosen)} of {scans}{which} {text}"


def check_percentiles(percentiles: tuple[float, ...] | None, level: str) -> None:
    """Refuse percentiles that look like fractions, or warn of them, as `level` says.

    Raises:
        ConfigError: they look like fractions.
    """
    if percentiles is None or percentiles[1] > 1 or level == "off":
        return
    low, high = percentiles
    reason = (
        f"data.percentiles are in percent, got [{low:g}, {high:g}]: "
        f"did you mean [{100 * low:g}, {100 * high:g}]?"
    )
    if level != "warn":
        raise ConfigError(f"{reason} data.check=warn continues anyway")
    log.warning(reason)
