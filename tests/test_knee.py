"""Knee: the rule that answers, its thresholds, knees made alike in training, and the readers of MRNet and KneeMRI."""

from __future__ import annotations

import dataclasses
import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from mri_models.errors import DataError, WeightsError
from mri_models.evaluation.calibration import NEVER
from mri_models.evaluation.knee import Reader, exam_answer, measure_exams, swapped, used_for
from mri_models.knee import LABELS, NO_TEAR, TEAR, TearRule
from mri_models.training.corpus import Sample
from mri_models.training.exams import INTACT, PARTIAL, TORN, drawn_split, find_exams, holds_exams, read_slices
from mri_models.training.knee import exchange, level, notch
from mri_models.training.knee_rule import Scored, fit_rule, least, stated
from mri_models.training.outlines import EXTERNAL, NOTED, Outlined, intact_exams, knee_kind
from mri_models.training.pck import read_array
from mri_models.types import Mask, Prediction

KNEE = Prediction("knee", 0.99, 0.6, {"knee": 0.99, "spine": 0.01}, 0.4, 0.98, accepted=True)
RULE = TearRule(1.0, 0.0, {TEAR: 0.7, NO_TEAR: 0.8})


def mask(score):
    return Mask(np.zeros((8, 8), np.uint8), np.zeros((8, 8), np.float32), ("acl_tear",), score, 0.5)


@pytest.mark.parametrize(
    ("score", "label", "accepted"), [(0.9, TEAR, True), (0.6, TEAR, False), (0.3, NO_TEAR, False), (0.1, NO_TEAR, True)]
)
def test_score_becomes_an_answer_or_doubt(score, label, accepted):
    answer = RULE(mask(score), KNEE)
    assert (answer.label, answer.accepted) == (label, accepted)
    assert answer.confidence == pytest.approx(max(score, 1 - score))
    assert sum(answer.probabilities.values()) == pytest.approx(1)


def test_unfamiliar_knee_is_not_answered():
    strange = dataclasses.replace(KNEE, ood_score=0.99)
    assert not RULE(mask(0.95), strange).accepted


def test_certain_scores_stay_finite():
    assert 0 < RULE.probability(0.0) < RULE.probability(1.0) < 1


def test_rule_without_thresholds_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"mri": {"tear": {"slope": 1.0, "offset": 0.0}}}))
    with pytest.raises(WeightsError, match="ACL"):
        TearRule.load(tmp_path)


def test_rule_is_read_and_never_below_the_floor(tmp_path):
    tear = {"slope": 2.0, "offset": 0.5, "thresholds": {TEAR: 0.3, NO_TEAR: 0.9}}
    (tmp_path / "config.json").write_text(json.dumps({"mri": {"tear": tear}}))
    assert TearRule.load(tmp_path).thresholds == {TEAR: 0.6, NO_TEAR: 0.9}


def scored(torn, scores, source, unseen=True):
    return [Scored(score, torn, source, f"{source}:{i}", unseen) for i, score in enumerate(scores)]


def test_told_apart_knees_get_both_answers():
    knees = scored(True, np.linspace(0.7, 0.95, 16), "torn") + scored(False, np.linspace(0.02, 0.3, 30), "intact")
    found = fit_rule(knees, 0.5)
    assert all(found["thresholds"][label] <= 1 for label in LABELS)
    assert found["torn_found"] >= 0.9
    assert found["false_alarms"]["intact"]["share"] == 0


def test_few_people_are_no_certainty():
    torn, intact = np.linspace(0.7, 0.95, 30), np.linspace(0.02, 0.3, 30)
    many = scored(True, torn, "torn") + scored(False, intact, "intact")
    few = [dataclasses.replace(k, patient=f"{k.source}:{i % 3}") for i, k in enumerate(many)]
    sure, modest = (TearRule.from_config(fit_rule(knees, 0.5)).probability(0.9) for knees in (many, few))
    assert modest < sure - 0.05


