"""Metrics agree with scikit-learn, intervals treat patients as wholes, and nothing breaks on a single class."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, recall_score, roc_auc_score

from mri_models.evaluation import figures
from mri_models.evaluation.metrics import Outcomes, by_source, summarise
from mri_models.evaluation.reliability import ece_by_chance, equal_mass_bins


def outcomes(n: int = 300, classes: int = 3, per_patient: int = 3, sources: int = 2, seed: int = 0) -> Outcomes:
    """Noisy answers, right about three times out of four, with ties among the scores."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(classes, size=n)
    logits = generator.normal(size=(n, classes)).round(1) + 1.8 * np.eye(classes)[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return Outcomes(
        probabilities=probabilities,
        labels=labels,
        classes=tuple("abcdefgh"[:classes]),
        patients=np.array([f"p{i // per_patient}" for i in range(n)]),
        sources=np.array([f"s{i * sources // n}" for i in range(n)]),
        accepted=probabilities.max(axis=1) >= 0.6,
        ood=generator.random(n),
    )


def test_estimates_are_scikit_learns():
    o = outcomes()
    m = summarise(o, resamples=20)

    assert m.balanced_accuracy.value == pytest.approx(balanced_accuracy_score(o.labels, o.predicted))
    assert m.auroc.value == pytest.approx(roc_auc_score(o.labels, o.probabilities, multi_class="ovr"))
    assert list(m.recall) == ["a", "b", "c"]
    recalls = [e.value for e in m.recall.values()]
    assert recalls == pytest.approx(recall_score(o.labels, o.predicted, average=None))
    a = o.accepted
    expected = balanced_accuracy_score(o.labels[a], o.predicted[a])
    assert m.balanced_accuracy_accepted.value == pytest.approx(expected)
    assert m.accuracy_accepted.value == pytest.approx(o.correct[a].mean())


def test_binary_auroc_with_ties_is_scikit_learns():
    o = outcomes(classes=2)

    assert summarise(o).auroc.value == pytest.approx(roc_auc_score(o.labels, o.probabilities[:, 1]))


def test_interval_is_that_of_a_plain_bootstrap_over_patients():
    o = outcomes(n=150)
    names = np.unique(o.patients)
    images = {name: np.flatnonzero(o.patients == name) for name in names}
    generator = np.random.default_rng(1)
    plain = []
    for _ in range(600):
        drawn = np.concatenate([images[name] for name in generator.choice(names, len(names))])
        plain.append(roc_auc_score(o.labels[drawn], o.probabilities[drawn], multi_class="ovr"))

    found = summarise(o, resamples=2000).auroc

    assert [found.low, found.high] == pytest.approx(np.quantile(plain, [0.025, 0.975]), abs=0.01)


def test_copies_of_an_image_do_not_narrow_the_interval():
    single = outcomes(n=60, per_patient=1)
    copied = single.select(np.repeat(np.arange(60), 10))

    one, ten = summarise(single).accuracy, summarise(copied).accuracy

    assert copied.labels.size == 600
    assert ten.high - ten.low == pytest.approx(one.high - one.low, rel=0.1)


def test_same_seed_same_numbers():
    assert summarise(outcomes(), seed=3) == summarise(outcomes(), seed=3)


def test_ece_of_overconfident_answers_is_their_gap():
    o = outcomes(n=200, classes=2)
    sure = np.where(np.arange(200)[:, None] < 100, [0.1, 0.9], [0.1, 0.9])
    labels = (np.arange(200) % 2).astype(int)  # always 90 % sure of class 1, right half of the time
    always = Outcomes(sure, labels, o.classes, o.patients, o.sources, o.accepted, o.ood)

    assert summarise(always).ece.value == pytest.approx(0.4)


def test_few_answers_show_an_error_of_calibration_by_chance():
    generator = np.random.default_rng(1)
    few, many = generator.uniform(0.5, 1, 70), generator.uniform(0.5, 1, 70_000)

    assert 0.1 < ece_by_chance(few) < 0.2
    assert ece_by_chance(many, draws=20) < 0.006
    assert ece_by_chance(np.ones(70)) == 0  # certain and right: nothing is left to chance


def test_equal_mass_bins_hold_equal_shares_and_keep_ties_together():
    generator = np.random.default_rng(0)

    assert np.bincount(equal_mass_bins(generator.random(1500))).tolist() == [100] * 15
    assert len(np.unique(equal_mass_bins(np.ones(50)))) == 1


def test_patient_gets_one_vote_from_mean_probabilities():
    sure, unsure = [0.1, 0.9], [0.6, 0.4]  # two images are a little wrong, one is very right: the mean is right
    o = Outcomes(
        probabilities=np.array([sure, unsure, unsure, [0.8, 0.2]]),
        labels=np.array([1, 1, 1, 0]),
        classes=("no", "yes"),
        patients=np.array(["p", "p", "p", "q"]),
        sources=np.array(["s"] * 4),
        accepted=np.ones(4, bool),
        ood=np.zeros(4),
    )

    m = summarise(o)

    assert m.patient_balanced_accuracy.value == 1
    assert m.balanced_accuracy.value == pytest.approx((1 / 3 + 1) / 2)
    assert m.balanced_accuracy.low is None  # two patients make no interval
    assert m.confusion == ((1, 0), (2, 1))


def test_source_of_a_single_class_has_recall_and_no_auroc():
    o = outcomes()
    only = o.select((o.sources == "s0") | (o.labels == 1))

    metrics = by_source(only)

    assert list(metrics) == ["s0", "s1"]
    single = metrics["s1"]
    assert single.auroc is None
    assert single.balanced_accuracy is None
    assert single.recall["b"].value == pytest.approx(only.correct[only.sources == "s1"].mean())
    assert metrics["s0"].auroc is not None


def test_nothing_accepted_gives_zero_coverage_and_no_accuracy():
    o = outcomes()
    none = Outcomes(o.probabilities, o.labels, o.classes, o.patients, o.sources, np.zeros(300, bool), o.ood)

    m = summarise(none)

    assert m.coverage.value == 0
    assert m.accuracy_accepted is None


def test_json_is_strict_and_rounded():
    o = outcomes(classes=2)
    text = json.dumps(summarise(o.select(o.labels == 0)).to_dict(), allow_nan=False)
    back = json.loads(text)

    assert back["auroc"] is None
    assert back["coverage"]["value"] == round(back["coverage"]["value"], 4)
    assert back["confusion"][1] == [0, 0]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("probabilities", np.full((2, 2), 0.4), "sum to 1"),
        ("probabilities", np.full((2, 3), 1 / 3), r"must be \(2, 2\)"),
        ("probabilities", np.full((2, 2), np.nan), "finite"),
        ("labels", np.array([0, 2]), r"\[0, 2\)"),
        ("patients", np.array(["p"]), "patients must be"),
        ("accepted", np.array([0, 1]), "must be bool"),
        ("ood", np.array([0.5, np.nan]), "ood must lie"),
    ],
)
def test_outcomes_that_contradict_themselves_are_refused(field, value, message):
    good = {
        "probabilities": np.full((2, 2), 0.5),
        "labels": np.array([0, 1]),
        "classes": ("no", "yes"),
        "patients": np.array(["p", "q"]),
        "sources": np.array(["s", "s"]),
        "accepted": np.ones(2, bool),
        "ood": np.zeros(2),
    }
    with pytest.raises(ValueError, match=message):
        Outcomes(**good | {field: value})


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_figures_are_written_the_same_twice(tmp_path, suffix):
    o = outcomes()
    m = summarise(o, resamples=50)
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        figures.reliability(o, folder / f"reliability{suffix}", "Reliability")
        figures.confusion(m, folder / f"confusion{suffix}", "Confusion")
        figures.roc(o, folder / f"roc{suffix}", "ROC")
        figures.risk(o, folder / f"risk{suffix}", "Risk and coverage")
        figures.sources(by_source(o, resamples=50), folder / f"sources{suffix}", "Sources")

    one, two = ({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in ("one", "two"))

    assert len(one) == 5
    assert one == two
