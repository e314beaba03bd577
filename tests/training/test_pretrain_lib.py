"""How a run is cut into segments, resumed, and ended when its loss is no number."""

import dataclasses
import functools
import math
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.training import distributed_runs
from tests.training.test_recovery import assert_same_run
from training import callbacks, lock, loss_scale, material, models, pretrain_lib, records, workdirs
from training.config import PretrainConfig
from training.data import sets
from training.data.examples import Examples
from training.data.form import Form
from training.errors import UserError
from training.recipes import RECIPES


@pytest.mark.parametrize(
    ("start", "steps", "every", "expected"),
    [
        (0, 10, 5, [(0, 10, 5)]),
        (0, 10, 3, [(0, 9, 3), (9, 10, 1)]),
        (4, 10, 3, [(4, 6, 2), (6, 9, 3), (9, 10, 1)]),
        (4, 5, 3, [(4, 5, 1)]),
        (10, 10, 3, []),
        (6, 7, 3, [(6, 7, 1)]),
        (0, 2, 5, [(0, 2, 2)]),
    ],
)
def test_segments_begin_and_end_where_intervals_do(start, steps, every, expected):
    assert pretrain_lib.segments(start, steps, every) == expected
    for begin, end, length in expected:
        assert (end - begin) % length == 0


def test_a_new_workdir_takes_the_recipe_with_the_changes(tmp_path):
    config = workdirs.resume_config(tmp_path / "new", PretrainConfig(), {"steps": 7})
    assert config == dataclasses.replace(PretrainConfig(), steps=7)
    assert not (tmp_path / "new").exists()


def test_a_workdir_keeps_its_settings_and_may_be_given_more_steps(tmp_path):
    stored = PretrainConfig(steps=5, seed=9)
    records.write_config(tmp_path, stored)
    again = workdirs.resume_config(tmp_path, PretrainConfig(), {})
    assert again == stored
    more = workdirs.resume_config(tmp_path, PretrainConfig(), {"steps": 8, "seed": 9})
    assert more == dataclasses.replace(stored, steps=8)


def test_how_often_it_is_saved_may_change(tmp_path):
    stored = PretrainConfig(steps=5, save_every_steps=2)
    records.write_config(tmp_path, stored)
    changes = {"save_every_steps": 3, "save_every_minutes": 0.5, "keep_every_hours": 2.0}
    again = workdirs.resume_config(tmp_path, PretrainConfig(), changes)
    assert again == dataclasses.replace(stored, **changes)
    (tmp_path / "final.weights.h5").touch()
    records.write_json(tmp_path / "report.json", {"config": records.as_json(stored)})
    assert workdirs.finished(again, tmp_path) is not None
    assert workdirs.finished(dataclasses.replace(again, steps=6), tmp_path) is None


def test_a_run_killed_before_its_config_was_written_leaves_a_new_workdir(tmp_path):
    with lock.held(tmp_path):
        (tmp_path / "config.json.unfinished").write_text('{"con')
    assert workdirs.resume_config(tmp_path, PretrainConfig(), {}) == PretrainConfig()


def test_other_settings_are_refused_by_name(tmp_path):
    records.write_config(tmp_path, PretrainConfig(seed=9))
    message = r"--seed is 9 there, 1 now; --sigma is 1\.0 there, 2\.0 now"
    with pytest.raises(UserError, match=message):
        workdirs.resume_config(tmp_path, PretrainConfig(), {"seed": 1, "sigma": 2.0})


def test_what_would_take_a_grid_away_is_refused_even_if_it_is_the_default(tmp_path):
    stored = PretrainConfig(grid=(3, 3))
    records.write_config(tmp_path, stored)
    with pytest.raises(UserError, match=r"--grid is \(3, 3\) there, \(\) now"):
        workdirs.resume_config(tmp_path, stored, {"axis": stored.axis})


def test_what_does_nothing_is_refused_in_a_new_workdir_and_where_a_run_goes_on(tmp_path):
    records.write_config(tmp_path / "old", PretrainConfig(data="folder", folder="/old"))
    for workdir in ("old", "new"):
        with pytest.raises(UserError, match="--soundfont is for --data=notes"):
            folder = PretrainConfig(data="folder", folder="/old")
            workdirs.resume_config(tmp_path / workdir, folder, {"soundfont": "a.sf2"})


