"""The contrastive baseline: its loss is the published one, and it learns to tell views."""

import keras
import numpy as np
import pytest

import keras_s2l
from training.contrastive import ContrastiveLearner, NTXentLoss, _similarities


def nt_xent(first, second, temperature):
    """Equation 1 of SimCLR, view by view, in float64: `(2 * batch,)`."""
    views = np.concatenate([first, second]).astype("float64")
    views /= np.linalg.norm(views, axis=1, keepdims=True)
    losses = []
    for i, view in enumerate(views):
        j = (i + len(first)) % len(views)
        others = [k for k in range(len(views)) if k != i]
        total = sum(np.exp(view @ views[k] / temperature) for k in others)
        losses.append(-np.log(np.exp(view @ views[j] / temperature) / total))
    return np.array(losses)


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
@pytest.mark.parametrize("batch", [1, 2, 7])
def test_the_loss_is_that_of_the_paper(batch, temperature):
    first, second = np.random.default_rng(batch).normal(size=(2, batch, 5)).astype("float32")
    loss = NTXentLoss(temperature, reduction=None)
    given = loss(*_similarities(np.concatenate([first, second])))
    np.testing.assert_allclose(given, nt_xent(first, second, temperature), rtol=1e-4, atol=1e-6)


def learner():
    return ContrastiveLearner(
        keras_s2l.note_backbone((4, 8, 8)), num_patches=4, axis="frequency", hidden_units=8
    )


def noisy_pairs(count, seed):
    """Two noisy versions of each of some random spectrograms: `(count, 2, 8, 16, 1)`."""
    random = np.random.default_rng(seed)
    clean = random.random((count, 1, 8, 16, 1))
    return (clean + 0.02 * random.normal(size=(count, 2, 8, 16, 1))).astype("float32")


def test_it_learns_to_tell_the_views_of_an_example_from_others():
    keras.utils.set_random_seed(0)
    model = learner()
    metrics = [keras.metrics.SparseCategoricalAccuracy("view_accuracy")]
    model.compile(keras.optimizers.Adam(1e-2), NTXentLoss(), metrics=metrics, jit_compile=False)
    before = model.evaluate(noisy_pairs(64, 1), verbose=0, return_dict=True)
    history = model.fit(noisy_pairs(64, 0), epochs=60, verbose=0).history
    after = model.evaluate(noisy_pairs(64, 1), verbose=0, return_dict=True)
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    assert after["loss"] < before["loss"] and after["view_accuracy"] > 0.8  # Chance 1 / 63.


def test_it_is_saved_and_loaded(tmp_path):
    model = learner()
    model.compile(loss=NTXentLoss(0.3), jit_compile=False)
    model.fit(noisy_pairs(4, 0), verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    x = noisy_pairs(3, 0)[:, 0]
    np.testing.assert_array_equal(loaded(x), model(x))
    assert loaded.loss.temperature == 0.3


def test_its_encoder_is_that_of_the_permutation_task():
    model = learner()
    model.build((None, 8, 16, 1))
    other = keras_s2l.ShuffleToLearn(
        keras_s2l.note_backbone((4, 8, 8)), 4, "frequency", hidden_units=8
    )
    other.build((None, 8, 16, 1))
    for embedding in ("fc", "patches", "levels"):
        ours, theirs = model.encoder_for(embedding), other.encoder_for(embedding)
        assert ours.output_shape == theirs.output_shape
        assert ours.count_params() == theirs.count_params()
        ours.set_weights(theirs.get_weights())
        x = noisy_pairs(3, 0)[:, 0]
        np.testing.assert_array_equal(ours(x), theirs(x))
