"""The example stream is a pure function of (seed, step)."""

import os
import pathlib
import re

import numpy as np
import pytest
import tensorflow as tf

from training import retrained
from training.config import TransferConfig
from training.data import stream
from training.data.orders import Orders
from training.data.prepared import prepared

EXAMPLES = np.tile(np.arange(10, dtype="float32")[:, None, None, None], (1, 3, 1, 1))
ORDERS = Orders(5)


def with_orders(orders, batch_size):
    return lambda stored, seed: (stored, orders.draw(batch_size, seed))


def batches(start, end, seed=3, batch_size=4, examples=EXAMPLES, orders=ORDERS, **where):
    task = with_orders(orders, batch_size)
    stream_ = stream.example_stream(examples, task, batch_size, seed, start, end, **where)
    return [(x.numpy()[:, 0, 0, 0].astype(int), order.numpy()) for x, order in stream_]


def assert_equal(ones, others):
    for (x, order), (other_x, other_order) in zip(ones, others, strict=True):
        np.testing.assert_array_equal(x, other_x)
        np.testing.assert_array_equal(order, other_order)


def test_each_example_comes_once_an_epoch_even_where_a_batch_spans_two():
    seen = np.concatenate([x for x, _ in batches(0, 15)])
    for epoch in seen.reshape(6, 10):
        assert sorted(epoch) == list(range(10))


def test_nothing_tunes_a_stream():
    streams = [
        stream.example_stream(EXAMPLES, with_orders(ORDERS, 4), 4, 3, 0, 5),
        stream.evaluation_stream(EXAMPLES, lambda stored, _: stored, 4),
        retrained.batches(EXAMPLES, np.arange(10), TransferConfig()),
    ]
    assert [stream_.options().autotune.enabled for stream_ in streams] == [False] * 3


def test_epochs_differ_in_their_order():
    seen = np.concatenate([x for x, _ in batches(0, 15)]).reshape(6, 10)
    assert len({tuple(epoch) for epoch in seen}) > 3


def test_starting_at_a_step_gives_what_an_undisturbed_stream_gives():
    assert_equal(batches(0, 12)[7:], batches(7, 12))


def test_orders_are_permutations_that_differ_between_examples_and_steps():
    orders = np.concatenate([order for _, order in batches(0, 50)])
    np.testing.assert_array_equal(np.sort(orders, axis=1), np.tile(np.arange(5), (200, 1)))
    assert len({tuple(order) for order in orders}) > 80  # Of 120 equally likely ones.


def test_another_seed_gives_another_stream():
    first, second = batches(0, 5, seed=1), batches(0, 5, seed=2)
    assert any((a != b).any() for (a, _), (b, _) in zip(first, second, strict=True))
    assert any((a != b).any() for (_, a), (_, b) in zip(first, second, strict=True))


def test_a_fixed_set_is_all_that_is_drawn_from():
    fixed = Orders(3, np.int32([[0, 1, 2], [2, 1, 0]]))
    orders = np.concatenate([order for _, order in batches(0, 20, batch_size=8, orders=fixed)])
    assert {tuple(row) for row in orders.tolist()} == {(0, 1, 2), (2, 1, 0)}
    assert 50 < (orders[:, 0] == 0).sum() < 110  # Of 160.


def on_disk(examples, folder):
    return prepared("key", folder, ((example, {}, "") for example in examples)).inputs


@pytest.mark.parametrize("dtype", ["float32", "int16", "uint8"])
def test_a_memory_map_gives_what_the_array_gives(dtype, tmp_path):
    examples = EXAMPLES.astype(dtype)
    mapped = on_disk(examples, tmp_path)
    assert isinstance(mapped, np.memmap)
    assert_equal(batches(0, 12, examples=mapped), batches(0, 12, examples=examples))


def memory_of_its_own():
    """Of this process, in bytes: without the pages of files that are mapped."""
    status = pathlib.Path("/proc/self/status").read_text()
    return 1024 * int(re.search(r"RssAnon:\s+(\d+) kB", status)[1])


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="Linux tells the memory.")
def test_a_memory_map_is_not_read_into_memory(tmp_path):
    examples = (np.full(2**12, number, "int32") for number in range(20_000))
    mapped = on_disk(examples, tmp_path)
    assert mapped.nbytes > 3e8
    before = memory_of_its_own()
    batches_ = stream.example_stream(mapped, lambda stored, seed: stored[:, 0], 50, 0, 0, 400)
    assert sorted(np.concatenate(list(batches_))) == list(range(20_000))
    assert memory_of_its_own() - before < 1e8


@pytest.mark.parametrize("where", ["memory", "disk"])
def test_an_evaluation_goes_through_all_examples_in_order(where, tmp_path):
    examples = EXAMPLES if where == "memory" else on_disk(EXAMPLES, tmp_path)
    seen = list(stream.evaluation_stream(examples, lambda stored, index: (stored, index), 4))
    assert [len(x) for x, _ in seen] == [4, 4, 2]
    np.testing.assert_array_equal(np.concatenate([x for x, _ in seen]), EXAMPLES)
    np.testing.assert_array_equal(np.concatenate([index for _, index in seen]), np.arange(10))


@pytest.fixture
def service():
    dispatcher = tf.data.experimental.service.DispatchServer()
    address = dispatcher.target.split("://")[1]
    worker = tf.data.experimental.service.WorkerServer(
        tf.data.experimental.service.WorkerConfig(dispatcher_address=address)
    )
    yield dispatcher.target
    worker._stop()
    dispatcher._stop()


@pytest.mark.parametrize("where", ["memory", "disk"])
def test_a_data_service_gives_the_same_batches(where, service, tmp_path):
    examples = EXAMPLES if where == "memory" else on_disk(EXAMPLES, tmp_path)
    assert_equal(batches(3, 9, examples=examples, data_service=service), batches(3, 9))


def test_workers_are_not_given_a_part_of_a_file(service, tmp_path):
    mapped = on_disk(EXAMPLES, tmp_path)
    with pytest.raises(ValueError, match="must be of a whole file"):
        batches(0, 1, examples=mapped[2:], data_service=service)


@pytest.mark.parametrize("num_examples", [1, 3, 4, 9])
def test_batched_gives_what_one_call_gives(num_examples):
    x = np.random.default_rng(0).normal(size=(num_examples, 2))
    np.testing.assert_array_equal(stream.batched(x, np.square, batch_size=4), x**2)
