"""Discs: found, counted from the sacrum, cut out level, graded, and what the worst of them comes to."""

import csv
import dataclasses
import hashlib
import json

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from mri_models.discnet import DiscNet
from mri_models.discs import DiscGrader, GradeRule, calibrated, graded, spans, worst_of
from mri_models.errors import WeightsError
from mri_models.evaluation.discs import Graded as Answers
from mri_models.evaluation.discs import (
    Overall,
    averaged,
    grades,
    measure_discs,
    overall_of,
    same_levels,
    shared,
    stated,
    weighted_kappa,
)
from mri_models.levels import chain, cut, disc_boxes, places, separated, to_crop
from mri_models.training import spines as corpus_spines
from mri_models.training.discs import (
    DiscRecipe,
    Lesson,
    folds_of,
    join,
    load_disc_recipe,
    mean_log,
    part,
    softened,
    taught,
    together,
)
from mri_models.training.discs_export import fit_mass, judged_by_others, platt
from mri_models.training.spines import Spines, read_spines
from mri_models.types import Mask, Scan
from mri_models.types.discs import LEVELS, Disc

SHAPE = {"trunk": "resnet10t", "trunk_args": {"channels": [8, 8, 16, 16], "stem_width": 8}, "members": 2}
RULE = {
    "temperature": 1.5,
    "threshold": 0.6,
    "mass": 0.8,
    "answer": "likeliest",
    "findings": [[1.0, 0.0], [2.0, 0.5], [1.0, -1.0]],
    "power": 0.7,
    "overall_temperature": 1.0,
    "overall": {"low": 0.8, "moderate": 1.01, "severe": 0.7},
}
MIDDLES = [(250, 110), (214, 96), (176, 90), (138, 92), (100, 100), (62, 110)]  # L5/S1 first


def outline(middles=MIDDLES, shape=(300, 200), radius=(16, 6)) -> Mask:
    values = np.zeros(shape, np.uint8)
    for row, column in middles:
        cv2.ellipse(values, (column, row), radius, 0, 0, 360, 1, -1)
    return Mask(values, (values > 0).astype(np.float32), ("disc", "vertebra", "canal"), 0.9, 0.5)


def middles_of(boxes) -> np.ndarray:
    edges = np.asarray(boxes, float)
    return (edges[:, :2] + edges[:, 2:]) / 2


@pytest.fixture(scope="module")
def grader() -> DiscGrader:
    torch.manual_seed(0)
    rule = GradeRule.from_config({"rule": RULE})
    return DiscGrader(DiscNet(**SHAPE), (48, 64), 2.0, rule, "digest")


@pytest.fixture(scope="module")
def scan() -> Scan:
    return Scan(np.random.default_rng(0).random((300, 200), np.float32))


def test_discs_are_counted_from_the_lowest_upwards():
    boxes = disc_boxes(outline())
    assert np.allclose(middles_of(boxes), MIDDLES, atol=1)


def test_a_patch_beside_the_spine_is_no_disc():
    boxes = disc_boxes(outline([*MIDDLES, (260, 20), (150, 180)]))
    assert np.allclose(middles_of(boxes), MIDDLES, atol=1)


def test_levels_end_where_a_disc_is_missing_twice():
    assert len(disc_boxes(outline([m for m in MIDDLES if m[0] not in (100, 138)]))) == 3


def test_crumbs_go_parts_join_and_merged_discs_part():
    drawn = outline().values.astype(bool)
    drawn[170:183, 88:92] = False  # one disc in two parts
    drawn[62:100, 104:107] = True  # two discs joined by a bridge
    drawn[20:22, 20:22] = True  # a crumb
    found = sorted(tuple(patch.mean(0)) for patch in separated(drawn))
    assert np.allclose(found, sorted(MIDDLES), atol=4)


def test_too_few_discs_are_no_spine():
    assert disc_boxes(outline(MIDDLES[:2])) == []
    unsure = dataclasses.replace(outline(), score=0.4)
    assert disc_boxes(unsure) == []


def test_a_chain_does_not_turn_back():
    zigzag = np.array([(250, 100), (214, 100), (176, 100), (190, 140), (138, 100)], float)
    assert chain(zigzag, np.ones(5)) == [0, 1, 2, 4]