def test_one_alarming_source_silences_the_tear_answer():
    knees = scored(True, np.linspace(0.7, 0.95, 16), "torn") + scored(False, np.linspace(0.02, 0.3, 30), "intact")
    found = fit_rule([*knees, *scored(None, np.linspace(0.6, 0.99, 20), "elsewhere")], 0.5)
    assert found["thresholds"][TEAR] == NEVER
    assert found["thresholds"][NO_TEAR] <= 1
    assert found["false_alarms"]["elsewhere"]["share"] <= 0.1
    assert "never given" in stated(found)


def test_sources_are_judged_by_unseen_images_where_there_are_enough():
    torn, quiet = scored(True, np.linspace(0.7, 0.95, 16), "torn"), scored(False, [0.1] * 12, "intact")
    found = fit_rule([*torn, *quiet, *scored(False, [0.99] * 50, "intact", unseen=False)], 0.5)
    assert found["false_alarms"]["intact"] == {"share": 0.0, "images": 12, "patients": 12, "unseen": True}


def test_least_threshold_lets_exactly_the_share_pass():
    values = np.linspace(0, 0.99, 100)
    threshold = least({"a": values}, 0.6, 0.1)
    assert np.mean(values >= threshold) == pytest.approx(0.1)


def knee(bright, torn):
    """A 100 px square whose ligament is a diagonal band of this brightness on mid grey."""
    pixels, outline = np.full((100, 100), 0.5, np.float32), np.zeros((100, 100), np.uint8)
    pixels += np.random.default_rng(0).normal(0, 0.05, pixels.shape).astype(np.float32)
    for i in range(30):
        outline[65 - i, 40 + i : 45 + i] = 1
    pixels[outline > 0] = bright
    return pixels, outline * torn


def test_ends_of_an_outline_run_from_tibia_to_femur():
    lower, upper = notch(*knee(0.1, torn=1), np.random.default_rng(0)).ends
    assert lower[1] > 60
    assert upper[1] < 40
    assert upper[0] - lower[0] == pytest.approx(29, abs=4)


@pytest.mark.parametrize(("from_torn", "into_torn"), [(1, 0), (0, 1), (1, 1), (0, 0)])
def test_exchange_brings_ligament_and_label_along(from_torn, into_torn):
    rng = np.random.default_rng(1)
    recipient, donor = notch(*knee(0.9, into_torn), rng), notch(*knee(0.1, from_torn), rng)
    image, outline = exchange(recipient, [donor], rng)
    assert bool(outline.any()) == bool(from_torn)
    middle = image[48:54, 53:59]
    assert middle.min() < 0.3  # the donor's dark band
    assert image[5, 5] == recipient.pixels[5, 5]


def test_level_keeps_the_whole_outline_and_lowers_resolution():
    pixels, outline = knee(0.1, torn=1)
    big = np.kron(outline, np.ones((4, 4), np.uint8))
    for seed in range(20):
        image, kept = level(np.kron(pixels, np.ones((4, 4), np.float32)), big, np.random.default_rng(seed))
        assert image.shape == kept.shape
        assert max(image.shape) <= 209
        rows = np.flatnonzero(kept.any(1))
        assert rows[0] > 0
        assert rows[-1] < len(kept) - 1


def test_swapped_ligaments_keep_their_own_label():
    torn, intact = (
        Outlined((pixels.clip(0, 1) * 255).astype(np.uint8), outline, kind, "s", "test", kind)
        for kind, (pixels, outline) in (("torn", knee(0.1, torn=1)), ("intact", knee(0.9, torn=0)))
    )
    first, second = swapped([torn, intact])
    assert (first.patient, first.kind, first.mask.any()) == ("torn", "torn", True)
    assert (second.patient, second.kind, second.mask.any()) == ("intact", "intact", False)
    assert first.pixels[5, 5] == intact.pixels[5, 5]
    assert second.pixels[5, 5] == torn.pixels[5, 5]


