"""What happens between the steps of a pre-training run."""

import signal
import sys
import time

import keras
import numpy as np

from training.errors import UserError


class Stopped(Exception):
    """Ends `fit` within an evaluation interval, without the evaluation."""


class StopOnSignal(keras.callbacks.Callback):
    """Ends training after the step at hand at Ctrl-C or SIGTERM; a second one ends it at once.

    Raises:
        Stopped: If the step is not the last of its evaluation interval; that one is ended first.

    Args:
        any_worker: As `distribution.any_worker` gives it: all workers end after the same step.
    """

    def __init__(self, any_worker=bool):
        super().__init__()
        self.requested = False
        self.any_worker = any_worker

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
        self.requested = self.any_worker(self.requested)
        if self.requested:
            if batch + 1 < self.params["steps"]:
                raise Stopped
            self.model.stop_training = True


class RefuseNan(keras.callbacks.Callback):
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


class WarnOfDeadNetwork(keras.callbacks.Callback):
    """Says once when no unit of the first fully connected layer is on for any of a batch.

    No gradient passes it then, and the weights below stay what they are. It happens in the first
    steps: Adam turns the units down together while the scores are noise.

    Args:
        batches: As for `keras_s2l.PreciseBatchStatistics`; the first one is looked at.
    """

    def __init__(self, batches):
        super().__init__()
        self.batches = batches
        self.said = False

    def on_epoch_end(self, epoch, logs=None):
        if self.said:
            return
        patches = self.model.patches(next(iter(self.batches())))
        network = self.model.context_free_network
        if np.max(network.embedded(patches, training=False)) <= 0:
            self.said = True
            step = int(self.model.optimizer.iterations.numpy())
            print(
                f"warning: the network is dead at step {step}: of its first fully connected layer "
                "no unit is on, and little more is learnt. Start in a new --workdir with "
                "--warmup_steps=200, or more, or a lower --learning_rate.",
                file=sys.stderr,
                flush=True,
            )


class LogStep(keras.callbacks.Callback):
    """Puts the step into the logs, for log.csv."""

    def on_epoch_end(self, epoch, logs=None):
        logs["step"] = int(self.model.optimizer.iterations.numpy())


class GoOnWithInterval(keras.callbacks.Callback):
    """Takes up the metrics of an interval that was cut, so that its row averages all its steps.

    Args:
        sums: Of the metrics, as `Checkpoints.sums` gives them.
    """

    def __init__(self, sums):
        super().__init__()
        self.sums = sums

    def on_epoch_begin(self, epoch, logs=None):  # Keras has just set them to zero.
        for variable, value in zip(self.model.metrics_variables, self.sums):
            variable.assign(value)
        self.sums = ()


class SaveCheckpoint(keras.callbacks.Callback):
    """Saves a checkpoint after each evaluation, and in between.

    Args:
        checkpoints: `Checkpoints`.
        every_steps: 0 for never.
        every_minutes: Since the last one; 0 for never.
    """

    def __init__(self, checkpoints, every_steps=0, every_minutes=0.0):
        super().__init__()
        self.checkpoints = checkpoints
        self.every_steps = every_steps
        self.every_minutes = every_minutes
        self._saved_at = time.monotonic()

    def on_train_batch_end(self, batch, logs=None):
        if batch + 1 == self.params["steps"]:
            return  # The interval ends: first comes its row in the log.
        step = int(self.model.optimizer.iterations.numpy())
        minutes = (time.monotonic() - self._saved_at) / 60
        if (self.every_steps and step % self.every_steps == 0) or (
            self.every_minutes and minutes >= self.every_minutes
        ):
            self._save(self.model.metrics_variables)

    def on_epoch_end(self, epoch, logs=None):
        # The loss of a step does not see what its own update did to the weights.
        _refuse_nan(self.model, logs["val_loss"])
        self._save()

    def _save(self, sums=()):
        self.checkpoints.save(self.model, sums)
        self._saved_at = time.monotonic()


class TimeFirstStep(keras.callbacks.Callback):
    """Notes when the first step ended, in seconds of `time.monotonic`; `None` before."""

    def __init__(self):
        super().__init__()
        self.ended = None

    def on_train_batch_end(self, batch, logs=None):
        if self.ended is None:
            self.ended = time.monotonic()
