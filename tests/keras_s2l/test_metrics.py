"""Ranking metrics against counting loops and SciPy, row by row and over batches of unequal size."""

import itertools
import os
import pathlib
import subprocess
import sys
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_s2l.metrics import ExactOrderAccuracy, KendallTau, PatchAccuracy, SpearmanRho
from tests import references
from tests.layer_checks import MODES

ROOT = pathlib.Path(__file__).resolve().parents[2]
REFERENCES = {
    PatchAccuracy: references.patch_accuracy,
    ExactOrderAccuracy: references.exact_order_accuracy,
    KendallTau: references.kendall_tau,
    SpearmanRho: references.spearman_rho,
}
METRICS = list(REFERENCES)
NAMES = ["patch_accuracy", "exact_order_accuracy", "kendall_tau", "spearman_rho"]
INF = np.inf


@pytest.fixture(autouse=True)
def _silence_scipy():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="An input array is constant")
        yield


def _examples(num_patches=3, batch=23):
    """Examples of which some are right, some partly, some not at all."""
    random = np.random.RandomState(0)
    order = np.stack([random.permutation(num_patches) for _ in range(batch)])
    return order, order + random.randn(batch, num_patches)


def _uneven_examples(num_patches=6, batch=40):
    """Rows of every length, in slots anywhere, with ties and infinities; absent scores are NaN."""
    random = np.random.RandomState(2)
    order = np.full((batch, num_patches), -1)
    for row in range(batch):
        length = row % (num_patches + 1)
        slots = random.permutation(num_patches)[:length]
        order[row, slots] = random.permutation(length)
    noise = random.choice([0.0, 0.0, 1.0, 4.0], (batch, 1)) * random.randn(batch, num_patches)
    scores = np.round(order + noise)  # Rounded to half of the range: ties.
    scores = np.where(scores > num_patches - 2, INF, np.where(scores < -1, -INF, scores))
    return order, np.where(order < 0, np.nan, scores)


def _truth(make, order, scores, weights=None):
    """The weighted mean over the rows that count, by the loop; 0 where none does."""
    weights = np.ones(len(order)) if weights is None else weights
    values = [REFERENCES[make](*example) for example in zip(order, scores)]
    counted = [(value, w) for value, w in zip(values, weights) if value is not None and w > 0]
    values, weights = zip(*counted) if counted else ([0.0], [1.0])
    return np.average(values, weights=weights)


def _update(metric, mode, dtype, num_patches):
    """`metric.update_state` in `mode`; compiled ones do not know the batch size."""
    if mode == "eager":
        return metric.update_state
    shape = [None, num_patches]
    signature = [tf.TensorSpec(shape, tf.int32), tf.TensorSpec(shape, dtype)]
    return tf.function(metric.update_state, input_signature=signature, jit_compile=mode == "xla")


@pytest.mark.parametrize("num_patches", [1, 2, 5])
@pytest.mark.parametrize("make", METRICS)
def test_matches_the_reference_on_whole_rows(make, num_patches):
    order, scores = _examples(num_patches)
    truth = _truth(make, order, scores)
    assert num_patches == 1 or 0 < truth < 1
    assert make()(order, scores).numpy() == pytest.approx(truth, rel=1e-6)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64"])
@pytest.mark.parametrize("make", METRICS)
def test_each_row_of_any_length_with_ties_and_infinities_matches_the_reference(make, dtype, mode):
    order, scores = _uneven_examples()
    metric = make()
    update = _update(metric, mode, dtype, order.shape[1])
    values = []
    for row in range(len(order)):
        metric.reset_state()
        update(tf.constant(order[row : row + 1], tf.int32), tf.cast(scores[row : row + 1], dtype))
        values.append((float(metric.result()), float(metric.count)))
    truth = [REFERENCES[make](*example) for example in zip(order, scores)]
    truth = [(0.0, 0.0) if value is None else (value, 1.0) for value in truth]
    assert len({value for value, _ in truth}) >= (2 if make is ExactOrderAccuracy else 5)
    np.testing.assert_allclose(values, truth, atol=1e-6)


