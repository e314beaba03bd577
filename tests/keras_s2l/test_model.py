"""ShuffleToLearn in a user's own `fit`, on every backend that is installed."""

import os
import pathlib
import subprocess
import sys

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_s2l
from keras_s2l import (
    FenchelYoungRankLoss,
    Patches,
    ScoreMeanSquaredError,
    ShuffleToLearn,
    image_backbone,
    note_backbone,
)
from tests.replicas import run_on_two_replicas
from tests.training.processes import run_on_two_workers

ROOT = pathlib.Path(__file__).resolve().parents[2]


def ramps(count, bands=4, seed=0):
    """Spectrograms whose bands grow louder with frequency: easy to put in order."""
    noise = np.random.default_rng(seed).normal(size=(count, 8, 4 * bands, 1))
    return (np.arange(4 * bands)[:, None] // 4 + 0.1 * noise).astype("float32")


def make(**changes):
    arguments = {"num_patches": 4, "axis": "frequency", "hidden_units": 16, "seed": 1}
    return ShuffleToLearn(note_backbone(widths=(4, 6, 8)), **{**arguments, **changes})


@pytest.fixture
def built():
    keras.utils.set_random_seed(0)
    model = make()
    model.build((None, 8, 16, 1))
    return model


@pytest.mark.slow
def test_it_learns_to_put_patches_in_order():
    keras.utils.set_random_seed(0)
    model = make()
    model.compile(keras.optimizers.Adam(1e-2), jit_compile=False)
    model.fit(ramps(128), epochs=12, batch_size=16, verbose=0)
    assert model.evaluate(ramps(64, seed=1), verbose=0, return_dict=True)["patch_accuracy"] > 0.9


@pytest.mark.slow
def test_it_learns_which_permutation_of_a_set_it_was(tmp_path):
    keras.utils.set_random_seed(0)
    model = make(permutations=keras_s2l.fixed_permutations(6, 4))
    model.compile(keras.optimizers.Adam(1e-2), jit_compile=False)
    model.fit(ramps(128), epochs=25, batch_size=16, verbose=0)
    x = ramps(64, seed=1)
    assert model.evaluate(x, verbose=0, return_dict=True)["patch_accuracy"] > 0.9
    assert model(x).shape == (64, 6)
    # What it takes for the likeliest order restores most inputs.
    order = np.tile(model.permutations[3], (64, 1))
    shuffled, restored = model.reorder(x, order)
    assert (np.abs(np.asarray(restored) - x).max(axis=(1, 2, 3)) < 1e-6).mean() > 0.8
    assert (np.abs(np.asarray(shuffled) - x).max(axis=(1, 2, 3)) > 0.5).all()
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again(x), model(x), atol=1e-5)
    np.testing.assert_array_equal(again.permutations, model.permutations)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_grid_with_gap_jitter_and_normalisation_trains(jit_compile):
    patches = keras_s2l.Patches(grid=(2, 2), gap=1, jitter=1, normalize=True, seed=0)
    model = make(num_patches=None, axis=None, patches=patches)
    model.compile(jit_compile=jit_compile)
    x = np.random.default_rng(0).normal(size=(8, 11, 15, 1)).astype("float32")
    history = model.fit(x, epochs=2, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    # Evaluation and the encoder see patches in the middle of their room, always the same.
    assert model.evaluate(x, verbose=0) == model.evaluate(x, verbose=0)
    np.testing.assert_array_equal(model.encoder(x), model.encoder(x))


def test_patches_and_their_number_are_not_both_given():
    with pytest.raises(ValueError, match="`patches` must be a `Patches` layer, in place of"):
        make(patches=keras_s2l.Patches(grid=(2, 2)))


def test_a_plain_call_scores_the_patches_as_they_stand(built):
    x = ramps(3)
    scores = np.asarray(built(x))
    np.testing.assert_array_equal(scores, np.asarray(built(x)))
    swapped = np.concatenate([x[:, :, 4:8], x[:, :, :4], x[:, :, 8:]], axis=2)
    assert np.abs(np.asarray(built(swapped)) - scores).max() > 1e-4
    patches = built.patches(x)
    np.testing.assert_allclose(built.context_free_network(patches), scores, atol=1e-6)


def test_given_orders_are_the_labels_of_the_shuffled_patches(built):
    x = ramps(8)
    order = np.argsort(np.random.default_rng(0).random((8, 4)), axis=1)
    loss = keras_s2l.FenchelYoungRankLoss()
    built.compile(loss=loss, metrics=[], jit_compile=False)
    shuffled = np.take_along_axis(np.asarray(built.patches(x)), order[:, :, None, None, None], 1)
    expected = loss(order, built.context_free_network(shuffled, training=False))
    measured = built.evaluate(x, order, verbose=0)
    np.testing.assert_allclose(measured, expected, rtol=1e-5)


def test_evaluate_uses_the_same_orders_every_time_even_after_training(built):
    built.compile(keras.optimizers.SGD(0.0), jit_compile=False)
    x = ramps(20)
    first = built.evaluate(x, batch_size=8, verbose=0)
    assert built.evaluate(x, batch_size=8, verbose=0) == first
    weights = built.get_weights()
    built.fit(x, epochs=1, batch_size=8, verbose=0)
    built.set_weights(weights)
    assert built.evaluate(x, batch_size=8, verbose=0) == first


def test_what_training_draws_does_not_depend_on_evaluations():
    x = ramps(8)
    weights = []
    for evaluations in (0, 2):
        keras.utils.set_random_seed(0)
        model = make()
        loss = keras_s2l.FenchelYoungRankLoss(num_samples=1, seed=3)
        model.compile("sgd", loss, jit_compile=False)
        for _ in range(2):
            model.fit(x, batch_size=8, shuffle=False, verbose=0)
            for _ in range(evaluations):
                model.evaluate(x, verbose=0)
        weights.append(model.get_weights())
    for first, second in zip(*weights):
        np.testing.assert_array_equal(first, second)


def test_validation_in_fit_is_what_evaluate_says(built):
    built.compile(keras.optimizers.SGD(0.1), jit_compile=False)
    x = ramps(20)
    validation = {"validation_data": (x, None), "validation_batch_size": 8}
    history = built.fit(x, epochs=2, batch_size=8, verbose=0, **validation)
    logs = built.evaluate(x, batch_size=8, verbose=0, return_dict=True)
    assert logs["loss"] == pytest.approx(history.history["val_loss"][-1], rel=1e-5)
    assert logs["patch_accuracy"] == history.history["val_patch_accuracy"][-1]


def test_orders_are_fresh_at_every_step_and_follow_from_the_seed():
    losses = {}
    for name, seed in (("first", 1), ("same", 1), ("other", 2)):
        keras.utils.set_random_seed(0)
        model = make(seed=seed)
        model.compile(keras.optimizers.SGD(0.0), jit_compile=False)
        history = model.fit(ramps(4), epochs=4, verbose=0)
        losses[name] = history.history["loss"]
    assert losses["first"] == losses["same"] != losses["other"]
    assert len(set(losses["first"])) > 1


@pytest.mark.parametrize("dataset", [False, True])
@pytest.mark.parametrize("with_order", [False, True])
def test_fit_takes_arrays_and_datasets_with_or_without_orders(dataset, with_order):
    model = make()
    model.compile(jit_compile=False)
    x = ramps(6)
    order = np.tile(np.int64([3, 1, 0, 2]), (6, 1))
    data = (x, order) if with_order else (x,)
    if dataset:
        data = (tf.data.Dataset.from_tensor_slices(data if with_order else x).batch(4),)
    history = model.fit(*data, verbose=0)
    assert np.isfinite(history.history["loss"][0])


@pytest.mark.parametrize("order_shape", [(6,), (6, 5)])
def test_labels_that_are_no_orders_are_refused(order_shape):
    model = make()
    model.compile(jit_compile=False)
    with pytest.raises(ValueError, match="take examples alone, or examples and their orders"):
        model.fit(ramps(6), np.zeros(order_shape), verbose=0)


def test_any_ranking_loss_and_metric_is_called_with_order_and_scores(built):
    seen = []

    def loss(order, scores):
        seen.append((order.shape, scores.shape))
        return keras.ops.mean(keras.ops.square(scores - keras.ops.cast(order, "float32")), axis=1)

    built.compile(loss=loss, metrics=[keras_s2l.ExactOrderAccuracy()], jit_compile=False)
    result = built.evaluate(ramps(5), verbose=0, return_dict=True)
    assert set(result) == {"loss", "exact_order_accuracy"}
    assert all(shape[1] == 4 for pair in seen for shape in pair)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_step_of_fit_with_and_without_xla(jit_compile):
    model = make()
    model.compile(loss=keras_s2l.SoftRankLoss(), jit_compile=jit_compile)
    assert np.isfinite(model.fit(ramps(4), verbose=0).history["loss"][0])


@pytest.mark.parametrize(
    ("embedding", "size"), [("levels", 4 * 18), ("positions", 4 * 36), ("patches", 32), ("fc", 16)]
)
def test_the_encoder_gives_each_embedding_of_the_unshuffled_input(embedding, size):
    keras.utils.set_random_seed(0)
    model = make(embedding=embedding)
    with pytest.raises(ValueError, match="once the model knows the shape of its inputs"):
        model.encoder  # noqa: B018
    x = ramps(3)
    model(x)
    embeddings = model.encoder.predict(x, verbose=0)
    assert embeddings.shape == (3, size)
    features = np.asarray(model.context_free_network.patch_encoder(model.patches(x)))
    if embedding == "patches":
        np.testing.assert_allclose(embeddings, features.reshape(3, -1), atol=1e-6)
    if embedding == "levels":
        np.testing.assert_allclose(embeddings.reshape(3, 4, 18)[..., 10:], features, atol=1e-6)
    if embedding == "positions":  # The two bins that the second block leaves of four stay apart.
        backbone = model.context_free_network.patch_encoder.backbone
        second = keras.Model(backbone.input, backbone.get_layer("block_2").output)
        for number in range(4):
            activations = np.asarray(second(x[:, :, 4 * number : 4 * number + 4]))
            of_patch = embeddings.reshape(3, 4, 36)[:, number, 16:28]
            np.testing.assert_allclose(of_patch[:, :6], activations[:, :, 0].mean(1), atol=1e-6)
            np.testing.assert_allclose(of_patch[:, 6:], activations[:, :, 1].mean(1), atol=1e-6)
        np.testing.assert_allclose(embeddings.reshape(3, 4, 36)[..., 28:], features, atol=1e-6)
    if embedding == "fc":  # Before its activation, which the scores are made from.
        network = model.context_free_network
        weights = {v.path.split("/", 1)[1]: np.asarray(v) for v in network.variables}
        (first, bias), (last, offset) = (
            [w for path, w in weights.items() if f"{name}/" in path] for name in ("fc", "score")
        )
        np.testing.assert_allclose(embeddings, features.reshape(3, -1) @ first + bias, atol=1e-5)
        assert embeddings.min() < 0
        scores = np.maximum(embeddings, 0) @ last + offset
        np.testing.assert_allclose(model(x), scores, atol=1e-5)


def test_training_moves_the_encoder_too(built):
    before = built.encoder(ramps(2)).numpy()
    built.compile(jit_compile=False)
    built.fit(ramps(8), verbose=0)
    assert np.abs(built.encoder(ramps(2)).numpy() - before).max() > 1e-4


@pytest.mark.parametrize("looked_at", [(), ("fc",), ("levels", "fc", "patches")])
def test_weights_are_filed_the_same_whatever_the_embedding(built, looked_at, tmp_path):
    for embedding in looked_at:
        built.encoder_for(embedding)
    built.save_weights(tmp_path / "model.weights.h5")
    names = []
    with h5py.File(tmp_path / "model.weights.h5") as file:
        file.visititems(lambda name, item: names.append((name, isinstance(item, h5py.Dataset))))
    assert not [name for name, is_array in names if is_array and name.startswith("encoder")]
    other = make(embedding="fc")
    other.build((None, 8, 16, 1))
    other.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(other(ramps(2)), built(ramps(2)))


def test_saved_whole_it_goes_on_training_where_it_was(tmp_path):
    keras.utils.set_random_seed(0)
    model = make()
    model.compile(keras.optimizers.Adam(1e-2), jit_compile=False)
    model.fit(ramps(16), verbose=0, shuffle=False)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    losses = [
        m.fit(ramps(16), epochs=2, verbose=0, shuffle=False).history["loss"]
        for m in (model, loaded)
    ]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-6)


