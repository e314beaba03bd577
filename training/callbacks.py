"""What happens between the steps of a pre-training run."""

import signal

import keras
import numpy as np
import tensorflow as tf

from training import pictures
from training.errors import UserError


class StopOnSignal(keras.callbacks.Callback):
    """Ends training after the step at hand at Ctrl-C or SIGTERM; a second one ends it at once.

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


class LogStep(keras.callbacks.Callback):
    """Puts the step into the logs, for log.csv."""

    def on_epoch_end(self, epoch, logs=None):
        logs["step"] = int(self.model.optimizer.iterations.numpy())


class SaveCheckpoint(keras.callbacks.Callback):
    """Saves a checkpoint after each evaluation."""

    def __init__(self, checkpoints):
        super().__init__()
        self.checkpoints = checkpoints

    def on_epoch_end(self, epoch, logs=None):
        # The loss of a step does not see what its own update did to the weights.
        _refuse_nan(self.model, logs["val_loss"])
        self.checkpoints.save(self.model)


class ShowPicture(keras.callbacks.Callback):
    """Shows a picture in TensorBoard after each evaluation.

    Args:
        folder: Where TensorBoard reads it.
        draw: `draw()` gives a matplotlib figure.
    """

    def __init__(self, folder, draw):
        super().__init__()
        self.writer = tf.summary.create_file_writer(str(folder))
        self.draw = draw

    def on_epoch_end(self, epoch, logs=None):
        with self.writer.as_default(step=epoch):
            tf.summary.image("held_out", pictures.as_image(self.draw()))
        self.writer.flush()
