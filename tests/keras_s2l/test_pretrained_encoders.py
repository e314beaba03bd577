"""The encoders that come with the package are whole, small, and load from a clone and a wheel."""

import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest

import keras_s2l
from keras_s2l.pretrained_encoders import names

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
LARGEST = 8 * 2**20


def folder_of(name):
    return pathlib.Path(keras_s2l.pretrained(name))


def files(folder):
    return {str(p.relative_to(folder)): p for p in folder.rglob("*") if p.is_file()}


def inputs_of(name, batch=2):
    expected = json.loads((folder_of(name) / "metadata.json").read_text())["input"]
    random = np.random.default_rng(0)
    if expected["kind"] == "audio":
        return random.uniform(-1, 1, (batch, expected["window_samples"])).astype("float32")
    return random.uniform(0, 1, (batch, *expected["shape"])).astype("float32")


def test_there_are_some_and_others_are_refused_with_their_names():
    assert "notes-frequency-10" in names()
    with pytest.raises(ValueError, match=r"`name` must be .*'notes-frequency-10'.*Received: 'nts'"):
        keras_s2l.pretrained("nts")


@pytest.mark.parametrize("name", names())
def test_each_is_small_and_as_its_checksums_say(name):
    found = files(folder_of(name))
    assert sum(path.stat().st_size for path in found.values()) <= LARGEST
    sums = dict(line.split("  ")[::-1] for line in found["SHA256SUMS"].read_text().splitlines())
    assert set(sums) == set(found) - {"SHA256SUMS"}
    for path, expected in sums.items():
        assert hashlib.sha256(found[path].read_bytes()).hexdigest() == expected


@pytest.mark.parametrize("name", names())
def test_each_has_a_card_and_names_no_folder_of_the_machine_that_made_it(name):
    found = files(folder_of(name))
    card = found["MODEL_CARD.md"].read_text()
    assert "What it is not good for" in card and "steps of" in card
    worth = card.split("## What it was measured to be worth")[1].split("\n## ")[0]
    rows = [line for line in worth.splitlines() if line.startswith("|")]
    page = (ROOT / "docs" / "pretrained.md").read_text(encoding="utf-8")
    assert len(rows) >= 7 and "\n".join(rows) in page
    assert json.loads(found["metadata.json"].read_text())["pretrained"]["config"]["folder"] == ""
    for path in found.values():
        assert not re.search(rb"site-packages|/(home|root|tmp|work)/", path.read_bytes()), path


@pytest.mark.slow
@pytest.mark.parametrize("name", names())
def test_each_gives_the_same_as_a_layer_and_as_a_keras_model(name):
    handle, x = keras_s2l.pretrained(name), inputs_of(name)
    metadata = json.loads((pathlib.Path(handle) / "metadata.json").read_text())
    embeddings = np.asarray(keras_s2l.HubEncoder(handle, trainable=False)(x))
    assert embeddings.shape == (2, metadata["dimensions"])
    assert embeddings.std() > 1e-3  # They tell inputs apart.
    np.testing.assert_allclose(keras_s2l.load_encoder(handle)(x), embeddings, atol=1e-4)


@pytest.mark.slow
def test_they_come_with_a_wheel(tmp_path):
    source = tmp_path / "source"  # A build leaves files beside what it builds.
    shutil.copytree(ROOT / "keras_s2l", source / "keras_s2l")
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    command += ["--no-build-isolation", f"--wheel-dir={tmp_path}", str(source)]
    subprocess.run(command, check=True)
    (wheel,) = tmp_path.glob("keras_s2l-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    code = (
        "import keras_s2l, numpy; from keras_s2l.pretrained_encoders import names; "
        "encoder = keras_s2l.HubEncoder(keras_s2l.pretrained('notes-frequency-10')); "
        "encoder(numpy.zeros((1, 16000), 'float32')); print(names(), keras_s2l.__file__)"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    output = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
        check=True,
    ).stdout
    assert str(names()) in output and str(tmp_path / "site") in output