def test_reorder_gives_what_the_network_saw_and_what_it_made_of_it(built):
    x = ramps(3)
    order = np.array([[3, 1, 0, 2]] * 3)
    shuffled, restored = (np.asarray(part) for part in built.reorder(x, order))
    np.testing.assert_array_equal(shuffled[:, :, :4], x[:, :, 12:])
    ranks = np.asarray(keras_s2l.hard_rank(built(shuffled)))
    for b in range(3):
        for slot, rank in enumerate(ranks[b]):
            np.testing.assert_array_equal(
                restored[b, :, 4 * rank : 4 * rank + 4], shuffled[b, :, 4 * slot : 4 * slot + 4]
            )


def test_positions_are_of_patches_along_one_axis():
    with pytest.raises(ValueError, match=r"needs patches along one axis.*grid=\(2, 2\)"):
        make(
            num_patches=None,
            axis=None,
            patches=keras_s2l.Patches(grid=(2, 2)),
            embedding="positions",
        )
    grid = make(num_patches=None, axis=None, patches=keras_s2l.Patches(grid=(2, 2)))
    grid(ramps(2))
    with pytest.raises(ValueError, match="needs patches along one axis"):
        grid.encoder_for("positions")
    assert grid.embeddings == ("levels", "patches", "fc")
    assert make().embeddings == ("levels", "positions", "patches", "fc")


