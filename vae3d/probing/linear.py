"""Linear models on folds, by scikit-learn: logistic regression for classes, ridge for numbers."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from vae3d.errors import ConfigError
from vae3d.probing.scores import Array, class_scores, number_scores

STRENGTHS = tuple(10.0**power for power in range(2, -3, -1))
"""Strengths of the penalty to choose from; of equally good ones the first, the strongest."""
INNER_FOLDS = 3
"""Folds of the training cases by which the strength is chosen, at most."""
DEFAULT_STRENGTH = 1.0
"""The strength where there are too few groups to choose one."""
MAX_ITERATIONS = 1000
NUMBER_BINS = 5
"""Bins of numbers that are spread evenly over the folds, at most."""

Fold = tuple[Array, Array]
"""Places of the cases that a probe is fitted to, and of those that it is scored on."""


def check_installed() -> None:
    """Raise a ConfigError if scikit-learn is missing."""
    try:
        import sklearn  # noqa: F401
    except ImportError:
        raise ConfigError(
            "vae3d probe needs scikit-learn: type pip install 'vae3d[probe]'"
        ) from None


def folds_of(strata: Array, groups: Array, count: int, seed: int) -> list[Fold]:
    """Return folds of the cases: no group is in two of them, and strata are in all alike."""
    from sklearn.model_selection import StratifiedGroupKFold

    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    return [*splitter.split(strata, strata, groups)]


def strata_of(target: Array, are_classes: bool, folds: int) -> Array:
    """Return what is spread evenly over the folds: classes, or bins of numbers in their order."""
    if are_classes:
        return target
    bins = max(1, min(NUMBER_BINS, len(target) // folds))
    order = np.argsort(np.argsort(target, kind="stable"), kind="stable")
    return np.asarray(order * bins // len(target))


def model_of(are_classes: bool, strength: float) -> Any:
    """Return a pipeline that standardises features and fits a linear model.

    Classes have equal weights, however many cases they have.
    """
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if not are_classes:
        return make_pipeline(StandardScaler(), Ridge(alpha=strength))
    classifier = LogisticRegression(
        C=1 / strength, class_weight="balanced", max_iter=MAX_ITERATIONS
    )
    return make_pipeline(StandardScaler(), classifier)


def fold_scores(
    features: Array,
    target: Array,
    groups: Array,
    fold: Fold,
    classes: int,
    strength: float | None,
    seed: int,
) -> dict[str, float]:
    """Return the scores of a probe on the cases of a fold, and the `strength` of its penalty.

    `classes` is the number of classes, of which `target` has the numbers, or 0 for numbers.
    """
    from threadpoolctl import threadpool_limits

    train, test = fold
    # Threads of linear algebra wait for each other longer than such small problems take.
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore")  # of folds with few members, and of slow convergence
        if strength is None:
            strength = _chosen(features[train], target[train], groups[train], classes, seed)
        model = model_of(bool(classes), strength).fit(features[train], target[train])
        predicted = model.predict(features[test])
        if not classes:
            return {**number_scores(target[test], predicted), "strength": strength}
        shares = np.zeros((len(test), classes))
        shares[:, model.classes_] = model.predict_proba(features[test])
    return {**class_scores(target[test], predicted, shares), "strength": strength}


def chance_scores(target: Array, fold: Fold, classes: int) -> dict[str, float]:
    """Return the scores of the most frequent class, or of the mean, of the training cases."""
    train, test = fold
    if not classes:
        return number_scores(target[test], np.full(len(test), target[train].mean()))
    counts = np.bincount(target[train], minlength=classes)
    predicted = np.full(len(test), counts.argmax())
    return class_scores(target[test], predicted, np.tile(counts / counts.sum(), (len(test), 1)))


def _chosen(features: Array, target: Array, groups: Array, classes: int, seed: int) -> float:
    """Return the strength with the best mean score over folds of these cases."""
    strata = strata_of(target, bool(classes), INNER_FOLDS)
    count = min(INNER_FOLDS, *(len({*groups[strata == name]}) for name in {*strata.tolist()}))
    if count < 2:
        return DEFAULT_STRENGTH
    folds = folds_of(strata, groups, count, seed)
    means = [_mean_score(features, target, folds, classes, strength) for strength in STRENGTHS]
    return STRENGTHS[int(np.argmax(means))]


def _mean_score(
    features: Array, target: Array, folds: Sequence[Fold], classes: int, strength: float
) -> float:
    name = "balanced_accuracy" if classes else "r2"
    # Squared errors of all folds together: R2 of a few cases says little.
    if classes:
        groups = np.arange(len(target))
        scores = [
            fold_scores(features, target, groups, fold, classes, strength, 0)[name]
            for fold in folds
        ]
        return float(np.mean(scores))
    errors = 0.0
    for train, test in folds:
        model = model_of(False, strength).fit(features[train], target[train])
        errors -= float(((model.predict(features[test]) - target[test]) ** 2).sum())
    return errors
