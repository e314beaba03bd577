"""The main job in miniature, as a user runs it: the real programs, in processes of their own.

Render → pre-train → kill → resume → export → fresh process → transfer.
"""

import csv
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import h5py
import keras
import numpy as np
import pytest

import keras_s2l
from training.config import DataConfig
from training.data import notes, sets

ROOT = pathlib.Path(__file__).resolve().parent.parent
SETTINGS = ("--steps=10", "--batch_size=8", "--evaluate_every=3", "--seed=5")

pytestmark = pytest.mark.slow


def start(program, *arguments):
    command = [sys.executable, "-m", program, *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True)


def run(program, *arguments):
    process = start(program, *arguments)
    output, errors = process.communicate(timeout=600)  # The demo is four programs.
    return process.returncode, output, errors


def run_well(program, *arguments):
    status, output, errors = run(program, *arguments)
    assert status == 0, errors
    return output


def weights(path):
    """Every array of a weights file, by its name."""
    arrays = {}

    def visit(name, item):
        if isinstance(item, h5py.Dataset):
            arrays[name] = item[()]

    with h5py.File(path) as file:
        file.visititems(visit)
    return arrays


def assert_same_weights(first, second):
    first, second = weights(first), weights(second)
    assert first.keys() == second.keys() and len(first) > 20
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name], err_msg=name)