def test_positions_of_clips_are_their_frames_and_are_saved_with_them(tmp_path):
    backbone = keras_s2l.clip_backbone(widths=(2, 3, 4, 5))
    model = ShuffleToLearn(backbone, num_patches=2, axis="frames", hidden_units=4)
    x = np.random.default_rng(0).random((2, 6, 16, 16, 1)).astype("float32")
    model(x)
    encoder = model.encoder_for("positions")
    assert encoder.output_shape == (None, 2 * (3 * (2 + 3 + 4) + 5))
    first = keras.Model(backbone.input, backbone.get_layer("block_1").output)
    frames = np.asarray(first(x[:, 3:])).mean(axis=(2, 3))  # Of the second patch.
    np.testing.assert_allclose(encoder(x)[:, 32:38], frames.reshape(2, -1), atol=1e-6)
    encoder.save(tmp_path / "encoder.keras")
    loaded = keras.saving.load_model(tmp_path / "encoder.keras")
    np.testing.assert_allclose(loaded(x), encoder(x), atol=1e-6)


def test_a_backbone_of_the_users_own_needs_its_levels_named():
    def backbone():
        return keras.Sequential(
            [
                keras.Input((8, 4, 1)),
                keras.layers.Conv2D(3, 3, name="early"),
                keras.layers.Conv2D(5, 2, name="late"),
            ]
        )

    plain = ShuffleToLearn(backbone(), num_patches=4, axis="frequency")
    plain(ramps(2))
    assert plain.embedding == "patches" and plain.encoder.output_shape == (None, 20)
    with pytest.raises(ValueError, match=r"`levels` must name layers .*early"):
        ShuffleToLearn(backbone(), num_patches=4, axis="frequency", embedding="levels")
    named = ShuffleToLearn(backbone(), num_patches=4, axis="frequency", levels=["early"])
    named(ramps(2))
    assert named.embedding == "levels" and named.encoder.output_shape == (None, 32)


