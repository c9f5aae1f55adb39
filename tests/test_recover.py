"""What weights/ holds comes back as the runs that it was exported from."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
import torch
from places import ROOT
from safetensors.torch import load_file

from mri_models.training import discs, orientation, segment_start
from mri_models.training.anomaly import load_anomaly_recipe, load_autoencoder, read_curve
from mri_models.training.anomaly_export import outline_head
from mri_models.training.commands import read_recipe
from mri_models.training.course import publish
from mri_models.training.export import write_weights
from mri_models.training.fit import load_run, start_network
from mri_models.training.recipe import load_recipe
from mri_models.training.recover import recover
from mri_models.training.segment3d import load_network3d

WEIGHTS = ROOT / "weights"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    assert len(list(recover(WEIGHTS, folder))) == 10
    return folder


def same(found, path):
    """Whether these tensors, in half precision, are those of a published file."""
    published = load_file(path)
    assert found.keys() == published.keys()
    return all(torch.equal(value.to(published[key].dtype), published[key]) for key, value in found.items())


@pytest.mark.parametrize("model", ["gate", "body_part", "diagnosis/brain", "diagnosis/spine"])
def test_a_classifier_is_exported_again_as_it_is(runs, tmp_path, model):
    recipe = read_recipe(model)
    write_weights(load_run(runs, recipe.run or recipe.name), recipe, tmp_path)
    assert same(load_file(tmp_path / "model.safetensors"), WEIGHTS / model / "model.safetensors")


@pytest.mark.parametrize("model", ["segmentation/tumour", "segmentation/acl", "segmentation/spine"])
def test_an_outline_network_comes_back_with_what_taught_it(runs, model):
    network = segment_start.load_network(model, runs)
    assert same(network.state_dict(), WEIGHTS / model / "model.safetensors")
    told = json.loads((runs / model.replace("/", "_") / "history.json").read_text())
    mri = json.loads((WEIGHTS / model / "config.json").read_text())["mri"]
    assert told["taught_by"] == {"images": mri["images"]["train"], "sources": mri["sources"]}
    assert [look["eval_dice"] for look in told["log"]] == [point["dice"] for point in mri["curve"]]


def test_volumes_and_discs_come_back(runs):
    volumes = load_network3d(read_recipe("segmentation/spine3d"), runs)
    assert same(volumes.state_dict(), WEIGHTS / "segmentation/spine3d/model.safetensors")
    assert same(discs.load_network("discs", runs).state_dict(), WEIGHTS / "discs/model.safetensors")


def test_the_compass_comes_back(runs):
    network = orientation.load_turner(runs, "orientation")
    assert same(network.state_dict(), WEIGHTS / "orientation/model.safetensors")


def test_autoencoders_come_back_with_their_curves_and_the_outline_beside(runs, tmp_path):
    mri = json.loads((WEIGHTS / "anomaly/config.json").read_text())["mri"]
    for name, file in ((mri["autoencoder"], "model"), (mri["variant"]["name"], "variant")):
        publish(load_autoencoder(runs, name), tmp_path / "half.safetensors")
        assert same(load_file(tmp_path / "half.safetensors"), WEIGHTS / f"anomaly/{file}.safetensors")
        assert json.loads(json.dumps(asdict(read_curve(runs, name)))) == mri["curves"][name]
    weight, bias = outline_head(runs, load_recipe(load_anomaly_recipe("anomaly").encoder).run)
    memory = load_file(WEIGHTS / "anomaly/memory.safetensors")
    assert torch.equal(torch.from_numpy(weight).half(), memory["outline.weight"])
    assert bias == float(memory["outline.bias"])


def test_a_recipe_goes_on_from_it(runs):
    recipe = load_recipe("shared_fifth", ["start=run:shared"])
    network, published = start_network(recipe, runs), load_run(runs, "shared")
    assert torch.equal(network.heads["brain"].weight, published.heads["brain"].weight)
    assert torch.equal(network.trunk.conv_head.weight, published.trunk.conv_head.weight)


def test_a_run_that_is_there_stays(runs):
    path = runs / "shared" / "best.safetensors"
    before = path.stat().st_mtime_ns
    assert not list(recover(WEIGHTS, runs))
    assert path.stat().st_mtime_ns == before