def test_what_says_where_data_lie_may_change(tmp_path):
    records.write_config(tmp_path, PretrainConfig(data="folder", folder="/old", seed=9))
    moved = {"folder": "/new", "cache_dir": "/cache", "data_service": "grpc://other:1"}
    config = workdirs.resume_config(tmp_path, PretrainConfig(), moved)
    assert (config.folder, config.seed) == ("/new", 9)
    (tmp_path / "final.weights.h5").touch()
    records.write_json(tmp_path / "report.json", {"config": records.as_json(config)})
    again = dataclasses.replace(config, folder="/newer")
    assert workdirs.finished(again, tmp_path) is not None
    assert workdirs.finished(dataclasses.replace(again, steps=9999), tmp_path) is None


@pytest.fixture
def eight_pictures(monkeypatch):
    pictures = np.random.default_rng(0).integers(0, 255, (8, 64, 64, 1)).astype("uint8")
    data_set = sets.DataSet(
        "image", lambda *_: Examples("image", pictures), "test", {}, (64, 64, 1)
    )
    monkeypatch.setitem(sets.SETS, "digit_scenes", data_set)


@pytest.mark.usefixtures("eight_pictures")
def test_steps_that_loss_scaling_skipped_are_not_taken_again_by_a_run_that_goes_on(
    tmp_path, monkeypatch
):
    scales, too_large = [], 2.0**15  # That of Keras, which some of the first steps overflow at.

    def optimizer(inner):
        scales.append(loss_scale.LossScaleOptimizer(inner, initial_scale=too_large))
        return scales[-1]

    monkeypatch.setattr(models, "LossScaleOptimizer", optimizer)
    config = dataclasses.replace(RECIPES["digit_scenes"](), precision="mixed_float16")
    config = dataclasses.replace(config, steps=6, batch_size=2, evaluate_every=3)
    pretrain_lib.run(config, tmp_path / "whole")
    pretrain_lib.run(dataclasses.replace(config, steps=3), tmp_path / "cut")
    pretrain_lib.run(config, tmp_path / "cut")
    halved = [round(math.log2(too_large / float(of.dynamic_scale))) for of in scales]
    assert all(0 < times < 3 for times in halved)  # Skipped, of the first three steps.
    assert len(records.read_log(tmp_path / "cut" / "log.csv")) == 2
    assert_same_run(tmp_path / "cut", tmp_path / "whole")


@pytest.mark.usefixtures("eight_pictures")
def test_steps_that_the_data_did_not_give_are_no_finished_run(tmp_path, monkeypatch):
    whole = material.batches_of
    monkeypatch.setattr(material, "batches_of", lambda *of: whole(*of).take(2))
    config = dataclasses.replace(RECIPES["digit_scenes"](), steps=3, batch_size=2, evaluate_every=3)
    with pytest.raises(UserError, match="The data ended at step 2 of 3"):
        pretrain_lib.run(config, tmp_path / "run")
    assert not (tmp_path / "run/report.json").exists()


@pytest.mark.parametrize("address", ["localhost:5050", "grpc://127.0.0.1:1", "grpc://127.0.0.1"])
def test_a_data_service_that_is_not_there_is_one_line(address, tmp_path):
    config = PretrainConfig(data_service=address)
    with pytest.raises(UserError, match=f"--data_service={address} cannot be reached"):
        pretrain_lib.run(config, tmp_path / "run")


def test_a_folder_of_other_things_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("…")
    with pytest.raises(UserError, match=r"holds files but no config\.json"):
        workdirs.resume_config(tmp_path, PretrainConfig(), {})


def test_a_damaged_config_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"config": ')
    with pytest.raises(UserError, match="cannot be read as JSON"):
        workdirs.resume_config(tmp_path, PretrainConfig(), {})


def test_fewer_steps_than_done_are_refused(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "step_00000009.weights.h5").touch()
    with pytest.raises(UserError, match="already at step 9, beyond --steps=5"):
        pretrain_lib.run(PretrainConfig(steps=5), tmp_path)


def test_a_loss_that_is_no_number_ends_the_run():
    callback = callbacks.RefuseNan()
    model = type("Model", (), {"optimizer": type("Optimizer", (), {"iterations": _Step()})})
    callback.set_model(model)
    callback.on_train_batch_end(0, {"loss": 1.0})
    with pytest.raises(UserError, match="The loss became nan at step 7"):
        callback.on_train_batch_end(0, {"loss": float("nan")})


