"""The benchmark of ranking ops: everyone's turn in every cell, medians, and their ratios."""

import math
import os
import pathlib
import statistics
import time
from typing import NamedTuple

import numpy as np

import keras_s2l
from training import (
    pictures,
    ranking_calls,
    ranking_contenders,
    ranking_peers,
    ranking_tables,
    records,
)
from training.errors import UserError

STRENGTHS = {"pooled": lambda n: 1.0, "mixed": lambda n: 4 / n}
SAMPLE_SECONDS = 0.02  # What a turn takes, by as many evaluations as that needs.
SLOW_SECONDS, SLOW_ROUNDS = 0.3, 3  # An evaluation that takes as long gets so many turns.
FORWARD, BOTH = "forward", "forward + backward"


class Trial(NamedTuple):
    """What one number of a cell is the time of."""

    contender: str
    regime: str | None  # `None` for what is no soft rank, as the regularization.
    regularization: str | None
    passes: str


def run(config, workdir, contenders=None, clock=time.perf_counter):
    """Times all contenders on all cells and writes the report.

    Args:
        config: `BenchmarkRankingConfig`.
        workdir: Folder for config.json, report.json, report.md, times.png and strengths.png.
        contenders: List of `Contender`, instead of ours and the peers.
        clock: Gives seconds.

    Returns:
        The report.

    Raises:
        UserError: If the settings or the workdir do not fit.
    """
    began, load_before = time.monotonic(), os.getloadavg()[0]
    config.check()
    workdir = pathlib.Path(workdir)
    records.refuse_other_run(workdir, config)
    environment = records.environment()
    if config.accelerator and not environment["accelerators"]:
        raise UserError(
            f"--accelerator needs a GPU or TPU that --backend={config.backend} sees, and it sees "
            "none: install its package for yours, or leave the flag out to time the processor."
        )
    if contenders is None:
        where = config.backend, config.accelerator
        contenders = [*ranking_contenders.ours(*where), *ranking_peers.peers(*where)]
    installed = [contender for contender in contenders if contender.is_installed()]
    records.write_config(workdir, config)
    times, failures = [], {}
    sizes = config.sizes()
    for number, (batch, n) in enumerate(sizes, 1):
        started = time.monotonic()
        times += time_cell(config, installed, (batch, n), clock, failures)
        seconds = time.monotonic() - started
        print(f"{batch} x {n}: {seconds:.0f} s ({number} of {len(sizes)} cells)", flush=True)
    report = {
        "config": records.as_json(config),
        "environment": environment,
        "peers": {c.name: _presence(c, failures) for c in contenders if c.module},
        "times": times,
        "ratios": ratios(times),
        "perturbed": _perturbed(config, times),
        # Of the whole machine: the run alone makes about as many as it has cores.
        "load_average": {"before": load_before, "after": os.getloadavg()[0]},
        "seconds": round(time.monotonic() - began, 1),
        "peak_memory_bytes": records.peak_memory_bytes(),
    }
    records.write_text(workdir / "report.md", ranking_tables.page(report))
    pictures.save(pictures.ranking_times(times), workdir / "times.png")
    pictures.save(_ranks_by_strength(), workdir / "strengths.png")
    # Last: it says that the run is finished.
    records.write_json(workdir / "report.json", report)
    return report


def _ranks_by_strength():
    """Picture of what the strength does to the ranks of five scores."""
    scores = [0.0, 0.3, 1.0, 2.0, 4.0]
    row = np.array([scores])
    strengths = np.geomspace(0.02, 20, 200)
    ops = {
        "soft_rank l2": keras_s2l.soft_rank,
        "soft_rank kl": lambda row, strength: keras_s2l.soft_rank(row, strength, "kl"),
        "perturbed_rank": keras_s2l.perturbed_rank,
    }
    ranks = {name: [op(row, x)[0] for x in strengths] for name, op in ops.items()}
    bounds = {
        f"soft_rank {name}": np.ravel(keras_s2l.rank_strengths(row, name)) for name in ("l2", "kl")
    }
    return pictures.soft_ranks(scores, strengths, ranks, bounds)


def summary(report):
    """What to print at the end."""
    return ranking_tables.ratio_tables(report, BOTH)


def _presence(contender, failures):
    installed = contender.is_installed()
    return {
        "installed": installed,
        "versions": contender.versions() if installed else {},
        "install": contender.install,
        "failure": failures.get(contender.name),
    }