def test_images_are_sliced_along_their_height_with_an_application_as_backbone():
    backbone = keras.applications.MobileNetV2((32, 64, 3), weights=None, include_top=False)
    model = ShuffleToLearn(backbone, num_patches=2, axis="height", hidden_units=8)
    assert model(np.zeros((1, 64, 64, 3), "float32")).shape == (1, 2)
    assert model.embedding == "patches"  # Its `block_1_expand` is no level of ours.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"embedding": "all"}, "`embedding` must be one of"),
        ({"num_patches": 0}, "`num_patches` must be a positive integer"),
        ({"hidden_units": 1.5}, "`hidden_units` must be a positive integer"),
        ({"remainder": "drop"}, "`remainder` must be one of"),
        ({"levels": ["block_7"]}, "`levels` must name layers"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        make(**arguments)


def test_inputs_that_do_not_divide_are_refused_with_what_would():
    with pytest.raises(ValueError, match=r"`num_patches=4` does not divide .* of size 18"):
        make()(np.zeros((1, 8, 18, 1)))


def test_mixed_precision_trains_and_scores_in_float32():
    previous = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    try:
        model = make()
        model.compile(jit_compile=False)
        assert np.isfinite(model.fit(ramps(8), verbose=0).history["loss"][0])
        assert model(ramps(2)).dtype == "float32"
    finally:
        keras.mixed_precision.set_dtype_policy(previous)


def test_a_pipeline_may_draw_all_that_is_random():
    """Then a step depends on the batch alone, not on how often a model was called before."""
    random = np.random.default_rng(0)
    pictures = random.random((8, 12, 12, 1)).astype("float32")
    order = np.stack([random.permutation(4) for _ in range(8)])
    drawn = {
        "input": pictures,
        "offsets": random.integers(0, 3, (8, 4, 2)),
        "draws": random.normal(size=(8, 3, 4)).astype("float32"),
    }
    losses = []
    for calls_before in (0, 2):
        keras.utils.set_random_seed(0)
        model = ShuffleToLearn(
            image_backbone(1, (4, 8)), patches=Patches(grid=(2, 2), jitter=2), seed=calls_before
        )
        model.compile("sgd", FenchelYoungRankLoss(num_samples=3), jit_compile=False)
        for _ in range(calls_before):
            model.patches(pictures, training=True)
        batches = tf.data.Dataset.from_tensors((drawn, order))
        losses.append(model.fit(batches.repeat(3), verbose=0, shuffle=False).history["loss"])
    assert losses[0] == losses[1]
    model.compile("sgd", ScoreMeanSquaredError(), jit_compile=False)
    with pytest.raises(ValueError, match="`draws` beside the input are for `FenchelYoungRankLoss"):
        model.fit(batches, verbose=0)


def test_its_precision_reaches_its_layers_and_comes_back(tmp_path):
    model = make(dtype="mixed_bfloat16")
    model(ramps(2))
    assert model.context_free_network.fully_connected.compute_dtype == "bfloat16"
    model.trainable = False
    config = model.get_config()
    for _ in range(2):  # Reading a config leaves it whole.
        again = ShuffleToLearn.from_config(config)
        assert again.dtype_policy.name == "mixed_bfloat16" and not again.trainable
        assert config == model.get_config()


ON_ANOTHER_BACKEND = """
import numpy as np, keras, keras_s2l, sys
assert keras.backend.backend() == "jax" and "tensorflow" not in sys.modules
x = np.random.default_rng(0).random((16, 8, 16, 1)).astype("float32")
model = keras_s2l.ShuffleToLearn(keras_s2l.note_backbone((4, 6, 8)), 4, "frequency", seed=1)
model.compile(keras.optimizers.SGD(0.0))
losses = model.fit(x, epochs=2, batch_size=8, verbose=0, validation_split=0.5).history["loss"]
assert np.isfinite(losses).all() and losses[0] != losses[1]
order = np.tile([3, 1, 0, 2], (16, 1))
assert np.isfinite(model.fit(x, order, verbose=0).history["loss"]).all()
assert model.evaluate(x, verbose=0) == model.evaluate(x, verbose=0)
assert model.encoder.predict(x, verbose=0).shape == (16, 72)
ranks = np.asarray(keras_s2l.soft_rank(np.float32([[5, 1, 2]]), 2.0))
assert np.allclose(ranks, [[2, 0.25, 0.75]])
"""


@pytest.mark.slow
def test_fit_runs_on_jax_where_tensorflow_cannot_be_imported():
    blocked = "import sys; sys.modules['tensorflow'] = None\n"
    code = blocked + ON_ANOTHER_BACKEND.replace(' and "tensorflow" not in sys.modules', "")
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=environment
    )
    assert output.returncode == 0, output.stderr


