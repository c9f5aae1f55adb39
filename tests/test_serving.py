"""The app from what requirements.txt brings, without the packages that only training and tests install."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path

import pytest
from gradio_client import Client, handle_file
from places import EXAMPLES, ROOT
from serving_site import link_serving, serving_python

from mri_models.evaluation import visitors


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    link_serving(folder)
    return folder


@pytest.fixture(scope="module")
def server(site) -> Iterator[str]:
    with chdir(ROOT), visitors.server(*serving_python(site)) as (url, _, _):
        yield url


@pytest.mark.parametrize(("package", "there"), [("torch", True), ("cv2", True), ("pytest", False), ("sklearn", False)])
def test_the_site_holds_what_is_served(site, package, there):
    python, env = serving_python(site)
    done = subprocess.run([*python, "-c", f"import {package}"], env=env, capture_output=True)
    assert (done.returncode == 0) == there


def test_every_endpoint_answers(server):
    client = Client(server, verbose=False)
    image = handle_file(EXAMPLES / "01_brain_t1_axial.png")
    assert client.predict(image, api_name="/analyze")["status"] == "predicted"
    reports = client.predict([image, handle_file(EXAMPLES / "15_photo.jpg")], api_name="/analyze_batch")
    assert [report["status"] for report in reports] == ["predicted", "rejected"]
    for method in ("grad_cam", "integrated_gradients", "shap"):
        overlay, report = client.predict(image, method, 0.6, api_name="/explain")
        assert Path(overlay).stat().st_size > 0
        assert report["explanation"]["method"] == method
    assert client.predict(image, language="de", api_name="/report")["pdf_base64"]
    volume = client.predict([handle_file(EXAMPLES / "volumes/21_brain_t1.nii.gz")], api_name="/analyze_volume")
    assert volume["slices"]
    assert client.predict(api_name="/drift")["state"]


def test_a_spine_is_outlined_and_graded(server):
    spine = handle_file(EXAMPLES / "08_simulated_spine.png")
    report = Client(server, verbose=False).predict(spine, api_name="/analyze")
    assert report["body_part"]["label"] == "spine"