FEW_VALUES = st.sampled_from([-INF, -1.0, -0.0, 0.0, 0.5, 1.0, 3e38, INF, np.nan])
ANY_ROW = st.integers(0, 5).flatmap(
    lambda length: st.tuples(
        st.permutations([*range(length), *[-1] * (5 - length)]),
        st.lists(FEW_VALUES | st.floats(width=32, allow_subnormal=False), min_size=5, max_size=5),
        st.just(0.0) | st.floats(0.1, 8),
    )
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(rows=st.lists(ANY_ROW, min_size=1, max_size=6), cut=st.integers())
@pytest.mark.parametrize("make", METRICS)
def test_any_rows_and_weights_cut_anywhere_match_the_reference(make, rows, cut):
    order, scores, weights = (np.array(column) for column in zip(*rows, strict=True))
    cut %= len(rows)
    metric = make()
    for part in (slice(0, cut), slice(cut, None)):
        metric.update_state(order[part], scores[part], sample_weight=weights[part])
    assert float(metric.result()) == pytest.approx(
        _truth(make, order, scores, weights), rel=1e-5, abs=1e-6
    )


@pytest.mark.parametrize("batch", [1, 5, 22, 100])
@pytest.mark.parametrize("examples", [_examples, _uneven_examples])
@pytest.mark.parametrize("make", METRICS)
def test_streaming_over_unequal_batches_is_the_mean_over_examples(make, examples, batch):
    order, scores = examples()
    metric = make()
    for start in range(0, len(order), batch):
        metric.update_state(order[start : start + batch], scores[start : start + batch])
    assert metric.result().numpy() == pytest.approx(_truth(make, order, scores), rel=1e-5)


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
@pytest.mark.parametrize("examples", [_examples, _uneven_examples])
@pytest.mark.parametrize("make", METRICS)
def test_sample_weights_weigh_the_examples(make, examples, shape):
    order, scores = examples()
    weights = np.random.RandomState(1).rand(len(order))
    metric = make()
    for part in (slice(0, 16), slice(16, None)):
        sample_weight = weights[part].reshape(shape)
        metric.update_state(order[part], scores[part], sample_weight=sample_weight)
    truth = _truth(make, order, scores, weights)
    assert truth != pytest.approx(_truth(make, order, scores), rel=1e-3)
    assert metric.result().numpy() == pytest.approx(truth, rel=1e-5)


def test_one_weight_for_a_batch_weighs_it_against_other_batches():
    metric = PatchAccuracy()
    metric.update_state([[0, 1], [0, 1]], [[0.0, 1.0], [0.0, 1.0]], sample_weight=3.0)
    metric.update_state([[0, 1], [0, 1]], [[1.0, 0.0], [1.0, 0.0]])
    assert metric.result().numpy() == 0.75


def test_a_share_is_of_the_present_slots_of_its_own_example():
    order = np.array([[0, 1, 2, 3], [1, -1, 0, -1]])
    scores = np.array([[1.0, 0.0, 3.0, 2.0], [1.0, 5.0, 0.0, -5.0]])
    assert PatchAccuracy()(order, scores).numpy() == 0.5  # Not 2 of 6.
    assert ExactOrderAccuracy()(order, scores).numpy() == 0.5


@pytest.mark.parametrize("anything", [-INF, -1e30, 0.0, 0.5, INF, np.nan])
@pytest.mark.parametrize("make", METRICS)
def test_scores_in_absent_slots_do_not_matter(make, anything):
    order, scores = _uneven_examples()
    same = make()(order, np.where(order < 0, anything, scores)).numpy()
    assert same == make()(order, scores).numpy() != 0


@pytest.mark.parametrize("make", METRICS)
def test_examples_with_too_few_slots_do_not_count_whatever_their_weight(make):
    order, scores = np.array([[2, 0, 1], [-1, -1, -1]]), np.array([[2.0, 0, 1], [0, 0, 0]])
    assert make()(order, scores).numpy() == 1.0
    assert make()(order, scores, sample_weight=[1.0, np.nan]).numpy() == 1.0
    assert make()(order[1:], scores[1:]).numpy() == 0.0
    single = make()
    single.update_state([[-1, 0, -1]], [[0.0, 0.0, 0.0]])
    assert float(single.count) == (1.0 if make in (PatchAccuracy, ExactOrderAccuracy) else 0.0)


@pytest.mark.parametrize("make", METRICS)
def test_nan_among_the_present_scores_is_worth_nothing_but_counts(make):
    order, scores = np.array([[0, 1, 2]] * 2), np.array([[np.nan, 1.0, 2.0], [0.0, 1.0, 2.0]])
    assert make()(order, scores).numpy() == 0.5


@pytest.mark.parametrize("constant", [0.0, INF, -INF])
@pytest.mark.parametrize("make", [KendallTau, SpearmanRho])
def test_scores_all_equal_order_nothing_but_count(make, constant):
    scores = np.array([[constant] * 3, [0.0, 1.0, 2.0]])
    assert make()(np.array([[0, 1, 2]] * 2), scores).numpy() == 0.5


def test_equal_scores_rank_as_they_stand():
    scores = np.array([[0.0, -0.0, INF, INF, -INF]])
    assert ExactOrderAccuracy()(np.array([[1, 2, 3, 4, 0]]), scores).numpy() == 1.0
    assert PatchAccuracy()(np.array([[2, 1, 4, 3, 0]]), scores).numpy() == pytest.approx(1 / 5)


@pytest.mark.parametrize("make", [KendallTau, SpearmanRho])
def test_correlations_run_from_backwards_to_right(make):
    order, _ = _examples(num_patches=50)
    assert make()(order, order * 1.0).numpy() == pytest.approx(1.0, abs=1e-6)
    assert make()(order, order * -1.0).numpy() == pytest.approx(-1.0, abs=1e-6)


@pytest.mark.parametrize("make", METRICS)
def test_many_patches_match_the_reference(make):
    order, scores = _examples(num_patches=300, batch=2)
    scores = np.round(order / 10 + scores)
    assert make()(order, scores).numpy() == pytest.approx(_truth(make, order, scores), rel=1e-5)


@pytest.mark.parametrize("make", METRICS)
def test_reset_state_forgets_what_came_before(make):
    metric = make()
    metric.update_state([[0, 1, 2]], [[1.0, 2.0, 3.0]])
    metric.reset_state()
    assert metric.result().numpy() == 0.0
    metric.update_state([[0, 1, 2]], [[2.0, 2.0, 1.0]])
    assert metric.result().numpy() <= 0.0


def test_examples_of_the_docstrings():
    order = np.array([[0, 1, 2]])
    partly = np.array([[2.0, 1.0, 3.0]])
    assert PatchAccuracy()(order, partly).numpy() == pytest.approx(1 / 3)
    assert PatchAccuracy()([[0, 1, -1]], [[1.0, 2.0, 0.0]]).numpy() == 1.0
    assert ExactOrderAccuracy()(order, np.array([[1.0, 2.0, 3.0]])).numpy() == 1.0
    assert ExactOrderAccuracy()(order, partly).numpy() == 0.0
    assert KendallTau()(order, partly).numpy() == pytest.approx(1 / 3)
    assert SpearmanRho()(order, partly).numpy() == pytest.approx(1 / 2)


@pytest.mark.parametrize("make, chance", zip(METRICS, [1 / 4, 1 / 24, 0, 0]))
def test_chance_is_what_the_docstrings_say(make, chance):
    random = np.random.RandomState(0)
    order = np.argsort(random.rand(20000, 4), axis=1)
    spread = np.std([REFERENCES[make](o, np.arange(4)) for o in itertools.permutations(range(4))])
    value = make()(order, random.rand(20000, 4)).numpy()
    assert value == pytest.approx(chance, abs=4 * spread / np.sqrt(20000))


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("make", METRICS)
def test_works_compiled_with_an_unknown_batch_and_weights(make, jit):
    metric = make()
    shape, weight = [None, 6], tf.TensorSpec([None], tf.float32)
    signature = [tf.TensorSpec(shape, tf.int32), tf.TensorSpec(shape, tf.float32), weight]
    update = tf.function(metric.update_state, input_signature=signature, jit_compile=jit)
    order, scores = _uneven_examples()
    weights = np.random.RandomState(1).rand(len(order))
    for part in (slice(0, 16), slice(16, None), slice(0, 0)):
        update(*(x[part].astype(t) for x, t in [(order, "int32"), (scores, "f4"), (weights, "f4")]))
    assert metric.result().numpy() == pytest.approx(_truth(make, order, scores, weights), rel=1e-5)


@pytest.mark.parametrize("dtype", ["int8", "int64", "float16", "bfloat16", "float64"])
@pytest.mark.parametrize("make", METRICS)
def test_labels_may_be_of_any_dtype(make, dtype):
    order, scores = _uneven_examples()
    label = order.astype(tf.as_dtype(dtype).as_numpy_dtype)
    assert make()(label, scores).numpy() == pytest.approx(_truth(make, order, scores), rel=1e-5)


def test_near_scores_in_double_precision_are_told_apart():
    scores = np.array([[1.0 + 1e-12, 1.0]])
    for make in METRICS:
        assert make()(np.array([[1, 0]]), scores).numpy() == 1.0


@pytest.mark.parametrize(
    "compiled", ["eager", "graph", pytest.param("xla", marks=pytest.mark.slow)]
)
def test_evaluate_weighs_examples_over_a_short_last_batch(compiled):
    order, scores = _uneven_examples()
    scores = np.nan_to_num(scores, nan=9.0, posinf=5.0, neginf=-5.0)
    weights = np.random.RandomState(1).rand(len(order))
    inputs = keras.Input((6,))
    model = keras.Model(inputs, keras.layers.Activation("linear")(inputs))
    model.compile(
        loss="mse",
        metrics=[make() for make in METRICS],
        weighted_metrics=[make(name=f"weighted_{name}") for make, name in zip(METRICS, NAMES)],
        run_eagerly=compiled == "eager",
        jit_compile=compiled == "xla",
    )
    report = model.evaluate(
        scores, order, sample_weight=weights, batch_size=16, verbose=0, return_dict=True
    )
    for make, name in zip(METRICS, NAMES):
        assert report[name] == pytest.approx(_truth(make, order, scores), rel=1e-5)
        weighted = _truth(make, order, scores, weights)
        assert report[f"weighted_{name}"] == pytest.approx(weighted, rel=1e-5)


@pytest.mark.parametrize("make", METRICS)
def test_callbacks_know_that_more_is_better(make):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Activation("linear")])
    model.compile(loss="mse", metrics=[make(name="mine")])
    model.evaluate(np.zeros((1, 3)), np.array([[0, 1, 2]]), verbose=0)
    stopping = keras.callbacks.EarlyStopping("val_mine", mode="auto")
    stopping.set_model(model)
    stopping._set_monitor_op()
    assert stopping.monitor_op is keras.ops.greater


