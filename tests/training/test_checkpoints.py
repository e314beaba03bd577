"""Checkpoints come back whole: model, optimizer and step, or one clear error."""

import errno
import os
import tempfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.checkpoint import checkpoint_management

from training import models
from training.checkpoints import Checkpoints
from training.config import OBJECTIVES, PretrainConfig
from training.data.form import Form
from training.errors import UserError


def make(units=3):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(units)])
    model.compile(keras.optimizers.Adam(0.1), "mse", jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    return model


def train(model, steps):
    x = np.ones((2, 4), "float32")
    model.fit(x, np.ones((2, model.output_shape[-1])), epochs=steps, verbose=0)


def test_model_optimizer_and_step_come_back(tmp_path):
    model = make()
    train(model, 5)
    Checkpoints(tmp_path).save(model)
    restored = make()
    assert Checkpoints(tmp_path).restore(restored) == 5
    pairs = zip(
        [*model.variables, *model.optimizer.variables],
        [*restored.variables, *restored.optimizer.variables],
        strict=True,
    )
    for saved, loaded in pairs:
        np.testing.assert_array_equal(saved, loaded)


def test_the_newest_are_kept(tmp_path):
    model, checkpoints = make(), Checkpoints(tmp_path, keep=2)
    for _ in range(4):
        train(model, 1)
        checkpoints.save(model)
    assert checkpoints.steps() == [3, 4]


@pytest.mark.parametrize("resumed", [False, True])
@pytest.mark.parametrize("hours", [0.0, 1.5, 4.0])
def test_one_is_kept_every_so_often_as_by_tensorflow(hours, resumed, tmp_path, monkeypatch):
    """Some 40 minutes lie between saves, and a night in the middle."""
    now = 1e9
    monkeypatch.setattr(checkpoint_management.time, "time", lambda: now)

    def peer():
        return tf.train.CheckpointManager(
            tf.train.Checkpoint(step=tf.Variable(0)),
            str(tmp_path / "peer"),
            max_to_keep=2,
            keep_checkpoint_every_n_hours=hours or None,
        )

    def ours():
        return Checkpoints(tmp_path / "ours", keep=2, keep_every_hours=hours)

    model, checkpoints, expected = make(), ours(), peer()
    for step in range(1, 25):
        model.optimizer.iterations.assign(step)
        checkpoints.save(model)
        expected.save(step)
        os.utime(checkpoints.path(step), (now, now))
        if step == 1 and hours:
            os.utime(checkpoints.kept, (now, now))
        now += 40 * 60 + 60 * (step % 3) + (8 * 3600 if step == 12 else 0)
        if resumed and step % 5 == 0:
            checkpoints, expected = ours(), peer()
    kept = sorted(int(path.name[5:13]) for path in checkpoints.kept.glob("*"))
    files = (tmp_path / "peer").glob("ckpt-*.index")
    assert kept + checkpoints.steps() == sorted(int(path.stem[5:]) for path in files)
    assert checkpoints.steps() == [23, 24] and bool(kept) == bool(hours)


def test_what_was_kept_stays_when_it_is_no_longer_asked_for_and_can_be_taken_up(tmp_path):
    model, checkpoints = make(), Checkpoints(tmp_path / "ours", keep=1, keep_every_hours=1e-9)
    for _ in range(3):
        train(model, 1)
        checkpoints.save(model)
        checkpoints.keep_every_hours = 0.0 if checkpoints.saves == 2 else 1e-9
    (kept,) = checkpoints.kept.iterdir()
    assert kept.name == "step_00000001.weights.h5" and checkpoints.steps() == [3]
    checkpoints.path(3).unlink()
    kept.rename(checkpoints.folder / kept.name)
    assert checkpoints.restore(make()) == 1


def test_without_a_checkpoint_there_is_no_folder_and_step_0(tmp_path):
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    assert checkpoints.restore(make()) == 0 and not (tmp_path / "checkpoints").exists()


def test_a_crash_while_saving_leaves_the_last_good_one(tmp_path, monkeypatch):
    model, checkpoints = make(), Checkpoints(tmp_path)
    train(model, 1)
    checkpoints.save(model)
    train(model, 1)

    def no_space(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left") as raised:
        patch.setattr(os, "fsync", no_space)
        checkpoints.save(model)
    assert "step_00000002.weights.h5 could not be written" in str(raised.value)
    assert [path.name for path in tmp_path.iterdir()] == ["step_00000001.weights.h5"]
    assert Checkpoints(tmp_path).restore(make()) == 1


def test_a_truncated_checkpoint_is_one_clear_error_and_stays(tmp_path):
    model, checkpoints = make(), Checkpoints(tmp_path)
    train(model, 1)
    checkpoints.save(model)
    path = checkpoints.path(1)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(UserError, match=r"step_00000001\.weights\.h5 cannot be restored"):
        checkpoints.restore(make())
    assert path.exists()


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    model = make(units=5)
    train(model, 1)
    Checkpoints(tmp_path).save(model)
    with pytest.raises(UserError, match="damaged or from another model"):
        Checkpoints(tmp_path).restore(make(units=3))


def test_one_byte_that_differs_takes_the_one_before_and_keeps_the_damaged(tmp_path, capsys):
    model, checkpoints = make(), Checkpoints(tmp_path)
    for _ in range(2):
        train(model, 1)
        checkpoints.save(model)
    path = checkpoints.path(2)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert checkpoints.restore(make()) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert str(path) in line and "is damaged" in line
    assert path.with_name(path.name + ".damaged").read_bytes() == content
    assert checkpoints.steps() == [1]


def test_sums_of_an_interval_come_back_in_their_order(tmp_path):
    model, checkpoints = make(), Checkpoints(tmp_path)
    train(model, 1)
    sums = [keras.Variable(float(number)) for number in range(12)]
    checkpoints.save(model, sums)
    assert [float(value) for value in checkpoints.sums(1)] == list(range(12))
    assert checkpoints.restore(make()) == 1


def test_what_is_no_number_is_not_saved(tmp_path):
    model, checkpoints = make(), Checkpoints(tmp_path / "checkpoints")
    train(model, 1)
    model.optimizer.variables[-1].assign(np.inf * np.ones(3))  # The next update would be nan.
    with pytest.raises(UserError, match="nan or infinite at step 1"):
        checkpoints.save(model)
    assert not checkpoints.folder.exists()


def test_a_folder_that_is_read_only_is_one_line_and_keeps_what_it_has():
    model = make()
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Checkpoints(folder)
        train(model, 1)
        checkpoints.save(model)
        train(model, 1)
        os.chmod(folder, 0o555)
        user = os.geteuid()
        try:
            if user == 0:  # Who may write anywhere.
                os.seteuid(65534)
            with pytest.raises(OSError, match=r"could not be written \(Permission"):
                checkpoints.save(model)
        finally:
            os.seteuid(user)
            os.chmod(folder, 0o755)
        assert checkpoints.restore(make()) == 1


def generators_of(model):
    """All that draws: generators of the layers and of the loss."""
    found = [getattr(part, "seed_generator", None) for part in [*walk(model), model.loss]]
    return [generator for generator in found if generator is not None]


def walk(layer):
    return [layer, *(inner for own in layer._layers for inner in walk(own))]


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_generator_of_seeds_comes_back(objective, tmp_path):
    config = PretrainConfig(
        objective=objective, backbone="image", grid=(2, 2), jitter=2, num_permutations=5
    )
    form = Form("image", (16, 16, 3))
    model = models.make_model(config, form)
    for number, generator in enumerate(generators_of(model)):
        generator.state.assign([7, 11 + number])
    Checkpoints(tmp_path).save(model)
    restored = models.make_model(config, form)
    Checkpoints(tmp_path).restore(restored)
    states = [generator.state.numpy().tolist() for generator in generators_of(restored)]
    assert states == [[7, 11 + number] for number in range(len(states))]
    # Patches move; all but views are shuffled, in training and in evaluation; one loss samples.
    assert len(states) == {"contrastive": 1, "perturbed_samples": 4}.get(objective, 3)
