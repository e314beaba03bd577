"""What is trained from labels ends as it told held-out ones best."""

import dataclasses

import keras
import numpy as np
import pytest

from training import early_stopping, retrained
from training.config import TransferConfig
from training.end_to_end import EndToEnd
from training.errors import UserError
from training.heads import Answers, Head

# The decay is meant for thousands of features, and would keep these few from being learnt by heart.
CONFIG = TransferConfig(
    head_steps=200, head_units=64, head_weight_decay=0.0, learning_rate=3e-3, early_stopping=True
)


@pytest.mark.parametrize("at_once", [1, 10])
@pytest.mark.parametrize(("best", "expected"), [(32, 30), (44, 45), (3, 10), (99, 45)])
def test_it_ends_with_the_best_of_the_weights_that_were_looked_at(best, expected, at_once):
    """The mean of the outputs as the loss: each step takes 1 off the one weight."""
    kernel = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")
    model = keras.Sequential([keras.Input((1,)), kernel])
    model.compile("sgd", lambda y, outputs: outputs, steps_per_execution=at_once)
    model.optimizer.learning_rate = 1.0
    keep = early_stopping.KeepBest(lambda: abs(float(kernel.kernel[0, 0]) + best), steps=45)
    ones = np.ones((45, 1), "float32")
    model.fit(ones, ones, batch_size=1, verbose=0, callbacks=[keep])
    assert float(kernel.kernel[0, 0]) == -expected


def test_a_fifth_is_held_out_by_the_seed():
    kept, held = early_stopping.parts(50, 0)
    assert len(held) == 10 and sorted([*kept, *held]) == list(range(50))
    np.testing.assert_array_equal(early_stopping.parts(50, 0)[1], held)
    assert list(early_stopping.parts(50, 1)[1]) != list(held)
    assert [len(part) for part in early_stopping.parts(5, 0)] == [4, 1]


@pytest.mark.slow
@pytest.mark.parametrize("answers", [Answers(2), Answers(2, multi_label=True), Answers(None)])
def test_labels_that_tell_nothing_are_not_learnt_by_heart(answers):
    random = np.random.default_rng(0)
    x = random.normal(size=(60, 20)).astype("float32")
    labels = random.integers(0, 2, (60, 2) if answers.multi_label else 60)
    labels = labels.astype("float32") if answers.num_classes is None else labels
    kept, held = early_stopping.parts(60, CONFIG.seed)
    scaled = (x - x.mean(axis=0)) / x.std(axis=0)

    def loss_after(config, chosen):
        head = Head(20, answers, config)
        head.score((x[chosen], labels[chosen]), (x, labels))
        return head.retrained._loss_of(scaled[held], answers.targets(labels)[held])

    stopped = loss_after(CONFIG, np.arange(60))
    to_the_end = loss_after(dataclasses.replace(CONFIG, early_stopping=False), kept)
    by_chance = 1.0 if answers.num_classes is None else np.log(2)
    assert stopped < 1.2 * by_chance
    assert to_the_end > 1.1 * stopped


@pytest.mark.slow
def test_the_windows_of_a_recording_are_learnt_from_or_held_out_together(monkeypatch):
    inputs = np.arange(90, dtype="float32")[:, None] // 3 * np.ones(4, "float32")
    encoder = keras.layers.Dense(2)
    encoder.build((None, 4))
    learner = EndToEnd(encoder, (4,), Answers(2), CONFIG)
    given, batches, loss_of = {}, retrained.batches, learner.retrained._loss_of

    def kept(*parts, **options):
        given["kept"] = parts[:2]
        return batches(*parts, **options)

    def held(*parts):
        given["held"] = parts
        return loss_of(*parts)

    monkeypatch.setattr(retrained, "batches", kept)
    learner.retrained._loss_of = held
    labels = np.arange(30) % 2
    starts = np.arange(0, 90, 3)
    learner.score((inputs, starts, labels), (inputs, starts, labels))
    (train, targets), (held, held_targets) = given["kept"], given["held"]
    assert len(held) == 18 and len(train) == 72
    assert not set(train[:, 0]) & set(held[:, 0])
    np.testing.assert_array_equal(targets, train[:, 0] % 2)
    np.testing.assert_array_equal(held_targets, held[:, 0] % 2)


@pytest.mark.slow
def test_an_encoder_that_is_trained_too_ends_as_it_was_best():
    random = np.random.default_rng(0)
    x, labels = random.normal(size=(60, 20)).astype("float32"), random.integers(0, 2, 60)
    kept, held = early_stopping.parts(60, CONFIG.seed)

    def loss_after(config, chosen):
        encoder = keras.layers.Dense(8)
        encoder.build((None, 20))
        start = np.random.default_rng(1).normal(size=(20, 8)) / 5
        encoder.set_weights([start, np.zeros(8)])
        learner = EndToEnd(encoder, (20,), Answers(2), config)
        learner.score(
            (x[chosen], np.arange(len(chosen)), labels[chosen]), (x, np.arange(60), labels)
        )
        return learner.retrained._loss_of(x[held], labels[held])

    stopped = loss_after(CONFIG, np.arange(60))
    to_the_end = loss_after(dataclasses.replace(CONFIG, early_stopping=False), kept)
    assert stopped < 1.2 * np.log(2) and to_the_end > 1.5 * stopped


def test_fewer_labels_than_can_be_held_out_are_refused():
    with pytest.raises(UserError, match="--num_labels must be at least 5 with --early_stopping"):
        dataclasses.replace(CONFIG, num_labels=(100, 4)).check()
    dataclasses.replace(CONFIG, num_labels=(100, 5)).check()
