"""Pre-training: from recordings to `final.weights.h5`, resumable at any step."""

import dataclasses
import pathlib
import sys
import time

import keras
import numpy as np
import tensorflow as tf

from training import callbacks, models, objectives, pictures, records
from training.checkpoints import Checkpoints, save_weights
from training.config import NOT_STATED_IN_THE_PAPER
from training.data import sets, stream
from training.data.examples import as_inputs
from training.errors import UserError

FINAL_WEIGHTS = "final.weights.h5"
NUM_PICTURED = 3


def resume_config(workdir, recipe_config, changes):
    """The config of a run: what the workdir holds or the recipe gives, with the user's changes.

    Args:
        workdir: Folder of the run.
        recipe_config: `PretrainConfig` for a new run.
        changes: Fields that the user set. In a workdir that holds a run only `steps` may differ.

    Raises:
        UserError: If the workdir holds another run.
    """
    stored = records.load_config(workdir, type(recipe_config))
    if stored is None:
        return dataclasses.replace(recipe_config, **changes)
    different = [
        f"--{name} is {getattr(stored, name)!r} there, {value!r} now"
        for name, value in changes.items()
        if name != "steps" and getattr(stored, name) != value
    ]
    if different:
        raise UserError(
            f"--workdir={workdir} holds a run that began otherwise: {'; '.join(different)}. Give "
            "another --workdir, or the same settings to go on with it."
        )
    return dataclasses.replace(stored, **changes)


def run(config, workdir):
    """Trains up to `config.steps`, from the newest checkpoint of the workdir.

    Ctrl-C or SIGTERM ends the step at hand, saves a checkpoint and returns. At the end it writes
    `final.weights.h5`, `report.json` and the pictures.

    Args:
        config: `PretrainConfig`.
        workdir: Folder of the run, made if need be.

    Returns:
        The report, or `None` if it was stopped before the last step.

    Raises:
        UserError: If the run cannot go on; nothing that was saved is lost.
    """
    began = time.monotonic()
    config.check()
    workdir = pathlib.Path(workdir)
    _refuse_workdir_in_folder(config, workdir)
    model = models.make_model(config)  # Refuses what does not fit before anything is made.
    if (report := finished(config, workdir)) is not None:
        return report
    checkpoints = Checkpoints(workdir / "checkpoints")
    saved_steps = checkpoints.steps()
    if saved_steps and saved_steps[-1] > config.steps:
        raise UserError(
            f"--workdir={workdir} is already at step {saved_steps[-1]}, beyond "
            f"--steps={config.steps}."
        )
    material = load_material(config)
    start = checkpoints.restore(model)
    records.write_config(workdir, config, NOT_STATED_IN_THE_PAPER)
    records.drop_rows_after(workdir / "log.csv", start)
    if start:
        print(f"Going on from step {start} of {config.steps}.", flush=True)
    if _fit(config, workdir, model, start, material, checkpoints):
        return None
    save_weights(model, workdir / FINAL_WEIGHTS)
    _save_pictures(config, workdir, model, material)
    metrics = model.evaluate(material.validation, verbose=0, return_dict=True)
    report = {
        "config": records.as_json(config),
        "environment": records.environment(),
        "held_out": {name: round(float(value), 6) for name, value in metrics.items()},
        "chance_patch_accuracy": round(chance(config), 6),
        "examples": len(material.examples),
        "left_out": material.left_out,
        "steps_of_this_process": config.steps - start,
        "seconds_of_this_process": round(time.monotonic() - began, 1),
        "peak_memory_bytes": records.peak_memory_bytes(),
    }
    records.write_json(workdir / "report.json", report)
    return report


def _refuse_workdir_in_folder(config, workdir):
    if config.folder and workdir.resolve().is_relative_to(pathlib.Path(config.folder).resolve()):
        raise UserError(
            f"--workdir={workdir} lies within --folder={config.folder}: the pictures of the run "
            "would be taken for examples. Give a folder elsewhere."
        )


def finished(config, workdir):
    """The report of a run that has all its steps behind it, or `None`."""
    path = workdir / "report.json"
    if not path.exists() or not (workdir / FINAL_WEIGHTS).exists():
        return None
    report = records.read_json(path)
    return report if report.get("config") == records.as_json(config) else None


