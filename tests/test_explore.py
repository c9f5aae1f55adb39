"""figures.json and what the Explore tab draws of it: counts at a threshold, the JSON's contract, missing numbers."""

from __future__ import annotations

import csv
import dataclasses
import json
import re
from pathlib import Path

import explore_case
import numpy as np
import pytest
from fakes import FakePipeline
from PIL import Image

from mri_models.errors import WeightsError
from mri_models.evaluation.collect import Outputs, look_up
from mri_models.evaluation.explore import write_figures
from mri_models.evaluation.inventory import count, grey_profiles, histogram
from mri_models.evaluation.metrics import summarise
from mri_models.figures import FIGURES, learning_curves, load_figures, save_figures
from mri_models.page import explore_pictures, explore_training
from mri_models.page.explore import DATA, PICTURES, TRAINING, Explorer
from mri_models.page.explore_answers import panel
from mri_models.page.explore_data import distribution
from mri_models.page.explore_plot import Axes, ceiling
from mri_models.page.explore_shown import ANY, Shown
from mri_models.page.gallery import load_examples
from mri_models.training.corpus import TASKS, Sample, split_hash

ROOT = Path(__file__).parent.parent


def explorer(folder: Path) -> Explorer:
    return Explorer(folder, FakePipeline.hashes, load_examples(ROOT / "examples"), FakePipeline().read)


def test_counts_at_a_threshold_are_those_of_the_answers():
    answers, stage = explore_case.outcomes(), explore_case.stage()
    sure = answers.confidence >= 0.8

    assert stage.cells[0].sum(axis=(0, 1))[80] == sure.sum()
    assert stage.cells[1].sum(axis=(0, 1))[80] == (sure & (answers.ood <= 0.95)).sum()
    assert np.trace(stage.cells[0, :, :, 80]) == (sure & answers.correct).sum()
    assert stage.accepted.sum() == answers.accepted.sum()


def test_the_figures_agree_with_the_metrics():
    stage, metrics = explore_case.stage(), summarise(explore_case.outcomes(), resamples=10)

    assert stage.cells[0, :, :, 0].tolist() == [list(row) for row in metrics.confusion]
    assert stage.ece == pytest.approx(metrics.ece.value)
    assert np.mean([roc.auroc for roc in stage.rocs.values()]) == pytest.approx(metrics.auroc.value)


def test_the_interval_holds_the_accuracy_and_ends_where_patients_are_few():
    shown = Shown(explore_case.stage(), ANY, True)
    low, high = shown.band

    known = np.isfinite(low)
    assert known[0]
    assert not known[100]
    assert (low[known] <= shown.accuracy[known]).all()
    assert (shown.accuracy[known] <= high[known]).all()


def test_the_slider_starts_at_the_served_threshold_of_the_answer():
    stage = explore_case.stage()
    assert [Shown(stage, answer, True).start for answer in ("knee", "spine", ANY)] == [90, 70, 60]
    never = explore_case.stage(served=dict.fromkeys(explore_case.CLASSES, 1.01))
    assert Shown(never, ANY, True).start == 60
    assert "nothing of this is answered" in panel(Shown(never, ANY, True))


def test_numbers_of_the_panel_are_those_of_its_threshold():
    shown = Shown(explore_case.stage(), "knee", False)
    html = panel(shown)
    said = dict(re.findall(r'<output data-out="(\w+)">([^<]+)<', html))

    assert said["threshold"] == "0.90"
    assert said["coverage"] == f"{100 * shown.coverage[90]:.1f}%"
    assert said["accuracy"] == f"{100 * shown.accuracy[90]:.1f}%"
    assert int(said["wrong"]) == shown.accepted[90] - shown.right[90]
    assert f"<b>{shown.accepted[90]}</b> of {shown.total} images called knee" in html
    assert html.count("<svg") == html.count('role="img"') == 4


