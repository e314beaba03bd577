"""What TensorBoard shows of a run, by step."""

import contextlib
import pathlib

import keras
import tensorflow as tf

from training import files, pictures


class ShowNumbers(keras.callbacks.Callback):
    """Shows the numbers of each row of the log: those of training, and of `validation`.

    Args:
        folder: Where TensorBoard reads them.
    """

    def __init__(self, folder):
        super().__init__()
        self.folder = pathlib.Path(folder)
        self.writers = {split: _writer(self.folder / split) for split in ("train", "validation")}

    def on_epoch_end(self, epoch, logs=None):
        with _in_one_line(self.folder):
            for name in sorted(set(logs) - {"step"}):
                split = "validation" if name.startswith("val_") else "train"
                with self.writers[split].as_default(step=logs["step"]):
                    tf.summary.scalar(name.removeprefix("val_"), logs[name])
            for writer in self.writers.values():
                writer.flush()


class ShowPicture(keras.callbacks.Callback):
    """Shows a picture after each evaluation.

    Args:
        folder: Where TensorBoard reads it.
        draw: `draw()` gives a matplotlib figure.
    """

    def __init__(self, folder, draw):
        super().__init__()
        self.folder = folder
        self.writer = _writer(folder)
        self.draw = draw

    def on_epoch_end(self, epoch, logs=None):
        with _in_one_line(self.folder), self.writer.as_default(step=logs["step"]):
            tf.summary.image("held_out", pictures.as_image(self.draw()))
            self.writer.flush()


def _writer(folder):
    with _in_one_line(folder):
        return tf.summary.create_file_writer(str(folder))


@contextlib.contextmanager
def _in_one_line(folder):
    """TensorFlow's errors of writing as an `OSError` that says what to do."""
    try:
        yield
    except tf.errors.OpError as error:
        reason = error.message.splitlines()[0].split("}} ")[-1]
        raise OSError(
            f"{folder} could not be written ({reason}). The checkpoints are whole: make room, and "
            "the same command goes on."
        ) from error


def drop_events_after(folder, step):
    """Drops what a killed run showed after its last checkpoint, for it will be shown again.

    Args:
        folder: Where TensorBoard reads, with its subfolders.
        step: Of the checkpoint.
    """
    for path in sorted(pathlib.Path(folder).rglob("events.out.tfevents.*")):
        events = list(_events(path))
        kept = [event for event in events if tf.compat.v1.Event.FromString(event).step <= step]
        if len(kept) < len(events):
            whole = files.whole(path, path.with_name("unfinished"))
            with whole as unfinished, tf.io.TFRecordWriter(str(unfinished)) as file:
                for event in kept:
                    file.write(event)


def _events(path):
    """The events of a file up to its end, or to one that a kill left half written."""
    with contextlib.suppress(tf.errors.DataLossError):
        yield from tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
