"""A SavedModel as a Keras 3 layer: it trains, freezes and saves, and shares its variables."""

import io
import logging
import re
import shutil
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_s2l
from keras_s2l import HubEncoder, hub
from tests.keras_s2l import exports
from tests.replicas import run_on_two_replicas
from tests.training.processes import run_on_two_workers

WAVEFORMS = np.random.default_rng(0).uniform(-1, 1, (6, 1500)).astype("float32")


@pytest.fixture(scope="module")
def encoder():
    return exports.audio_encoder()


@pytest.fixture(scope="module")
def handle(encoder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub") / "export"
    exports.write_audio(encoder, folder)
    return str(folder)


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    """Handle of a model with several inputs and outputs."""
    folder = tmp_path_factory.mktemp("several") / "export"
    exports.write_several(folder, dict)
    return str(folder)


def classifier(encoder):
    keras.utils.set_random_seed(1)
    model = keras.Sequential([encoder, keras.layers.Dense(2)])
    model.compile(keras.optimizers.SGD(0.05), "mse", jit_compile=False)
    return model


def test_it_gives_what_the_exported_encoder_gives(encoder, handle):
    np.testing.assert_allclose(HubEncoder(handle)(WAVEFORMS), encoder(WAVEFORMS), atol=1e-5)


def test_variables_are_shared_with_the_graph_not_copied(handle):
    layer = HubEncoder(handle)
    before = layer(WAVEFORMS).numpy()
    assert len(layer.trainable_variables) == 9
    for variable in layer.trainable_variables:
        variable.assign(variable * 1.5 + 0.1)
    assert np.abs(layer(WAVEFORMS).numpy() - before).max() > 1e-2


@pytest.mark.slow
def test_trainable_it_moves_in_fit_batch_statistics_too(handle):
    layer = HubEncoder(handle, trainable=True)
    before = [variable.numpy() for variable in layer.variables]
    classifier(layer).fit(WAVEFORMS, np.ones((6, 2)), epochs=2, verbose=0)
    moved = [np.any(old != new.numpy()) for old, new in zip(before, layer.variables, strict=True)]
    assert all(moved)


@pytest.mark.slow
def test_frozen_it_stays_bit_for_bit_and_counts_as_frozen(handle):
    layer = HubEncoder(handle, trainable=False)
    before = [variable.numpy() for variable in layer.variables]
    model = classifier(layer)
    model.fit(WAVEFORMS, np.ones((6, 2)), epochs=2, verbose=0)
    for old, new in zip(before, layer.variables, strict=True):
        np.testing.assert_array_equal(old, new.numpy())
    assert layer.trainable_variables == [] and len(model.trainable_variables) == 2


def test_the_graph_that_was_saved_has_the_gradients_of_the_original(encoder, handle):
    gradients = []
    for layer in (encoder, HubEncoder(handle)):
        with tf.GradientTape() as tape:
            # Not in training, which would move the statistics of the original.
            loss = tf.reduce_mean(tf.square(layer(WAVEFORMS, training=False)))
        variables = [variable.value for variable in layer.trainable_variables]
        gradients.append(tape.gradient(loss, variables))
    assert len(gradients[0]) == 9
    for original, reloaded in zip(*gradients, strict=True):
        assert np.any(original.numpy() != 0)
        np.testing.assert_allclose(original, reloaded, rtol=1e-4, atol=1e-7)


@pytest.mark.slow
def test_saved_in_a_keras_file_its_weights_come_back(handle, tmp_path):
    model = classifier(HubEncoder(handle))
    model.fit(WAVEFORMS, np.ones((6, 2)), verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded(WAVEFORMS), model(WAVEFORMS), atol=1e-6)


@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16"])
def test_in_mixed_precision_the_graph_stays_in_float32(encoder, handle, dtype):
    embeddings = HubEncoder(handle, dtype=dtype)(WAVEFORMS)
    assert embeddings.dtype == tf.as_dtype(dtype.removeprefix("mixed_"))
    np.testing.assert_allclose(
        tf.cast(embeddings, "float32"), encoder(WAVEFORMS), rtol=2e-2, atol=2e-2
    )


def test_functional_models_of_inputs_of_unknown_length(handle):
    inputs = keras.Input((None,))
    model = keras.Model(inputs, HubEncoder(handle)(inputs))
    assert model.predict(WAVEFORMS[:, :700], verbose=0).shape == (6, 4 * 18)


@pytest.mark.parametrize("make", [None, "empty", "uncallable"])
def test_what_is_no_reusable_saved_model_is_refused(make, tmp_path):
    folder = tmp_path / "model"
    if make == "empty":
        folder.mkdir()
    if make == "uncallable":
        tf.saved_model.save(tf.train.Checkpoint(v=tf.Variable(1.0)), str(folder))
    with pytest.raises(ValueError, match="`handle` must be"):
        HubEncoder(folder)


def counts(model):
    """Parameters, trainable and not, as `summary` prints them; without those of optimizers."""
    printed = io.StringIO()
    model.summary(print_fn=lambda line: printed.write(line + "\n"))
    return [
        int(re.search(rf" {kind} params: ([\d,]+)", printed.getvalue())[1].replace(",", ""))
        for kind in ("Trainable", "Non-trainable")
    ]


@pytest.mark.slow
def test_frozen_and_thawed_between_fits(handle):
    layer = HubEncoder(handle, trainable=True)
    model = classifier(layer)
    model.build((None, 1500))
    trained = sum(np.prod(v.shape) for v in layer.trainable_variables)
    fixed, head = sum(np.prod(v.shape) for v in layer.non_trainable_variables), 2 * (72 + 1)
    assert fixed > 0
    for trainable in (True, False, True):
        layer.trainable = trainable
        model.compile(keras.optimizers.SGD(0.05), "mse", jit_compile=False)
        whole = [trained + head, fixed] if trainable else [head, trained + fixed]
        assert counts(model) == whole
        before = layer.get_weights()
        model.fit(WAVEFORMS, np.ones((6, 2)), verbose=0)
        moved = [np.any(old != new) for old, new in zip(before, layer.get_weights(), strict=True)]
        assert all(moved) if trainable else not any(moved)


def test_in_a_subclassed_model(handle):
    class Mine(keras.Model):
        def __init__(self):
            super().__init__()
            self.encoder = HubEncoder(handle)
            self.head = keras.layers.Dense(2)

        def call(self, inputs, training=None):
            return self.head(self.encoder(inputs, training=training))

    model = Mine()
    model.compile("sgd", "mse", jit_compile=False)
    before = model.encoder.get_weights()
    model.fit(WAVEFORMS, np.ones((6, 2)), verbose=0)
    assert len(model.trainable_variables) == 9 + 2
    assert all(np.any(a != b) for a, b in zip(before, model.encoder.get_weights(), strict=True))


@pytest.mark.slow
def test_xla_compiles_what_is_frozen_once_and_leaves_out_what_is_trained(handle):
    weights = []
    for jit_compile in (True, False):
        model = classifier(HubEncoder(handle, trainable=False))
        model.compile(keras.optimizers.SGD(1e-4), "mse", jit_compile=jit_compile)
        model.fit(WAVEFORMS, np.ones((6, 2)), verbose=0)
        assert model.jit_compile == jit_compile
        began = time.perf_counter()
        model.fit(WAVEFORMS, np.ones((6, 2)), epochs=20, verbose=0)
        weights.append((time.perf_counter() - began, model.get_weights()))
    (compiled_seconds, compiled), (seconds, plain) = weights
    assert compiled_seconds < 10 * seconds  # It took a hundred times as long to compile each step.
    for one, other in zip(compiled, plain, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
    model = classifier(HubEncoder(handle, trainable=True))
    with pytest.warns(UserWarning, match="doesn't support `jit_compile=True`"):
        model.compile("sgd", "mse", jit_compile=True)
    assert model.jit_compile is False


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16"])
def test_in_mixed_precision_it_trains(handle, dtype):
    layer = HubEncoder(handle, dtype=dtype)
    before = layer.get_weights()
    model = keras.Sequential([layer, keras.layers.Dense(2, dtype=dtype)])
    model.compile("sgd", "mse", jit_compile=False)
    model.fit(WAVEFORMS, np.ones((6, 2)), verbose=0)
    assert all(np.any(a != b) for a, b in zip(before, layer.get_weights(), strict=True))
    assert {variable.dtype for variable in layer.variables} == {"float32"}


def test_shapes_are_known_before_any_batch(handle, several):
    layer = HubEncoder(handle)
    assert layer.compute_output_shape((None, 1500)) == (None, 72)
    spec = layer.compute_output_spec(keras.KerasTensor((None, None), "float32"))
    assert (spec.shape, spec.dtype) == ((None, 72), "float32")
    layer = HubEncoder(several, dtype="mixed_float16")
    shapes = layer.compute_output_shape({"left": (None, 3), "right": (None, 3)})
    assert shapes == {"right": (None, 3), "sum": (None, 3)}
    inputs = {"left": keras.KerasTensor((None, 3)), "right": keras.KerasTensor((None, 3), "int32")}
    specs = layer.compute_output_spec(inputs)
    assert {name: spec.dtype for name, spec in specs.items()} == {
        "sum": "float16",
        "right": "int32",
    }


@pytest.mark.parametrize("structure", [dict, list, tuple])
def test_several_inputs_and_outputs(structure, tmp_path):
    exports.write_several(tmp_path / "export", structure)
    left = keras.Input((3,), name="left")
    right = keras.Input((3,), dtype="int32", name="right")
    symbolic = {"left": left, "right": right} if structure is dict else [left, right]
    layer = HubEncoder(tmp_path / "export", output_key="sum")
    model = keras.Model([left, right], layer(symbolic))
    x = [np.full((2, 3), 0.5, "float32"), np.ones((2, 3), "int32")]
    np.testing.assert_array_equal(model.predict(x, verbose=0), np.full((2, 3), 3.0))
    model.compile("sgd", "mse")
    model.fit(x, np.zeros((2, 3)), verbose=0)
    assert layer.trainable_variables[0] < 2
    everything = HubEncoder(tmp_path / "export")(symbolic)
    assert sorted(everything) == ["right", "sum"]


def test_a_signature_takes_and_gives_what_its_names_say(handle, several):
    plain = HubEncoder(handle, trainable=False)
    layer = HubEncoder(handle, trainable=False, signature="serving_default")
    # Of one output there is nothing to pick, but its name may be given.
    named = HubEncoder(
        handle, trainable=False, signature="serving_default", output_key="embeddings"
    )
    np.testing.assert_allclose(named(WAVEFORMS), plain(WAVEFORMS), atol=1e-6)
    np.testing.assert_allclose(layer(WAVEFORMS), plain(WAVEFORMS), atol=1e-6)
    np.testing.assert_allclose(layer({"waveforms": WAVEFORMS}), plain(WAVEFORMS), atol=1e-6)
    assert layer.count_params() == plain.count_params() and not layer.trainable_variables
    layer = HubEncoder(several, trainable=False, signature="serving_default", output_key="right")
    inputs = {"left": np.zeros((1, 3), "float32"), "right": np.ones((1, 3), "int32")}
    np.testing.assert_array_equal(layer(inputs), np.ones((1, 3)))
    with pytest.raises(ValueError, match=r"takes a dict of \['left', 'right'\]"):
        layer(list(inputs.values()))


def test_wrong_names_are_answered_by_the_right_ones(handle, several):
    with pytest.raises(ValueError, match=r"`signature` must be one of \['serving_default'\]"):
        HubEncoder(handle, trainable=False, signature="fc")
    inputs = {"left": np.zeros((1, 3), "float32"), "right": np.ones((1, 3), "int32")}
    with pytest.raises(ValueError, match=r"`output_key` must be one of \['right', 'sum'\]"):
        HubEncoder(several, output_key="left")(inputs)
    with pytest.raises(ValueError, match=r"`output_key` must be None: .* one output"):
        HubEncoder(handle, output_key="embeddings")(WAVEFORMS)
    with pytest.raises(ValueError, match=r"dict of \['left', 'right'\].*\n*.*\['left'\]"):
        HubEncoder(several)({"left": inputs["left"]})


@pytest.mark.parametrize("signature", [None, "serving_default"])
def test_integers_where_floats_were_saved_are_refused_in_a_line(signature, handle):
    layer = HubEncoder(handle, trainable=False, signature=signature)
    samples = np.round(WAVEFORMS * 32767).astype("int16")
    with pytest.raises(ValueError, match=r"takes float32.* / 32768.*\n*.*dtype int16"):
        layer(samples)
    with pytest.raises(ValueError, match="takes float32"):
        layer(keras.Input((1500,), dtype="int16"))
    np.testing.assert_allclose(layer(samples / 32767), layer(WAVEFORMS), atol=1e-2)


@pytest.mark.parametrize("kind", ["legacy", "hub module", "signatures only", "a signature"])
def test_what_cannot_be_trained_says_so_and_works_frozen(kind, handle, tmp_path):
    x, y, signature = np.eye(3, dtype="float32"), 2 * np.eye(3), None
    if kind == "signatures only":
        y = exports.write_signatures_only(tmp_path / "model")(x)
    elif kind == "a signature":
        exports.write_several(tmp_path / "model", list)
        signature, x, y = "serving_default", {"left": x, "right": np.zeros((3, 3), "int32")}, None
    else:
        exports.write_legacy(tmp_path / "model", hub_module=kind == "hub module")
    with pytest.raises(ValueError, match=r"`trainable=False`: .* can be used frozen only"):
        HubEncoder(tmp_path / "model", signature=signature)
    layer = HubEncoder(tmp_path / "model", trainable=False, signature=signature)
    if y is not None:
        np.testing.assert_allclose(layer(x), y, atol=1e-6)
        assert layer.count_params() == sum(np.prod(v.shape) for v in layer.weights) > 0
    assert layer.trainable_variables == []
    with pytest.warns(UserWarning, match=r"It stays frozen: .* can be used frozen only"):
        layer.trainable = True
    assert not layer.trainable and type(layer).from_config(layer.get_config()) is not None


def test_frozen_signatures_serve_beneath_a_head_that_trains(tmp_path):
    exports.write_signatures_only(tmp_path / "model")
    layer = HubEncoder(tmp_path / "model", trainable=False)
    before = layer.get_weights()
    model = keras.Sequential([layer, keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(np.eye(3), np.ones((3, 1)), verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded(np.eye(3)), model(np.eye(3)), atol=1e-6)
    for old, new in zip(before, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_model_that_is_thawed_leaves_frozen_what_cannot_train(tmp_path):
    exports.write_signatures_only(tmp_path / "model")
    inputs = keras.Input((3,))
    layer = HubEncoder(tmp_path / "model", trainable=False)
    first, last = keras.layers.Dense(3), keras.layers.Dense(1)
    model = keras.Model(inputs, last(layer(first(inputs))))
    model.trainable = False
    with pytest.warns(UserWarning, match="stays frozen"):
        model.trainable = True
    assert model.trainable and first.trainable and last.trainable and not layer.trainable
    assert len(model.trainable_variables) == 4
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded(np.eye(3)), model(np.eye(3)), atol=1e-6)


@pytest.mark.slow
def test_regularization_losses_are_added_once_and_none_of_what_is_frozen(tmp_path):
    original = exports.write_image_vectors(tmp_path / "model")
    pictures = np.ones((2, 9, 9, 3), "float32")
    expected = float(sum(original.losses))
    layer = HubEncoder(tmp_path / "model")
    inputs = keras.Input((9, 9, 3))
    twice = keras.Model(inputs, layer(inputs) + layer(keras.layers.Rescaling(2.0)(inputs)))
    twice(pictures)
    assert expected > 0 and float(sum(twice.losses)) == pytest.approx(expected, rel=1e-6)
    twice.compile("sgd", "mse", jit_compile=False)
    answers = twice.predict(pictures, verbose=0)
    assert twice.evaluate(pictures, answers, verbose=0) == pytest.approx(expected, rel=1e-5)
    layer.trainable = False
    assert twice.losses == []


def test_the_config_makes_the_same_layer(several):
    layer = HubEncoder(several, trainable=False, output_key="sum", name="mine")
    config = layer.get_config()
    for _ in range(2):
        assert HubEncoder.from_config(config).get_config() == config
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert copy.get_config() == config


@pytest.mark.slow
def test_where_the_handle_has_moved_another_is_given(encoder, tmp_path):
    exports.write_audio(encoder, tmp_path / "old")
    model = classifier(HubEncoder(tmp_path / "old"))
    model.fit(WAVEFORMS, np.ones((6, 2)), verbose=0)
    model.save(tmp_path / "model.keras")
    shutil.move(tmp_path / "old", tmp_path / "new")
    with pytest.raises(Exception, match=r"keras_s2l\.moved_handles\(\{'.*old': 'the new one'\}\)"):
        keras.saving.load_model(tmp_path / "model.keras")
    with keras_s2l.moved_handles({tmp_path / "old": tmp_path / "new"}):
        loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_allclose(loaded(WAVEFORMS), model(WAVEFORMS), atol=1e-6)
    assert loaded.layers[0].handle == str(tmp_path / "new")
    loaded.save(tmp_path / "again.keras")
    keras.saving.load_model(tmp_path / "again.keras")


def test_that_loading_runs_a_graph_is_said_once(handle, caplog):
    hub._say_once_that_graphs_run.cache_clear()
    with caplog.at_level(logging.WARNING, "keras_s2l"):
        for _ in range(2):
            HubEncoder(handle)
    said = [record.getMessage() for record in caplog.records if record.name == "keras_s2l"]
    assert len(said) == 1 and "load only what you trust" in said[0]


@pytest.mark.slow
def test_a_model_with_it_can_be_exported_in_turn(handle, tmp_path):
    model = classifier(HubEncoder(handle))
    expected = model.predict(WAVEFORMS, verbose=0)
    model.export(str(tmp_path / "served"), verbose=False)
    served = tf.saved_model.load(str(tmp_path / "served"))
    np.testing.assert_allclose(served.serve(WAVEFORMS), expected, atol=1e-5)


@pytest.mark.slow
def test_on_two_replicas_it_trains_as_on_one(handle):
    run_on_two_replicas(f"""
        from tests.keras_s2l.test_hub import WAVEFORMS, classifier
        x, answers = np.concatenate([WAVEFORMS, WAVEFORMS]), np.ones((12, 2))
        def trained(scope):
            with scope:
                layer = keras_s2l.HubEncoder({handle!r})
                model = classifier(layer)
            before = layer.get_weights()
            # Each replica sees the same six, so its statistics are those of all twelve.
            model.fit(x, answers, batch_size=12, epochs=3, shuffle=False, verbose=0)
            assert all((a != b).any() for a, b in zip(before, layer.get_weights(), strict=True))
            return model
        import contextlib
        one, two = trained(contextlib.nullcontext()), trained(strategy.scope())
        for a, b in zip(one.get_weights(), two.get_weights(), strict=True):
            np.testing.assert_allclose(a, b, atol=2e-4)
    """)


@pytest.mark.slow
def test_two_workers_train_the_same_encoder(handle, tmp_path):
    program = """
        import keras, keras_s2l, numpy as np
        keras.utils.set_random_seed(0)
        strategy = distribution.make_strategy("multi_worker")
        class Model(keras_s2l.MultiWorkerFit, keras.Sequential):
            pass
        with strategy.scope():
            layer = keras_s2l.HubEncoder({handle!r})
            model = Model([layer, keras.layers.Dense(2)])
            model.compile(keras.optimizers.SGD(0.05), "mse", jit_compile=False)
        x = np.random.default_rng(0).uniform(-1, 1, (8, 1500)).astype("float32")
        before = layer.get_weights()
        model.fit(x, np.ones((8, 2)), batch_size=4, epochs=2, verbose=0)
        assert all((a != b).any() for a, b in zip(before, layer.get_weights(), strict=True))
        # Batch statistics stay each worker's own: the graph knows nothing of the others.
        np.savez({path!r}, *layer.trainable_variables)
    """
    paths = [str(tmp_path / f"{worker}.npz") for worker in range(2)]
    run_on_two_workers([program.format(handle=handle, path=path) for path in paths])
    for one, other in zip(*(np.load(path).values() for path in paths), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_integers_are_cast_to_those_that_were_saved(tmp_path):
    root = tf.Module()
    table = tf.constant([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]])
    specs = [tf.TensorSpec((None, None), tf.int32)]
    root.__call__ = tf.function(lambda ids: tf.reduce_sum(tf.gather(table, ids), 1), specs)
    tf.saved_model.save(root, tmp_path)
    encoder = HubEncoder(str(tmp_path), trainable=False)
    np.testing.assert_array_equal(encoder(np.array([[0, 2], [1, 1]])), [[4, 6], [4, 6]])
    with pytest.raises(ValueError, match=r"takes int32 inputs\. Received: inputs of dtype float32"):
        encoder(np.zeros((2, 4), "float32"))