def log_rows(workdir):
    with (workdir / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("main_job")


@pytest.fixture(scope="module")
def data(folder):
    """Few notes, rendered from the real bank; the programs find them prepared."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(notes, "PROGRAMS", [8 * f + member for f in range(15) for member in (0, 1)])
        patch.setattr(notes, "PITCHES", range(48, 72, 6))
        sets.prepare(DataConfig(data_dir=str(folder / "sets")))
    return f"--data_dir={folder / 'sets'}"


@pytest.fixture(scope="module")
def pretrained(folder, data):
    """A run that was never disturbed."""
    output = run_well("training.pretrain", data, *SETTINGS, f"--workdir={folder / 'run'}")
    assert "patches in their place" in output
    return folder / "run"


@pytest.fixture(scope="module")
def exported(folder, pretrained):
    output = run_well(
        "export.export_encoder", f"--workdir={pretrained}", f"--output={folder / 'export'}"
    )
    assert output.count("| ok |") == 8 and "| signature spectrogram of spectrograms" in output
    return folder / "export"


def test_a_run_leaves_what_it_promises(pretrained):
    for name in ("config.json", "report.json", "final.weights.h5", "pictures/reordered.png"):
        assert (pretrained / name).stat().st_size > 0
    assert list((pretrained / "tensorboard").rglob("events*"))
    assert [int(float(row["step"])) for row in log_rows(pretrained)] == [3, 6, 9, 10]
    config = json.loads((pretrained / "config.json").read_text())
    assert config["config"]["seed"] == 5 and "sigma" in config["not_stated_in_the_paper"]


def test_a_killed_run_ends_with_the_weights_and_log_of_an_undisturbed_one(folder, data, pretrained):
    workdir = folder / "killed"
    process = start("training.pretrain", data, *SETTINGS, f"--workdir={workdir}")
    deadline = time.monotonic() + 200
    while not list(workdir.glob("checkpoints/step_*")) and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (workdir / "final.weights.h5").exists()
    output = run_well("training.pretrain", data, *SETTINGS, f"--workdir={workdir}")
    assert "Going on from step" in output
    assert_same_weights(workdir / "final.weights.h5", pretrained / "final.weights.h5")
    assert log_rows(workdir) == log_rows(pretrained)


def test_ctrl_c_leaves_a_checkpoint_from_which_more_steps_go_on(folder, data, pretrained):
    workdir = folder / "stopped"
    many = ("--steps=100000", *SETTINGS[1:])
    process = start("training.pretrain", data, *many, f"--workdir={workdir}")
    deadline = time.monotonic() + 200
    while not list(workdir.glob("checkpoints/step_*")) and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=100)
    assert process.returncode == 130, errors
    assert "the same command goes on" in output
    assert not (workdir / "final.weights.h5").exists()
    stopped_at = max(int(path.name[5:13]) for path in workdir.glob("checkpoints/step_*"))
    more = f"--steps={stopped_at + 2}"
    run_well("training.pretrain", data, more, *SETTINGS[1:], f"--workdir={workdir}")
    steps = [int(float(row["step"])) for row in log_rows(workdir)]
    assert steps[-1] == stopped_at + 2 and steps == sorted(set(steps))


def test_a_workdir_of_another_run_is_refused_untouched(data, pretrained):
    before = {path: path.stat().st_mtime_ns for path in pretrained.rglob("*") if path.is_file()}
    status, _, errors = run(
        "training.pretrain", data, "--learning_rate=0.5", f"--workdir={pretrained}"
    )
    assert status == 1
    assert "--learning_rate is 0.001 there, 0.5 now" in errors.splitlines()[-1]
    after = {path: path.stat().st_mtime_ns for path in pretrained.rglob("*") if path.is_file()}
    assert before == after


def test_the_export_loads_where_keras_s2l_is_not_known(exported):
    code = f"""
import sys, numpy as np, tensorflow as tf
encoder = tf.saved_model.load({str(exported)!r})
half, long = np.full((1, 8000), .1, "float32"), np.full((3, 40000), .1, "float32")
print(encoder(half).shape[0], encoder(long, training=True).shape[0])
print(len(encoder.trainable_variables))
assert "keras_s2l" not in sys.modules
"""
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/")
    assert output.returncode == 0, output.stderr
    assert output.stdout.split()[:2] == ["1", "3"] and int(output.stdout.split()[2]) > 5


def test_an_export_is_a_layer_of_a_keras_model(exported):
    encoder = keras_s2l.HubEncoder(exported, trainable=True)
    classifier = keras.Sequential([encoder, keras.layers.Dense(15)])
    assert classifier(np.zeros((2, 16000), "float32")).shape == (2, 15)


def test_an_export_is_never_overwritten(pretrained, exported):
    before = (exported / "saved_model.pb").read_bytes()
    status, _, errors = run(
        "export.export_encoder", f"--workdir={pretrained}", f"--output={exported}"
    )
    assert status == 1 and "holds something already" in errors.splitlines()[-1]
    assert (exported / "saved_model.pb").read_bytes() == before


def test_transfer_reports_every_cell_and_repeats_itself(folder, data, pretrained, exported):
    moved = folder / "elsewhere"  # Only the exported folder is opened.
    exported.rename(moved)
    hidden = pretrained.rename(folder / "hidden")
    try:
        settings = (data, f"--encoder={moved}", "--num_labels=20,40", "--seeds=2", "--head_steps=5")
        output = run_well("training.transfer", *settings, f"--workdir={folder / 'transfer'}")
        run_well("training.transfer", *settings, f"--workdir={folder / 'again'}")
    finally:
        moved.rename(exported)
        hidden.rename(pretrained)
    report = json.loads((folder / "transfer" / "report.json").read_text())
    assert set(report["tasks"]) == {"family", "instrument", "pitch", "pitch within a semitone"}
    for task in report["tasks"].values():
        for encoder in ("pretrained", "untrained", "calibrated"):
            for count in ("20", "40"):
                cell = task[encoder][count]
                assert 0 <= cell["min"] <= cell["median"] <= cell["max"]
        assert task["metric"] == "accuracy" or task["pretrained"]["20"]["max"] > 1
        assert task["pretrained"] != task["untrained"] != task["calibrated"]
    assert output.count("**") == 2 * 24
    again = json.loads((folder / "again" / "report.json").read_text())
    assert again["tasks"] == report["tasks"]
    assert (folder / "transfer" / "pictures" / "transfer.png").stat().st_size > 0


def test_the_demo_ties_the_programs_together_and_keeps_an_earlier_run(folder, data):
    settings = (data, "--steps=4", "--num_labels=20", "--seeds=1", f"--workdir={folder / 'demo'}")
    (folder / "demo").mkdir()
    (folder / "demo" / "report.json").write_text('{"of": "an earlier run"}')
    (folder / "demo" / "phases.json").write_text("{}")
    output = run_well("training.demo", *settings)
    assert "earlier run" in (folder / "demo.1" / "report.json").read_text()
    report = json.loads((folder / "demo" / "report.json").read_text())
    assert set(report["seconds"]) == {"render", "pretrain", "export", "transfer"}
    assert report["wall_seconds"] == pytest.approx(sum(report["seconds"].values()), abs=0.1)
    assert report["peak_memory_bytes"] > 2**28
    assert report["tasks"]["pitch"]["metric"].startswith("mean squared error")
    assert "| family, accuracy | pretrained |" in output
    page = (folder / "demo" / "report.md").read_text()
    for picture in ("reordered.png", "transfer.png", "learning_curve.png"):
        assert f"pictures/{picture}" in page
        assert (folder / "demo" / "pictures" / picture).stat().st_size > 0


@pytest.mark.parametrize(
    ("program", "arguments", "message"),
    [
        ("training.pretrain", ["--recipe=cello", "--workdir=DIR"], "one of <notes|notes_time|"),
        ("training.pretrain", ["--stpes=3", "--workdir=DIR"], "Unknown command line flag 'stpes'"),
        ("training.pretrain", [], "--workdir must have a value"),
        ("training.pretrain", ["extra", "--workdir=DIR"], "Unexpected arguments: extra"),
        ("training.pretrain", ["--steps=0", "--workdir=DIR"], "--steps must be at least 1"),
        ("training.pretrain", ["--num_patches=7", "--workdir=DIR"], "does not divide"),
        ("training.pretrain", ["--soundfont=no.sf2", "--workdir=DIR"], "There is no sound bank"),
        ("training.pretrain", ["--data=drums", "--workdir=DIR"], "one of <notes|notes_varied|"),
        ("training.transfer", ["--encoder=nowhere", "--workdir=DIR"], "is no export"),
        ("training.transfer", ["--num_labels=many", "--workdir=DIR"], "must be whole numbers"),
        ("training.transfer", ["--seed=-1", "--workdir=DIR"], "--seed must be from 0"),
        ("training.reproduce", ["--workdir=DIR"], "Give what to measure"),
        ("training.reproduce", ["--table=two", "--workdir=DIR"], "must be whole numbers"),
        ("training.demo", ["--num_labels=0", "--workdir=DIR"], "--num_labels must be at least 1"),
        ("export.export_encoder", ["--workdir=nowhere", "--output=DIR"], "no final.weights.h5"),
        ("export.export_encoder", ["--output=DIR"], "Give either --workdir"),
        ("export.export_encoder", ["--checkpoint=no.h5", "--output=DIR"], "is no checkpoint"),
    ],
)
def test_what_is_wrong_is_one_line_and_touches_nothing(program, arguments, message, tmp_path):
    arguments = [argument.replace("DIR", str(tmp_path / "new")) for argument in arguments]
    status, _, errors = run(program, *arguments)
    lines = [line for line in errors.splitlines() if message in line]
    assert status != 0 and len(lines) == 1, errors
    assert "Traceback" not in errors
    assert not (tmp_path / "new").exists()


def test_a_finished_run_asked_again_says_so_and_touches_nothing(data, pretrained):
    before = {path: path.stat().st_mtime_ns for path in pretrained.rglob("*") if path.is_file()}
    output = run_well("training.pretrain", data, *SETTINGS, f"--workdir={pretrained}")
    assert "Finished" in output
    after = {path: path.stat().st_mtime_ns for path in pretrained.rglob("*") if path.is_file()}
    assert before == after


def test_a_demo_refuses_a_folder_of_other_things(tmp_path):
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "mine.py").write_text("precious")
    status, _, errors = run("training.demo", f"--workdir={tmp_path}")
    assert status == 1 and "not of a demo" in errors.splitlines()[-1]
    assert (tmp_path / "export" / "mine.py").read_text() == "precious"


def test_what_is_prepared_is_not_split_for_validation():
    status, _, errors = run("training.prepare", "--data=notes", "--validation")
    assert status == 1 and "--validation is for" in errors.splitlines()[-1]


@pytest.mark.parametrize(
    "program",
    [
        "training.prepare",
        "training.pretrain",
        "training.transfer",
        "training.demo",
        "training.soak",
        "export.export_encoder",
    ],
)
def test_help_shows_an_example_and_the_flags(program):
    _, output, errors = run(program, "--help")
    assert f"python -m {program}" in output + errors
    assert f"{program.replace('.', '/')}.py:" in output + errors
