"""Turns are fair, medians and ratios are those of known times, and reports say who was absent."""

import dataclasses
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from tests import references
from training import (
    benchmark_ranking_lib,
    ranking_calls,
    ranking_contenders,
    ranking_peers,
    ranking_tables,
    records,
)
from training.config import BenchmarkRankingConfig
from training.errors import UserError
from training.ranking_contenders import Contender

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
CONFIG = BenchmarkRankingConfig(cells=("3x100", "64x8"), rounds=3)


class Clock:
    """A clock that only work moves."""

    def __init__(self):
        self.now, self.turns = 0.0, []

    def __call__(self):
        return self.now

    def work(self, name, *seconds):
        """`run(count)` that takes the given times in turn, and the last one ever after."""
        seconds = list(seconds)

        def run(count):
            self.turns.append((name, count))
            self.now += count * (seconds.pop(0) if len(seconds) > 1 else seconds[0])

        return run


def fake(clock, name, seconds, **options):
    """A contender whose gradient takes as long as its ranks; its problems are kept."""
    problems = []

    def build(problem):
        problems.append(problem)
        return clock.work(name, seconds * (2 if problem.backward else 1))

    return Contender(name, build, **options), problems


def run(tmp_path, contenders, clock, config=CONFIG):
    return benchmark_ranking_lib.run(config, tmp_path / "new", contenders, clock)


def failing(problem):
    raise ArithmeticError("no ranks today\nand more")


@pytest.fixture
def report(tmp_path):
    """Of known times: the sort 1 ms, ours 2 ms, torchsort 6 ms, with a gradient twice that."""
    clock = Clock()
    ours, problems = fake(clock, "ours", 2e-3)
    sort, _ = fake(clock, "argsort", 1e-3, is_soft_rank=False, has_backward=False)
    torchsort, _ = fake(clock, "torchsort", 6e-3, module="math", max_n=20)
    relaxed, _ = fake(clock, "relaxed", 8e-3, module="math", is_soft_rank=False)
    absent = Contender("absent", failing, module="not_to_be_found", install="pip install it")
    broken = Contender("broken", failing, module="math")
    report = run(tmp_path, [ours, sort, torchsort, relaxed, absent, broken], clock)
    return report, problems, tmp_path / "new"


def test_all_take_turns_and_a_turn_is_as_many_evaluations_as_fill_it():
    clock = Clock()
    runs = {"fast": clock.work("fast", 1e-6), "middling": clock.work("middling", 0.02)}
    seconds = benchmark_ranking_lib.measure(runs, 3, clock)
    assert [name for name, _ in clock.turns[-6:]] == ["fast", "middling"] * 3
    assert dict(clock.turns[-2:])["fast"] == pytest.approx(20_000, rel=0.1)
    np.testing.assert_allclose(seconds["fast"], [1e-6] * 3)
    np.testing.assert_allclose(seconds["middling"], [0.02] * 3)


def test_what_takes_long_gets_fewer_turns():
    clock = Clock()
    runs = {"slow": clock.work("slow", 2.0), "fast": clock.work("fast", 0.1)}
    seconds = benchmark_ranking_lib.measure(runs, 7, clock)
    assert {name: len(turns) for name, turns in seconds.items()} == {"slow": 3, "fast": 7}


def test_the_time_of_a_trial_is_the_median_of_its_rounds():
    clock = Clock()
    # Compiling, choosing how many evaluations fill a turn, and three rounds.
    ours = Contender("ours", lambda problem: clock.work("ours", 9.0, 0.03, 0.5, 0.1, 0.2))
    config = dataclasses.replace(CONFIG, rounds=3, regimes=("pooled",), regularizations=("l2",))
    rows = benchmark_ranking_lib.time_cell(config, [ours], (2, 3), clock, {})
    assert [row["passes"] for row in rows] == ["forward", "forward + backward"]
    for row in rows:
        np.testing.assert_allclose(row["rounds"], [5e5, 1e5, 2e5])
        assert row["microseconds"] == pytest.approx(2e5)


