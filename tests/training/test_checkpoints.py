"""Checkpoints come back whole: model, optimizer and step, or one clear error."""

import keras
import numpy as np
import pytest

from training.checkpoints import Checkpoints
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


def test_without_a_checkpoint_there_is_no_folder_and_step_0(tmp_path):
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    assert checkpoints.restore(make()) == 0 and not (tmp_path / "checkpoints").exists()


def test_a_crash_while_saving_leaves_the_last_good_one(tmp_path, monkeypatch):
    model, checkpoints = make(), Checkpoints(tmp_path)
    train(model, 1)
    checkpoints.save(model)
    train(model, 1)

    def half_written(path, overwrite):
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(model, "save_weights", half_written)
    with pytest.raises(OSError, match="No space left"):
        checkpoints.save(model)
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
