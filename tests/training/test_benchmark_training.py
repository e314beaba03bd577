"""The benchmark of training steps, on few examples."""

import dataclasses
import json
import os
import time
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf

from tests.training import distributed_runs
from training import (
    benchmark_scaling,
    benchmark_training_lib,
    benchmark_training_tables,
    projections,
)
from training.benchmark_scaling import BASE, ONE, Setting, settings
from training.config import BenchmarkTrainingConfig
from training.data import digit_scenes, sets
from training.data.form import Form
from training.errors import UserError
from training.recipes import RECIPES
from training.step_times import Split, Steps, parts

CONFIG = BenchmarkTrainingConfig(recipe="digit_scenes", num_permutations=(5, 50), rounds=1, steps=1)
NAMES = ["perturbed, all permutations"]
NAMES += [f"cross-entropy, {count} permutations" for count in (5, 50)]
SMALL = Form("image", (24, 24, 1))


@pytest.fixture(autouse=True)
def few_scenes(monkeypatch):
    few = dataclasses.replace(
        sets.SETS["digit_scenes"], load=lambda config, split: digit_scenes.load(split, 70)
    )
    monkeypatch.setitem(sets.SETS, "digit_scenes", few)


@pytest.fixture
def small():
    """A config and its examples."""
    config = distributed_runs.small_config(jitter=0)
    return config, distributed_runs.pictures(config, "train").inputs


@pytest.mark.slow
def test_the_report_holds_every_objective(tmp_path):
    config = dataclasses.replace(CONFIG, parts=("objectives",))
    report = benchmark_training_lib.run(config, tmp_path)
    assert json.loads((tmp_path / "report.json").read_text()) == report
    assert "scaling" not in report
    for part in ("milliseconds_a_step", "ratio", "peak_memory_bytes"):
        assert list(report["objectives"][part]) == NAMES
        assert min(report["objectives"][part].values()) > 0
    assert 0 <= report["objectives"]["share_of_a_step_that_waits_for_data"] < 1
    text = (tmp_path / "report.md").read_text()
    assert all(f"| {name} |" in text for name in NAMES)
    taken = report["objectives"]["milliseconds_a_step"][NAMES[0]]
    assert f"| {NAMES[0]} | {taken:.1f} | 1.000 |" in text


def test_normalisations_are_timed_beside_each_other(tmp_path, monkeypatch, small):
    recipe = small[0]
    monkeypatch.setattr(benchmark_training_lib, "_recipe", lambda config: recipe)
    distributed_runs.use_small_set(lambda name, of: monkeypatch.setitem(sets.SETS, name, of))
    traced = []

    class Traced(Steps):
        def __init__(self, *args):
            kernel = tf.compat.v1.nn.fused_batch_norm
            with mock.patch("tensorflow.compat.v1.nn.fused_batch_norm", wraps=kernel) as spy:
                super().__init__(*args)
            traced.append(spy.called)

    monkeypatch.setattr(benchmark_training_lib, "Steps", Traced)
    report = benchmark_training_lib.run(
        dataclasses.replace(CONFIG, parts=("normalization",)), tmp_path
    )["normalization"]
    assert traced == [False, True]
    of_keras, fused = report["milliseconds_a_step"].values()
    assert report["ratio"] == {
        "keras.layers.BatchNormalization": 1.0,
        "FusedBatchNormalization": pytest.approx(fused / of_keras, rel=1e-2),
    }
    assert f"| FusedBatchNormalization | {fused:.1f} |" in (tmp_path / "report.md").read_text()