def test_ratios_are_those_of_known_times(report):
    report, *_ = report
    assert len(report["ratios"]) == 2 * 2 * 2 * 2  # Cells, regularizations, regimes, passes.
    for row in report["ratios"]:
        both = row["passes"] == "forward + backward"
        expected = {"ours / argsort": 4 if both else 2, "relaxed / ours": 4}
        if row["n"] <= 20:
            expected["torchsort / ours"] = 3
        assert row["ratios"] == pytest.approx(expected)


def test_each_regime_has_its_strength_and_all_get_the_same_scores(report):
    _, problems, _ = report
    assert {(p.scores.shape, p.strength) for p in problems} == {
        *(((3, 100), 1.0), ((3, 100), 0.04), ((64, 8), 1.0), ((64, 8), 0.5)),
    }
    assert {p.regularization for p in problems} == {"l2", "kl"}
    scores = {p.scores.tobytes() for p in problems if p.scores.shape == (3, 100)}
    assert len(scores) == 1 and problems[0].scores.dtype == problems[0].upstream.dtype == "float32"


def test_absent_and_failing_peers_are_reported_and_stop_nobody(report):
    report, _, workdir = report
    assert report["peers"]["torchsort"]["installed"]
    assert not report["peers"]["absent"]["installed"]
    failure = "forward at 3 x 100: ArithmeticError: no ranks today"
    assert report["peers"]["broken"]["failure"] == failure
    page = (workdir / "report.md").read_text()
    assert "- absent: absent; to add it: `pip install it`\n" in page
    assert failure in page
    assert {row["contender"] for row in report["times"]} == {
        *("ours", "argsort", "torchsort", "relaxed"),
    }


def test_the_report_is_written_whole(report):
    report, _, workdir = report
    assert json.loads((workdir / "report.json").read_text()) == report
    assert (workdir / "times.png").read_bytes()[:4] == b"\x89PNG"
    assert {"commit", "cpu", "cpu_cores", "packages"} <= set(report["environment"])
    page = (workdir / "report.md").read_text()
    assert "; on the processor alone; " in page
    assert "| rows x scores | ours / argsort | torchsort / ours | relaxed / ours |" in page
    assert "| 3 x 100 | 4.00 (≤ 1.2) | – | 4.00 |" in page
    assert "| 64 x 8 | 4.00 (≤ 1) | 3.00 (≥ 1.5) | 4.00 |" in page
    assert "| 64 x 8 | 2000 | 6000 | 1000 | 8000 |" in page.replace(".0 ", " ")


def test_a_trouble_of_ours_is_not_hidden(tmp_path):
    with pytest.raises(ArithmeticError):
        run(tmp_path, [Contender("ours", failing)], Clock())


def test_a_finished_report_is_not_overwritten(report):
    _, _, workdir = report
    before = (workdir / "report.json").read_bytes()
    with pytest.raises(UserError, match="holds a finished report"):
        benchmark_ranking_lib.run(CONFIG, workdir, [], Clock())
    assert (workdir / "report.json").read_bytes() == before


def test_an_accelerator_that_is_not_there_is_refused(tmp_path):
    config = dataclasses.replace(CONFIG, accelerator=True)
    with pytest.raises(UserError, match="--accelerator needs a GPU or TPU that --backend=tensorf"):
        run(tmp_path, [], Clock(), config)
    assert not (tmp_path / "new").exists()


