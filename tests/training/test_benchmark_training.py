"""The benchmark of training steps, on few examples."""

import dataclasses
import json
import time

import pytest

from training import benchmark_training_lib
from training.config import BenchmarkTrainingConfig
from training.data import digit_scenes, sets
from training.data.examples import Form
from training.errors import UserError
from training.recipes import RECIPES

CONFIG = BenchmarkTrainingConfig(recipe="digit_scenes", num_permutations=(5, 50), rounds=1, steps=1)
NAMES = ["perturbed, all permutations"]
NAMES += [f"cross-entropy, {count} permutations" for count in (5, 50)]


@pytest.fixture(autouse=True)
def few_scenes(monkeypatch):
    few = dataclasses.replace(
        sets.SETS["digit_scenes"], load=lambda config, split: digit_scenes.load(split, 70)
    )
    monkeypatch.setitem(sets.SETS, "digit_scenes", few)


@pytest.mark.slow
def test_the_report_holds_every_objective(tmp_path):
    report = benchmark_training_lib.run(CONFIG, tmp_path)
    assert json.loads((tmp_path / "report.json").read_text()) == report
    for part in ("milliseconds_a_step", "peak_memory_bytes"):
        assert list(report[part]) == NAMES
        assert min(report[part].values()) > 0
    assert 0 <= report["share_of_a_step_that_waits_for_data"] < 1
    text = (tmp_path / "report.md").read_text()
    assert all(f"| {name} |" in text for name in NAMES)
    assert f"| {NAMES[0]} | {report['milliseconds_a_step'][NAMES[0]]:.1f} | 1.000 |" in text


@pytest.mark.slow
def test_waiting_is_the_time_until_the_batch_comes():
    examples = digit_scenes.load("train", 70).inputs
    config = dataclasses.replace(RECIPES["digit_scenes"](), batch_size=2)
    steps = benchmark_training_lib.Steps(config, Form("image", (64, 64, 1)), examples)
    quick = steps.waiting(5)

    def late(x, order):
        time.sleep(0.5)
        return x, order

    batches = list(steps.batches.take(8))
    steps.batches = (late(*batch) for batch in batches)
    assert quick < 0.3 < 0.6 < steps.waiting(5)


def test_numbers_below_one_are_refused():
    with pytest.raises(UserError, match=r"--rounds must be at least 1"):
        dataclasses.replace(CONFIG, rounds=0).check()
    with pytest.raises(UserError, match=r"--num_permutations must be at least 1"):
        dataclasses.replace(CONFIG, num_permutations=(0,)).check()