def test_json_comes_back_as_it_was_and_stays_small(tmp_path: Path):
    found = load_figures(explore_case.write(tmp_path))
    kept, made = found.stages["body_part"], explore_case.stage()

    assert (kept.cells == made.cells).all()
    np.testing.assert_allclose(kept.bands, made.bands, atol=1e-4)
    np.testing.assert_allclose(kept.rocs["knee"].true, made.rocs["knee"].true, atol=1e-4)
    assert found.stale(FakePipeline.hashes) == ["gate"]
    assert (tmp_path / FIGURES).stat().st_size < 150_000


@pytest.mark.parametrize("text", ["{}", "no json", '{"stages": 3}'])
def test_bad_json_says_what_to_do(tmp_path: Path, text: str):
    (tmp_path / FIGURES).write_text(text)
    with pytest.raises(WeightsError, match="evaluate --only figures") as caught:
        load_figures(tmp_path)
    assert caught.value.code == "bad_figures"


def test_without_numbers_there_is_a_sentence_and_the_rest_still_shows(tmp_path: Path):
    bare = explorer(tmp_path)
    for view in ("Answers", DATA):
        assert "<code>python -m mri_models evaluate --only figures</code>" in bare.draw(view, None)
    assert explore_training.NONE in bare.draw(TRAINING, None)
    assert bare.draw(PICTURES, None).count("<img") >= 15


def test_numbers_of_other_weights_are_marked(tmp_path: Path):
    found = explorer(explore_case.write(tmp_path))
    assert "measured on other weights" in found.draw("Answers", "gate")
    assert "measured on other weights" not in found.draw("Answers", "body_part")


def test_sources_have_bars_of_one_scale(tmp_path: Path):
    counts = load_figures(explore_case.write(tmp_path)).counts["body_part"]
    html = distribution(counts, "Body part")
    assert "--cols:120fr 1fr 14fr" in html
    assert 'aria-label="ixi: train 120 brain"' in html
    assert html.count('style="width:100.00%"') == 2


def test_training_curves_come_from_the_configs(tmp_path: Path):
    for name, mri in {
        "segmentation/x": {"curve": [{"step": 10, "dice": 0.5}, {"step": 20, "dice": 0.75}]},
        "anomaly": {"curves": {"anomaly": {"loss": [0.5, 0.25, 0.2], "kept": 1}}},
    }.items():
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "config.json").write_text(json.dumps({"mri": mri}))
    curves = {curve.model: curve for curve in learning_curves(tmp_path)}
    html = explore_training.training(list(curves.values()))

    assert curves["segmentation/x"].values == {"dice": (0.5, 0.75)}
    assert curves["anomaly"].kept == 1
    assert "loss while learning from 0.500 to 0.250" in html
    assert html.count("<figure") == 2


def test_images_and_patients_are_counted_by_class_source_and_split():
    targets = dict.fromkeys(TASKS, -100) | {"brain": 3}
    samples = [
        Sample(None, None, patient, "ixi", split, "mri", "brain", targets, "")
        for patient, split in (("a", "train"), ("a", "train"), ("b", "train"), ("c", "test"))
    ]
    rows = [(c.source, c.label, c.split, c.images, c.patients) for c in count(samples)["diagnosis/brain"]]
    assert rows == [("ixi", "no_tumor", "test", 1, 1), ("ixi", "no_tumor", "train", 3, 2)]


def test_one_stage_measured_again_leaves_the_others_alone(tmp_path: Path):
    sample = Sample(None, None, "a", "ixi", "test", "mri", "brain", dict.fromkeys(TASKS, -100) | {"gate": 0}, "")
    path = explore_case.write(tmp_path) / FIGURES
    first = load_figures(tmp_path)
    save_figures(dataclasses.replace(first, split_hash=split_hash([sample])), path)

    again = {"gate": explore_case.stage(("mri", "not_mri"), {"mri": 0.6, "not_mri": 0.6})}
    write_figures(again, {"gate": "11" * 32}, [sample], path, "test", all_of_it=False)

    found = load_figures(tmp_path)
    assert found.stages["gate"].served == {"mri": 0.6, "not_mri": 0.6}
    assert found.models == first.models | {"gate": "11" * 32}
    assert (found.stages["body_part"].cells == first.stages["body_part"].cells).all()
    assert (found.counts, found.greys) == (first.counts, first.greys)