def test_on_an_accelerator_those_are_timed_that_know_it_and_the_page_says_where(
    tmp_path, monkeypatch
):
    environment = {**records.environment(), "accelerators": ["Accelerator 9000"]}
    monkeypatch.setattr(records, "environment", lambda: environment)
    clock, asked = Clock(), []
    rivals = [fake(clock, "ours", 2e-3)[0], fake(clock, "argsort", 1e-3, has_backward=False)[0]]
    monkeypatch.setattr(ranking_contenders, "ours", lambda *of: asked.append(of) or rivals)
    monkeypatch.setattr(ranking_peers, "peers", lambda *of: asked.append(of) or [])
    run(tmp_path, None, clock, dataclasses.replace(CONFIG, accelerator=True))
    assert asked == [("tensorflow", True)] * 2
    page = (tmp_path / "new" / "report.md").read_text()
    assert "; on Accelerator 9000; " in page
    assert "| 64 x 8 | 4.00 |" in page and "(≤" not in page  # Goals are of processors.


def test_on_an_accelerator_ours_are_timed_beside_the_peers_of_jax():
    assert {c.module for c in ranking_peers.peers("jax", accelerator=True)} == {"softjax", "ott"}
    assert not ranking_peers.peers("tensorflow", accelerator=True)
    (sort,) = [c for c in ranking_contenders.ours("jax", accelerator=True) if c.name == "argsort"]
    assert sort.takes(64, 1000)


@pytest.mark.parametrize(
    ("size", "torchsort", "fast_soft_sort", "argsort"),
    [
        ((1, 8), "", "", ""),
        ((64, 8), "≥ 1.5", "≥ 25", "≤ 1"),
        ((1024, 20), "≥ 1.5", "≥ 25", "≤ 1"),
        ((128, 100), "≥ 1", "≥ 5", "≤ 1.2"),
        ((32, 1000), "≥ 1", "≥ 2", "≤ 1.2"),
        ((8, 10000), "≥ 1", "≥ 2", "≤ 1.2"),
        ((1, 100000), "≥ 0.5", "≥ 1", "≤ 2"),
    ],
)
def test_goals_depend_on_the_length_of_rows(size, torchsort, fast_soft_sort, argsort):
    row = {"batch": size[0], "n": size[1], "passes": "forward + backward"}
    goals = {"torchsort / ours": torchsort, "fast-soft-sort / ours": fast_soft_sort}
    for name, expected in {**goals, "ours / argsort": argsort}.items():
        assert ranking_tables.goal(row, name) == expected
        assert ranking_tables.goal({**row, "passes": "forward"}, name) == ""


def test_a_contender_is_kept_from_cells_that_it_is_too_slow_for():
    contender = Contender("peer", failing, max_batch=256, max_n=100)
    assert contender.takes(256, 100)
    assert not contender.takes(257, 100) and not contender.takes(256, 101)
    assert not dataclasses.replace(contender, sizes=((4, 5),)).takes(5, 4)


EXACT = ("ours, per call", "ours, eager", "torchsort", "fast-soft-sort", "fast-soft-sort tf_ops")
EVERYONE = ranking_contenders.ours("tensorflow") + ranking_peers.peers("tensorflow")


@pytest.mark.parametrize("name", [*EXACT, "softjax"])
@pytest.mark.parametrize("strength", [0.5, 3.0])
def test_contenders_rank_as_they_should(name, strength):
    (contender,) = [contender for contender in EVERYONE if contender.name == name]
    if not contender.is_installed():
        pytest.skip(f"{name} is not installed")
    scores, upstream = ranking_calls.draw(4, 6, seed=2)
    problem = ranking_calls.Problem(scores, upstream, strength, "l2", backward=True)
    ranks, gradient = (np.asarray(result) for result in contender.build(problem)(2))

    def truth(scores):
        return np.array([references.soft_rank(row, strength) for row in scores])

    first = 0 if name.startswith("ours") else 1  # The lowest rank that peers give.
    np.testing.assert_allclose(ranks - first, truth(scores), atol=1e-5)
    step = 1e-6 * np.eye(6)
    for i, row in enumerate(scores):
        slope = truth(row + step) - truth(row - step)  # (changed score, rank)
        np.testing.assert_allclose(gradient[i], slope @ upstream[i] / 2e-6, atol=1e-4)