@pytest.mark.parametrize(
    ("source", "name", "note", "kind"),
    [
        ("cemrr_acl", "a.jpg", "", "torn"),
        ("mridata_knee", "v01_022.jpg", "healthy volunteer", "intact"),
        ("kneebones3dify", "axi1.jpg", "low field", "external"),
        ("medpix", "x.jpg", "ACL tear", "noted"),
        ("medpix", "x.jpg", "PCL tear", "unlabelled"),
        ("journal_figures", "01_ACL_Normal_Anatomy_SagCorAx.jpg", "Normal ACL anatomy", "unlabelled"),
        ("journal_figures", "35_BoneContusion_PivotShift_Sagittal.jpg", "", "noted"),
    ],
)
def test_kinds_of_knees(source, name, note, kind):
    assert knee_kind(Sample(Path(name), None, "p", source, "train", "mri", "knee", {}, note)) == kind


VOLUME = np.random.default_rng(0).integers(0, 4000, (6, 40, 48)).astype(np.int16)


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_pck_round_trip(tmp_path, protocol):
    path = tmp_path / "1.pck"
    path.write_bytes(pickle.dumps(VOLUME, protocol))
    np.testing.assert_array_equal(read_array(path), VOLUME)


def test_pck_of_python_2(tmp_path):
    head = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR(K\x01K\x01K\x02K\x03\x87"
    kind = b"cnumpy\ndtype\n(U\x02i2K\x00K\x01tR(K\x03U\x01>NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
    path, values = tmp_path / "1.pck", np.arange(300, 306, dtype=">i2").reshape(1, 2, 3)
    path.write_bytes(head + kind + b"U\x0c" + values.tobytes() + b"tb.")
    np.testing.assert_array_equal(read_array(path), values)


class Command:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def touch(path):
    path.touch()


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (np.array([[[None]]]), "unsafe_pickle"),  # an array of objects
        (Command(np.ndarray, (2**40,)), "bad_volume"),  # the bare constructor, which would allocate
        (Command(eval, "1"), "unsafe_pickle"),
        (VOLUME[0], "bad_volume"),
        ({"volume": 1}, "bad_volume"),
        (np.ma.masked_array(VOLUME), "unsafe_pickle"),
    ],
)
def test_pck_with_anything_else_is_refused(tmp_path, content, code):
    path = tmp_path / "1.pck"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(DataError) as caught:
        read_array(path)
    assert caught.value.code == code


def test_pck_runs_nothing(tmp_path):
    path, witness = tmp_path / "1.pck", tmp_path / "witness"
    path.write_bytes(pickle.dumps(Command(touch, witness)))
    with pytest.raises(DataError, match="not opened"):
        read_array(path)
    assert not witness.exists()


@pytest.mark.parametrize("content", [b"", b"\x80\x04", b"not a pickle", pickle.dumps(VOLUME)[:-40]])
def test_damaged_pck_is_said_plainly(tmp_path, content):
    path = tmp_path / "1.pck"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"1\.pck"):
        read_array(path)


@pytest.fixture
def mrnet(tmp_path):
    """Two training and two validation exams; a torn one's slices are bright in the middle."""
    folder = tmp_path / "MRNet-v1.0"
    for part, labels in (("train", {"0000": 0, "0001": 1}), ("valid", {"1130": 0, "1131": 1})):
        (folder / part / "sagittal").mkdir(parents=True)
        for name, torn in labels.items():
            volume = np.random.default_rng(int(name)).integers(0, 90, (12, 64, 64)).astype(np.uint8)
            volume[5:8, 30:40, 30:40] += np.uint8(150 * torn)
            np.save(folder / part / "sagittal" / f"{name}.npy", volume)
        (folder / f"{part}-acl.csv").write_text("".join(f"{name},{torn}\n" for name, torn in labels.items()))
    return folder


@pytest.fixture
def kneemri(tmp_path):
    folder = tmp_path / "KneeMRI"
    (folder / "vol01").mkdir(parents=True)
    head = "examId,seriesNo,aclDiagnosis,kneeLR,roiX,roiY,roiZ,roiHeight,roiWidth,roiDepth,volumeFilename"
    rows = [f"{7000 + grade},4,{grade},1,10,12,2,20,20,3,{7000 + grade}-4.pck" for grade in (0, 1, 2)]
    (folder / "metadata.csv").write_text("\n".join([head, *rows]) + "\n")
    for grade in (0, 1, 2):
        (folder / "vol01" / f"{7000 + grade}-4.pck").write_bytes(pickle.dumps(VOLUME, 2))
    return folder