@dataclasses.dataclass(frozen=True)
class Material:
    """What a model slices, `(examples, ...)`, to learn from, to measure, and to look at."""

    kind: str
    examples: np.ndarray  # Log spectrograms, or pictures in uint8.
    left_out: dict
    validation: tf.data.Dataset  # Of (x, order), always the same.
    pictured: tuple[np.ndarray, np.ndarray]  # (x, order) of a few.


def load_material(config):
    """Loads the data set of a config and brings it into the form that the model slices."""
    data_set = sets.of(config)
    train, held_out = (data_set.load(config, split) for split in ("train", data_set.held_out))
    frontend = models.make_frontend(config)
    examples, measured = (
        # Pictures stay as small as they are until they are used.
        stream.batched(part.inputs, lambda stored: frontend(as_inputs(stored)))
        if part.kind == "audio"
        else part.inputs
        for part in (train, held_out)
    )
    left_out = {**train.left_out, **held_out.left_out}
    said = f", something of {len(left_out)} left out" if left_out else ""
    print(f"{len(examples)} examples to learn from, {len(measured)} held out{said}", flush=True)
    orders = stream.fixed_orders(len(measured), orders_of(config), config.seed)
    chosen = np.linspace(0, len(measured), NUM_PICTURED, endpoint=False, dtype=int)
    validation = tf.data.Dataset.from_tensor_slices((measured, orders)).batch(256)
    return Material(
        train.kind,
        examples,
        left_out,
        validation.map(lambda x, order: (stream.as_floats(x), order)),
        (stream.as_floats(measured[chosen]).numpy(), orders[chosen]),
    )


def batches_of(config, examples, begin, end):
    """Training batches of the steps from `begin` up to `end`; examples as in `Material`."""
    return stream.example_stream(
        examples,
        orders_of(config),
        config.batch_size,
        config.seed,
        begin,
        end,
        augmentation(config),
    )


def augmentation(config):
    """How the examples of a config vary: sounds only, pictures are taken as they are."""
    if sets.of(config).kind != "audio":
        return stream.Augmentation()
    return stream.Augmentation(config.max_shift, config.max_gain_db)


def chance(config):
    """Patches in their place without looking: one in n, or more if few permutations may come."""
    permutations = objectives.permutations(config)
    if permutations is None:
        return 1 / config.total_patches
    return max(float((permutations == guess).mean()) for guess in permutations)


def orders_of(config):
    """Which permutations the objective of a config learns from."""
    return stream.Orders(config.total_patches, objectives.permutations(config))


def _fit(config, workdir, model, start, material, checkpoints):
    """Fits segment by segment; tells whether it was stopped before the end."""
    stop = callbacks.StopOnSignal()
    board = workdir / "tensorboard"
    in_order = [
        callbacks.RefuseNan(),
        stop,
        callbacks.LogStep(),
        keras.callbacks.CSVLogger(str(workdir / "log.csv"), append=True),
        callbacks.ShowReordering(board / "pictures", material.pictured, material.kind),
        keras.callbacks.TensorBoard(str(board), write_graph=False),
        callbacks.SaveCheckpoint(checkpoints),  # Last, so that no row of the log lacks one.
    ]
    with stop:
        for begin, end, every in segments(start, config.steps, config.evaluate_every):
            batches = batches_of(config, material.examples, begin, end)
            epoch = begin // config.evaluate_every
            model.fit(
                batches,
                initial_epoch=epoch,
                epochs=epoch + (end - begin) // every,
                steps_per_epoch=every,
                validation_data=material.validation,
                callbacks=in_order,
                verbose=1 if sys.stdout.isatty() else 2,  # A bar to watch, or a line to keep.
                shuffle=False,
            )
            if stop.requested:
                checkpoints.save(model)
                return int(model.optimizer.iterations.numpy()) < config.steps
    return False


def _save_pictures(config, workdir, model, material):
    pictures.save(
        pictures.reordering(model, *material.pictured, material.kind),
        workdir / "pictures" / "reordered.png",
    )
    pictures.save(
        pictures.learning_curve(records.read_log(workdir / "log.csv"), chance(config)),
        workdir / "pictures" / "learning_curve.png",
    )


def segments(start, steps, every):
    """Cuts the steps that are left where whole evaluation intervals begin and end.

    Returns:
        Up to three `(begin, end, length of an interval)`: what is left of an interval that was
        begun, whole intervals, and a last short one.
    """
    first = min(-(-start // every) * every, steps)
    last = max(steps // every * every, first)
    cuts = [(start, first, first - start), (first, last, every), (last, steps, steps - last)]
    return [(begin, end, length) for begin, end, length in cuts if end > begin]