def test_networks_that_see_the_same_look_once():
    class Head:
        features_key = "trunk"

        def logits(self, features: np.ndarray) -> np.ndarray:
            return features * 2

    targets = dict.fromkeys(TASKS, 1)
    samples = [Sample(Path(name), None, name, "s", "test", "mri", "brain", targets, "") for name in "abc"]
    seen = Outputs(np.zeros((3, 1)), np.array([[1.0], [2.0], [3.0]]), np.zeros(3), tuple(samples))

    found = look_up(Head(), seen, [samples[2], samples[0]], "brain")
    assert found.logits.tolist() == [[6.0], [2.0]]
    assert [sample.patient for sample in found.samples] == ["c", "a"]
    assert found.labels.tolist() == [1, 1]


def test_grey_profiles_leave_small_sources_out(tmp_path: Path):
    Image.fromarray(np.tile(np.arange(256, dtype=np.uint8), (80, 1))).save(tmp_path / "ramp.png")

    def samples(source: str, n: int) -> list[Sample]:
        return [Sample(tmp_path / "ramp.png", None, f"p{i}", source, "train", "mri", "knee", {}, "") for i in range(n)]

    [profile] = grey_profiles([*samples("many", 12), *samples("few", 9)])
    assert (profile.group, profile.source, profile.images) == ("knee", "many", 12)
    assert sum(profile.shares) == pytest.approx(1, abs=0.01)
    assert histogram(np.zeros((4, 4)))[0] == 1


def test_the_montage_shows_only_what_its_licence_allows(tmp_path: Path):
    Image.new("L", (64, 64), 90).save(tmp_path / "a.png")
    fields = ("path", "modality", "body_part", "label", "patient", "source", "licence")
    rows = [("a.png", "mri", "knee", "", f"p{i}", "open", "CC BY 4.0") for i in range(9)]
    rows += [("a.png", "mri", "knee", "", "q", "medpix", "MedPix (NLM), contributors' copyright")]
    rows += [("a.png", "mri", "knee", "", "r", "mridata_knee", "CC BY-NC 4.0 (mridata.org)")]
    with (tmp_path / "manifest.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([fields, *rows])

    html = explore_pictures.montage({}, FakePipeline().read, tmp_path)
    assert html.count("<img") == explore_pictures.EACH
    assert "medpix" not in html
    assert "mridata" not in html
    assert "open<small>CC BY 4.0</small>" in html


def test_places_and_axis_ends():
    axes = Axes(270, 210)
    assert axes.points((0, np.nan, 1), (0, 0.5, 1)) == "42.0,177.0 260.0,18.0"
    assert [ceiling(values) for values in ([0.01], [0.13, np.nan], [0.2], [0.97])] == [0.05, 0.2, 0.2, 1.0]


@pytest.mark.weights
def test_the_bundled_figures_are_of_these_weights(pipeline):
    folder = ROOT / "weights"
    if not (folder / FIGURES).is_file():
        pytest.skip("not measured yet: python -m mri_models evaluate --only figures")
    found, metrics = load_figures(folder), json.loads((folder / "metrics.json").read_text())
    assert found.stale(pipeline.hashes) == []
    assert found.split_hash == metrics["split_hash"]
    assert (folder / FIGURES).stat().st_size < 300_000
    for name, stage in found.stages.items():
        overall = metrics["stages"][name]["overall"]
        differing = np.abs(stage.cells[0, :, :, 0] - np.array(overall["confusion"])).sum()
        assert (stage.images, differing <= 2) == (overall["images"], True)  # a tie may fall the other way
