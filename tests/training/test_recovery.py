"""No work is lost: a run that was cut anywhere ends as one that never was."""

import dataclasses
import os
import pathlib
import resource
import signal
import socket
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from training import callbacks, lock, pretrain_lib
from training.config import PretrainConfig
from training.errors import UserError

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
EVALUATIONS = [5, 10, 12]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """All that draws: patches that move, a loss that samples."""
    folder = tmp_path_factory.mktemp("recovery")
    random = np.random.default_rng(0)
    (folder / "pictures").mkdir()
    for number in range(40):
        picture = Image.fromarray(random.integers(0, 255, (32, 32), dtype=np.uint8))
        picture.save(folder / "pictures" / f"{number}.png")
    return PretrainConfig(
        data="folder",
        folder=str(folder / "pictures"),
        cache_dir=str(folder / "cache"),
        image_size=32,
        channels=1,
        grid=(2, 2),
        jitter=2,
        backbone="image",
        objective="perturbed_samples",
        batch_size=4,
        evaluate_every=5,
        steps=12,
        save_every_minutes=0.0,
    )


@pytest.fixture(scope="module")
def whole(config, tmp_path_factory):
    """A run that was never disturbed, and never saved between evaluations."""
    workdir = tmp_path_factory.mktemp("whole")
    pretrain_lib.run(config, workdir)
    return workdir


def arrays(path):
    found = {}
    with h5py.File(path) as file:
        file.visititems(
            lambda name, item: found.update({name: item[()]} if hasattr(item, "dtype") else {})
        )
    return found


def shown(workdir):
    """What TensorBoard shows: `(step, value)` of each number, steps of pictures."""
    found = {}
    for split in ("train", "validation", "pictures"):
        reader = EventAccumulator(str(workdir / "tensorboard" / split), {"tensors": 0}).Reload()
        for tag in reader.Tags()["tensors"]:
            events = reader.Tensors(tag)
            values = [np.frombuffer(e.tensor_proto.tensor_content, "float32") for e in events]
            numbers = split != "pictures"
            found[split, tag] = [
                (event.step, float(value[0]) if numbers else None)
                for event, value in zip(events, values)
            ]
    return found


def assert_same_run(workdir, whole):
    first, second = (arrays(folder / "final.weights.h5") for folder in (workdir, whole))
    assert first.keys() == second.keys() and len(first) > 20
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name], err_msg=name)
    assert (workdir / "log.csv").read_text() == (whole / "log.csv").read_text()
    assert shown(workdir) == shown(whole)


def test_an_undisturbed_run_shows_each_evaluation_once(whole):
    series = shown(whole)
    assert {("train", "loss"), ("validation", "loss"), ("pictures", "held_out")} < set(series)
    for key, points in series.items():
        assert [step for step, _ in points] == EVALUATIONS, key


class PowerCut(BaseException):
    """Nothing of ours catches it: what is not on the disk is gone."""


def cut(monkeypatch, callback, method, at):
    """Cuts the power when a callback is called at a step."""
    original = getattr(callback, method)

    def with_cut(self, *args, **kwargs):
        if int(self.model.optimizer.iterations.numpy()) == at:
            raise PowerCut
        original(self, *args, **kwargs)

    monkeypatch.setattr(callback, method, with_cut)


@pytest.mark.parametrize(
    ("callback", "method", "at", "goes_on_from"),
    [
        (callbacks.SaveCheckpoint, "on_train_batch_end", 1, 0),  # Before the first checkpoint.
        (callbacks.SaveCheckpoint, "on_train_batch_end", 4, 2),
        (callbacks.SaveCheckpoint, "on_train_batch_end", 7, 6),
        (callbacks.SaveCheckpoint, "on_epoch_end", 10, 8),  # After its row of the log.
        (callbacks.LogStep, "on_epoch_end", 12, 10),
    ],
)
def test_a_run_cut_anywhere_ends_as_an_undisturbed_one(
    callback, method, at, goes_on_from, config, whole, tmp_path, monkeypatch, capsys
):
    config = dataclasses.replace(config, save_every_steps=2)
    with monkeypatch.context() as patch, pytest.raises(PowerCut):
        cut(patch, callback, method, at)
        pretrain_lib.run(config, tmp_path)
    assert not (tmp_path / "final.weights.h5").exists()
    capsys.readouterr()
    pretrain_lib.run(config, tmp_path)
    assert (f"from step {goes_on_from} of" in capsys.readouterr().out) == (goes_on_from > 0)
    assert_same_run(tmp_path, whole)


@pytest.mark.parametrize("at", [7, 10])
def test_a_stopped_run_saves_and_ends_as_an_undisturbed_one(
    at, config, whole, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        original = callbacks.RefuseNan.on_train_batch_end

        def stop(self, batch, logs=None):
            original(self, batch, logs)
            if int(self.model.optimizer.iterations.numpy()) == at:
                os.kill(os.getpid(), signal.SIGTERM)

        patch.setattr(callbacks.RefuseNan, "on_train_batch_end", stop)
        assert pretrain_lib.run(config, tmp_path) is None
    assert (tmp_path / "checkpoints" / f"step_{at:08d}.weights.h5").exists()
    assert pretrain_lib.run(config, tmp_path)["steps_of_this_process"] == 12 - at
    assert_same_run(tmp_path, whole)


def test_more_steps_give_the_weights_of_a_run_that_had_them_from_the_start(config, whole, tmp_path):
    pretrain_lib.run(dataclasses.replace(config, steps=7), tmp_path)  # With an evaluation more.
    pretrain_lib.run(config, tmp_path)
    first, second = (arrays(folder / "final.weights.h5") for folder in (tmp_path, whole))
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name], err_msg=name)
    assert [step for step, _ in shown(tmp_path)["train", "loss"]] == [5, 7, 10, 12]


