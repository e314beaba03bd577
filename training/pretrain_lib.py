"""Pre-training: from recordings to `final.weights.h5`, resumable at any step."""

import dataclasses
import pathlib
import signal
import sys
import time

import keras
import numpy as np
import tensorflow as tf

from training import models, pictures, records
from training.checkpoints import Checkpoints, save_weights
from training.config import NOT_STATED_IN_THE_PAPER
from training.data import recordings, stream
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
    try:
        model = models.make_model(config)
    except ValueError as error:  # Patches that do not divide, say: known before anything is made.
        raise UserError(str(error)) from error
    workdir = pathlib.Path(workdir)
    if (report := finished(config, workdir)) is not None:
        return report
    checkpoints = Checkpoints(workdir / "checkpoints")
    saved_steps = checkpoints.steps()
    if saved_steps and saved_steps[-1] > config.steps:
        raise UserError(
            f"--workdir={workdir} is already at step {saved_steps[-1]}, beyond "
            f"--steps={config.steps}."
        )
    train = recordings.load(config, "train")
    held_out = recordings.load(config, "test_notes")
    frontend = models.make_frontend(config)
    examples, held_out_examples = (
        stream.batched(part.audio, lambda audio: frontend(recordings.waveforms(audio)))
        for part in (train, held_out)
    )
    print(
        f"{len(examples)} notes to learn from, {len(held_out_examples)} held out"
        + (f", {train.num_silent} silent ones left out" if train.num_silent else ""),
        flush=True,
    )
    start = checkpoints.restore(model)
    records.write_config(workdir, config, NOT_STATED_IN_THE_PAPER)
    if start:
        print(f"Going on from step {start} of {config.steps}.", flush=True)
    orders = stream.fixed_orders(len(held_out_examples), config.num_patches, config.seed)
    validation = tf.data.Dataset.from_tensor_slices((held_out_examples, orders)).batch(256)
    records.drop_rows_after(workdir / "log.csv", start)
    pictured = (
        held_out_examples[:: max(len(orders) // NUM_PICTURED, 1)][:NUM_PICTURED],
        orders[:3],
    )
    stopped = _fit(config, workdir, model, start, examples, validation, checkpoints, pictured)
    if stopped:
        return None
    save_weights(model, workdir / FINAL_WEIGHTS)
    metrics = model.evaluate(validation, verbose=0, return_dict=True)
    report = {
        "config": records.as_json(config),
        "environment": records.environment(),
        "held_out": {name: round(float(value), 6) for name, value in metrics.items()},
        "chance_patch_accuracy": 1 / config.num_patches,
        "recordings": len(examples),
        "silent_recordings_left_out": train.num_silent,
        "steps_of_this_process": config.steps - start,
        "seconds_of_this_process": round(time.monotonic() - began, 1),
        "peak_memory_bytes": records.peak_memory_bytes(),
    }
    records.write_json(workdir / "report.json", report)
    pictures.save(
        pictures.reordering(pictured[0], *_reordered(model, pictured), config.num_patches),
        workdir / "pictures" / "reordered.png",
    )
    pictures.save(
        pictures.learning_curve(records.read_log(workdir / "log.csv"), 1 / config.num_patches),
        workdir / "pictures" / "learning_curve.png",
    )
    return report


def finished(config, workdir):
    """The report of a run that has all its steps behind it, or `None`."""
    path = workdir / "report.json"
    if not path.exists() or not (workdir / FINAL_WEIGHTS).exists():
        return None
    report = records.read_json(path)
    return report if report.get("config") == records.as_json(config) else None


def _fit(config, workdir, model, start, examples, validation, checkpoints, pictured):
    """Fits segment by segment; tells whether it was stopped before the end."""
    stop = _StopOnSignal()
    callbacks = [
        _Nan(),
        stop,
        _Step(),
        keras.callbacks.CSVLogger(str(workdir / "log.csv"), append=True),
        _Pictures(workdir / "tensorboard", pictured, config.num_patches),
        keras.callbacks.TensorBoard(str(workdir / "tensorboard"), write_graph=False),
        _Save(checkpoints),
    ]
    with stop:
        for begin, end, every in segments(start, config.steps, config.evaluate_every):
            batches = stream.example_stream(
                examples,
                config.num_patches,
                config.batch_size,
                config.seed,
                begin,
                end,
                stream.Augmentation(config.max_shift, config.max_gain_db),
            )
            epoch = begin // config.evaluate_every
            model.fit(
                batches,
                initial_epoch=epoch,
                epochs=epoch + (end - begin) // every,
                steps_per_epoch=every,
                validation_data=validation,
                callbacks=callbacks,
                verbose=1 if sys.stdout.isatty() else 2,  # A bar to watch, or a line to keep.
                shuffle=False,
            )
            if stop.requested:
                checkpoints.save(model)
                return int(model.optimizer.iterations.numpy()) < config.steps
    return False


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


def _reordered(model, pictured):
    return tuple(np.asarray(part) for part in model.reorder(*pictured))


class _StopOnSignal(keras.callbacks.Callback):
    """Ends training after the step at hand at Ctrl-C or SIGTERM; a second one ends it at once."""

    def __init__(self):
        super().__init__()
        self.requested = False

    def __enter__(self):
        self._previous = {
            number: signal.signal(number, self._request)
            for number in (signal.SIGINT, signal.SIGTERM)
        }

    def __exit__(self, *exception):
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _request(self, number, frame):
        self.requested = True
        print("\nStopping after this step …", flush=True)
        self.__exit__()

    def on_train_batch_end(self, batch, logs=None):
        if self.requested:
            self.model.stop_training = True


class _Nan(keras.callbacks.Callback):
    """Ends the run when the loss is no number: the checkpoints before stay as they are."""

    def on_train_batch_end(self, batch, logs=None):
        _refuse_nan(self.model, logs["loss"])


def _refuse_nan(model, loss):
    if not np.isfinite(loss):
        step = int(model.optimizer.iterations.numpy())
        raise UserError(
            f"The loss became {loss} at step {step}. The last good checkpoint is kept; start in a "
            "new --workdir with a lower --learning_rate."
        )


class _Step(keras.callbacks.Callback):
    """Puts the step into the logs, for log.csv."""

    def on_epoch_end(self, epoch, logs=None):
        logs["step"] = int(self.model.optimizer.iterations.numpy())


class _Save(keras.callbacks.Callback):
    """Saves a checkpoint after each evaluation; last, so that a row of the log never lacks one."""

    def __init__(self, checkpoints):
        super().__init__()
        self.checkpoints = checkpoints

    def on_epoch_end(self, epoch, logs=None):
        # The loss of a step does not see what its own update did to the weights.
        _refuse_nan(self.model, logs["val_loss"])
        self.checkpoints.save(self.model)


class _Pictures(keras.callbacks.Callback):
    """Shows in TensorBoard what the model makes of shuffled inputs."""

    def __init__(self, folder, pictured, num_patches):
        super().__init__()
        self.writer = tf.summary.create_file_writer(str(folder / "pictures"))
        self.pictured = pictured
        self.num_patches = num_patches

    def on_epoch_end(self, epoch, logs=None):
        figure = pictures.reordering(
            self.pictured[0], *_reordered(self.model, self.pictured), self.num_patches
        )
        with self.writer.as_default(step=epoch):
            tf.summary.image("reordering", pictures.as_image(figure))
        self.writer.flush()