def test_crops_show_each_disc_level_and_in_the_middle():
    turned = cv2.getRotationMatrix2D((100, 150), 25, 1.0)
    drawn = cv2.warpAffine(outline().values, turned, (200, 300)).astype(np.float32)
    middles = np.array([(c, r, 1) for r, c in MIDDLES]) @ turned.T
    boxes = [(y - 6, x - 16, y + 7, x + 17) for x, y in middles]
    for place in places(boxes)[1:-1]:
        rows, columns = np.nonzero(cut(drawn, to_crop(place, (96, 128), 2.0), (96, 128)) > 0.5)
        assert abs(rows.mean() - 47.5) < 2
        assert abs(columns.mean() - 63.5) < 2
        assert abs(np.cov(rows, columns)[0, 1] / columns.var()) < np.tan(np.deg2rad(16))  # the disc follows the spine


def test_boxes_become_grades_from_l5_s1_upwards(grader, scan):
    found = grader(scan, disc_boxes(outline()))
    assert [disc.level for disc in found.discs] == list(LEVELS[:6])
    assert found.discs[0].box == disc_boxes(outline())[0]
    assert sum(found.overall.probabilities.values()) == pytest.approx(1)
    assert json.loads(json.dumps(found.to_dict()))["discs"][0]["level"] == "L5/S1"


def test_a_mirrored_slice_gets_the_same_grades(grader, scan):
    boxes = disc_boxes(outline())
    mirror = Scan(np.ascontiguousarray(scan.pixels[:, ::-1]))
    flipped = [(top, 200 - right, bottom, 200 - left) for top, left, bottom, right in boxes]
    shares = [np.array([d.pfirrmann for d in grader(*pair).discs]) for pair in ((scan, boxes), (mirror, flipped))]
    assert np.allclose(*shares, atol=2e-3)


def test_neighbours_and_level_count():
    network = DiscNet(**SHAPE).members[0].eval()
    torch.nn.init.normal_(network.spine.weight)
    torch.nn.init.normal_(network.level.weight)
    features = torch.randn(3, network.own.in_features)
    levels = torch.zeros(3, dtype=torch.long)
    alone = network.judge(features, torch.tensor([0, 1, 2]), levels)
    beside = network.judge(features, torch.tensor([0, 0, 1]), levels)
    assert not torch.allclose(alone[0], beside[0])
    assert torch.allclose(alone[2], beside[2])
    assert not torch.allclose(network.judge(features, torch.tensor([0, 0, 1]), levels + 1), beside)


def test_the_worst_disc_decides():
    good, bad = np.eye(5)[0], np.eye(5)[4]
    assert worst_of(np.stack([good] * 5), 1.0, 1.0).argmax() == 0
    assert worst_of(np.stack([good] * 5 + [bad]), 1.0, 1.0).argmax() == 2
    assert worst_of(np.stack([good] * 6 + [bad]), 1.0, 1.0).argmax() == 0  # thoracic: no part of the label


def test_neighbours_that_err_together_are_not_counted_as_independent():
    unsure = np.tile([0.0, 0.0, 0.7, 0.3, 0.0], (6, 1))
    assert worst_of(unsure, 0.4, 1.0)[0] > worst_of(unsure, 1.0, 1.0)[0]


def test_median_and_likeliest_grade_differ_on_spread_scores():
    shares = np.array([[0.4, 0.0, 0.3, 0.3, 0.0]])
    assert graded(shares, "likeliest") == 1
    assert graded(shares, "median") == 3


def test_findings_are_scaled_by_their_own_rule():
    rule = GradeRule.from_config({"rule": RULE})
    logits = np.zeros((1, 8))
    logits[0, 6] = 2.5
    _, findings = calibrated(logits, rule)
    assert findings[0] == pytest.approx(1 / (1 + np.exp([0.0, -1.0, -1.0])))


def test_platt_scaling_finds_slope_and_shift():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, 4000)
    truth = rng.random(4000) < 1 / (1 + np.exp(-(logits - 1) / 2))
    assert platt(logits, truth) == pytest.approx((2, 1), abs=0.25)


def test_a_disc_checks_its_level_and_shares():
    values = {
        "centre": (1.0, 1.0),
        "tilt": 0.0,
        "spacing": 9.0,
        "box": (0, 0, 2, 2),
        "grade": 1,
        "span": (1, 1),
        "accepted": True,
    }
    scores = {"narrowing": 0.1, "bulging": 0.1, "herniation": 0.1}
    with pytest.raises(ValueError, match="level"):
        Disc(level="C1", pfirrmann=(1.0, 0, 0, 0, 0), **values, **scores)
    with pytest.raises(ValueError, match="sum to 1"):
        Disc(level="L5/S1", pfirrmann=(0.5, 0, 0, 0, 0), **values, **scores)