def test_mrnet_layout(mrnet):
    exams = find_exams(mrnet)
    assert [(e.patient, e.split, e.grade) for e in exams] == [
        ("mrnet:0000", "train", INTACT),
        ("mrnet:0001", "train", TORN),
        ("mrnet:1130", "test", INTACT),
        ("mrnet:1131", "test", TORN),
    ]
    slices = read_slices(exams[0])
    assert slices.shape == (12, 64, 64)
    assert slices.dtype == np.float32
    assert (slices.min(), slices.max()) == (0, 1)


def test_kneemri_layout(kneemri):
    exams = find_exams(kneemri)
    assert [(e.patient, e.grade) for e in exams] == [
        ("kneemri:7000", INTACT),
        ("kneemri:7001", PARTIAL),
        ("kneemri:7002", TORN),
    ]
    assert read_slices(exams[0]).shape == VOLUME.shape


def test_drawn_splits_are_stable_and_proportioned():
    splits = [drawn_split(str(i)) for i in range(2000)]
    assert splits[:2] == [drawn_split("0"), drawn_split("1")]
    assert 0.66 < splits.count("train") / 2000 < 0.74
    assert splits.count("val") > 240


def test_missing_volume_is_named(mrnet):
    (mrnet / "valid" / "sagittal" / "1131.npy").unlink()
    with pytest.raises(DataError, match="1131"):
        find_exams(mrnet)


def test_npy_of_objects_is_not_unpickled(mrnet):
    np.save(mrnet / "train" / "sagittal" / "0000.npy", np.array([[[None]]]), allow_pickle=True)
    with pytest.raises(DataError, match="can't be read"):
        read_slices(find_exams(mrnet)[0])


def test_other_folders_hold_no_exams(tmp_path):
    assert not holds_exams(tmp_path)
    (tmp_path / "metadata.csv").write_text("path,label\n")
    assert not holds_exams(tmp_path)


def test_intact_exams_join_training(mrnet):
    pictures = intact_exams(mrnet.parent, 32)
    assert {(p.patient, p.split) for p in pictures} == {("mrnet:0000", "train"), ("mrnet:1130", "test")}
    assert all(p.pixels.shape == (32, 32) and not p.mask.any() for p in pictures)


class Middle:
    """Scores a slice by how bright its middle is."""

    def masks(self, scans):
        return [mask(float(scan.pixels[30:40, 30:40].mean())) for scan in scans]


READER = Reader(Middle(), RULE, lambda scan: KNEE)


def test_exam_answers_by_its_best_three_neighbours():
    slices = np.zeros((30, 64, 64), np.float32)
    slices[12] = 0.9  # one bright slice alone is no tear
    assert exam_answer(READER, slices).label == NO_TEAR
    slices[13:15] = 0.9
    assert exam_answer(READER, slices).label == TEAR


def test_exams_are_measured_by_grade(mrnet):
    found = measure_exams(READER, mrnet, "test", None)
    assert found["told"] == {"intact": {"exams": 1, "called_torn": 0}, "torn": {"exams": 1, "called_torn": 1}}
    assert found["stage"]["auroc"]["value"] == 1


def test_the_table_says_what_else_images_did():
    def knee(kind: str, split: str) -> Outlined:
        pixels = np.zeros((8, 8), np.uint8)
        return Outlined(pixels, pixels, "p", "s", split, kind)

    assert used_for([knee("torn", "test"), knee("torn", "test")]) == []
    assert used_for([knee("unlabelled", "val"), knee("unlabelled", "train")]) == ["outline", "threshold"]
    assert used_for([knee(EXTERNAL, "train")]) == ["trunk", "threshold"]
    assert used_for([knee(NOTED, "train")]) == ["trunk"]
