"""Nothing that runs code while it loads: no call of ours unpickles, and weights/ holds tensors, JSON and cards only."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from places import ROOT
from safetensors import safe_open

from mri_models.hub import CONFIG, WEIGHTS, beside, model_folders

SOURCES = [ROOT / "app.py", *sorted((ROOT / "mri_models").rglob("*.py"))]
# pck.py reads a published data set through an Unpickler that admits numpy arrays and builds them itself.
READERS = {ROOT / "mri_models" / "training" / "pck.py"}
MODULES = {"cloudpickle", "dill", "jsonpickle", "marshal", "pickle", "shelve", "skops"}
HARMLESS = {"pickle.UnpicklingError", "pickle.PicklingError", "pickle.PickleError"}
CALLS = {
    "builtins.eval",
    "builtins.exec",
    "joblib.load",
    "pandas.read_pickle",
    "torch.hub.load",
    "torch.jit.load",
    "torch.serialization.load",
    "yaml.full_load",
    "yaml.load",
    "yaml.load_all",
    "yaml.unsafe_load",
}
FLAGS = {"allow_pickle": True, "trust_remote_code": True, "use_safetensors": False, "weights_only": False}


def unsafe(source: str) -> list[str]:
    """What in a module may run code while it loads a file: dotted names, as imported, and flags."""
    tree = ast.parse(source)
    names = {"eval": "builtins.eval", "exec": "builtins.exec"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:  # `import a.b` names a, `import a.b as c` names a.b
                top = alias.name.split(".")[0]
                names[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return list(_found(tree, names))


def _found(tree: ast.AST, names: dict[str, str]) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute):
            name = _dotted(node, names)
            if name in CALLS or (name.split(".")[0] in MODULES and "." in name and name not in HARMLESS):
                yield name
        elif isinstance(node, ast.Call):
            given = {word.arg: word.value for word in node.keywords}
            yield from (flag for flag in FLAGS if flag in given and not _is(given[flag], not FLAGS[flag]))
            if _dotted(node.func, names) == "torch.load" and "weights_only" not in given:
                yield "torch.load without weights_only=True"


def _dotted(node: ast.expr, names: dict[str, str]) -> str:
    """`np.linalg.norm` -> "numpy.linalg.norm"; "" for anything that does not begin with an imported name."""
    if isinstance(node, ast.Name):
        return names.get(node.id, "")
    if isinstance(node, ast.Attribute) and (start := _dotted(node.value, names)):
        return f"{start}.{node.attr}"
    return ""


def _is(node: ast.expr, value: bool) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def test_no_module_loads_what_can_run_code():
    assert len(SOURCES) > 100
    found = {str(path): unsafe(path.read_text("utf-8")) for path in SOURCES if path not in READERS}
    assert {path: names for path, names in found.items() if names} == {}


def test_the_one_reader_of_pickles_unpickles_through_its_own_admission_only():
    (path,) = READERS
    source = path.read_text("utf-8")
    assert unsafe(source) == ["pickle.Unpickler"]
    reader = next(node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ClassDef) and node.bases[:1])
    assert ast.unparse(reader.bases[0]) == "pickle.Unpickler"
    assert "find_class" in {node.name for node in reader.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle\npickle.load(file)",
        "import pickle as p\nread = p.loads",
        "from pickle import Unpickler\nUnpickler(file).load()",
        "from pickle import loads as read\nread(b'')",
        "import torch\ntorch.load(path)",
        "from torch import load\nload(path, map_location='cpu')",
        "import torch\ntorch.load(path, weights_only=False)",
        "import torch\ntorch.load(path, weights_only=flag)",
        "import torch.hub\ntorch.hub.load('owner/repo', 'model')",
        "import numpy as np\nnp.load(path, allow_pickle=True)",
        "import numpy as np\nnp.load(path, allow_pickle=flag)",
        "import pandas as pd\npd.read_pickle(path)",
        "from joblib import load\nload(path)",
        "import yaml\nyaml.load(text, Loader=yaml.Loader)",
        "import shelve\nshelve.open(path)",
        "import marshal\nmarshal.loads(b'')",
        "AutoModel.from_pretrained(folder, trust_remote_code=True)",
        "AutoModel.from_pretrained(folder, use_safetensors=False)",
        "eval(text)",
        "def load(text):\n    exec(text)",
    ],
)
def test_the_search_finds(source: str):
    assert unsafe(source)


@pytest.mark.parametrize(
    "source",
    [
        "import torch\ntorch.load(path, weights_only=True)",
        "import numpy as np\nnp.load(path, allow_pickle=False)\nnp.load(path)",
        "import yaml\nyaml.safe_load(text)",
        "from pickle import UnpicklingError\ntry:\n    pipe.recv()\nexcept UnpicklingError:\n    pass",
        "network.eval()\nfrom safetensors.torch import load_file\nload_file(path)",
        "import json\njson.load(file)\n'pickle.load(file)'  # torch.load(file)",
    ],
)
def test_the_search_leaves_alone(source: str):
    assert unsafe(source) == []


def test_weights_hold_tensors_json_and_cards_only():
    files = [path for path in (ROOT / "weights").rglob("*") if not path.is_dir()]
    assert {path.suffix for path in files} == {".json", ".md", ".safetensors"}
    for path in files:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="numpy") as tensors:
                assert list(tensors.keys()), path
        elif path.suffix == ".json":
            json.loads(path.read_text("utf-8"))


@pytest.mark.parametrize("folder", sorted(model_folders(ROOT / "weights").values()), ids=lambda path: path.name)
def test_a_model_folder_is_config_weights_and_card(folder: Path):
    names = {path.name for path in folder.iterdir()}
    assert {CONFIG, WEIGHTS, "README.md"} <= names
    assert {name for name in names if not name.endswith(".safetensors")} == {CONFIG, "README.md"}
    config = json.loads((folder / CONFIG).read_text("utf-8"))
    assert "auto_map" not in config  # transformers' way to ask for code
    assert config["mri"].get("beside", {}) == beside(folder)
