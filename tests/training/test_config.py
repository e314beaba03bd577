"""What the user sets is taken, as far as it does something, and said in the help."""

import dataclasses
import os
import subprocess
import sys

import pytest

from training import data, flags
from training.config import PretrainConfig, TransferConfig, changed
from training.data import sets
from training.errors import UserError
from training.recipes import RECIPES


@pytest.mark.parametrize(
    ("config", "changes", "message"),
    [
        (
            {},
            {"temperature": 0.2},
            "--temperature is for --objective=contrastive. Received: .*pert",
        ),
        (
            {"objective": "contrastive"},
            {"sigma": 2.0},
            "--sigma is for --objective=perturbed or perturbed_samples",
        ),
        ({}, {"objective": "soft_rank", "num_permutations": 9}, "is for --objective=cross_entropy"),
        ({}, {"image_size": 32}, "--image_size is for --data=folder or ucf101"),
        ({"data": "cifar10"}, {"soundfont": "x.sf2"}, "--soundfont is for --data=notes"),
        ({}, {"folder": "/mine"}, "--folder is for --data=folder or nsynth"),
        ({}, {"grid": (2, 2), "num_patches": 4}, "--grid takes the place of --axis and --num_patc"),
    ],
)
def test_what_would_do_nothing_is_refused(config, changes, message):
    with pytest.raises(UserError, match=message):
        changed(dataclasses.replace(PretrainConfig(), **config), changes)


def test_what_does_something_is_taken():
    assert changed(PretrainConfig(), {"sigma": 2.0}).sigma == 2.0
    both = changed(PretrainConfig(), {"objective": "contrastive", "temperature": 0.2})
    assert both.temperature == 0.2
    assert changed(TransferConfig(), {"head_units": 9}).head_units == 9
    with pytest.raises(UserError, match="--head_units is for --head=mlp"):
        changed(TransferConfig(), {"head_units": 9, "head": "linear"})


def test_an_axis_takes_the_place_of_the_grid_of_a_recipe():
    config = changed(RECIPES["digit_scenes"](), {"axis": "height", "num_patches": 4})
    assert config.grid == () and config.total_patches == 4
    assert changed(RECIPES["moving_digits"](), {"grid": (2, 2)}).total_patches == 4


def test_the_names_of_the_data_sets_are_those_there_are():
    assert set(sets.SETS) == set(data.MADE_HERE) and set(sets.PUBLISHED) == set(data.PUBLISHED)
    for name in data.PUBLISHED_SOUNDS:
        assert sets.PUBLISHED[name].kind == "audio"
    for name in data.PUBLISHED_PICTURES:
        assert sets.PUBLISHED[name].kind in ("image", "video")


def test_the_help_says_what_each_recipe_does_and_sets():
    fields = {field.name: field for field in dataclasses.fields(PretrainConfig)}
    steps = flags._defaults(fields["steps"], RECIPES)
    assert steps.startswith(" (default: 3000; moving_digits: 2000; ")
    parts = flags._defaults(fields["min_frequency"], RECIPES)
    assert parts == " (default: 0.7; notes_time, notes_grid, nsynth_paper: 1.0)"
    assert PretrainConfig() == RECIPES["notes"]()
    assert "; notes_grid: Nine patches of each note" in flags._defaults(fields["recipe"], RECIPES)
    assert flags._defaults(fields["folder"], RECIPES) == ""


def test_paths_hold_wherever_one_goes_on(tmp_path):
    code = """
from absl import app
from training import flags
from training.config import PretrainConfig
flags.define(PretrainConfig)
flags.folder("workdir", "of the run")
app.run(lambda argv: print((flags.given(PretrainConfig), flags.path("workdir"))))
"""
    command = [sys.executable, "-c", code, "--folder=here", "--data_dir=gs://bucket", "--steps=3"]
    command += ["--soundfont=", "--workdir=~/run"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    said = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    expected = {"folder": str(tmp_path / "here"), "data_dir": "gs://bucket", "steps": 3}
    expected["soundfont"] = ""  # Not the folder it is called in.
    assert eval(said.stdout) == (expected, os.path.expanduser("~/run")), said.stderr
    command[-1] = "--workdir=gs://bucket/run"
    said = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert said.returncode == 1 and "must be a folder of this machine" in said.stderr
