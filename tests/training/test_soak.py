"""The soak kills a real run, goes on, and tells the same weights from other ones."""

import json

import keras
import numpy as np
import pytest
from PIL import Image

from training import soak_lib
from training.config import SoakConfig
from training.errors import UserError


@pytest.mark.slow
def test_a_run_that_is_killed_twice_ends_as_one_left_alone(tmp_path):
    random = np.random.default_rng(0)
    (tmp_path / "pictures").mkdir()
    for number in range(40):
        picture = Image.fromarray(random.integers(0, 255, (16, 16), dtype=np.uint8))
        picture.save(tmp_path / "pictures" / f"{number}.png")
    settings = (
        f"--recipe=digit_scenes --data=folder --folder='{tmp_path}/pictures' --image_size=16 "
        f"--cache_dir='{tmp_path}/cache' --channels=1 --grid=2,2 --gap=0 --jitter=1 "
        "--batch_size=4 --evaluate_every=50 --save_every_steps=3"
    )
    config = SoakConfig(pretrain=settings, minutes=0.45, kill_seconds=(9, 9), seed=1)
    report = soak_lib.run(config, tmp_path / "soak")
    assert len(report["kills"]) == 2
    assert report["same_weights"] and report["same_log"]
    assert report["steps"] == report["kills"][-1]["saved_step"] + 1
    assert len(report["peak_mebibytes"]) == 4 and min(report["peak_mebibytes"]) > 100
    assert 0 < report["seconds_a_save"] < 5
    assert json.loads((tmp_path / "soak" / "report.json").read_text()) == report
    assert "killed 2 times" in (tmp_path / "soak" / "report.md").read_text()
    assert (tmp_path / "soak" / "pictures" / "memory.png").stat().st_size > 5000


def test_weights_that_differ_in_one_bit_are_told_apart(tmp_path):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    paths = [tmp_path / f"{name}.weights.h5" for name in "abc"]
    model.save_weights(paths[0])
    model.save_weights(paths[1])
    kernel = model.layers[0].kernel.numpy()
    kernel[0, 0] = np.nextafter(kernel[0, 0], np.float32(9))
    model.layers[0].kernel.assign(kernel)
    model.save_weights(paths[2])
    assert soak_lib._same_weights(paths[0], paths[1])
    assert not soak_lib._same_weights(paths[0], paths[2])


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"minutes": 0.0}, "minutes"),
        ({"kill_seconds": (9, 3)}, "kill_seconds"),
        ({"seed": -1}, "seed"),
    ],
)
def test_numbers_out_of_range_are_refused_by_name(changes, name, tmp_path):
    with pytest.raises(UserError, match=f"--{name} must be"):
        soak_lib.run(SoakConfig(**changes), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_run_that_ends_by_itself_is_an_error_that_says_where_to_look(tmp_path):
    with pytest.raises(UserError, match=r"ended with status 1 .*output\.txt says why"):
        soak_lib.run(SoakConfig(pretrain="--no_such_flag", minutes=1.0), tmp_path)
    assert "no_such_flag" in (tmp_path / "output.txt").read_text()
