"""Programs are run once, in order, several at a time, and go on where they were."""

import json
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from training.errors import UserError
from training.experiments.cells import PRETRAIN, TRANSFER, Cell
from training.experiments.runner import Runner

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent.parent
PROGRAM = "tests.training.experiments.program"


def cell(folder, *arguments, kind=PRETRAIN, needs=None):
    return Cell(kind, folder, (PROGRAM, f"--workdir={folder}", *arguments), needs)


def wait_for(path, process):
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)


def runs(folder, name):
    return int((folder / name / "runs.txt").read_text())


def test_what_is_done_is_not_done_again_and_what_needs_it_comes_after(tmp_path, capsys):
    some = [cell("b", needs="a"), cell("a"), cell("c", needs="b")]
    Runner(tmp_path, jobs=2).run(some)
    ended = [float((tmp_path / name / "ended").read_text()) for name in "abc"]
    assert ended == sorted(ended)
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 3 and "1 of 3, a: " in said[0] and said[2].endswith("about 0 min left")
    Runner(tmp_path, jobs=1).run([*some, cell("d")])
    assert [runs(tmp_path, name) for name in "abcd"] == [1, 1, 1, 1]
    assert "3 of 4 programs are done already" in capsys.readouterr().out


def test_time_left_is_told_once_a_program_of_each_kind_has_ended(tmp_path, capsys):
    some = [cell("a"), cell("b", kind=TRANSFER, needs="a"), cell("c", needs="b")]
    Runner(tmp_path, jobs=1).run(some)
    first, *others = capsys.readouterr().out.splitlines()
    assert first.endswith("0 min, how long the rest takes is known after the first transfer")
    assert [line.endswith("about 0 min left") for line in others] == [True, True]


def test_a_program_that_fails_is_one_line_and_the_same_command_goes_on(tmp_path):
    some = [cell("a"), cell("b", "--fail_once=1"), cell("c", needs="b")]
    with pytest.raises(UserError, match=r"b ended with status 1: error: the first time it fails"):
        Runner(tmp_path, jobs=1).run(some)
    assert not (tmp_path / "c").exists()
    assert json.loads((tmp_path / "b.json").read_text())["seconds"] > 0  # They count.
    Runner(tmp_path, jobs=1).run(some)
    assert [runs(tmp_path, name) for name in "abc"] == [1, 2, 1]
    assert json.loads((tmp_path / "b.json").read_text())["ended"]


def test_a_transfer_that_was_interrupted_begins_anew(tmp_path):
    some = [cell("t", "--fail_once=1", kind=TRANSFER)]
    for _ in range(2):
        (tmp_path / "t").mkdir(exist_ok=True)
        (tmp_path / "t" / "half").write_text("of a report")
        with pytest.raises(UserError):
            Runner(tmp_path, jobs=1).run(some)
        assert runs(tmp_path, "t") == 1 and not (tmp_path / "t" / "half").exists()


def test_other_settings_are_refused(tmp_path):
    Runner(tmp_path, jobs=1).run([cell("a")])
    with pytest.raises(UserError, match="was begun by other settings"):
        Runner(tmp_path, jobs=1).run([cell("a", "--other=1")])
    assert runs(tmp_path, "a") == 1


def test_where_data_lie_may_change(tmp_path):
    Runner(tmp_path, jobs=1).run([cell("a", "--folder=/here", "--seed=1")])
    Runner(tmp_path, jobs=1).run([cell("a", "--folder=/there", "--seed=1")])
    assert runs(tmp_path, "a") == 1


def begun(folder, **cells):
    """A process that runs cells with some arguments, once their programs wait to be stopped."""
    made = [f"cell({name!r}, '--wait=1', *{arguments!r})" for name, arguments in cells.items()]
    code = (
        "from tests.training.experiments.test_runner import *\n"
        # Tests that run in the background pass on that it is ignored.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"Runner({str(folder)!r}, jobs={len(made)}).run([{', '.join(made)}])"
    )
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, **pipes)
    for name in cells:
        wait_for(folder / name / "waits", process)
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_stopped_it_stops_its_programs_and_waits_for_what_they_save(number, tmp_path):
    process = begun(tmp_path, a=(), b=())
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0 and b"KeyboardInterrupt" in errors
    for name in "ab":
        assert (tmp_path / name / "saved").exists()
        assert not json.loads((tmp_path / f"{name}.json").read_text())["ended"]
    Runner(tmp_path, jobs=2).run([cell("a", "--wait=1"), cell("b", "--wait=1")])
    assert runs(tmp_path, "a") == runs(tmp_path, "b") == 2


def test_asked_again_to_stop_it_still_waits_for_its_programs(tmp_path):
    process = begun(tmp_path, a=("--save_seconds=2",))
    process.send_signal(signal.SIGINT)
    said = iter(process.stdout.readline, b"")
    assert any(b"Stopping; waiting for 1 to save" in line for line in said)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) != 0
    assert (tmp_path / "a" / "saved").exists()
    assert json.loads((tmp_path / "a.json").read_text())["seconds"] > 1


def test_time_left_is_that_of_what_is_most_alike(tmp_path):
    runner = Runner(tmp_path, jobs=1)
    heads, trained = "ours/seed0/pretrained-fc", "ours/seed0/supervised"
    runner._note(cell(heads, kind=TRANSFER), 60)
    runner._note(cell(trained, kind=TRANSFER), 3600)
    left = {
        "ours/seed1/pretrained-fc": "1 min",
        "ours/seed1/supervised": "1 h 0 min",
        "other/seed0/pretrained-fc": "1 min",
        "other/seed0/pretrained-levels": "30 min",  # Of its kind at least.
    }
    for folder, expected in left.items():
        assert runner._left([cell(folder, kind=TRANSFER)]) == f"about {expected} left"


def test_whoever_read_what_it_prints_may_be_gone(tmp_path):
    process = begun(tmp_path, a=())
    process.stdout.close()
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) != 0
    assert (tmp_path / "a" / "saved").exists()
