"""Recipes, the corpus reader, augmentation, and one tiny run from manifest to a folder that transformers loads."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file

from mri_models.errors import DataError, RecipeError
from mri_models.orientation import turned
from mri_models.preprocess import InputSpec
from mri_models.training.augment import augment, marks, place, transplant
from mri_models.training.corpus import (
    IGNORE,
    TASKS,
    Disc,
    Sample,
    draw_discs,
    draw_weights,
    possible_patterns,
    read_corpus,
    read_discs,
    read_pixels,
    scaled,
    split_hash,
    targets_of,
    trainable,
)
from mri_models.training.data import Images
from mri_models.training.inspected import read_mislabelled
from mri_models.training.network import evidence_loss, grade_loss, partial_loss
from mri_models.training.recipe import FOLDER, Recipe, load_recipe, read_values
from mri_models.training.soups import WAYS
from mri_models.training.starts import LITE, grown, lite_state


def is_mri(sample: Sample) -> bool:
    return sample.modality == "mri"


@pytest.mark.parametrize("name", sorted(p.stem for p in FOLDER.glob("*.toml") if "kind" not in read_values(p.stem)[1]))
def test_every_recipe_loads(name):
    recipe = load_recipe(name)
    assert recipe.head in TASKS
    assert sum(recipe.mix.values()) == pytest.approx(1)


def test_unknown_key_is_an_error():
    with pytest.raises(RecipeError, match="learning_speed"):
        load_recipe("gate", ["learning_speed=3"])


def test_a_checkpoint_that_cannot_be_kept_is_an_error():
    with pytest.raises(RecipeError, match='"best" or "last"'):
        load_recipe("gate", ["keep=first"])


def test_set_changes_a_value():
    assert load_recipe("gate", ["images=64", "network=resnet10t"]).images == 64


def test_missing_manifest_is_said_plainly(tmp_path):
    with pytest.raises(DataError, match=r"manifest\.csv"):
        read_corpus(tmp_path)


@pytest.mark.parametrize(
    ("row", "targets"),
    [
        (("mri", "brain", "glioma"), ("mri", "brain", "glioma", None)),
        (("mri", "brain", "other_lesion"), ("mri", "brain", "other_abnormality", None)),
        (("mri", "spine", "max_pfirrmann_2"), ("mri", "spine", None, "low")),
        (("mri", "heart", ""), ("mri", "other", None, None)),
        (("ct", "brain", ""), ("not_mri", None, None, None)),
    ],
)
def test_manifest_rows_become_targets(row, targets):
    found = targets_of(dict(zip(("modality", "body_part", "label"), row, strict=True)))
    wanted = [IGNORE if t is None else TASKS[task].index(t) for task, t in zip(TASKS, targets, strict=True)]
    assert list(found.values()) == wanted


def test_draws_are_balanced_by_class(tiny_corpus):
    samples = read_corpus(tiny_corpus)[:20]
    weights = draw_weights(samples, {"gate": 1.0})
    mri = np.array([is_mri(s) for s in samples])
    assert weights[mri].sum() == pytest.approx(0.5)


def test_a_favoured_body_part_is_drawn_more_often_in_its_class(tiny_corpus):
    samples = [replace(s, body_part="joint") if s.source == "s1" else s for s in read_corpus(tiny_corpus)]
    joint, mri = (np.array([test(s) for s in samples]) for test in (lambda s: s.body_part == "joint", is_mri))
    plain, favoured = (draw_weights(samples, {"gate": 1.0}, chosen) for chosen in (None, {"joint": 3.0}))
    odds = [weights[joint].sum() / weights[mri & ~joint].sum() for weights in (plain, favoured)]
    assert odds[1] == pytest.approx(3 * odds[0])
    assert favoured[mri].sum() == pytest.approx(plain[mri].sum()) == pytest.approx(0.5)


def test_look_alikes_of_other_patients_are_left_out(corpus):
    samples = read_corpus(corpus)
    assert any("sim_" in s.note and s.split == "train" for s in samples)
    assert not any("sim_" in s.note for s in samples if trainable(s))


def test_what_the_manifest_gets_wrong_teaches_nothing(corpus):
    samples = read_corpus(corpus)
    wrong = [sample for sample in samples if sample.mislabelled]
    assert len(wrong) == len(read_mislabelled())  # every name on the list is a file of the corpus
    assert {s.split for s in wrong} == {"train", "val", "test"}
    assert not any(s.mislabelled for s in samples if trainable(s))


def test_no_patient_stands_in_two_splits(corpus):
    splits: dict[str, set[str]] = {}
    for sample in read_corpus(corpus):
        splits.setdefault(sample.patient, set()).add(sample.split)
    assert [p for p, found in splits.items() if len(found) > 1] == []


def test_augmentation_keeps_range_and_shape():
    image = np.random.default_rng(1).random((90, 70), np.float32)
    for seed in range(60):
        out, mask = augment(image, np.zeros(image.shape, np.uint8), 64, np.random.default_rng(seed), image)
        assert out.shape == mask.shape == (64, 64)
        assert out.dtype == np.float32
        assert 0 <= out.min() <= out.max() <= 1


def test_what_lies_is_put_in_all_three_ways():
    image = np.zeros((64, 64), np.float32)
    image[:16] = 1  # brightest above, mirrored or not
    seen = set()
    for seed in range(40):
        out, mask = place(image, (image * 255).astype(np.uint8), 64, np.random.default_rng(seed), lying=1)
        seen.add(int(np.argmax([mask[:32].mean(), mask[:, :32].mean(), mask[32:].mean(), mask[:, 32:].mean()])))
        assert out[mask > 0].mean() > 0.9
    assert seen == {1, 2, 3}


def test_marks_change_little_of_an_image_and_none_unless_asked():
    image = np.full((128, 128), 0.4, np.float32)
    empty = np.zeros(image.shape, np.uint8)
    shares = [np.mean(np.abs(marks(image, np.random.default_rng(seed)) - image) > 0.01) for seed in range(60)]
    assert 0.0005 < np.median(shares) < max(shares) < 0.2
    for seed in range(20):
        changed = [augment(image, empty, 128, np.random.default_rng(seed), gentle=True, marked=m)[0] for m in (0, 1)]
        assert np.abs(changed[1] - changed[0]).max() > 0.01


def test_images_masks_and_discs_of_training_stand_upright(tmp_path):
    pixels, outline = np.zeros((40, 64), np.uint8), np.zeros((40, 64), np.uint8)
    pixels[:10, :10] = 255
    outline[:10] = 255
    for name, values in (("image", pixels), ("mask", outline)):
        Image.fromarray(values).save(tmp_path / f"{name}.png")
    about = {"modality": "mri", "body_part": "spine", "label": ""}
    discs = (Disc((0.0, 0.0, 0.5, 0.5), 4),)
    for lies, corner in ((0, (0, 0)), (1, (0, -1)), (2, (-1, -1)), (3, (-1, 0))):
        one = Sample(tmp_path / "image.png", tmp_path / "mask.png", "p", "s", "train", *list(about.values())[:2],
                     targets_of(about), "", discs=discs, lies=lies)  # fmt: skip
        images = Images([one], load_recipe("spine"), InputSpec(64, (0.5,) * 3, (0.5,) * 3), train=True)
        upright = images.pixels[0]
        assert upright.shape == ((40, 64) if lies % 2 == 0 else (64, 40))
        assert upright[corner] == images.masks[0][corner] == 255
        drawn = images._discs(one, upright)
        assert drawn.shape == upright.shape
        assert np.array_equal(turned(drawn, lies), draw_discs(discs, (40, 64)))


def test_training_sees_coloured_marks_painted_over(tmp_path):
    picture = np.full((80, 80, 3), 100, np.uint8)
    picture[:, 40:] = 130
    Image.fromarray(picture[..., 0]).save(tmp_path / "clean.png")
    picture[40:43, 20:60] = (255, 0, 0)
    Image.fromarray(picture).save(tmp_path / "marked.png")
    seen, clean = (read_pixels(tmp_path / f"{name}.png") for name in ("marked", "clean"))
    assert np.mean(seen == clean) > 0.985  # of 0.981 outside the mark; left red, it would stretch the rest otherwise


def test_transplant_changes_only_the_outline():
    image = np.full((100, 100), 0.4, np.float32)
    donor = np.random.default_rng(0).random((50, 50), np.float32)
    region = np.zeros((50, 50), np.uint8)
    region[20:30, 20:30] = 255
    out, outline = transplant(image, donor, region, np.random.default_rng(0))
    assert outline.any()
    assert np.abs(out - image)[45:55, 45:55].max() > 0.01
    assert np.abs(out - image)[:20, :20].max() < 1e-6


def test_transplanted_structures_shrink_where_they_are():
    image = np.full((100, 100), 0.4, np.float32)
    donor = np.random.default_rng(0).random((100, 100), np.float32)
    region = np.zeros((100, 100), np.uint8)
    region[30:70, 30:70] = 255
    widths = []
    for seed in range(40):
        out, outline = transplant(image, donor, region, np.random.default_rng(seed), least=0.35)
        ys, xs = np.nonzero(outline)
        assert abs(ys.mean() - 49.5) < 1
        assert abs(xs.mean() - 49.5) < 1
        assert np.abs(out - image)[outline > 0].mean() > 10 * np.abs(out - image)[:20, :20].mean()
        widths.append(np.ptp(xs) + 1)
    assert 13 <= min(widths) < 20 < 36 < max(widths) <= 40


def test_transplant_outside_the_head_does_nothing():
    dark = np.zeros((60, 60), np.float32)
    region = np.full((60, 60), 255, np.uint8)
    out, outline = transplant(dark, dark + 1, region, np.random.default_rng(0))
    assert not outline.any()
    assert out is dark


@pytest.mark.parametrize(("name", "number"), LITE.items())
def test_grown_start_computes_what_its_source_computes(name, number):
    source = timm.create_model(f"tf_efficientnet_lite{number}", pretrained=False)
    source.load_state_dict(lite_state(number))
    image = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        gap = (source.eval()(image) - grown(name)(image)).abs().max()
    assert gap < 1e-3


def test_a_soup_is_the_weighted_average_of_its_runs(tiny_corpus, tmp_path):
    from mri_models.training.fit import load_run, train

    small = {"network": "resnet10t", "head": "gate", "mix": {"gate": 1.0}, "size": 64, "images": 8, "batch": 8}
    for name, helpers in (("one", []), ("other", ["spine"])):
        train(Recipe(name, helpers=helpers, evaluations=1, **small), tiny_corpus, tmp_path)
    mixed = train(
        Recipe("mixed", soup={"one": 0.75, "other": 0.25}, helpers=["spine"], **small), tiny_corpus, tmp_path
    ).state_dict()

    one, other = (load_run(tmp_path, name).state_dict() for name in ("one", "other"))
    wanted = 0.75 * one["heads.gate.weight"] + 0.25 * other["heads.gate.weight"]
    assert torch.allclose(mixed["heads.gate.weight"], wanted, atol=1e-6)
    assert torch.equal(mixed["heads.spine.weight"], other["heads.spine.weight"])  # the only run that has it


def test_the_ways_in_which_averages_are_asked_again_differ():
    canvas = np.random.default_rng(0).random((64, 64), np.float32)
    seen = [change(canvas, index) for change in WAYS.values() for index in range(3)]
    assert not [i for i, one in enumerate([canvas, *seen]) if any(np.array_equal(one, other) for other in seen[i:])]
    assert {tuple(np.argwhere(one == canvas[0, 0])[0]) for one in seen[-3:]} == {(63, 0), (63, 63), (0, 63)}


def test_averages_of_classifiers_are_judged_task_by_task(tiny_corpus, tmp_path, capsys):
    from mri_models.__main__ import main
    from mri_models.training.fit import train

    rows = (tiny_corpus / "manifest.csv").read_text().splitlines()
    half = [row.replace(",brain,", ",knee,") if ",s1," in row else row for row in rows]
    (tiny_corpus / "manifest.csv").write_text("\n".join(half))
    mix = {"gate": 0.5, "body_part": 0.5}
    small = {"network": "resnet10t", "head": "gate", "mix": mix, "size": 64, "images": 8, "batch": 8}
    for seed, name in enumerate(("one", "other")):
        train(Recipe(name, helpers=["body_part"], evaluations=1, seed=seed, **small), tiny_corpus, tmp_path)
    path = tmp_path / "mixed.toml"
    lines = ('name = "mixed"', 'network = "resnet10t"', 'head = "gate"', "mix = { gate = 0.5, body_part = 0.5 }")
    path.write_text("\n".join([*lines, "soup = { one = 1, other = 1 }", 'helpers = ["body_part"]']))
    capsys.readouterr()  # what training says
    command = ["average", str(path), "--data", str(tiny_corpus), "--runs", str(tmp_path)]
    assert main([*command, "--shares", "1,0", "--shares", "0.5,0.5"]) == 0
    alone, both = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert alone["shares"] == {"one": 1, "other": 0}
    assert alone["gate: log loss"] != both["gate: log loss"]
    assert 0 <= both["gate: balanced accuracy"] <= 1
    assert {f"body_part{way}: log loss" for way in ("", ", perturbed", ", drawn on", ", lying")} <= set(both)
    assert not [name for name in both if name.startswith("gate, ")]  # which is not asked again
    assert main([*command, "--shares", "1"]) != 0


def test_a_run_ends_in_a_folder_that_transformers_loads(tiny_corpus, tmp_path):
    from transformers import AutoModelForImageClassification

    from mri_models.classify import Classifier
    from mri_models.training.export import export
    from mri_models.training.fit import train

    recipe = Recipe(
        "gate", "resnet10t", "gate", {"gate": 1.0}, size=64, serve_size=64, images=16, batch=8, evaluations=1
    )
    train(recipe, tiny_corpus, tmp_path / "runs")
    folder = export(recipe, tiny_corpus, tmp_path / "runs", tmp_path / "weights")

    model = AutoModelForImageClassification.from_pretrained(folder)
    classifier = Classifier.load(folder)
    history = json.loads((tmp_path / "runs" / "gate" / "history.json").read_text())
    assert model.config.id2label == {0: "mri", 1: "not_mri"}
    assert classifier.labels == TASKS["gate"]
    assert history["split_hash"] == split_hash(read_corpus(tiny_corpus))
    assert "gate" in (folder / "README.md").read_text()


def test_the_end_of_the_schedule_is_kept_where_the_recipe_says_so(tiny_corpus, tmp_path):
    from mri_models.training.fit import train

    known = {"size": 64, "images": 32, "batch": 8, "evaluations": 4, "lr": 0.03}  # wild: the end is not the best
    recipe = Recipe("gate", "resnet10t", "gate", {"gate": 1.0}, keep="last", **known)
    train(recipe, tiny_corpus, tmp_path)

    end, kept = (load_file(tmp_path / "gate" / name) for name in ("checkpoint-4/model.safetensors", "best.safetensors"))
    assert end.keys() == kept.keys()
    assert all(torch.equal(end[key], kept[key]) for key in end)


def test_unlabelled_brains_say_which_patterns_are_possible():
    row = {"modality": "mri", "body_part": "brain", "label": "", "source": "open_ms"}
    assert possible_patterns(row) == ("no_tumor", "other_abnormality")
    assert possible_patterns(row | {"label": "glioma"}) == ()
    assert possible_patterns(row | {"source": "elsewhere"}) == ()


def test_partial_loss_asks_for_any_possible_label():
    sure_of_the_second = torch.tensor([[0.0, 20.0, 0.0]])
    allowed, forbidden, unknown = torch.tensor([[0.0, 1, 1]]), torch.tensor([[1.0, 0, 1]]), torch.zeros(1, 3)
    assert partial_loss(sure_of_the_second, allowed) < 1e-3
    assert partial_loss(sure_of_the_second, forbidden) > 15
    assert partial_loss(sure_of_the_second, unknown) == 0


def test_evidence_loss_wants_the_labels_evidence_inside_the_outline():
    features = torch.zeros(2, 3, 2, 2)
    features[:, 1, 0, 0] = 20  # what speaks for the second label lies in the first cell
    weights = torch.tensor([[-1.0, 0, 0], [-1.0, 1, 0]])
    features[:, 0] = 20 - features[:, 1]  # and elsewhere against every label
    labels = torch.tensor([1, IGNORE])
    first, last = torch.zeros(2, 1, 2, 2), torch.zeros(2, 1, 2, 2)
    first[:, :, 0, 0] = last[:, :, 1, 1] = 0.3
    assert evidence_loss(features, weights, labels, first) < 1e-3
    assert evidence_loss(features, weights, labels, last) > 5
    assert evidence_loss(features, weights, labels, torch.zeros(2, 1, 2, 2)) == 0  # nothing outlined
    assert evidence_loss(features, weights, labels, torch.full((2, 1, 2, 2), -1.0)) == 0  # not known


def test_disc_boxes_are_scaled_to_shares_of_the_original(tmp_path):
    (tmp_path / "boxes.csv").write_text("img,y0,x0,y1,x1,Pfirrman grade\n7_t2,50,20,100,40,4\n")
    discs = read_discs(tmp_path / "boxes.csv")["7_t2"]
    [disc] = scaled(discs, {"note": "orig 200x400; more"})
    assert disc.grade == 4
    assert np.allclose(disc.box, (0.125, 0.1, 0.25, 0.2))
    assert scaled(discs, {"note": "no size"}) == ()


def test_drawn_discs_hold_their_grade_in_the_middle_and_the_worse_wins():
    drawn = draw_discs([Disc((0.2, 0.2, 0.6, 0.6), 2), Disc((0.4, 0.4, 0.8, 0.8), 5)], (100, 100))
    assert drawn[40, 40] == 2
    assert drawn[60, 60] == 5
    assert drawn[50, 50] == 5
    assert drawn[22, 22] == 0  # the box's rim may be vertebra


def test_grade_loss_counts_only_known_cells():
    grades = torch.tensor([[[0, 4], [IGNORE, IGNORE]]])
    right = torch.full((1, 6, 2, 2), -10.0)
    right[0, 0, 0, 0] = right[0, 4, 0, 1] = 10.0
    assert grade_loss(right, grades) < 1e-3
    assert grade_loss(right, torch.full((1, 2, 2), IGNORE)) == 0
    assert grade_loss(-right, grades) > 5