def saved(folder, version=1) -> None:
    network = DiscNet(**SHAPE)
    save_file({k: v.half().contiguous() for k, v in network.state_dict().items()}, folder / "model.safetensors")
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    mri = {"version": version, "input_size": [48, 64], "wide": 2.0, "rule": RULE, "sha256": digest}
    (folder / "config.json").write_text(json.dumps(SHAPE | {"mri": mri}))


def test_a_folder_loads_and_grades(tmp_path, scan):
    saved(tmp_path)
    assert len(DiscGrader.load(tmp_path)(scan, disc_boxes(outline())).discs) == 6


def test_another_version_is_refused(tmp_path):
    saved(tmp_path, version=99)
    with pytest.raises(WeightsError, match="version 99"):
        DiscGrader.load(tmp_path)


def corpus_of(tmp_path):
    """Two patients; p 1 has boxes on one of two sequences, p 2 none."""
    rng = np.random.default_rng(0)
    (tmp_path / "tables").mkdir()
    rows = []
    for name, sequence in (("1_t1", "T1"), ("1_t2", "T2"), ("2_t2", "T2")):
        Image.fromarray(rng.integers(0, 255, (300, 200), np.uint8)).save(tmp_path / f"{name}.png")
        patient, split = f"spider:{name[0]}", "val" if name[0] == "2" else "train"
        row = (f"{name}.png", "spider", patient, split, sequence, "max_pfirrmann_4", "orig 400x600; x")
        rows.append(dict(zip(("path", "source", "patient", "split", "sequence", "label", "note"), row, strict=True)))
    write(tmp_path / "manifest.csv", rows)
    boxes = [{"img": "1_t2", "IVD label": i, "y0": 2 * r - 9, "x0": 2 * c - 30, "y1": 2 * r + 9, "x1": 2 * c + 30}
             for i, (r, c) in reversed(list(enumerate(MIDDLES, 1)))]  # fmt: skip
    write(tmp_path / "tables/spider_disc_boxes.csv", boxes)
    named = ("Disc narrowing", "Disc bulging", "Disc herniation")
    graded = [{"Patient": p, "IVD label": i, "Pfirrman grade": 1 + i % 5} | dict.fromkeys(named, i % 2)
              for p in (1, 2) for i in range(1, 6)]  # fmt: skip
    write(tmp_path / "tables/spider_gradings.csv", graded)
    return tmp_path


def write(path, rows) -> None:
    with path.open("w", newline="") as stream:
        table = csv.DictWriter(stream, list(rows[0]))
        table.writeheader()
        table.writerows(rows)


def test_boxes_serve_the_other_sequence_and_finding_the_rest(tmp_path):
    spines = {s.name: s for s in read_spines(corpus_of(tmp_path), lambda _: disc_boxes(outline()), 448)}
    assert {name: s.boxes for name, s in spines.items()} == {"1_t1": "pair", "1_t2": "table", "2_t2": "found"}
    assert spines["1_t1"].places[0].centre == pytest.approx(np.subtract(MIDDLES[0], 0.5))
    assert spines["1_t2"].labels[:, 0].tolist() == [2, 3, 4, 5, 1, -1]


def test_found_discs_that_contradict_each_other_teach_nothing(tmp_path):
    answers = iter([disc_boxes(outline()), disc_boxes(outline(MIDDLES[1:])), disc_boxes(outline())])
    data = corpus_of(tmp_path)
    (data / "tables/spider_disc_boxes.csv").write_text("img,IVD label,y0,x0,y1,x1\n")
    assert [s.trusted for s in read_spines(data, lambda _: next(answers), 448)] == [False, False, True]


def test_a_slice_on_its_head_is_turned_and_its_boxes_are_found_anew(tmp_path, monkeypatch):
    data = corpus_of(tmp_path)
    upright = {s.name: s for s in read_spines(data, lambda _: disc_boxes(outline()), 448)}
    monkeypatch.setattr(corpus_spines, "read_overturned", lambda: lambda source, stem: stem == "1_t2")
    turned = {s.name: s for s in read_spines(data, lambda _: disc_boxes(outline()), 448)}
    assert (turned["1_t2"].pixels == upright["1_t2"].pixels[::-1, ::-1]).all()
    assert {name: s.boxes for name, s in turned.items()} == dict.fromkeys(turned, "found")  # nobody's twin either


