"""Each recipe runs from its data to a transfer report, on few and small examples."""

import dataclasses

import numpy as np
import pytest
import soundfile
from PIL import Image

from export import export_lib
from training import config as config_module
from training import pretrain_lib, transfer_lib
from training.config import OBJECTIVES, TransferConfig
from training.data import digit_scenes, moving_digits, sets, stream
from training.data.examples import Examples
from training.errors import UserError
from training.recipes import RECIPES

pytestmark = pytest.mark.slow


def tones(config, split):
    """Decaying tones of some pitches, labelled like notes."""
    del config
    random = np.random.default_rng(len(split))
    pitches = random.integers(40, 90, 40)
    times = np.arange(16000) / 16000
    waves = np.sin(2 * np.pi * 440 * 2 ** ((pitches[:, None] - 69) / 12) * times)
    audio = (20000 * waves * np.exp(-4 * times)).astype("int16")
    labels = {"family": pitches % 3, "instrument": pitches % 5, "pitch": pitches}
    return Examples("audio", audio, labels, sample_rate=16000)


TINY = {
    "notes": tones,
    "moving_digits": lambda config, split: moving_digits.load(split, 40),
    "digit_scenes": lambda config, split: digit_scenes.load(split, 40),
}


@pytest.fixture(autouse=True)
def tiny_sets(monkeypatch):
    for name, load in TINY.items():
        monkeypatch.setitem(sets.SETS, name, dataclasses.replace(sets.SETS[name], load=load))


def few_steps(recipe, **changes):
    return dataclasses.replace(
        RECIPES[recipe](), steps=2, batch_size=4, evaluate_every=1, hidden_units=8, **changes
    )


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_runs_from_data_to_a_transfer_report(recipe, tmp_path):
    config = few_steps(recipe)
    assert config.recipe == recipe
    report = pretrain_lib.run(config, tmp_path / "run")
    assert report["examples"] == 40
    assert 0 <= report["held_out"]["patch_accuracy"] <= 1
    assert (tmp_path / "run/pictures/reordered.png").stat().st_size > 5000
    export_lib.run(tmp_path / "run", tmp_path / "export")
    transfer = TransferConfig(
        data=config.data,
        encoder=str(tmp_path / "export"),
        num_labels=(30,),
        seeds=2,
        head_steps=2,
    )
    tasks = transfer_lib.run(transfer, tmp_path / "transfer")["tasks"]
    assert set(tasks) == set(sets.SETS[config.data].tasks)
    for rows in tasks.values():
        for encoder in transfer_lib.ENCODERS:
            assert np.isfinite(rows[encoder]["30"]["median"])


def pictures(folder):
    random = np.random.default_rng(0)
    for number in range(40):
        (folder / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 255, (30, 40, 3)).astype("uint8")
        Image.fromarray(pixels).save(folder / "ab"[number % 2] / f"{number}.png")


def sounds(folder):
    folder.mkdir()
    random = np.random.default_rng(0)
    rows = ["path,label,group"]
    for number in range(40):
        samples = 0.1 * random.standard_normal((9000 + 300 * number, 2))
        soundfile.write(folder / f"{number}.flac", samples, 8000)
        rows.append(f"{number}.flac,{'xy'[number % 2]},{number // 2}")
    (folder / "labels.csv").write_text("\n".join(rows))


@pytest.mark.parametrize("make, recipe", [(pictures, "digit_scenes"), (sounds, "notes")])
def test_a_folder_of_ones_own_files_does_the_same(make, recipe, tmp_path):
    make(tmp_path / "mine")
    where = {"folder": str(tmp_path / "mine"), "cache_dir": str(tmp_path / "cache")}
    # Not what encoders of other sizes would be given unasked.
    config = few_steps(recipe, data="folder", image_size=32, channels=1, remainder="crop", **where)
    pretrain_lib.run(config, tmp_path / "run")
    export_lib.run(tmp_path / "run", tmp_path / "export")
    transfer = TransferConfig(
        data="folder",
        encoder=str(tmp_path / "export"),
        num_labels=(20,),
        seeds=1,
        head_steps=2,
        **where,
    )
    tasks = transfer_lib.run(transfer, tmp_path / "transfer")["tasks"]
    assert list(tasks) == ["label"]
    assert 0 <= tasks["label"]["pretrained"]["20"]["median"] <= 1


