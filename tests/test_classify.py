"""One trunk, several classifiers: what they share and what stays their own."""

from __future__ import annotations

import copy
import dataclasses
import json
import shutil

import numpy as np
import pytest
import timm
import torch
from places import ROOT

from mri_models.calibration import Calibration, Strangeness
from mri_models.classify import Classifier, share_trunks
from mri_models.errors import WeightsError
from mri_models.hub import CONFIG
from mri_models.preprocess import InputSpec
from mri_models.training.export import unfitted
from mri_models.types import Scan

LABELS = ("glioma", "meningioma", "no_tumor")


def classifier(network: torch.nn.Module, *, flip: bool = True) -> Classifier:
    calibration = Calibration(1.0, dict.fromkeys(LABELS, 0.6), 1.0, flip, {})
    spec = InputSpec(64, (0.5,) * 3, (0.5,) * 3)
    return Classifier(network, LABELS, spec, calibration, unfitted(network.num_features), digest="ab")


@pytest.fixture
def family() -> tuple[Classifier, Classifier, Classifier]:
    """Two classifiers that end one trunk differently, and a stranger."""
    torch.manual_seed(0)
    first = timm.create_model("test_efficientnet", num_classes=3)
    second = copy.deepcopy(first)
    torch.nn.init.normal_(second.get_classifier().weight)
    stranger = timm.create_model("test_efficientnet", num_classes=3)
    return classifier(first), classifier(second), classifier(stranger)


@pytest.fixture
def scan() -> Scan:
    return Scan(np.random.default_rng(0).random((80, 64), np.float32))


def places(one: Classifier) -> set[int]:
    """Where its tensors lie in memory."""
    return {tensor.data_ptr() for tensor in one.network.state_dict().values() if tensor.numel() > 1}


def test_a_shared_trunk_lies_in_memory_once_and_answers_stay(family, scan):
    before = [one(scan) for one in family]
    share_trunks(family)
    first, second, stranger = family
    assert len(places(first) - places(second)) == 2  # weight and bias of the head
    assert not places(first) & places(stranger)
    assert first.runner is second.runner is not stranger.runner
    assert [one(scan).probabilities for one in family] == [one.probabilities for one in before]
    assert before[0].probabilities != before[1].probabilities


@pytest.mark.parametrize(("key", "value"), [("temperature", None), ("thresholds", []), ("version", 99)])
def test_a_config_that_cant_be_used_is_a_weights_error(tmp_path, key, value):
    folder = tmp_path / "gate"
    shutil.copytree(ROOT / "weights" / "gate", folder)
    config = json.loads((folder / CONFIG).read_text())
    config["mri"][key] = value
    (folder / CONFIG).write_text(json.dumps(config))
    with pytest.raises(WeightsError) as caught:
        Classifier.load(folder)
    assert caught.value.code == ("config_version" if key == "version" else "bad_model")


def test_distance_speaks_for_the_label_of_strangers_from_its_start_on(family):
    one = family[0]
    one.ood = dataclasses.replace(one.ood, quantiles=np.array([0.0, 10.0]))
    rows = np.eye(2, one.network.num_features) * np.array([[1.0], [5.0]])  # √2 and √26 away from the centre
    plain = one.decide(np.zeros((2, 3)), rows)
    one.calibration = dataclasses.replace(one.calibration, strangeness=Strangeness("no_tumor", 2.0, 0.5))
    near, far = one.decide(np.zeros((2, 3)), rows)

    assert near == plain[0]
    assert far.probabilities["no_tumor"] == pytest.approx(1 / (1 + 2 * np.exp(-0.5 * (26**0.5 - 2))))
    assert far.probabilities["glioma"] == far.probabilities["meningioma"]
    assert far.ood_score == plain[1].ood_score


def test_a_look_keeps_the_maps_of_the_image_as_it_is(family, scan):
    both, plain = family[0], classifier(family[0].network, flip=False)
    look = both.look(scan)
    np.testing.assert_allclose(look.maps.pooled.numpy(), plain.look(scan).features, rtol=1e-5, atol=1e-6)
    assert not np.allclose(look.features, look.maps.pooled.numpy(), rtol=1e-4)
    sizes = [level.shape[-1] for level in look.maps.levels]
    assert sizes == sorted(sizes, reverse=True)
    torch.testing.assert_close(look.maps.last.mean((2, 3)), look.maps.pooled, rtol=1e-4, atol=1e-5)
