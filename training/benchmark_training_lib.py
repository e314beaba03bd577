"""The benchmark of training steps: what is learnt from, how batches are normalised, scaling."""

import concurrent.futures
import dataclasses
import math
import multiprocessing
import os
import pathlib
import statistics
from unittest import mock

import numpy as np
import tqdm

from keras_s2l import FusedBatchNormalization
from training import (
    benchmark_scaling,
    benchmark_training_tables,
    distribution,
    material,
    pictures,
    records,
)
from training.config import changed
from training.data import sets
from training.data.form import Form
from training.errors import UserError
from training.recipes import RECIPES
from training.step_times import WARM_UP, Steps

ALL = "perturbed, all permutations"
FUSED, OF_KERAS = "FusedBatchNormalization", "keras.layers.BatchNormalization"


def run(config, workdir):
    """Times the steps of a recipe and writes the report.

    Args:
        config: `BenchmarkTrainingConfig`.
        workdir: Folder for config.json, report.json, report.md and the picture.

    Returns:
        The report.

    Raises:
        UserError: If the settings, the data or the workdir do not fit.
    """
    load_before = os.getloadavg()[0]
    config.check()
    distribution.share_gpus()
    workdir = pathlib.Path(workdir)
    records.refuse_other_run(workdir, config)
    recipe = _recipe(config)
    if "objectives" in config.parts:
        _refuse_more_than_there_are(config.num_permutations, recipe.total_patches)
    data_set = sets.of(recipe)
    examples = material.load(recipe, data_set).examples
    records.write_config(workdir, config)
    form = Form(data_set.kind, data_set.shape)
    report = {
        "config": records.as_json(config),
        "environment": records.environment(),
        "load_before": round(load_before, 2),
        "batch_size": recipe.batch_size,
        "num_patches": recipe.total_patches,
    }
    if "scaling" in config.parts:
        few = np.array(examples[: 4 * recipe.batch_size])
        report["scaling"] = benchmark_scaling.measure(
            recipe, form, few, config.rounds, config.steps
        )
        picture = pictures.scaling(report["scaling"])
        pictures.save(picture, workdir / "pictures" / "scaling.png")
    if "objectives" in config.parts:
        report["objectives"] = _objectives(config, recipe, form, examples)
    if "normalization" in config.parts:
        report["normalization"] = _normalization(config, recipe, form, examples)
    records.write_text(workdir / "report.md", benchmark_training_tables.page(report))
    records.write_json(workdir / "report.json", report)
    return report


def _recipe(config):
    given = {name: getattr(config, name) for name in ("soundfont", "data_dir")}
    return changed(RECIPES[config.recipe](), {name: path for name, path in given.items() if path})


def _refuse_more_than_there_are(counts, num_patches):
    if counts and max(counts) > math.factorial(num_patches):
        raise UserError(
            f"--num_permutations must be at most {num_patches}! = {math.factorial(num_patches)}, "
            f"as many as the recipe's patches have. Received: {max(counts)}."
        )


def _objectives(config, recipe, form, examples):
    """Times of a step, peak memory and the waiting, with all permutations and with fixed sets."""
    configs = _configs(config, recipe)
    runs = {name: Steps(of, form, examples) for name, of in configs.items()}
    return {
        **_in_turns(config, runs, "objectives"),
        "peak_memory_bytes": _peak_memories(configs, recipe, form, examples),
        "share_of_a_step_that_waits_for_data": round(
            runs[ALL].waiting(config.rounds * config.steps), 4
        ),
    }


def _normalization(config, recipe, form, examples):
    """Times of a step with our batch normalisation and with the one that it inherits from."""
    with mock.patch.object(FusedBatchNormalization, "_has_kernel", lambda *_: False):
        of_keras = Steps(recipe, form, examples)  # Traced here, once and for all.
    runs = {OF_KERAS: of_keras, FUSED: Steps(recipe, form, examples)}
    return _in_turns(config, runs, "normalisations")


def _in_turns(config, runs, what):
    """Median times of a step of each, which take turns, and their ratios to the first."""
    seconds = {name: [] for name in runs}
    for _ in tqdm.trange(config.rounds, desc=f"Timing {what}", unit="round"):
        for name, steps in runs.items():
            seconds[name].append(steps.seconds(config.steps))
    medians = {name: statistics.median(taken) for name, taken in seconds.items()}
    first = next(iter(medians.values()))
    return {
        "milliseconds_a_step": {name: round(1000 * taken, 3) for name, taken in medians.items()},
        "ratio": {name: round(taken / first, 4) for name, taken in medians.items()},
    }


def _configs(config, recipe):
    """Configs by the name of what is timed."""
    objectives = {ALL: dataclasses.replace(recipe, objective="perturbed")}
    for count in config.num_permutations:
        objectives[f"cross-entropy, {count} permutations"] = dataclasses.replace(
            recipe, objective="cross_entropy", num_permutations=count
        )
    return objectives


def _peak_memories(configs, recipe, form, examples):
    """Of each objective, in a process of its own."""
    few = np.array(examples[: recipe.batch_size])
    context = multiprocessing.get_context("spawn")
    peaks = {}
    for name, config in configs.items():
        with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
            peaks[name] = pool.submit(_peak_memory, config, form, few).result()
    return peaks


def _peak_memory(config, form, examples):
    Steps(config, form, examples).seconds(WARM_UP)
    return records.peak_memory_bytes()
