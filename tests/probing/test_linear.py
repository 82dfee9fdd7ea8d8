"""Probes against scikit-learn itself: the same folds, the same scores; chance where nothing is."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.latents.folders import write_folder
from vae3d.probing import linear
from vae3d.probing.command import probe
from vae3d.probing.config import ProbeConfig
from vae3d.probing.linear import chance_scores, fold_scores, folds_of, strata_of
from vae3d.probing.scores import class_scores, number_scores

pytestmark = pytest.mark.extras


def problem(classes: int, count: int = 90, groups: int = 30) -> tuple:
    generator = np.random.default_rng(0)
    features = generator.normal(size=(count, 6))
    hidden = features[:, 0] + 0.5 * features[:, 1] + 0.3 * generator.normal(size=count)
    cuts = np.quantile(hidden, np.linspace(0, 1, classes + 1)[1:-1]) if classes else []
    target = np.digitize(hidden, cuts) if classes else 40 + 10 * hidden
    return features * [1, 10, 100, 1, 1, 1], target, generator.integers(0, groups, count)


@pytest.mark.parametrize("classes", [2, 3])
def test_classes_are_scored_as_scikit_learn_does(classes: int) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import balanced_accuracy_score, roc_auc_score
    from sklearn.model_selection import StratifiedGroupKFold
    from sklearn.preprocessing import StandardScaler

    features, target, groups = problem(classes)
    splitter = StratifiedGroupKFold(5, shuffle=True, random_state=3)
    expected = [*splitter.split(features, target, groups)]
    folds = folds_of(strata_of(target, True, 5), groups, 5, seed=3)
    for fold, (train, test) in zip(folds, expected, strict=True):
        assert np.array_equal(fold[0], train)
        assert np.array_equal(fold[1], test)
        scaler = StandardScaler().fit(features[train])
        model = LogisticRegression(C=1 / 0.7, class_weight="balanced", max_iter=1000)
        model.fit(scaler.transform(features[train]), target[train])
        seen = scaler.transform(features[test])
        shares = model.predict_proba(seen)
        area = roc_auc_score(
            target[test], shares[:, 1] if classes == 2 else shares, multi_class="ovr"
        )
        scores = fold_scores(features, target, groups, fold, classes, 0.7, 0)
        assert scores["balanced_accuracy"] == pytest.approx(
            balanced_accuracy_score(target[test], model.predict(seen))
        )
        assert scores["roc_auc"] == pytest.approx(area)
        assert scores["strength"] == 0.7


def test_numbers_are_scored_as_scikit_learn_does() -> None:
    from sklearn.linear_model import Ridge
    from sklearn.metrics import mean_absolute_error, r2_score
    from sklearn.preprocessing import StandardScaler

    features, target, groups = problem(0)
    for fold in folds_of(strata_of(target, False, 4), groups, 4, seed=0):
        train, test = fold
        scaler = StandardScaler().fit(features[train])
        model = Ridge(alpha=2.0).fit(scaler.transform(features[train]), target[train])
        predicted = model.predict(scaler.transform(features[test]))
        scores = fold_scores(features, target, groups, fold, 0, 2.0, 0)
        assert scores["r2"] == pytest.approx(r2_score(target[test], predicted))
        assert scores["mae"] == pytest.approx(mean_absolute_error(target[test], predicted))
        assert scores["r2"] > 0.7


def test_own_scores_are_those_of_scikit_learn() -> None:
    from sklearn.metrics import balanced_accuracy_score, r2_score, roc_auc_score

    generator = np.random.default_rng(0)
    truth, shares = generator.integers(0, 4, 200), generator.random((200, 4)).round(2)
    shares /= shares.sum(1, keepdims=True)
    own = class_scores(truth, shares.argmax(1), shares)
    assert own["balanced_accuracy"] == pytest.approx(
        balanced_accuracy_score(truth, shares.argmax(1))
    )
    assert own["roc_auc"] == pytest.approx(roc_auc_score(truth, shares, multi_class="ovr"))
    numbers = generator.normal(size=200)
    assert number_scores(numbers, shares[:, 0])["r2"] == pytest.approx(
        r2_score(numbers, shares[:, 0])
    )


@pytest.mark.parametrize("classes", [0, 2, 3])
def test_groups_never_cross_folds(classes: int) -> None:
    _, target, groups = problem(classes)
    for seed in range(3):
        folds = folds_of(strata_of(target, bool(classes), 5), groups, 5, seed)
        tested = np.concatenate([test for _, test in folds])
        assert sorted(tested.tolist()) == [*range(len(target))]
        for train, test in folds:
            assert not {*groups[train].tolist()} & {*groups[test].tolist()}


def test_the_strength_is_chosen_by_training_cases_alone() -> None:
    features, target, groups = problem(2)
    (fold, *_) = folds_of(target, groups, 5, 0)
    first = fold_scores(features, target, groups, fold, 2, None, 0)
    other = target.copy()
    other[fold[1]] = 1 - other[fold[1]]
    changed = fold_scores(features, other, groups, fold, 2, None, 0)
    assert first["strength"] == changed["strength"] in linear.STRENGTHS
    assert first["balanced_accuracy"] == pytest.approx(1 - changed["balanced_accuracy"])


def written(folder: Path, shift: float, count: int = 60, shuffled: bool = False) -> ProbeConfig:
    """Return the probe of latents whose first channel is higher in one of two classes."""
    generator = np.random.default_rng(0)
    classes = np.arange(count) % 2
    names = {f"c{n:02}": n for n in range(count)}
    write_folder(folder / "latents", names, shift=(shift * classes).tolist())
    if shuffled:
        classes = generator.permutation(classes)
    rows = [f"c{n:02},{'ab'[k]},p{n // 2 // 2}" for n, k in enumerate(classes.tolist())]
    (folder / "labels.csv").write_text("\n".join(["case_id,kind,patient", *rows]) + "\n")
    return ProbeConfig(
        latents=[str(folder / "latents")], labels=str(folder / "labels.csv"), label="kind",
        output=str(folder / "probe.json"), repeats=2, summaries=["pooled"],
    )  # fmt: skip


def test_a_label_in_the_latents_is_found_and_a_permuted_one_is_not(tmp_path: Path) -> None:
    chance, own = probe(written(tmp_path / "one", 2.0)).rows
    assert {s["balanced_accuracy"] for s in chance.folds} == {0.5}
    assert np.mean([s["balanced_accuracy"] for s in own.folds]) > 0.97
    assert np.mean([s["roc_auc"] for s in own.folds]) > 0.99
    _, permuted = probe(written(tmp_path / "two", 2.0, shuffled=True)).rows
    assert np.mean([s["balanced_accuracy"] for s in permuted.folds]) == pytest.approx(
        0.5, abs=0.15
    )
    assert np.mean([s["roc_auc"] for s in permuted.folds]) == pytest.approx(0.5, abs=0.15)


def test_two_runs_are_the_same_and_two_folders_are_one(tmp_path: Path) -> None:
    config = written(tmp_path / "one", 0.5)
    first = probe(config)
    text = (tmp_path / "one" / "probe.json").read_text()
    assert probe(config).rows == first.rows
    assert (tmp_path / "one" / "probe.json").read_text() == text
    saved = json.loads(text)
    assert saved["groups"] == 15
    assert len(saved["rows"][1]["roc_auc"]["folds"]) == 10
    shifts = {n: 0.5 * (n % 2) for n in range(60)}
    halves = []
    for name, places in (("left", range(0, 60, 3)), ("right", [n for n in range(60) if n % 3])):
        cases = {f"c{n:02}": n for n in places}
        shift = [shifts[n] for n in places]
        halves.append(str(write_folder(tmp_path / name, cases, shift=shift)))
    config.latents = halves
    assert probe(config).rows == first.rows


def test_chance_of_a_fold_without_a_class() -> None:
    target = np.array([0, 1, 1, 2, 1])
    scores = chance_scores(target, (np.array([1, 2, 3]), np.array([0, 4])), 3)
    assert scores == {"balanced_accuracy": 0.5, "roc_auc": 0.5}


def test_a_number_in_the_latents_is_found(tmp_path: Path) -> None:
    ages = np.random.default_rng(0).normal(50, 10, 40).round(2)
    names = {f"c{n:02}": n for n in range(40)}
    folder = write_folder(tmp_path / "latents", names, shift=(ages / 5).tolist())
    rows = [f"c{n:02},{age}" for n, age in enumerate(ages.tolist())]
    (tmp_path / "labels.csv").write_text("\n".join(["case_id,age", *rows]) + "\n")
    config = ProbeConfig(latents=[str(folder)], labels=str(tmp_path / "labels.csv"), repeats=1)
    chance, pooled, _ = probe(config).rows
    assert max(scores["r2"] for scores in chance.folds) <= 0
    assert np.mean([scores["r2"] for scores in pooled.folds]) > 0.9
    assert np.mean([scores["mae"] for scores in pooled.folds]) < 3
