"""Model cards: what `python -m mri_models cards` writes is what lies in weights/, and measured tables outlive it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from places import ROOT

from mri_models.evaluation.tables import sections, update_readme
from mri_models.hub import CONFIG, model_folders
from mri_models.training.commands import rewrite_cards

FOLDERS = model_folders(ROOT / "weights")


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A copy of every card and config, without a tensor."""
    for name, folder in FOLDERS.items():
        (tmp_path / name).mkdir(parents=True)
        for file in (CONFIG, "README.md"):
            shutil.copy(folder / file, tmp_path / name / file)
    return tmp_path


def test_every_card_is_what_its_recipe_and_config_say(weights: Path):
    assert len(list(rewrite_cards(weights))) == len(FOLDERS)
    for name, folder in FOLDERS.items():
        assert (weights / name / "README.md").read_text() == (folder / "README.md").read_text(), (
            f"the card of {name} is stale: run `python -m mri_models cards`"
        )


def test_measured_tables_outlive_a_new_card(weights: Path):
    card = weights / "segmentation" / "acl" / "README.md"  # with two tables
    names = list(sections(card))
    assert len(names) == 2
    for name in names:
        update_readme(card, name, f"a table of {name}")
    list(rewrite_cards(weights))
    assert sections(card) == {name: f"a table of {name}" for name in names}
