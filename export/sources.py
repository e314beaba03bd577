"""What is exported: the weights of a finished run, or those of one of its checkpoints."""

import dataclasses
import pathlib
import re

from training import records, workdirs
from training.checkpoints import is_whole
from training.config import PretrainConfig
from training.errors import UserError


@dataclasses.dataclass(frozen=True)
class Source:
    """Weights, and what is known of the run that made them.

    Attributes:
        workdir: Of the run.
        config: Its `PretrainConfig`.
        form: Of the examples it learns from.
        weights: File of weights.
        step: After which they were saved.
        held_out: What was measured then on held-out examples, by name; empty if nothing was.
        environment: Commit, versions and machine.
        measured: What the first metric means and what it is by chance; None if nothing is known.
        picture: Of what these weights learnt, or None.
    """

    workdir: pathlib.Path
    config: PretrainConfig
    form: object
    weights: pathlib.Path
    step: int
    held_out: dict
    environment: dict
    measured: dict | None = None
    picture: pathlib.Path | None = None


def of_run(workdir):
    """The source of a finished run.

    Raises:
        UserError: If it is not finished.
    """
    workdir = pathlib.Path(workdir)
    weights = workdir / workdirs.FINAL_WEIGHTS
    if not weights.is_file():
        raise UserError(
            f"--workdir={workdir} holds no {workdirs.FINAL_WEIGHTS}: let "
            f"`python -m training.pretrain --workdir={workdir}` run to its end first, or give "
            "--checkpoint."
        )
    config = records.load_config(workdir, PretrainConfig)
    report = None if config is None else workdirs.finished(config, workdir)
    if report is None:
        raise UserError(
            f"--workdir={workdir} holds a run that has been given more steps and not ended: let "
            f"`python -m training.pretrain --workdir={workdir}` run to its end first, or give "
            "--checkpoint."
        )
    return Source(
        workdir,
        config,
        workdirs.form_in(workdir),
        weights,
        config.steps,
        report["held_out"],
        report["environment"],
        report["measured"],
        _picture(workdir),
    )


def _picture(workdir):
    found = [workdir / "pictures" / name for name in ("reordered.png", "views.png")]
    return next((path for path in found if path.is_file()), None)


def of_checkpoint(path):
    """The source of a checkpoint, `WORKDIR/checkpoints/step_00000500.weights.h5`.

    Raises:
        UserError: If it is none, or damaged.
    """
    path = pathlib.Path(path)
    name = re.fullmatch(r"step_(\d+)\.weights\.h5", path.name)
    workdir = path.resolve().parent.parent
    if not name or not path.is_file() or not (workdir / "config.json").is_file():
        raise UserError(
            f"--checkpoint={path} is no checkpoint of a run: give "
            "WORKDIR/checkpoints/step_….weights.h5, where it lies."
        )
    if not is_whole(path):
        raise UserError(f"--checkpoint={path} is damaged: give another one of {path.parent}.")
    step = int(name[1])
    return Source(
        workdir,
        records.load_config(workdir, PretrainConfig),
        workdirs.form_in(workdir),
        path,
        step,
        _held_out(workdir / "log.csv", step),
        records.read_json(workdir / "config.json")["environment"],
    )


def with_embedding(source, embedding):
    """The source, of whose embeddings another one is what the encoder gives."""
    return dataclasses.replace(
        source, config=dataclasses.replace(source.config, embedding=embedding)
    )


def _held_out(log, step):
    """What the log says of a step; nothing between evaluations."""
    rows = records.read_log(log) if log.is_file() else []
    row = next((row for row in rows if row["step"] == step), {})
    return {
        name.removeprefix("val_"): value for name, value in row.items() if name.startswith("val_")
    }
