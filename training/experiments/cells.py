"""The runs of the experiments, each a program, in the order in which they are made."""

import dataclasses

from training.config.fields import as_text
from training.experiments import plans

FOLDERS = ("folder", "cache_dir", "data_dir")
NOT_PREPARED = ("cache_dir", "validation")
# What stops early has time to read what hardly varies in an embedding, if it does not decay first.
STOPPED_HEADS = {"head_steps": 1000, "head_weight_decay": 3.0}
PREPARE, PRETRAIN, EXPORT, TRANSFER = "prepare", "pretrain", "export", "transfer"


@dataclasses.dataclass(frozen=True)
class Cell:
    """A program to run.

    Attributes:
        kind: "prepare", "pretrain", "export" or "transfer".
        folder: Of all that it leaves, its record and its log too, in that of the experiments.
        command: Its module and arguments; folders in it are relative to that of the experiments.
        needs: Folder of the cell that must be done before, or None.
    """

    kind: str
    folder: str
    command: tuple
    needs: str | None = None


def measurements(experiments):
    """By arm what its encoders are measured by, each once."""
    found = {}
    for row in (row for e in experiments for of in e.rows.values() for row in of):
        found.setdefault(row.arm, {}).update(dict.fromkeys(row.measurements))
    return found


def make(config, experiments):
    """All cells, one seed after the other, so that what is done can be compared at any time.

    Args:
        config: `ReproduceConfig`.
        experiments: As `plans.experiments` gives them.
    """
    options = {"data": config.data, **_where(config)}
    flags = [f"--{name}={options[name]}" for name in options if name not in NOT_PREPARED]
    command = ("training.prepare", *flags)
    made = [Cell(PREPARE, PREPARE, command)]  # Once, not by several runs at a time.
    measured = measurements(experiments)
    for seed in range(config.pretrain_seeds):
        for arm, of_arm in measured.items():
            made += _of_run(config, arm, of_arm, seed)
    return made


def folder_of(arm, seed, measurement=None):
    """Of a run, or of what it is measured by; relative to that of the experiments."""
    folder = f"{arm.name}/seed{seed}"
    return f"{folder}/pretrain" if measurement is None else f"{folder}/{measurement.name}"


def _of_run(config, arm, of_arm, seed):
    where = _where(config)
    pretrain, export = folder_of(arm, seed), f"{arm.name}/seed{seed}/export"
    steps = plans.steps_of(config)
    budget = {"steps": steps, "evaluate_every": max(steps // 4, 1)} if steps else {}
    options = {**arm.flags, **budget, "seed": seed, **where}
    yield Cell(
        PRETRAIN, pretrain, _command("training.pretrain", options, workdir=pretrain), PREPARE
    )
    command = _command("export.export_encoder", {"overwrite": True}, workdir=pretrain)
    yield Cell(EXPORT, export, (*command, f"--output={export}/encoder"), pretrain)
    for measurement in of_arm:
        folder = folder_of(arm, seed, measurement)
        options = _transfer_options(config, measurement) | {"seed": seed, **where}
        command = _command("training.transfer", options, workdir=folder)
        command = (*command, f"--encoder={export}/encoder")
        yield Cell(TRANSFER, folder, command, export)


def _transfer_options(config, measurement):
    options = {
        "data": config.data,
        "embedding": measurement.embedding,
        "num_labels": as_text(measurement.num_labels),
    }
    if config.early_stopping:
        options["early_stopping"] = True
    if measurement.encoders == ("supervised",):
        # Training the whole network takes as long as 30 heads: in short, once for each seed.
        draws = 1 if config.setting == "quick" else config.seeds
        return {**options, "protocol": "supervised", "seeds": draws}
    if config.early_stopping:
        options |= STOPPED_HEADS
    return {**options, "encoders": as_text(measurement.encoders), "seeds": config.seeds}


def _where(config):
    """Which data, as our programs take it."""
    names = (*FOLDERS, "soundfont", "validation")
    return {name: getattr(config, name) for name in names if getattr(config, name)}


def _command(program, options, workdir):
    return (program, f"--workdir={workdir}", *(f"--{k}={v}" for k, v in options.items()))