@pytest.mark.slow
def test_settings_are_timed_beside_their_reference(tmp_path, monkeypatch, small):
    recipe, examples = small
    core = (min(os.sched_getaffinity(0)),)

    def few(_):
        mirrored, workers = (
            dataclasses.replace(recipe, strategy=name) for name in ("mirrored", "multi_worker")
        )
        return {
            BASE: Setting(recipe),
            "mirrored": Setting(mirrored, devices=2),
            "workers": Setting(workers, cores=(core, core), devices=1),
        }

    monkeypatch.setattr(benchmark_scaling, "settings", few)
    monkeypatch.setattr(benchmark_training_lib, "_recipe", lambda config: recipe)
    distributed_runs.use_small_set(lambda name, of: monkeypatch.setitem(sets.SETS, name, of))
    config = dataclasses.replace(CONFIG, parts=("scaling",))
    report = benchmark_training_lib.run(config, tmp_path)
    assert json.loads((tmp_path / "report.json").read_text()) == report
    rows = report["scaling"]["settings"]
    assert list(rows) == [BASE, "mirrored", "workers"]
    assert [row["devices"] for row in rows.values()] == [1, 2, 2]
    assert rows[BASE]["speed_over_reference"] == 1 and rows[BASE]["milliseconds_all_reduce"] is None
    for name, row in rows.items():
        assert row["peak_memory_bytes"] > 10**8
        expected = 1000 * row["batch_size"] / row["milliseconds_a_step"]
        assert row["examples_a_second"] == pytest.approx(expected, rel=0.01)
        if name != BASE:
            assert row["milliseconds_all_reduce"] > 0
    model = Steps(recipe, SMALL, examples).model
    weights = sum(np.prod(variable.shape) for variable in model.trainable_variables)
    step = report["scaling"]["step"]
    assert step["gradient_bytes"] == 4 * weights
    # Nine patches of 8 x 8: a multiplication and an addition for each weight and place.
    sizes, channels = (8, 4, 2, 1), (1, 32, 64, 128, 128)
    taps = sum(
        2 * 9 * into * out * size**2 for size, into, out in zip(sizes, channels, channels[1:])
    )
    assert step["forward_flops"] >= 0.9 * 9 * recipe.batch_size * taps
    # Gradients at once, a mean and a square of each normalisation on the way there and back.
    assert rows["workers"]["all_reduces_a_step"] > 2 * 4
    machines = report["scaling"]["computed"]["machines"]
    assert list(machines) == list(projections.MACHINES)
    text = (tmp_path / "report.md").read_text()
    assert all(f"| {name} |" in text for name in machines)
    assert f"of {BASE} |" in text and "times one of a bare loop" in text
    assert (tmp_path / "pictures" / "scaling.png").stat().st_size > 5000


@pytest.mark.slow
def test_a_step_is_the_sum_of_its_parts_and_each_does_what_it_says(small):
    config, examples = small
    steps = Steps(config, SMALL, examples)
    split = Split(steps)
    ends = split.seconds(2)
    assert list(ends) == ["forward", "loss", "backward", "update"]
    assert sum(parts(ends).values()) == pytest.approx(ends["update"])
    model = steps.model
    before = model.get_weights()
    gradients = [gradient.numpy() for gradient in split._beginnings["backward"]()]
    assert [gradient.shape for gradient in gradients] == [v.shape for v in model.trainable_weights]
    assert any(np.abs(gradient).max() > 0 for gradient in gradients)
    trained = [v.numpy() for v in model.trainable_variables]
    split.bare(1)
    assert any((old != new.numpy()).any() for old, new in zip(trained, model.trainable_variables))
    assert len(before) == len(model.get_weights())
    assert split.input(2) > 0


@pytest.mark.slow
def test_waiting_is_the_time_until_the_batch_comes():
    examples = digit_scenes.load("train", 70).inputs
    config = dataclasses.replace(RECIPES["digit_scenes"](), batch_size=2)
    steps = Steps(config, Form("image", (64, 64, 1)), examples)
    quick = steps.waiting(5)

    def late(x, order):
        time.sleep(0.5)
        return x, order

    batches = list(steps.batches.take(8))
    steps.batches = (late(*batch) for batch in batches)
    assert quick < 0.3 < 0.6 < steps.waiting(5)


