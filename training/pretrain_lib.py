"""Pre-training: from recordings to `final.weights.h5`, resumable at any step."""

import contextlib
import functools
import pathlib
import sys
import time

import keras

import keras_s2l
from training import (
    board,
    callbacks,
    distribution,
    lock,
    material,
    models,
    objectives,
    pictures,
    records,
    workdirs,
)
from training.checkpoints import Checkpoints, save_weights
from training.config import NOT_STATED_IN_THE_PAPER
from training.data import sets, stream
from training.errors import UserError


def run(config, workdir):
    """Trains up to `config.steps`, from the newest checkpoint of the workdir.

    Ctrl-C or SIGTERM ends the step at hand, saves a checkpoint and returns. However often a run is
    stopped or killed, it ends with the weights and the log of one that never was. At the end it
    writes `final.weights.h5`, `report.json` and the pictures. Of several workers the chief alone
    writes.

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
    strategy = distribution.make_strategy(config.strategy)
    distribution.check_batch_size(strategy, config.batch_size)
    distribution.check_jit_compile(strategy, config.jit_compile)
    workdir = pathlib.Path(workdir)
    saved_steps = Checkpoints(workdir / workdirs.CHECKPOINTS).steps

    def what_then():
        return f"it goes on from step {max(saved_steps(), default=0)}"

    with distribution.loss_of_a_worker_is_one_line(strategy, what_then):
        return _run(config, workdir, strategy, began)


def _run(config, workdir, strategy, began):
    records.refuse_workdir_in_folder(config, workdir)
    if (report := workdirs.finished(config, workdir)) is not None:
        return report
    if config.data_service:
        stream.refuse_unreachable(config.data_service)
    data_set = sets.of(config)
    with strategy.scope():
        model = models.make_model(config, data_set)  # Refuses what does not fit before all else.
    saved_steps = Checkpoints(workdir / workdirs.CHECKPOINTS).steps()
    if saved_steps and saved_steps[-1] > config.steps:
        raise UserError(
            f"--workdir={workdir} is already at step {saved_steps[-1]}, beyond "
            f"--steps={config.steps}."
        )
    loaded = material.load(config, data_set)
    with lock.held(workdir) if distribution.is_chief(strategy) else contextlib.nullcontext():
        return _train(config, workdir, model, data_set, loaded, began)


def _train(config, workdir, model, data_set, loaded, began):
    """From the newest checkpoint to the report; `None` if it was stopped before."""
    if (stored := records.load_config(workdir, type(config))) is not None:
        workdirs.refuse_other_settings(
            workdir, stored, vars(config)
        )  # Another one may just have begun.
    learnt_from = workdirs.refuse_other_data(config, workdir, data_set, loaded)
    strategy, before = model.distribute_strategy, time.monotonic()
    is_chief = distribution.is_chief(strategy)
    checkpoints = Checkpoints(
        workdir / workdirs.CHECKPOINTS,
        keep_every_hours=config.keep_every_hours,
        read_only=not is_chief,
    )
    start = checkpoints.restore(model)
    distribution.refuse_different_steps(strategy, start)
    if is_chief:
        records.write_config(workdir, config, NOT_STATED_IN_THE_PAPER, learnt_from)
        records.drop_rows_after(workdir / "log.csv", start)
        board.drop_events_after(workdir / "tensorboard", start)
    seconds_restoring = time.monotonic() - before
    if start:
        print(f"Going on from step {start} of {config.steps}.", flush=True)
    first_step = callbacks.TimeFirstStep()
    if _fit(config, workdir, model, start, loaded, checkpoints, first_step):
        return None
    if is_chief:
        save_weights(model, workdir / workdirs.FINAL_WEIGHTS)
        _save_pictures(config, workdir, model, loaded)
    validation = _validation(config, strategy, loaded)
    metrics = model.evaluate(validation, verbose=0, return_dict=True)
    metric, meaning, chance = objectives.measured(config)
    report = {
        "config": records.as_json(config),
        "environment": records.environment(),
        "held_out": {name: round(float(value), 6) for name, value in metrics.items()},
        "measured": {"metric": metric, "meaning": meaning, "chance": round(chance, 6)},
        "examples": len(loaded.examples),
        "left_out": loaded.left_out,
        "steps_of_this_process": config.steps - start,
        "seconds_of_this_process": round(time.monotonic() - began, 1),
        "seconds_to_first_step": first_step.ended and round(first_step.ended - began, 3),
        "seconds_restoring": round(seconds_restoring, 3),
        "saves_of_this_process": checkpoints.saves,
        "seconds_saving": round(checkpoints.seconds_saving, 3),
        "peak_memory_bytes": records.peak_memory_bytes(),
    }
    if is_chief:
        records.write_json(workdir / "report.json", report)
    return report


def _fit(config, workdir, model, start, loaded, checkpoints, first_step):
    """Fits segment by segment; tells whether it was stopped before the end."""
    strategy = model.distribute_strategy
    is_chief = distribution.is_chief(strategy)
    batches = functools.partial(material.batches_of, config, loaded.kind, loaded.examples)
    validation = _validation(config, strategy, loaded)
    stop = callbacks.StopOnSignal(distribution.any_worker(strategy))
    sums = checkpoints.sums(start) if start else ()
    if sums:  # Keras makes the variables of metrics at their first batch.
        model.evaluate(validation, steps=1, verbose=0)

    def as_trained():
        step = int(model.optimizer.iterations.numpy())
        return material.statistics_of(config, loaded.kind, loaded.examples, step)

    in_order = [
        first_step,
        keras_s2l.PreciseBatchStatistics(as_trained),
        callbacks.GoOnWithInterval(sums),
        callbacks.RefuseNan(),
        stop,
        *(_writers(config, workdir, model, loaded, as_trained) if is_chief else []),
        # Last, so that no row of the log lacks one.
        callbacks.SaveCheckpoint(checkpoints, config.save_every_steps, config.save_every_minutes),
    ]
    verbose = 1 if sys.stdout.isatty() else 2  # A bar to watch, or a line to keep.
    with stop:
        for begin, end, every in segments(start, config.steps, config.evaluate_every):
            epoch = begin // config.evaluate_every
            with contextlib.suppress(callbacks.Stopped):
                model.fit(
                    distribution.distributed(strategy, functools.partial(batches, begin, end)),
                    initial_epoch=epoch,
                    epochs=epoch + (end - begin) // every,
                    steps_per_epoch=every,
                    validation_data=validation,
                    callbacks=in_order,
                    verbose=verbose if is_chief else 0,
                    shuffle=False,
                )
            step = int(model.optimizer.iterations.numpy())
            if stop.requested:
                checkpoints.save(model, model.metrics_variables)
                return step < config.steps
            if step < end:
                raise UserError(
                    f"The data ended at step {step} of {end}: was a worker of the tf.data service "
                    "lost? The same command goes on from the last checkpoint."
                )
    return False


def _writers(config, workdir, model, loaded, as_trained):
    """The callbacks that record what happens, and say what should not."""
    shown = workdir / "tensorboard"
    return [
        callbacks.LogStep(),
        keras.callbacks.CSVLogger(str(workdir / "log.csv"), append=True),
        board.ShowPicture(shown / "pictures", lambda: _picture(config, model, loaded)),
        board.ShowNumbers(shown),
        callbacks.WarnOfDeadNetwork(as_trained),
    ]


def _validation(config, strategy, loaded):
    validation_of = functools.partial(material.validation_of, config, loaded.kind, loaded.held_out)
    return distribution.distributed(strategy, validation_of)


def _picture(config, model, loaded):
    """What the model makes of a few held-out examples, or of a contrastive task the task."""
    if objectives.is_contrastive(config):
        return pictures.views(loaded.pictured, loaded.kind)
    return pictures.reordering(model, *loaded.pictured, loaded.kind)


def _save_pictures(config, workdir, model, loaded):
    name = "views.png" if objectives.is_contrastive(config) else "reordered.png"
    pictures.save(_picture(config, model, loaded), workdir / "pictures" / name)
    pictures.save(
        pictures.learning_curve(
            records.read_log(workdir / "log.csv"), *objectives.measured(config)
        ),
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