@pytest.mark.parametrize("make", METRICS)
def test_what_is_not_a_label_or_a_score_is_refused(make):
    with pytest.raises(ValueError, match=r"subtract 1.* Received: row 1 of `order` is \[1, 2\]"):
        make()(np.array([[0, 1], [1, 2]]), np.zeros((2, 2)))
    with pytest.raises(ValueError, match=r"order of shape \(1, 2\), scores of shape \(1, 3\)"):
        make()(np.array([[0, 1]]), np.zeros((1, 3)))
    with pytest.raises(ValueError, match="`scores` must be of a floating dtype"):
        make()(np.array([[0, 1]]), np.array([[0, 1]]))
    with pytest.raises(ValueError, match=r"`sample_weight` must .* of shape \(1, 2\)"):
        make()(np.array([[0, 1]]), np.zeros((1, 2)), sample_weight=np.ones((1, 2)))


@pytest.mark.parametrize("make, name", zip(METRICS, NAMES))
def test_config_round_trip(make, name):
    assert make().name == name
    metric = make(name="mine", dtype="float64")
    assert metric.get_config() == {"name": "mine", "dtype": "float64"}
    assert keras.saving.get_registered_name(make) == f"keras_s2l>{make.__name__}"
    copy = keras.metrics.deserialize(keras.metrics.serialize(metric))
    assert type(copy) is make
    assert (copy.name, copy.dtype) == ("mine", "float64")
    assert copy(*_examples()).numpy() == metric(*_examples()).numpy()


