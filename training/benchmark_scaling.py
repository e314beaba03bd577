"""How training steps scale: settings timed in processes of their own, each beside a reference."""

import concurrent.futures
import contextlib
import dataclasses
import json
import multiprocessing
import os
import socket
import statistics

import tensorflow as tf
import tqdm

from training import distribution, projections, records
from training.config import PretrainConfig
from training.step_times import Split, Steps, parts

BASE, ONE = "as the recipe has it", "one device"


@dataclasses.dataclass(frozen=True)
class Setting:
    """What is timed, and on what.

    Attributes:
        config: What is trained.
        reference: Name of the setting that it is timed beside.
        cores: CPU cores of each worker, numbers; empty for all.
        devices: Of each worker; 0 for all as they are. Without GPUs they are CPU devices.
    """

    config: PretrainConfig
    reference: str = BASE
    cores: tuple = ((),)
    devices: int = 0

    @property
    def workers(self):
        return len(self.cores)

    @property
    def all_devices(self):
        return max(self.devices, 1) * self.workers


def settings(recipe):
    """Settings by name: the recipe, and what differs from it in one thing."""
    found = {BASE: Setting(recipe)}

    def add(name, reference=BASE, cores=((),), devices=0, **changes):
        config = dataclasses.replace(recipe, **changes)
        found[name] = Setting(config, reference, cores, devices)

    half = recipe.batch_size // 2
    add("half the batch", batch_size=half)
    add("twice the batch", batch_size=2 * recipe.batch_size)
    add("mixed_bfloat16", precision="mixed_bfloat16")
    if not recipe.grid:
        add("half the patches", num_patches=recipe.num_patches // 2)
        add("twice the patches", num_patches=2 * recipe.num_patches)
    gpus = len(tf.config.list_physical_devices("GPU"))
    cores = sorted(os.sched_getaffinity(0))
    if gpus > 1:
        each = max(recipe.batch_size // gpus, 1)
        add(ONE, devices=1, batch_size=each)
        all_gpus = {"devices": gpus, "strategy": "mirrored", "batch_size": each * gpus}
        add(f"{gpus} devices, mirrored", ONE, **all_gpus)
    elif not gpus and len(cores) > 1:
        # A CPU device has half of the cores, so that there are two of a kind.
        sides = tuple(cores[: len(cores) // 2]), tuple(cores[len(cores) // 2 :][: len(cores) // 2])
        add(ONE, cores=sides[:1], devices=1, batch_size=half)
        both = (sides[0] + sides[1],)
        add("2 devices, mirrored", ONE, both, 2, strategy="mirrored", batch_size=2 * half)
        add("2 workers", ONE, sides, 1, strategy="multi_worker", batch_size=2 * half)
    return found


def measure(recipe, form, examples, rounds, steps):
    """Times all settings of a recipe.

    Args:
        recipe: `PretrainConfig`.
        form: Of an example.
        examples: Array `(examples, ...)`, as of `Material`.
        rounds: How often a setting and its reference take turns.
        steps: In a turn.

    Returns:
        A record: the settings, what a step of the recipe is made of, and, where two workers were
        timed, what follows for machines that are not at hand.
    """
    found = settings(recipe)
    rows = {}
    progress = tqdm.tqdm(total=len(found) + 1, desc="Timing settings", unit="setting")
    with progress, contextlib.ExitStack() as stack:
        references = {}
        for name, setting in found.items():
            is_reference = name in {other.reference for other in found.values()}
            with contextlib.ExitStack() as own:
                timed = (stack if is_reference else own).enter_context(Timed(setting))
                timed.call(_begin, form, examples)
                if is_reference:
                    references[name] = timed
                rows[name] = _row(setting, timed, references[setting.reference], rounds, steps)
            progress.update()
        split = references[BASE].call(_split, rounds, steps)[0]
        progress.update()
    record = {"settings": rows, "step": split}
    counted = [row["all_reduces_a_step"] for row in rows.values() if row["all_reduces_a_step"]]
    if counted:
        record["computed"] = _computed(recipe, split, counted[0])
    return record


def _computed(recipe, step, all_reduces):
    """With as many examples a device as the recipe has."""
    flops = step["forward_flops"] / recipe.batch_size
    needs = flops, step["gradient_bytes"], all_reduces, recipe.batch_size
    return {
        "all_reduces": all_reduces,
        "machines": {
            name: projections.computed(machine, *needs)
            for name, machine in projections.MACHINES.items()
        },
    }


def _row(setting, timed, reference, rounds, steps):
    """The record of one setting, which takes turns with its reference."""
    compared = [timed] if timed is reference else [timed, reference]
    turns = [[of.seconds(steps) for of in compared] for _ in range(rounds)]
    medians = [statistics.median(taken) for taken in zip(*turns)]
    own, others = medians[0], medians[-1]
    batch, their_batch = setting.config.batch_size, reference.setting.config.batch_size
    several = setting.all_devices > 1
    reduced = timed.call(_all_reduce, rounds, steps)[0] if several else None
    return {
        "strategy": setting.config.strategy,
        "devices": setting.all_devices,
        "batch_size": batch,
        "num_patches": setting.config.total_patches,
        "precision": setting.config.precision,
        "milliseconds_a_step": round(1000 * own, 3),
        "examples_a_second": round(batch / own, 1),
        "reference": setting.reference,
        "speed_over_reference": round(batch / own / (their_batch / others), 4),
        "milliseconds_all_reduce": reduced and round(1000 * reduced, 3),
        "all_reduces_a_step": timed.call(_all_reduces)[0] if setting.workers > 1 else None,
        # Of the process of one worker.
        "peak_memory_bytes": max(timed.call(records.peak_memory_bytes)),
    }


class Timed:
    """A setting, ready to train: a process for each of its workers, which live until the end."""

    def __init__(self, setting):
        self.setting = setting

    def __enter__(self):
        context = multiprocessing.get_context("spawn")
        self._pools = [
            concurrent.futures.ProcessPoolExecutor(1, mp_context=context)
            for _ in self.setting.cores
        ]
        addresses = [f"127.0.0.1:{port}" for port in _free_ports(self.setting.workers)]
        try:
            for worker, pool in enumerate(self._pools):
                pool.submit(_take_place, self.setting, worker, addresses).result()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception):
        for pool in self._pools:
            pool.shutdown()

    def call(self, function, *arguments):
        """What a function gives in all workers, which call it together."""
        return [f.result() for f in [pool.submit(function, *arguments) for pool in self._pools]]

    def seconds(self, count):
        """Of a step, by so many of them."""
        return max(self.call(_seconds, count))


def _free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


# What follows runs in the processes of the workers.
_here = {}


def _take_place(setting, worker, addresses):
    """The cores and devices of a worker: before TensorFlow does anything."""
    distribution.share_gpus()
    if setting.cores[worker]:
        os.sched_setaffinity(0, setting.cores[worker])
    if setting.workers > 1:
        task = {"type": "worker", "index": worker}
        os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": addresses}, "task": task})
    if gpus := tf.config.list_physical_devices("GPU"):
        tf.config.set_visible_devices(gpus[: setting.devices or None], "GPU")
    elif setting.devices > 1:
        (cpu,) = tf.config.list_physical_devices("CPU")
        each = [tf.config.LogicalDeviceConfiguration()] * setting.devices
        tf.config.set_logical_device_configuration(cpu, each)
    _here["setting"] = setting


def _begin(form, examples):
    config = _here["setting"].config
    strategy = distribution.make_strategy(config.strategy)
    _here["steps"] = Steps(config, form, examples, strategy)


def _seconds(count):
    return _here["steps"].seconds(count)


def _all_reduces():
    return _here["steps"].all_reduces()


def _all_reduce(rounds, count):
    steps = _here["steps"]
    steps.all_reduce(1)  # Compiles.
    return statistics.median(steps.all_reduce(count) for _ in range(rounds))


def _split(rounds, count):
    """Milliseconds of each part of a step, and what else is known of one.

    A turn of `fit` has many steps, as one in training: it begins with work of its own.
    """
    split = Split(_here["steps"])
    ends, fits, bare = [], [], []
    for _ in range(rounds):
        ends.append(split.seconds(count))
        bare.append(split.bare(10 * count))
        fits.append(_here["steps"].fit(10 * count))
    median = statistics.median
    middle = {name: median(turn[name] for turn in ends) for name in ends[0]}
    alone = median(split.input(count) for _ in range(rounds))
    milliseconds = {"input": alone, **parts(middle)}
    return {
        "milliseconds": {name: round(1000 * taken, 3) for name, taken in milliseconds.items()},
        "fit_over_bare_loop": round(median(fits) / median(bare), 4),
        "forward_flops": split.forward_flops(),
        "gradient_bytes": _here["steps"].gradient_bytes,
    }