def time_cell(config, contenders, size, clock, failures):
    """Rows of `report["times"]` for one cell; the first failure of a peer goes to `failures`."""
    batch, n = size
    data = ranking_calls.draw(batch, n, config.seed)
    runs = {}
    for trial, contender in _trials(config, contenders, size):
        strength = STRENGTHS[trial.regime](n) if trial.regime else None
        problem = ranking_calls.Problem(*data, strength, trial.regularization, trial.passes == BOTH)
        try:
            runs[trial] = contender.build(problem)
            runs[trial](1)  # Compiles.
        except Exception as error:
            if not contender.module:
                raise
            runs.pop(trial, None)  # A peer's trouble is not ours: the others go on.
            text = (str(error).strip().splitlines() or [""])[0]
            failures.setdefault(
                contender.name, f"{trial.passes} at {batch} x {n}: {type(error).__name__}: {text}"
            )
    names = [contender.name for contender in contenders]
    rows = [
        {
            "batch": batch,
            "n": n,
            **trial._asdict(),
            "microseconds": 1e6 * statistics.median(seconds),
            "rounds": [1e6 * second for second in seconds],
        }
        for trial, seconds in measure(runs, config.rounds, clock).items()
    ]
    return sorted(rows, key=lambda row: names.index(row["contender"]))


def _trials(config, contenders, size):
    """All trials of a cell; what is compared stands together."""
    chosen = [contender for contender in contenders if contender.takes(*size)]
    variants = [(None, None)]
    for regularization in dict.fromkeys(config.regularizations):
        variants += [(regime, regularization) for regime in dict.fromkeys(config.regimes)]
    for regime, regularization in variants:
        for passes in (FORWARD, BOTH):
            for contender in chosen:
                fits = contender.is_soft_rank == (regime is not None)
                if fits and (contender.has_backward or passes == FORWARD):
                    yield Trial(contender.name, regime, regularization, passes), contender


def measure(runs, rounds, clock):
    """Seconds of one evaluation in each round, all taking turns.

    Args:
        runs: Dictionary of `run(count)`.
        rounds: Number of turns of each; those that take long get fewer.
        clock: Gives seconds.
    """
    counts, seconds = {}, {name: [] for name in runs}

    def timed(name, count):
        began = clock()
        runs[name](count)
        return (clock() - began) / count

    for name in runs:
        counts[name] = _count(lambda count, name=name: timed(name, count))
    for number in range(rounds):
        for name, count in counts.items():
            if number < SLOW_ROUNDS or seconds[name][0] < SLOW_SECONDS:
                seconds[name].append(timed(name, count))
    return seconds


def _count(timed):
    """How many evaluations fill a turn: more and more of them, until they show."""
    count = 1
    while (taken := count * timed(count)) < SAMPLE_SECONDS / 2:
        count = math.ceil(count * min(16.0, SAMPLE_SECONDS / max(taken, 1e-9)))
    return max(1, round(count * SAMPLE_SECONDS / taken))


def ratios(times):
    """Rows of `report["ratios"]`: how many times as long as ours each takes, and ours as the sort.

    Ours is the one that is chained in a compiled program; the peers are called from Python.
    """
    cells = {}
    for row in times:
        cells.setdefault((row["batch"], row["n"]), {})[_trial(row)] = row["microseconds"]
    return [
        {
            "batch": batch,
            "n": n,
            "regime": trial.regime,
            "regularization": trial.regularization,
            "passes": trial.passes,
            "ratios": _ratios_to(trial, medians),
        }
        for (batch, n), medians in cells.items()
        for trial in medians
        if trial.contender == "ours"
    ]


def _ratios_to(ours, medians):
    """Ratios of one cell, from the medians of its trials."""
    found = {}
    for trial, median in medians.items():
        same_variant = trial.regime is None or trial._replace(contender="ours") == ours
        if trial.contender == "argsort":  # Also beside a gradient, which it has not.
            found["ours / argsort"] = medians[ours] / median
        elif trial.contender.startswith(("ours", "perturbed")):
            continue
        elif same_variant and trial.passes == ours.passes:
            found[f"{trial.contender} / ours"] = median / medians[ours]
    return found


def _trial(row):
    return Trial(*(row[name] for name in Trial._fields))


def _perturbed(config, times):
    """The expected rank in closed form beside its Monte-Carlo estimate."""
    closed, sampled = ranking_contenders.CLOSED_FORM, ranking_contenders.MONTE_CARLO
    medians = {
        (row["contender"], row["batch"], row["n"], row["passes"]): row["microseconds"]
        for row in times
    }
    rows = []
    for name, batch, n, passes in medians:
        if name == closed:
            times_of = medians[closed, batch, n, passes], medians[sampled, batch, n, passes]
            scores, _ = ranking_calls.draw(batch, n, config.seed)
            rows.append(
                {
                    "batch": batch,
                    "n": n,
                    "passes": passes,
                    "closed_form_microseconds": times_of[0],
                    "monte_carlo_microseconds": times_of[1],
                    "ratio": times_of[1] / times_of[0],
                    "monte_carlo_largest_error": ranking_contenders.monte_carlo_error(scores),
                }
            )
    return rows
