"""The example stream is a pure function of (seed, step)."""

import numpy as np
import pytest
import tensorflow as tf

from keras_s2l import LogSpectrogram
from training.data import stream

EXAMPLES = np.tile(np.arange(10, dtype="float32")[:, None, None, None], (1, 3, 1, 1))


def batches(start, end, seed=3, batch_size=4):
    stream_ = stream.example_stream(EXAMPLES, stream.Orders(5), batch_size, seed, start, end)
    return [(x.numpy()[:, 0, 0, 0].astype(int), order.numpy()) for x, order in stream_]


def test_each_example_comes_once_an_epoch_even_where_a_batch_spans_two():
    seen = np.concatenate([x for x, _ in batches(0, 15)])
    for epoch in seen.reshape(6, 10):
        assert sorted(epoch) == list(range(10))


def test_epochs_differ_in_their_order():
    seen = np.concatenate([x for x, _ in batches(0, 15)]).reshape(6, 10)
    assert len({tuple(epoch) for epoch in seen}) > 3


def test_starting_at_a_step_gives_what_an_undisturbed_stream_gives():
    whole, rest = batches(0, 12), batches(7, 12)
    for (x, order), (resumed_x, resumed_order) in zip(whole[7:], rest, strict=True):
        np.testing.assert_array_equal(x, resumed_x)
        np.testing.assert_array_equal(order, resumed_order)


def test_orders_are_permutations_that_differ_between_examples_and_steps():
    orders = np.concatenate([order for _, order in batches(0, 50)])
    np.testing.assert_array_equal(np.sort(orders, axis=1), np.tile(np.arange(5), (200, 1)))
    assert len({tuple(order) for order in orders}) > 80  # Of 120 equally likely ones.


def test_another_seed_gives_another_stream():
    first, second = batches(0, 5, seed=1), batches(0, 5, seed=2)
    assert any((a != b).any() for (a, _), (b, _) in zip(first, second, strict=True))
    assert any((a != b).any() for (_, a), (_, b) in zip(first, second, strict=True))


def test_orders_of_an_evaluation_are_always_the_same():
    np.testing.assert_array_equal(
        stream.fixed_orders(6, stream.Orders(5), 0), stream.fixed_orders(6, stream.Orders(5), 0)
    )


@pytest.mark.parametrize("num_examples", [1, 3, 4, 9])
def test_batched_gives_what_one_call_gives(num_examples):
    x = np.random.default_rng(0).normal(size=(num_examples, 2))
    np.testing.assert_array_equal(stream.batched(x, np.square, batch_size=4), x**2)


def test_delayed_examples_begin_with_zeros_and_lose_their_end():
    x = np.random.default_rng(0).normal(size=(5, 7, 2, 1)).astype("float32")
    moved = stream.delayed(x, np.int32([0, 1, 3, 6, 7])).numpy()
    for example, shift, result in zip(x, [0, 1, 3, 6, 7], moved, strict=True):
        expected = np.concatenate([np.zeros((shift, 2, 1)), example[: 7 - shift]])
        np.testing.assert_array_equal(result, expected)


def varied(augmentation, start, end):
    x = np.ones((8, 6, 1, 1), "float32")
    batches_ = stream.example_stream(x, stream.Orders(3), 8, 0, start, end, augmentation)
    return np.concatenate([batch.numpy() for batch, _ in batches_])[..., 0, 0]


def test_shifts_differ_between_examples_and_come_again_after_a_resume():
    augmentation = stream.Augmentation(max_shift=4)
    shifts = 6 - varied(augmentation, 0, 20).sum(axis=1)
    assert set(shifts) == {0, 1, 2, 3, 4}
    np.testing.assert_array_equal(shifts[8 * 13 :], 6 - varied(augmentation, 13, 20).sum(axis=1))


def test_gains_fill_their_range_and_come_again_after_a_resume():
    augmentation = stream.Augmentation(max_gain_db=6.0)
    levels = varied(augmentation, 0, 20)[:, 0]
    gains = 20 * np.log10(np.expm1(levels) / np.expm1(1))
    assert -6.001 < gains.min() < -5 and 5 < gains.max() < 6.001 and abs(gains.mean()) < 1
    np.testing.assert_array_equal(levels[8 * 13 :], varied(augmentation, 13, 20)[:, 0])


def test_louder_is_the_spectrogram_of_the_louder_waveform():
    frontend = LogSpectrogram(num_mel_bins=20)
    waveforms = np.random.default_rng(0).uniform(-0.3, 0.3, (2, 2000)).astype("float32")
    gains = np.float32([6.0, -12.0])
    expected = frontend(waveforms * 10 ** (gains[:, None] / 20))
    np.testing.assert_allclose(stream.louder(frontend(waveforms), gains), expected, rtol=1e-4)


def test_a_fixed_set_is_all_that_is_drawn_from():
    permutations = np.int32([[0, 1, 2], [2, 1, 0]])
    batches_ = stream.example_stream(EXAMPLES, stream.Orders(3, permutations), 8, 0, 0, 20)
    orders = np.concatenate([order.numpy() for _, order in batches_])
    assert {tuple(row) for row in orders.tolist()} == {(0, 1, 2), (2, 1, 0)}
    assert 50 < (orders[:, 0] == 0).sum() < 110  # Of 160.


def test_pictures_are_given_between_0_and_1():
    pictures = np.arange(2 * 3 * 3, dtype="uint8").reshape(2, 3, 3, 1) * 15
    ((x, _),) = stream.example_stream(pictures, stream.Orders(3), 2, 0, 0, 1)
    expected = np.sort(pictures.astype("float32") / 255, axis=0)
    assert x.dtype == tf.float32
    np.testing.assert_allclose(np.sort(x, axis=0), expected, rtol=1e-6)