@pytest.mark.parametrize("count", [1, 5])
def test_a_chain_solves_the_same_problem_again_and_again(count):
    tf = pytest.importorskip("tensorflow")
    scores, upstream = ranking_calls.draw(2, 3, seed=0)
    seen = tf.Variable(0)

    def rank(scores):
        seen.assign_add(1)
        return 2 * scores

    problem = ranking_calls.Problem(scores, upstream, 1.0, "l2", backward=True)
    ranking_calls.in_graph(rank, problem)(count)
    assert seen.numpy() == count


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cells": ("256by10",)}, r"--cells must be sizes such as .* Received: 256by10\."),
        ({"cells": ("256x10", "0x10")}, "--cells must be sizes"),
        ({"cells": ()}, "--cells must name at least one"),
        ({"regimes": ("pooled", "hard")}, "--regimes must be some of pooled,mixed"),
        ({"regularizations": ()}, "--regularizations must be some of l2,kl"),
        ({"rounds": 0}, "--rounds must be at least 1"),
        ({"seed": -1}, "--seed must be from 0"),
    ],
)
def test_what_cannot_be_timed_is_refused_by_name(changes, message, tmp_path):
    with pytest.raises(UserError, match=message):
        run(tmp_path, [], Clock(), dataclasses.replace(CONFIG, **changes))
    assert not (tmp_path / "new").exists()


def test_a_cell_named_twice_is_timed_once():
    assert BenchmarkRankingConfig(cells=("2x3", "4x5", "2x3")).sizes() == [(2, 3), (4, 5)]


def program(*arguments):
    command = [sys.executable, "-X", "importtime", "-m", "training.benchmark_ranking", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def imported(process):
    lines = [line for line in process.stderr.splitlines() if line.startswith("import time:")]
    return {line.split("|")[-1].strip().split(".")[0] for line in lines}


def test_help_shows_examples_and_flags_without_importing_tensorflow():
    process = program("--help")
    assert "python -m training.benchmark_ranking --workdir=" in process.stdout
    assert "--cells: sizes to time" in process.stdout and "1024x20" in process.stdout
    assert not imported(process) & {"tensorflow", "keras", "jax", "torch", "numpy"}


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--cells=10", "error: --cells must be sizes such as 256x10,1024x20"),
        ("--regimes=hard", "error: --regimes must be some of pooled,mixed. Received: hard."),
        ("--backend=caffe", "<tensorflow|jax>"),
    ],
)
def test_what_is_wrong_is_one_line_before_anything_is_imported(argument, message, tmp_path):
    process = program(argument, f"--workdir={tmp_path / 'new'}")
    errors = [line for line in process.stderr.splitlines() if not line.startswith("import time:")]
    assert process.returncode != 0 and "Traceback" not in process.stderr
    assert len([line for line in errors if message in line]) == 1, errors
    assert "tensorflow" not in imported(process)
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_the_program_times_our_ops_on_either_backend(backend, tmp_path):
    arguments = ("--cells=2x5", "--rounds=1", "--regimes=mixed", f"--backend={backend}")
    process = program(*arguments, f"--workdir={tmp_path}")
    assert process.returncode == 0, process.stderr[-2000:]
    assert "2 x 5: " in process.stdout and "ours / argsort" in process.stdout
    report = json.loads((tmp_path / "report.json").read_text())
    timed = {(r["contender"], r["regularization"], r["passes"]) for r in report["times"]}
    for regularization in ("l2", "kl"):
        for passes in ("forward", "forward + backward"):
            assert {
                ("ours", regularization, passes),
                ("ours, per call", regularization, passes),
            } < (timed)
    assert ("argsort", None, "forward") in timed
    assert all(row["microseconds"] > 0 for row in report["times"])
    assert ("jax" in report["environment"]["packages"]) == (backend == "jax")
    assert ("tensorflow" in imported(process)) == (backend == "tensorflow")
