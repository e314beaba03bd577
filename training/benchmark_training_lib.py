"""The benchmark of training steps: every objective's turn, medians, memory, and the waiting."""

import concurrent.futures
import dataclasses
import multiprocessing
import os
import pathlib
import statistics
import time

import numpy as np
import tensorflow as tf
import tqdm

from training import material, models, records
from training.data import sets
from training.data.examples import Form
from training.recipes import RECIPES

ALL = "perturbed, all permutations"
WARM_UP = 3  # Steps, the first of which compiles.


def run(config, workdir):
    """Times the steps of a recipe and writes the report.

    Args:
        config: `BenchmarkTrainingConfig`.
        workdir: Folder for config.json, report.json and report.md.

    Returns:
        The report.

    Raises:
        UserError: If the settings, the data or the workdir do not fit.
    """
    load_before = os.getloadavg()[0]
    config.check()
    workdir = pathlib.Path(workdir)
    records.refuse_other_run(workdir, config)
    recipe = _recipe(config)
    data_set = sets.of(recipe)
    examples = material.load(recipe, data_set).examples
    records.write_config(workdir, config)
    form = Form(data_set.kind, data_set.shape)
    runs = {name: Steps(of, form, examples) for name, of in _objectives(config, recipe).items()}
    seconds = {name: [] for name in runs}
    for _ in tqdm.trange(config.rounds, desc="Timing steps", unit="round"):
        for name, steps in runs.items():
            seconds[name].append(steps.seconds(config.steps))
    waiting = runs[ALL].waiting(config.rounds * config.steps)
    report = {
        "config": records.as_json(config),
        "environment": records.environment(),
        "load_before": round(load_before, 2),
        "batch_size": recipe.batch_size,
        "num_patches": recipe.total_patches,
        "milliseconds_a_step": {
            name: round(1000 * statistics.median(taken), 3) for name, taken in seconds.items()
        },
        "peak_memory_bytes": _peak_memories(config, recipe, form, examples),
        "share_of_a_step_that_waits_for_data": round(waiting, 4),
    }
    records.write_text(workdir / "report.md", table(report))
    records.write_json(workdir / "report.json", report)
    return report


def _recipe(config):
    given = {name: getattr(config, name) for name in ("soundfont", "data_dir")}
    return dataclasses.replace(RECIPES[config.recipe](), **given)


def _objectives(config, recipe):
    """Configs by the name of what is timed."""
    objectives = {ALL: dataclasses.replace(recipe, objective="perturbed")}
    for count in config.num_permutations:
        objectives[f"cross-entropy, {count} permutations"] = dataclasses.replace(
            recipe, objective="cross_entropy", num_permutations=count
        )
    return objectives


class Steps:
    """Training steps of a config, one after the other.

    Args:
        config: `PretrainConfig`.
        form: Of an example.
        examples: Array `(examples, ...)`, as of `Material`.
    """

    def __init__(self, config, form, examples):
        self.model = models.make_model(config, form)
        self.batches = material.batches_of(config, form.kind, examples, 0, 2**31)
        # The same batch again and again costs nothing to get.
        same = self.batches.take(1).cache().repeat()
        self._same = iter(same)
        self.model.make_train_function()
        self._step = self.model.train_function
        for _ in range(WARM_UP):
            self._step(self._same)

    def seconds(self, count):
        """Of a step, by so many of them, without the input pipeline."""
        began = time.perf_counter()
        for _ in range(count):
            logs = self._step(self._same)
        float(logs["loss"])  # Waits for the last one.
        return (time.perf_counter() - began) / count

    def waiting(self, count):
        """The share of so many steps that passes until the pipeline gives their batch."""
        batches = iter(self.batches)
        for _ in range(WARM_UP):
            self._take(next(batches))
        waited, began = 0.0, time.perf_counter()
        for _ in range(count):
            asked = time.perf_counter()
            batch = next(batches)
            waited += time.perf_counter() - asked
            self._take(batch)
        return waited / (time.perf_counter() - began)

    def _take(self, batch):
        float(self._step(iter(tf.data.Dataset.from_tensors(batch)))["loss"])


def _peak_memories(config, recipe, form, examples):
    """Of each objective, in a process of its own."""
    few = np.array(examples[: recipe.batch_size])
    context = multiprocessing.get_context("spawn")
    peaks = {}
    for name, of in _objectives(config, recipe).items():
        with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
            peaks[name] = pool.submit(_peak_memory, of, form, few).result()
    return peaks


def _peak_memory(config, form, examples):
    Steps(config, form, examples).seconds(WARM_UP)
    return records.peak_memory_bytes()


def table(report):
    """The report as Markdown; ratios are to the step over all permutations."""
    times, peaks = report["milliseconds_a_step"], report["peak_memory_bytes"]
    lines = ["| objective | ms a step | ratio | peak memory, MiB |", "|---|---|---|---|"]
    for name, taken in times.items():
        ratio, memory = taken / times[ALL], peaks[name] / 2**20
        lines.append(f"| {name} | {taken:.1f} | {ratio:.3f} | {memory:.0f} |")
    waiting = report["share_of_a_step_that_waits_for_data"]
    return "\n".join(lines) + f"\n\nA step waits for data {waiting:.1%} of its time.\n"
