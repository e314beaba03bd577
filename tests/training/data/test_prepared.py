"""What lies prepared is what was produced, once, whole or not at all."""

import concurrent.futures
import errno
import hashlib
import os
import subprocess
import sys
import textwrap
import threading
import time
import tracemalloc
from unittest import mock

import numpy as np
import pytest

from training.data.prepared import digest, prepared
from training.errors import UserError


def produce(num_examples, shape=(3,), dtype="int16", calls=None, fail_at=None):
    """Examples filled with their number, of which number 0 counts as left out."""
    for number in range(1, num_examples + 1):
        if number == fail_at:
            raise KeyboardInterrupt
        if calls is not None:
            calls.append(number)
        labels = {"number": number, "pair": [number, -number]}
        yield np.full(shape, number, dtype), labels, f"file {number}"
    return {"file 0": "zero"}


@pytest.mark.parametrize("shape", [(), (3,), (2, 4, 1)])
@pytest.mark.parametrize("dtype", ["int16", "uint8", "float32"])
@pytest.mark.parametrize("num_examples", [1, 9, 10, 101])
def test_what_is_read_is_what_was_produced(shape, dtype, num_examples, tmp_path):
    read = prepared("key", tmp_path, produce(num_examples, shape, dtype))
    numbers = np.arange(1, num_examples + 1)
    raw = (tmp_path / "key" / "inputs.raw").read_bytes()
    inputs = np.frombuffer(raw, dtype).reshape(num_examples, *shape)
    expected = np.broadcast_to(numbers.reshape(-1, *[1] * len(shape)), (num_examples, *shape))
    for array in (inputs, read.inputs):
        assert array.dtype == dtype
        np.testing.assert_array_equal(array, expected)
    assert isinstance(read.inputs, np.memmap) and not read.inputs.flags.writeable
    np.testing.assert_array_equal(read.labels["number"], numbers)
    np.testing.assert_array_equal(read.labels["pair"], np.stack([numbers, -numbers], axis=1))
    assert read.names == [f"file {number}" for number in numbers]
    assert read.left_out == {"file 0": "zero"}


def test_a_second_time_nothing_is_produced(tmp_path):
    calls = []
    first = prepared("key", tmp_path, produce(5, calls=calls))
    again = prepared("key", tmp_path, produce(5, calls=calls))
    assert calls == [1, 2, 3, 4, 5]
    np.testing.assert_array_equal(first.inputs, again.inputs)
    assert again.left_out == first.left_out and again.names == first.names
    prepared("another key", tmp_path, produce(5, calls=calls))
    assert len(calls) == 10


def test_an_iterator_that_returns_nothing_left_nothing_out(tmp_path):
    examples = [(np.zeros(2), {}, "a"), (np.ones(2), {}, "b")]
    read = prepared("key", tmp_path, iter(examples))
    assert read.left_out == {} and read.labels == {} and read.names == ["a", "b"]


