"""Scores of predictions, for classes and for numbers."""

import math
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Array = NDArray[Any]

CLASS_SCORES = {"balanced_accuracy": "balanced accuracy", "roc_auc": "ROC AUC"}
NUMBER_SCORES = {"r2": "R2", "mae": "MAE"}


def class_scores(truth: Array, predicted: Array, shares: Array) -> dict[str, float]:
    """Return the scores of predicted classes (N,), with the probabilities (N, K) of all classes.

    Balanced accuracy is the mean over the classes of the share that is recognised. The area under
    the ROC curve is that of each class against the rest, averaged over the classes; NaN if there
    is one class only.
    """
    present = np.unique(truth)
    recognised = [float((predicted[truth == name] == name).mean()) for name in present]
    areas = [_area(truth == name, shares[:, name]) for name in present]
    return {"balanced_accuracy": fmean(recognised), "roc_auc": fmean(areas)}


def _area(members: Array, scores: Array) -> float:
    """Return the probability that a member has a higher score than another, ties as halves."""
    inside, outside = int(members.sum()), int((~members).sum())
    if not inside or not outside:
        return math.nan
    ranks = rankdata(scores)[members].sum()
    return float((ranks - inside * (inside + 1) / 2) / (inside * outside))


def number_scores(truth: Array, predicted: Array) -> dict[str, float]:
    """Return R2 (the share of the variance that is explained) and the mean absolute error."""
    residual = float(((truth - predicted) ** 2).sum())
    total = float(((truth - truth.mean()) ** 2).sum())
    r2 = 1 - residual / total if total else math.nan
    return {"r2": r2, "mae": float(np.abs(truth - predicted).mean())}