def test_folds_share_out_patients_of_every_grade(tmp_path):
    spines = read_spines(corpus_of(tmp_path), lambda _: disc_boxes(outline()), 448)
    many = [dataclasses.replace(s, patient=f"p{i}", worst=1 + i % 5) for i in range(40) for s in spines[:2]]
    fold_of = folds_of(many, 4)
    assert sorted(fold_of) == sorted({s.patient for s in many})
    worst = {s.patient: s.worst for s in many}
    for grade in range(1, 6):
        assert sorted(fold_of[p] for p in fold_of if worst[p] == grade) == sorted([*range(4)] * 2)
    assert len(taught([dataclasses.replace(s, split="test") for s in spines] + spines)) == len(spines)


def test_a_patient_is_judged_by_those_that_never_saw_it(tmp_path):
    torch.manual_seed(0)
    spines = read_spines(corpus_of(tmp_path), lambda _: disc_boxes(outline()), 448)
    recipe = DiscRecipe("discs", "discs", SHAPE["trunk"], "", SHAPE["trunk_args"], folds=2, members=2, size=[48, 64])
    networks = [DiscNet(**SHAPE) for _ in range(2)]
    found = judged_by_others(join(networks).eval(), spines, recipe)
    fold_of = folds_of(spines, 2)
    assert set(fold_of.values()) == {0, 1}
    rule = GradeRule.from_config({"rule": RULE})
    for spine, logits in zip(spines, found, strict=True):
        alone = DiscGrader(networks[fold_of[spine.patient]], (48, 64), 2.0, rule, "")
        assert logits == pytest.approx(alone.logits(Scan(spine.pixels.astype(np.float32) / 255), spine.places))


def test_the_folds_curves_become_one():
    look = {"eval_exact": 0.5, "eval_kappa": 0.25}
    logs = [[{"step": 5, "eval_nll": nll, **look}, {"step": 7, "loss": 1.0}] for nll in (1.0, 2.0)]
    assert mean_log(logs) == [{"step": 5, "eval_nll": 1.5, **look}]


def test_a_fold_is_a_run_of_its_own_that_is_not_exported():
    recipe = load_disc_recipe("discs")
    assert recipe.exported
    assert part(recipe, 3).name == "discs/fold_3"
    assert not load_disc_recipe("discs", ["fold=3"]).exported


def test_a_lesson_learns(tmp_path):
    spines = read_spines(corpus_of(tmp_path), None, 448)
    items = Spines(spines, (48, 64), 2.0, train=True)
    batch = together([items[0], items[1]])
    assert batch["owner"].tolist() == [0] * 6 + [1] * 6
    torch.manual_seed(0)
    lesson = Lesson(DiscRecipe("discs", "discs", SHAPE["trunk"], "", SHAPE["trunk_args"], mixed=0)).train()
    descent = torch.optim.Adam(lesson.parameters(), 3e-3)
    losses = []
    for _ in range(12):
        loss = lesson(**batch)["loss"]
        descent.zero_grad()
        loss.backward()
        descent.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_a_range_is_the_shortest_that_holds_enough():
    shares = np.array([[0.05, 0.1, 0.6, 0.2, 0.05], [0.9, 0.1, 0, 0, 0], [0.3, 0.1, 0.2, 0.1, 0.3]])
    assert spans(shares, 0.75).tolist() == [[3, 4], [1, 1], [1, 5]]


@pytest.mark.parametrize(
    ("accepted", "span", "stated"), [(True, (3, 5), "4"), (False, (3, 5), "3 to 5"), (False, (3, 4), "3 or 4")]
)
def test_a_doubtful_grade_is_stated_as_a_range(accepted, span, stated):
    scores = {"narrowing": 0.1, "bulging": 0.1, "herniation": 0.1, "pfirrmann": (0.0, 0.1, 0.3, 0.5, 0.1)}
    place = {"centre": (1.0, 1.0), "tilt": 0.0, "spacing": 9.0, "box": (0, 0, 2, 2)}
    assert Disc(level="L5/S1", **place, **scores, grade=4, span=span, accepted=accepted).stated == stated


def test_the_mass_of_ranges_keeps_its_promise():
    rng = np.random.default_rng(0)
    shares = rng.dirichlet([0.5] * 5, 500)
    truth = np.array([1 + rng.choice(5, p=row) for row in shares])
    mass, width = fit_mass(shares, truth, 0.9)
    low, high = spans(shares, mass).T
    assert 0.9 <= ((low <= truth) & (truth <= high)).mean() < 0.96
    assert 1 < width < 3.5


