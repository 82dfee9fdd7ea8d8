"""`Subjects`: the cases of a probe with their labels, their groups and what is seen of them."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from vae3d.errors import ConfigError, DataError
from vae3d.latents.joined import JoinedLatent
from vae3d.lists.groups import patient_hint
from vae3d.lists.labels import Labels, is_number, named
from vae3d.probing.scores import Array
from vae3d.runtime.messages import counted

log = logging.getLogger(__name__)

MAX_CLASSES = 10
"""Different numbers that auto takes for classes, at most."""
MIN_LABELLED = 0.5
"""Share of the cases that must have a label."""


@dataclass(frozen=True)
class Subjects:
    """Cases with a label, in the order of their names.

    `target` is the number of each case's class in `classes`, or its number where `classes` is
    empty. `groups` are numbers that are equal for the cases of one patient. `seen` has, by name,
    what probes see of the cases, float64 (cases, values).
    """

    latents: list[JoinedLatent]
    column: str
    target: Array
    classes: list[str]
    groups: Array
    group_source: str
    seen: dict[str, Array] = field(default_factory=dict)

    @property
    def num_groups(self) -> int:
        """The number of groups."""
        return len({*self.groups.tolist()})

    @property
    def title(self) -> str:
        """What is predicted, and for whom."""
        if self.classes:
            count = Counter(self.target.tolist())
            what = ", ".join(f"{name} {count[n]}" for n, name in enumerate(self.classes))
        else:
            what = f"{self.target.min():g} to {self.target.max():g}"
        groups = counted(self.num_groups, "group")
        return f"{self.column} ({what}), {counted(len(self.target))} of {groups}"


def labelled(
    latents: Sequence[JoinedLatent], labels: Labels, task: str, groups: dict[str, int] | None
) -> Subjects:
    """Return the latents that have a label; `groups` are those of the scans, if they are known.

    Patients are those of the table, else those of the scans; else each scan is its own.

    Raises:
        DataError: most cases have no label, a group is missing, or labels are not numbers.
    """
    names = [latent.name for latent in latents]
    known = labels.joined(names)
    if len(known) < MIN_LABELLED * len(names):
        raise DataError(
            f"labels: {len(known)} of {counted(len(names))} have a {labels.column!r} in "
            f"{labels.path}, and at least half must; name the folders of those cases in latents=, "
            "or complete the file"
        )
    chosen = [latents[place] for place in known]
    target, classes = _target(labels, [latent.name for latent in chosen], task)
    keys, source = _groups(chosen, labels, groups)
    numbers = {key: number for number, key in enumerate(sorted({*keys}))}
    return Subjects(
        chosen, labels.column, target, classes, np.array([numbers[key] for key in keys]), source
    )


def check_folds(subjects: Subjects, folds: int) -> None:
    """Raise a DataError if the cases cannot be divided into this number of folds."""
    if subjects.num_groups < folds:
        raise DataError(
            f"folds={folds} needs as many groups of cases, there are {subjects.num_groups}; set "
            "folds= lower, or add cases"
        )
    if not np.ptp(subjects.target):
        only = subjects.classes[0] if subjects.classes else f"{subjects.target[0]:g}"
        raise DataError(
            f"label={subjects.column}: is {only!r} for every case: there is nothing to predict"
        )
    for number, name in enumerate(subjects.classes):
        count = len({*subjects.groups[subjects.target == number].tolist()})
        if count < folds:
            raise DataError(
                f"label={subjects.column}: class {name!r} has {counted(count, 'group')} and "
                f"folds={folds} needs as many; set folds= lower, empty its cells to leave it out, "
                "or set task=numbers for numbers"
            )


def _target(labels: Labels, cases: Sequence[str], task: str) -> tuple[Array, list[str]]:
    """Return the labels of the cases as numbers, and the names of the classes."""
    texts = [labels.texts[case] for case in cases]
    odd = next((case for case in cases if not is_number(labels.texts[case])), None)
    if task == "numbers" and odd is not None:
        raise DataError(
            f"label={labels.column}: {labels.texts[odd]!r} of case {odd!r} is no number; correct "
            "it, or set task=classes"
        )
    different = {*map(float, texts)} if odd is None else {*texts}
    if task == "numbers" or (task == "auto" and odd is None and len(different) > MAX_CLASSES):
        return np.array([float(text) for text in texts]), []
    if odd is None:
        # 1 and 1.0 are one class; classes are in the order of their numbers.
        texts = [f"{float(text):g}" for text in texts]
    classes = sorted({*texts}, key=float) if odd is None else sorted({*texts})
    return np.array([classes.index(text) for text in texts]), classes


def _groups(
    latents: Sequence[JoinedLatent], labels: Labels, scans: dict[str, int] | None
) -> tuple[list[str], str]:
    """Return the group of each case, and where it is from."""
    if labels.groups:
        keys = [labels.groups[latent.name] for latent in latents]
        missing = [x.name for x, key in zip(latents, keys, strict=True) if not key]
        if missing:
            raise ConfigError(
                f"labels: {labels.path}: {len(missing)} of {counted(len(latents))} have no group: "
                f"{named(missing)}; fill in the patient of each"
            )
        return keys, str(labels.path)
    if scans is not None and all(latent.name in scans for latent in latents):
        return [str(scans[latent.name]) for latent in latents], "the scans"
    hint = patient_hint([latent.name for latent in latents], [None] * len(latents))
    if hint:
        reason = hint.split(";")[0]
        log.warning(f"{reason}; add a column patient to {labels.path} to keep them in one fold")
    # Copies of a scan under two names belong together.
    return [latent.entry.voxels or latent.name for latent in latents], "each scan is its own"