ON_JAX = """
import sys
sys.modules["tensorflow"] = None
import jax, keras, numpy as np
from keras_s2l import metrics
order, scores, weights = np.load(sys.argv[1]).values()
for name in ("PatchAccuracy", "ExactOrderAccuracy", "KendallTau", "SpearmanRho"):
    metric = getattr(metrics, name)()
    update = jax.jit(lambda state, *batch: metric.stateless_update_state(state, *batch))
    state = [variable.value for variable in metric.variables]
    for part in (slice(0, 16), slice(16, None)):
        metric.update_state(order[part], scores[part], sample_weight=weights[part])
        state = update(state, order[part], scores[part], weights[part])
    model = keras.Sequential([keras.Input((6,)), keras.layers.Activation("linear")])
    model.compile(loss="mse", weighted_metrics=[getattr(metrics, name)(name="mine")])
    report = model.evaluate(scores, order, 16, 0, weights, return_dict=True)
    print(float(metric.result()), float(metric.stateless_result(state)), report["mine"])
"""


@pytest.mark.slow
def test_numbers_are_the_same_on_jax_where_tensorflow_cannot_be_imported(tmp_path):
    order, scores = _uneven_examples()
    weights = np.random.RandomState(1).rand(len(order))
    np.savez(tmp_path / "examples.npz", order, scores.astype("float32"), weights)
    output = subprocess.run(
        [sys.executable, "-c", ON_JAX, str(tmp_path / "examples.npz")],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": "jax"},
    )
    assert output.returncode == 0, output.stderr
    numbers = [[float(word) for word in line.split()] for line in output.stdout.splitlines()]
    truth = [[_truth(make, order, scores, weights)] * 3 for make in METRICS]
    np.testing.assert_allclose(numbers, truth, rtol=1e-5)