def test_an_interruption_leaves_nothing_and_the_next_time_starts_again(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        prepared("key", tmp_path, produce(5, fail_at=3))
    assert not list(tmp_path.iterdir())
    assert len(prepared("key", tmp_path, produce(5)).inputs) == 5


def test_what_a_killed_process_left_is_not_used(tmp_path):
    code = """
        import os, sys, numpy as np
        from training.data.prepared import prepared
        def produce():
            for number in range(100000):
                if number == 50000:
                    os._exit(9)
                yield np.zeros(8, "int16"), {}, "dead"
        prepared("key", sys.argv[1], produce())
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)]
    assert subprocess.run(command, env=environment).returncode == 9
    assert list(tmp_path.rglob("inputs.raw"))  # It was in the middle of writing.
    assert prepared("key", tmp_path, produce(5)).names == [f"file {n}" for n in range(1, 6)]


def test_of_two_that_prepare_the_same_one_waits_for_the_other(tmp_path, capsys):
    waits = threading.Event()

    def slow():
        yield np.zeros(1), {}, "first"
        assert waits.wait(60)

    def second():
        yield np.zeros(1), {}, "second"

    def say(text, **_):
        if text.startswith("Waiting for another process"):
            waits.set()

    with (
        mock.patch("builtins.print", say),
        concurrent.futures.ThreadPoolExecutor(2) as threads,
    ):
        first = threads.submit(prepared, "key", tmp_path, slow())
        while not list(tmp_path.rglob("inputs.raw")):
            assert not first.done()
        other = threads.submit(prepared, "key", tmp_path, second())
        assert first.result(60).names == other.result(60).names == ["first"]
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_memory_stays_small(tmp_path):
    tracemalloc.start()
    prepared("key", tmp_path, produce(200, (250_000,)))  # 100 MB.
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()


@pytest.mark.parametrize("different", [np.zeros(4, "int16"), np.zeros(3, "int8")])
def test_examples_of_another_shape_or_dtype_are_refused(different, tmp_path):
    examples = [(np.zeros(3, "int16"), {}, "a"), (different, {}, "b")]
    with pytest.raises(ValueError, match=r"`produce` must give inputs \(3,\) int16 .* for b"):
        prepared("key", tmp_path, iter(examples))
    assert not list(tmp_path.iterdir())


def test_examples_with_other_labels_are_refused(tmp_path):
    examples = [(np.zeros(3), {"x": 1}, "a"), (np.zeros(3), {}, "b")]
    with pytest.raises(ValueError, match=r"labels \['x'\], like the first.*labels \[\] for b"):
        prepared("key", tmp_path, iter(examples))


def test_no_examples_are_refused(tmp_path):
    with pytest.raises(ValueError, match="at least one example"):
        prepared("key", tmp_path, iter([]))


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"Cannot prepare .*file.*--cache_dir or .*KERAS_S2L_CACHE"):
        prepared("key", tmp_path / "file", produce(1))


def test_the_cache_is_where_the_environment_says_or_in_the_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KERAS_S2L_CACHE", str(tmp_path / "set"))
    prepared("key", None, produce(1))
    monkeypatch.delenv("KERAS_S2L_CACHE")
    prepared("key", None, produce(1))
    assert (tmp_path / "set" / "key").is_dir()
    assert (tmp_path / "home" / ".cache" / "keras_s2l" / "key").is_dir()


def test_the_digest_is_that_of_the_bytes_wherever_they_lie(tmp_path):
    inputs = prepared("key", tmp_path, produce(5)).inputs
    expected = hashlib.sha256(np.arange(1, 6, dtype="int16").repeat(3).tobytes()).hexdigest()
    assert digest(inputs) == digest(np.array(inputs)) == expected
    assert digest(np.array(inputs)[1:]) != expected


def test_leftovers_of_killed_processes_go_after_a_day(tmp_path):
    old, young = tmp_path / ".unfinished-old", tmp_path / ".unfinished-young"
    for folder in (old, young):
        folder.mkdir()
        (folder / "inputs.raw").touch()
    for path in (old / "inputs.raw", old):
        os.utime(path, (0, time.time() - 25 * 3600))
    prepared("key", tmp_path, produce(1))
    assert young.is_dir() and not old.exists()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="A Linux device that is always full.")
def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
    real_open = open
    monkeypatch.setattr(
        "builtins.open",
        lambda path, *mode, **more: real_open(
            "/dev/full" if str(path).endswith(".raw") else path, *mode, **more
        ),
    )
    with pytest.raises(UserError, match=r"Cannot prepare .*No space left.*Make room"):
        prepared("key", tmp_path, produce(3, (100_000,)))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "inputs.raw").write_bytes(b"short"),
        lambda folder: (folder / "inputs.raw").write_bytes(bytes(1000)),
        lambda folder: (folder / "inputs.raw").unlink(),
        lambda folder: (folder / "names.json").write_text("["),
        lambda folder: (folder / "inputs.json").write_text("{}"),
    ],
)
def test_a_damaged_cache_is_one_line_that_says_what_to_do(damage, tmp_path):
    prepared("key", tmp_path, produce(5))
    damage(tmp_path / "key")
    with pytest.raises(UserError, match=r"key is damaged .*: remove it, to prepare it again"):
        prepared("key", tmp_path, produce(5))


def test_a_file_system_without_locks_prepares_all_the_same(tmp_path):
    with mock.patch("fcntl.flock", side_effect=OSError(errno.ENOTSUP, "Operation not supported")):
        assert prepared("key", tmp_path, produce(2)).names == ["file 1", "file 2"]
    assert [path.name for path in tmp_path.iterdir()] == ["key"]