@pytest.mark.slow
def test_replicas_of_a_strategy_train_together():
    run_on_two_replicas("""
        x = np.random.default_rng(0).random((16, 8, 16, 1)).astype("float32")
        with strategy.scope():
            backbone = keras_s2l.note_backbone((4, 6))
            model = keras_s2l.ShuffleToLearn(backbone, num_patches=4, axis="frequency", seed=1)
            model.compile(keras.optimizers.SGD(0.1), jit_compile=False)
        losses = model.fit(x, epochs=2, batch_size=8, verbose=0).history["loss"]
        assert np.isfinite(losses).all()
    """)


@pytest.mark.slow
def test_two_workers_train_it_by_its_own_fit(tmp_path):
    program = """
        import keras, numpy as np
        from tests.keras_s2l.test_model import make, ramps
        strategy = distribution.make_strategy("multi_worker")
        keras.utils.set_random_seed(0)
        with strategy.scope():
            model = make()
            model.compile(keras.optimizers.Adam(0.01), jit_compile=False)
        x = ramps(44)  # The last batch is smaller.
        history = model.fit(x, batch_size=8, epochs=3, verbose=0).history
        assert history["loss"][-1] < history["loss"][0], history
        measured = model.evaluate(x, batch_size=8, verbose=0, return_dict=True)
        assert 0 <= measured["patch_accuracy"] <= 1, measured
        np.savez({path!r}, *model.trainable_variables)
    """
    paths = [str(tmp_path / f"{worker}.npz") for worker in range(2)]
    run_on_two_workers([program.format(path=path) for path in paths])
    for one, other in zip(*(np.load(path).values() for path in paths), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("order", [[1, 2, 3, 4], [0, 1, 2, -1], [0, 1, 1, 2]])
def test_orders_that_are_no_permutations_are_refused_before_a_step(order):
    model = make()
    model.compile("adam")
    x = ramps(8)
    orders = np.array([order] * len(x))
    for call in (model.fit, model.evaluate):
        with pytest.raises(ValueError, match=r"`order` must .*row 0 of `order`"):
            call(x, orders)
    with pytest.raises(ValueError, match=r"`order` must .*row 0 of `order`"):
        model.fit(x, validation_data=(x, orders))
    assert not model.built


def test_scores_that_are_no_numbers_are_put_in_some_order(built):
    built.context_free_network.score.bias.assign([np.nan] * 4)
    shuffled, restored = built.reorder(ramps(2), [[1, 0, 2, 3], [0, 1, 2, 3]])
    assert shuffled.shape == restored.shape == (2, 8, 16, 1)


def test_a_dictionary_of_something_else_is_refused():
    model = make()
    model.compile("adam")
    with pytest.raises(ValueError, match=r'a dictionary of "input".*\[.image.\]'):
        model.fit({"image": ramps(8)})


def test_a_number_of_permutations_is_no_set_of_them():
    with pytest.raises(ValueError, match="`permutations` must"):
        make(permutations=5)


class WithAWeight(ShuffleToLearn):
    def build(self, input_shape):
        super().build(input_shape)
        self.own = self.add_weight(name="own")


def test_the_weights_of_a_subclass_are_saved(tmp_path):
    models = [WithAWeight(note_backbone((4, 6)), 4, "frequency") for _ in range(2)]
    for model in models:
        model.compile("adam", FenchelYoungRankLoss(num_samples=2, seed=1))
        model.build((None, 8, 16, 1))
    models[0].own.assign(7.0)
    models[0].save_weights(tmp_path / "of.weights.h5")
    models[1].load_weights(tmp_path / "of.weights.h5")
    assert float(models[1].own) == 7.0


def test_weights_load_into_a_model_that_draws_more_or_less(tmp_path):
    models = [
        ShuffleToLearn(note_backbone((4, 6)), patches=Patches(3, "frequency", jitter=jitter))
        for jitter in (0, 1)
    ]
    models[0].build((None, 8, 12, 1))
    models[1].build((None, 8, 15, 1))
    for one, other in (models, models[::-1]):
        one.save_weights(tmp_path / "of.weights.h5")
        other.load_weights(tmp_path / "of.weights.h5")
        for weight, loaded in zip(one.weights, other.weights, strict=True):
            np.testing.assert_array_equal(weight, loaded)
        one.context_free_network.score.bias.assign_add([1.0] * 3)