def test_soft_grades_lean_to_neighbours():
    rows = softened(torch.tensor([1, 3])).tolist()
    assert rows[0] == pytest.approx([0.9, 0.1, 0, 0, 0])
    assert rows[1] == pytest.approx([0, 0.05, 0.9, 0.05, 0])


def test_the_recipe_is_strict():
    assert load_disc_recipe("discs", ["batch=3"]).batch == 3
    with pytest.raises(Exception, match="unknown"):
        load_disc_recipe("discs", ["btach=3"])


def test_kappa_and_shares_of_right_grades():
    assert weighted_kappa(np.diag([3, 4, 5, 6, 7])) == pytest.approx(1)
    off = np.zeros((5, 5))
    off[0, 4] = off[4, 0] = 5
    assert weighted_kappa(off) == pytest.approx(-1)
    truth = np.array([[1, 0, 0, 0], [3, 0, 0, 0], [5, 1, 1, 0], [2, 0, 0, 0]])
    given = np.eye(5)[[0, 3, 2, 1]]
    people = np.array(["a", "b", "c", "d"])
    discs = Answers(given, np.zeros((4, 3)), truth, people, np.array(["T1"] * 4), np.arange(4))
    found = grades(discs, "likeliest")
    assert (found["exact"]["value"], found["within_one"]["value"]) == (0.5, 0.75)


def test_what_is_stated_and_what_a_patient_s_discs_share():
    truth = np.array([[2, 0, 0, 0], [3, 0, 0, 0], [2, 0, 0, 0], [4, 0, 0, 0]])
    given = np.array([[0, 0, 1, 0, 0], [0, 0, 0, 1, 0], [0, 1, 0, 0, 0], [0, 0, 0.5, 0.5, 0]])
    discs = Answers(given, np.zeros((4, 3)), truth, np.array([*"aabb"]), np.array(["T1"] * 4), np.arange(4))
    found = stated(discs, GradeRule.from_config({"rule": RULE}))
    assert found["coverage"]["value"] == 0.75
    assert found["right"]["value"] == pytest.approx(1 / 3, abs=1e-4)
    # errors 1, 1 of the first patient, 0, -0.5 of the second
    assert shared(discs) == {"part": round((2 + 2 * 0.25**2) / 2.25, 3), "exact_without": 1.0}
    nobody = stated(discs, GradeRule.from_config({"rule": RULE | {"threshold": 1.01}}))
    assert (nobody["coverage"]["value"], nobody["right"]) == (0, None)


def test_both_sequences_of_a_disc_are_averaged():
    shares = np.array([[1, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 1, 0, 0]], float)
    people, sequences, levels = np.array(["a", "a", "b"]), np.array(["T1", "T2", "T2"]), np.array([1, 1, 1])
    both = averaged(Answers(shares, np.zeros((3, 3)), np.ones((3, 4), int), people, sequences, levels))
    assert both.shares.tolist() == [[0.5, 0.5, 0, 0, 0]]


def test_counting_is_right_only_when_every_number_agrees():
    boxes = [(r - 6, c - 16, r + 6, c + 16) for r, c in MIDDLES]
    assert same_levels(boxes, np.array(boxes[:5], float))
    assert not same_levels(boxes[1:], np.array(boxes, float))


def test_measures_name_missed_levels(tmp_path, grader):
    data = corpus_of(tmp_path)
    found = measure_discs(grader, lambda _: disc_boxes(outline(MIDDLES[:3])), data, "train")
    assert found["missed"] == 4  # two slices, L2/L3 and L1/L2 each
    assert found["counted"] == {"slices": 1, "right": 1}
    assert found["grades"]["all"]["discs"] == 6


def test_the_worst_discs_class_is_measured_with_its_calibration():
    truth = np.array([0, 0, 1, 1, 2, 2])
    answer = np.array([0, 1, 1, 1, 2, -1])  # the last spine was not found
    confidence = np.array([0.9, 0.5, 0.8, 0.8, 1.0, 0.0])
    patients = np.array([*"abcdef"])
    found = overall_of(Overall(truth, answer, confidence, confidence > 0.85, patients))
    assert found["balanced_accuracy"]["value"] == pytest.approx((0.5 + 1.0 + 0.5) / 3, abs=1e-4)
    assert found["ece"]["value"] == pytest.approx((0.1 + 0.5 + 0.2 + 0.2 + 0 + 0) / 6, abs=1e-4)
    assert found["confusion"] == [[1, 1, 0], [0, 2, 0], [0, 0, 1]]
    assert (found["accepted"], found["right_among_accepted"]) == (2, 2)