@pytest.mark.parametrize("objective", ["perturbed", "contrastive"])
def test_a_network_none_of_whose_units_is_on_is_told_of_once(objective, capsys):
    config = PretrainConfig(objective=objective, hidden_units=8)
    model = models.make_model(config, Form("audio"))
    x = np.random.default_rng(0).uniform(0, 10, (4, *model._input_shape[1:])).astype("float32")
    callback = callbacks.WarnOfDeadNetwork(lambda: iter([x]))
    callback.set_model(model)
    layer = model.context_free_network.fully_connected
    layer.bias.assign([-1e4] * 7 + [1e4])
    callback.on_epoch_end(0)  # One unit is enough.
    assert not capsys.readouterr().err
    layer.bias.assign([-1e4] * 8)
    callback.on_epoch_end(0)
    assert "dead at step 0" in (said := capsys.readouterr().err) and "--warmup_steps=200" in said
    callback.on_epoch_end(1)
    assert not capsys.readouterr().err


@pytest.mark.slow
def test_a_run_tells_of_a_dead_network(tmp_path, monkeypatch, capsys):
    distributed_runs.use_small_set(functools.partial(monkeypatch.setitem, sets.SETS))
    made = models.make_model

    def dead(config, form):
        model = made(config, form)
        model.context_free_network.fully_connected.bias.assign([-1e4] * config.hidden_units)
        return model

    monkeypatch.setattr(models, "make_model", dead)
    pretrain_lib.run(distributed_runs.small_config(steps=4, evaluate_every=2), tmp_path / "run")
    assert capsys.readouterr().err.count("warning: the network is dead at step 2:") == 1


def test_weights_that_an_update_spoilt_are_not_saved():
    callback = callbacks.SaveCheckpoint(None)
    callback.set_model(type("Model", (), {"optimizer": type("Adam", (), {"iterations": _Step()})}))
    with pytest.raises(UserError, match="The loss became inf at step 7"):
        callback.on_epoch_end(0, {"loss": 1.0, "val_loss": float("inf")})


@pytest.mark.parametrize(
    "changes",
    [
        *({"seed": -1}, {"learning_rate": 0.0}, {"sigma": -1.0}, {"batch_size": 0}),
        *({"save_every_steps": -1}, {"save_every_minutes": -0.5}, {"keep_every_hours": -1.0}),
        *({"data_share": 0.0}, {"min_time": 1.5}, {"min_frequency": 0.0}, {"max_shift": -1}),
        *({"max_shift": 30}, {"max_gain_db": float("nan")}, {"min_snr_db": float("-inf")}),
    ],
)
def test_numbers_out_of_range_are_refused_by_name(changes, tmp_path):
    (name,) = changes
    with pytest.raises(UserError, match=f"--{name} must be"):
        pretrain_lib.run(dataclasses.replace(PretrainConfig(), **changes), tmp_path / "new")
    assert not (tmp_path / "new").exists()


class _Saved(list):
    """Notes at which step a checkpoint is asked for, in place of writing one."""

    def save(self, model, sums=()):
        self.append((int(model.optimizer.iterations.numpy()), bool(sums)))


def saved(monkeypatch, seconds_a_step, **settings):
    """Steps at which a fit of two intervals of 5 steps saves, and whether an interval had begun."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", jit_compile=False)
    clock = [0.0]
    monkeypatch.setattr(callbacks, "time", types.SimpleNamespace(monotonic=lambda: clock[0]))
    checkpoints = _Saved()
    x = np.ones((10, 1), "float32")

    def tick(batch, logs):
        clock[0] += seconds_a_step

    model.fit(
        tf.data.Dataset.from_tensor_slices((x, x)).batch(1),
        validation_data=(x, x),
        epochs=2,
        steps_per_epoch=5,
        shuffle=False,
        verbose=0,
        callbacks=[
            keras.callbacks.LambdaCallback(on_train_batch_end=tick),
            callbacks.SaveCheckpoint(checkpoints, **settings),
        ],
    )
    return checkpoints


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, []),
        ({"every_steps": 2}, [2, 4, 6, 8]),
        ({"every_minutes": 1.0}, [3, 8]),  # 20 s a step, from the last one on.
        ({"every_minutes": 2.0}, []),
        ({"every_steps": 4, "every_minutes": 1.0}, [3, 4, 8]),
    ],
)
def test_checkpoints_come_at_evaluations_and_as_often_as_asked(settings, expected, monkeypatch):
    at = saved(monkeypatch, seconds_a_step=20.0, **settings)
    assert [step for step, within in at if within] == expected
    assert [step for step, within in at if not within] == [5, 10]


class _Step:
    def numpy(self):
        return 7


def test_rows_after_the_last_checkpoint_are_dropped(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("epoch,loss,step\n0,3.5,4\n1,2.5,8\n2,1.5,12\n3,1")
    records.drop_rows_after(path, 8)
    assert path.read_text() == "epoch,loss,step\n0,3.5,4\n1,2.5,8\n"
    assert records.read_log(path)[-1] == {"epoch": 1.0, "loss": 2.5, "step": 8.0}