@pytest.mark.parametrize("recipe", ["notes", "digit_scenes"])
def test_each_setting_differs_from_its_reference_in_one_thing(recipe, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 4, 5, 6, 7})
    recipe = RECIPES[recipe]()
    found = settings(recipe)
    assert ("half the patches" in found) == (not recipe.grid)
    assert found[ONE].cores == ((3, 4),)
    assert found["2 workers"].cores == ((3, 4), (5, 6)) and found["2 workers"].all_devices == 2
    assert found["2 devices, mirrored"].cores == ((3, 4, 5, 6),)
    assert found["2 devices, mirrored"].all_devices == 2
    for name, setting in found.items():
        reference = found[setting.reference].config
        changed = {
            field.name
            for field in dataclasses.fields(recipe)
            if getattr(setting.config, field.name) != getattr(reference, field.name)
        }
        more = {"strategy", "batch_size"}  # Of two devices, each has the batch of one.
        assert len(changed) == (name not in (BASE, ONE)) or changed == more or name == ONE
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    assert ONE not in settings(recipe)


def test_the_page_says_what_was_measured():
    row = {"devices": 2, "batch_size": 64, "num_patches": 9, "milliseconds_a_step": 12.34}
    row |= {"examples_a_second": 5186.4, "speed_over_reference": 1.5, "reference": ONE}
    row |= {"milliseconds_all_reduce": 2.0, "peak_memory_bytes": 2**30}
    step = {"milliseconds": {"input": 1.0, "forward": 2.0}, "fit_over_bare_loop": 1.01}
    step |= {"gradient_bytes": 10**6, "forward_flops": 2 * 10**9}
    row |= {"all_reduces_a_step": 21}
    text = benchmark_training_tables.scaling({"settings": {"two": row}, "step": step})
    assert "| two | 2 | 64 | 9 | 12.3 | 5186 | 1.50 of one device | 2.0 | 1024 |" in text
    assert "| part of a step | input | forward |" in text and "| ms | 1.0 | 2.0 |" in text
    assert "1.00 MB" in text and "2.0 GFLOP" in text and "1.010 times" in text
    assert "computed" not in text


def test_a_step_elsewhere_is_work_bytes_and_latency():
    machine = projections.Machine(4, "float32", 1e12, 1e9, 1e-3, ("https://example.org",))
    # 3 x 1 GFLOP x 20 examples at a tenth of 1 TFLOP/s; 6/4 of 10 MB at 1 GB/s; 5 waits of 1 ms.
    record = projections.computed(machine, 1e9, 10e6, 5, 20)
    assert record["milliseconds_of_work"] == 600 and record["milliseconds_of_bytes"] == 15
    assert record["milliseconds_of_latency"] == 5 and record["batch_size"] == 80
    assert record["examples_a_second"] == round(80 / 0.62)
    assert record["share_of_linear"] == round(0.6 / 0.62, 3)
    part = {"all_reduces": 5, "machines": {"mine": record}}
    text = benchmark_training_tables._computed(part)
    assert "| mine | 4 | float32 | 80 | 600.00 | 15.00 | 5.00 | 129 | 97% |" in text
    assert "mine: https://example.org." in text
    assert all(one.sources for one in projections.MACHINES.values())


def test_what_cannot_be_timed_is_refused():
    with pytest.raises(UserError, match=r"--rounds must be at least 1"):
        dataclasses.replace(CONFIG, rounds=0).check()
    with pytest.raises(UserError, match=r"--num_permutations must be at least 1"):
        dataclasses.replace(CONFIG, num_permutations=(0,)).check()
    with pytest.raises(UserError, match=r"--parts must be some of .*,normalization,scaling"):
        dataclasses.replace(CONFIG, parts=("speed",)).check()


def test_more_permutations_than_there_are_are_refused_before_anything_is_timed(tmp_path):
    config = dataclasses.replace(CONFIG, recipe="cifar10_grid", num_permutations=(10, 100))
    with pytest.raises(UserError, match=r"--num_permutations must be at most 4! = 24.* 100\."):
        benchmark_training_lib.run(config, tmp_path)