def test_a_damaged_checkpoint_costs_the_steps_after_the_one_before(config, whole, tmp_path, capsys):
    pretrain_lib.run(dataclasses.replace(config, steps=10, save_every_steps=2), tmp_path)
    newest = tmp_path / "checkpoints" / "step_00000010.weights.h5"
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    capsys.readouterr()
    pretrain_lib.run(config, tmp_path)
    said = [line for line in capsys.readouterr().out.splitlines() if "damaged" in line]
    assert len(said) == 1 and str(newest) in said[0]
    assert newest.with_name(newest.name + ".damaged").read_bytes() == content
    assert_same_run(tmp_path, whole)


@pytest.mark.parametrize(
    ("after", "step", "number", "message"),
    [
        # The loss of the step is a number still: its update spoilt the weights.
        (callbacks.RefuseNan, 4, 0, "became nan or infinite at step 4"),
        (callbacks.SaveCheckpoint, 3, -1, "The loss became nan at step 4"),
    ],
)
def test_weights_that_are_no_numbers_are_never_saved(
    after, step, number, message, config, tmp_path, monkeypatch
):
    original = after.on_train_batch_end

    def spoil(self, batch, logs=None):
        original(self, batch, logs)
        if int(self.model.optimizer.iterations.numpy()) == step:
            weight = self.model.trainable_variables[number]
            weight.assign(weight.numpy() * np.nan)

    monkeypatch.setattr(after, "on_train_batch_end", spoil)
    config = dataclasses.replace(config, save_every_steps=2)
    with pytest.raises(UserError, match=message):
        pretrain_lib.run(config, tmp_path)
    saved = [path.name for path in (tmp_path / "checkpoints").iterdir()]
    assert saved == ["step_00000002.weights.h5"]


def start(config, workdir, *more, **kwargs):
    default = PretrainConfig()
    flags = [
        f"--{field.name}={','.join(map(str, value)) if isinstance(value, tuple) else value}"
        for field in dataclasses.fields(config)
        if (value := getattr(config, field.name)) != getattr(default, field.name)
        and "help" in field.metadata
    ]
    return subprocess.Popen(
        [sys.executable, "-m", "training.pretrain", *flags, *more, f"--workdir={workdir}"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **kwargs,
    )


def only_error(process):
    output, errors = process.communicate(timeout=200)
    assert process.returncode == 1, output + errors
    assert "Traceback" not in errors
    (line,) = [line for line in errors.splitlines() if line.startswith("error: ")]
    return line


def contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.iterdir())}


def limited(num_bytes):
    """For a program to whose files no more can be written, as on a full disk."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, num_bytes))


def test_a_full_disk_is_one_line_and_leaves_the_last_good_checkpoint(config, tmp_path):
    pretrain_lib.run(dataclasses.replace(config, steps=5), tmp_path)
    before = contents(tmp_path / "checkpoints")
    process = start(config, tmp_path, preexec_fn=limited(100_000))
    message = "step_00000010.weights.h5 could not be written (File too large)"
    assert message in only_error(process)
    assert contents(tmp_path / "checkpoints") == before
    assert pretrain_lib.run(config, tmp_path)["steps_of_this_process"] == 7
    assert [step for step, _ in shown(tmp_path)["train", "loss"]] == EVALUATIONS


def test_a_full_disk_is_one_line_where_tensorboard_reads(tmp_path):
    code = """
import sys
import matplotlib.figure
from training.board import ShowPicture
picture = ShowPicture(sys.argv[1], lambda: matplotlib.figure.Figure((4, 4)))
try:
    for epoch in range(5):
        picture.on_epoch_end(epoch, {"step": epoch})
except OSError as error:
    print(error)
"""
    output = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        preexec_fn=limited(1000),
    ).stdout
    assert output.startswith(f"{tmp_path} could not be written (")
    assert "File too large" in output and output.count("\n") == 1


def test_a_second_run_is_refused_and_a_killed_one_leaves_the_workdir_free(config, tmp_path):
    many = dataclasses.replace(config, steps=100_000, save_every_steps=2)
    first = start(many, tmp_path)
    try:
        deadline = time.monotonic() + 200
        while not list(tmp_path.glob("checkpoints/step_*")) and time.monotonic() < deadline:
            assert first.poll() is None, first.communicate()[1]
            time.sleep(0.01)
        line = only_error(start(many, tmp_path))
    finally:
        first.kill()
        first.communicate()
    assert f"in use by process {first.pid} on {socket.gethostname()}" in line
    step = max(int(path.name[5:13]) for path in tmp_path.glob("checkpoints/step_*.h5"))
    report = pretrain_lib.run(dataclasses.replace(many, steps=step + 1), tmp_path)
    assert report["steps_of_this_process"] == 1


def test_settings_of_a_run_that_began_meanwhile_are_not_overwritten(config, tmp_path, monkeypatch):
    other = dataclasses.replace(config, seed=1, steps=1)
    original = lock.held

    def slowly(workdir):
        monkeypatch.setattr(lock, "held", original)
        pretrain_lib.run(other, workdir)
        return original(workdir)

    monkeypatch.setattr(lock, "held", slowly)
    with pytest.raises(UserError, match="--seed is 1 there, 0 now"):
        pretrain_lib.run(config, tmp_path)