def test_a_folder_without_labels_is_only_for_pre_training(tmp_path):
    pictures(tmp_path / "mine")
    for path in list((tmp_path / "mine").rglob("*.png")):
        path.rename(tmp_path / "mine" / path.name)
    where = {"folder": str(tmp_path / "mine"), "cache_dir": str(tmp_path / "cache")}
    config = few_steps("digit_scenes", data="folder", image_size=32, remainder="crop", **where)
    pretrain_lib.run(config, tmp_path / "run")
    export_lib.run(tmp_path / "run", tmp_path / "export")
    transfer = TransferConfig(data="folder", encoder=str(tmp_path / "export"), **where)
    with pytest.raises(UserError, match=r"is not labelled: put the files of each class"):
        transfer_lib.run(transfer, tmp_path / "transfer")


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_trains_the_same_network(objective, tmp_path):
    config = few_steps("digit_scenes", objective=objective, num_permutations=20)
    report = pretrain_lib.run(config, tmp_path)
    assert np.isfinite(report["held_out"]["loss"])
    assert 0 <= report["held_out"]["patch_accuracy"] <= 1


@pytest.mark.parametrize("objective", ["perturbed_samples", "cross_entropy"])
def test_a_run_that_is_taken_up_again_ends_as_one_in_one_go(objective, tmp_path):
    config = few_steps("digit_scenes", objective=objective, num_permutations=20)
    config = dataclasses.replace(config, steps=4, evaluate_every=2)
    whole = pretrain_lib.run(config, tmp_path / "whole")
    pretrain_lib.run(dataclasses.replace(config, steps=2), tmp_path / "parts")
    parts = pretrain_lib.run(config, tmp_path / "parts")
    assert parts["held_out"] == whole["held_out"]


def test_chance_is_that_of_the_best_constant_guess():
    config = few_steps("digit_scenes", objective="cross_entropy", num_permutations=3)
    permutations = pretrain_lib.orders_of(config).permutations
    best = max(np.mean([row == guess for row in permutations]) for guess in permutations)
    assert pretrain_lib.chance(config) == pytest.approx(best) and best > 0.3
    assert pretrain_lib.chance(few_steps("digit_scenes")) == 1 / 9


def test_pictures_are_not_shifted_or_amplified_like_sounds():
    config = few_steps("notes", data="digit_scenes")
    assert config.max_shift and config.max_gain_db
    assert pretrain_lib.augmentation(config) == stream.Augmentation()
    assert pretrain_lib.augmentation(few_steps("notes")).max_shift == config.max_shift


def test_a_workdir_among_the_examples_is_refused(tmp_path):
    pictures(tmp_path)
    config = few_steps("digit_scenes", data="folder", folder=str(tmp_path), remainder="crop")
    with pytest.raises(UserError, match=r"lies within --folder"):
        pretrain_lib.run(config, tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grid": (1, 1)}, "2 patches or more"),
        ({"objective": "cross_entropy", "num_permutations": 1}, "--num_permutations must be at"),
        ({"objective": "cross_entropy", "num_permutations": 10**6}, "must be at most 9! = 362880"),
        ({"grid": (3, 0)}, "--grid must be numbers above 0"),
        ({"grid": (5, 3), "gap": 1}, "does not divide"),
    ],
)
def test_settings_that_make_no_task_are_refused_before_anything_is_written(
    changes, message, tmp_path
):
    with pytest.raises(UserError, match=message):
        pretrain_lib.run(few_steps("digit_scenes", **changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("backbone", config_module.BACKBONES)
def test_every_backbone_that_fits_trains(backbone, tmp_path):
    recipe = "moving_digits" if backbone == "clip" else "notes"
    report = pretrain_lib.run(few_steps(recipe, backbone=backbone), tmp_path)
    assert np.isfinite(report["held_out"]["loss"])


def test_an_encoder_of_sounds_is_not_given_pictures(tmp_path):
    pretrain_lib.run(few_steps("digit_scenes"), tmp_path / "run")
    export_lib.run(tmp_path / "run", tmp_path / "export")
    transfer = TransferConfig(data="notes", encoder=str(tmp_path / "export"), num_labels=(30,))
    with pytest.raises(UserError, match=r"takes image, --data=notes is audio"):
        transfer_lib.run(transfer, tmp_path / "transfer")
