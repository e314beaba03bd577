"""Transfer: what a frozen encoder is worth where labels are few, beside the same one untrained."""

import pathlib
import time

import keras
import numpy as np
import tqdm

import keras_s2l
from training import pictures, records
from training.data import decoding, sets, stream
from training.data.examples import as_inputs
from training.errors import UserError
from training.heads import Head

# "calibrated" is the untrained one with batch-norm statistics of unlabelled examples.
ENCODERS = ("pretrained", "untrained", "calibrated")
CALIBRATION_BATCHES = 60
CALIBRATION_BATCH_SIZE = 64


def run(config, workdir):
    """Trains a head for each task, number of labels, draw of labels and encoder.

    Args:
        config: `TransferConfig`; `encoder` is the exported folder, and all that is opened of it.
        workdir: Folder for config.json, report.json, report.md and the picture.

    Returns:
        The report.

    Raises:
        UserError: If the encoder, the data or the workdir do not fit.
    """
    began = time.monotonic()
    config.check()
    workdir = pathlib.Path(workdir)
    records.refuse_other_run(workdir, config)
    metadata = _metadata(config)
    data_set = sets.of(config, _decoding_settings(metadata["input"]))
    if not data_set.tasks:
        raise UserError(
            f"--folder={config.folder} is not labelled: put the files of each class into a "
            "subfolder, or give labels.csv with the columns path and label."
        )
    _refuse_other_kind(config, metadata["input"], data_set.kind)
    splits = {split: data_set.load(config, split) for split in data_set.splits()}
    train = splits["train"]
    _refuse_other_inputs(config, metadata["input"], train)
    _refuse_one_class(config, data_set.tasks, splits)
    if max(config.num_labels) > len(train):
        raise UserError(
            f"--num_labels={max(config.num_labels)} is more than the {len(train)} labelled "
            f"training examples of --data={config.data}."
        )
    records.write_config(workdir, config)
    embeddings = {
        name: {split: _embed(encoder, part) for split, part in splits.items()}
        for name, encoder in _encoders(config, metadata, train).items()
    }
    report = {
        "config": records.as_json(config),
        "encoder": {name: metadata[name] for name in ("name", "embedding", "dimensions")},
        "environment": records.environment(),
        "examples": {split: len(part) for split, part in splits.items()},
        "left_out": {name: why for part in splits.values() for name, why in part.left_out.items()},
        "tasks": _tasks(config, data_set.tasks, splits, embeddings),
        "seconds": round(time.monotonic() - began, 1),
        "peak_memory_bytes": records.peak_memory_bytes(),
    }
    records.write_text(workdir / "report.md", table(report["tasks"]))
    pictures.save(pictures.transfer_curves(report["tasks"]), workdir / "pictures" / "transfer.png")
    # Last: it says that the run is finished.
    records.write_json(workdir / "report.json", report)
    return report


def _metadata(config):
    folder = pathlib.Path(config.encoder)
    if not (folder / "saved_model.pb").is_file() or not (folder / "metadata.json").is_file():
        raise UserError(
            f"--encoder={config.encoder} is no export: give the folder that "
            "`python -m export.export_encoder` made."
        )
    metadata = records.read_json(folder / "metadata.json")
    lacking = {"name", "input", "embedding", "dimensions", "architecture"} - set(metadata)
    if lacking or "kind" not in metadata["input"]:
        lacking = sorted(lacking) or ["the kind of its input"]
        raise UserError(
            f"{folder}/metadata.json is not one of this version's: it lacks {lacking}. Export the "
            "encoder again."
        )
    return metadata


def _decoding_settings(expected):
    """How the files of a folder become what the encoder takes."""
    if expected["kind"] == "audio":
        return decoding.Settings(expected["sample_rate"], expected["window_samples"])
    *frames, size, _, channels = expected["shape"]
    num_frames = {"num_frames": frames[0]} if frames else {}
    return decoding.Settings(image_size=size, channels=channels, **num_frames)


def _refuse_other_kind(config, expected, kind):
    if expected["kind"] != kind:
        raise UserError(
            f"--encoder={config.encoder} takes {expected['kind']}, --data={config.data} is {kind}."
        )


def _refuse_one_class(config, tasks, splits):
    """Raises `UserError` where a split holds one class alone: any encoder would be perfect."""
    for name, task in tasks.items():
        for split in ("train", task.test_split):
            labels = splits[split].labels[name]
            if not task.multi_label and len(np.unique(labels)) < 2:
                raise UserError(
                    f"The {split} split of --data={config.data} holds one class of {name} alone: "
                    "there is nothing to tell apart."
                )


def _refuse_other_inputs(config, expected, examples):
    """Raises `UserError` if examples are not what the encoder takes."""
    if examples.kind == "audio" and expected["sample_rate"] != examples.sample_rate:
        raise UserError(
            f"--encoder={config.encoder} takes {expected['sample_rate']} samples a second, "
            f"--data={config.data} has {examples.sample_rate}."
        )
    shape = list(examples.inputs.shape[1:])
    if examples.kind != "audio" and expected["shape"] != shape:
        raise UserError(
            f"--encoder={config.encoder} takes pictures of shape {expected['shape']}, "
            f"--data={config.data} has {shape}."
        )


def _encoders(config, metadata, unlabelled):
    """The exported encoder, and its architecture with fresh weights, as they are and calibrated."""
    architecture = metadata["architecture"]
    shape = _input_shape(metadata)
    calibrated = _fresh(with_batch_norm_momentum(architecture, 0.9), shape, config.seed)
    chosen = np.random.default_rng(config.seed).permutation(len(unlabelled))
    for number in range(CALIBRATION_BATCHES):
        batch = chosen[number * CALIBRATION_BATCH_SIZE :][:CALIBRATION_BATCH_SIZE]
        if len(batch):
            calibrated(unlabelled.batch(batch), training=True)
    return {
        "pretrained": keras_s2l.HubEncoder(config.encoder, trainable=False),
        "untrained": _fresh(architecture, shape, config.seed),
        "calibrated": calibrated,
    }


def _input_shape(metadata):
    """Of a batch: waveforms may have any length, pictures have one size."""
    return (
        (None, None)
        if metadata["input"]["kind"] == "audio"
        else (None, *metadata["input"]["shape"])
    )


def _fresh(architecture, shape, seed):
    keras.utils.set_random_seed(seed)
    encoder = keras.saving.deserialize_keras_object(architecture)
    encoder.build(shape)
    return encoder


def with_batch_norm_momentum(architecture, momentum):
    """A serialised layer whose batch normalisations follow their batches at another pace."""
    if isinstance(architecture, list):
        return [with_batch_norm_momentum(item, momentum) for item in architecture]
    if not isinstance(architecture, dict):
        return architecture
    changed = {key: with_batch_norm_momentum(v, momentum) for key, v in architecture.items()}
    if changed.get("class_name") == "BatchNormalization":
        changed["config"] = {**changed["config"], "momentum": momentum}
    return changed


def _embed(encoder, part):
    return stream.batched(part.inputs, lambda stored: encoder(as_inputs(stored), training=False))


def _tasks(config, data_tasks, splits, embeddings):
    """The cells of every task, with a progress bar over all heads."""
    total = len(data_tasks) * len(ENCODERS) * len(config.num_labels) * config.seeds
    tasks = {}
    with tqdm.tqdm(total=total, desc="Training heads", unit="head", mininterval=1.0) as progress:
        for name_of_task, task in data_tasks.items():
            labels = [splits[split].labels[name_of_task] for split in ("train", task.test_split)]
            labels, num_classes = _numbered(labels, task)
            rows = tasks[name_of_task] = {"metric": task.metric}
            for name in ENCODERS:
                train, test = embeddings[name]["train"], embeddings[name][task.test_split]
                head = Head(train.shape[1], num_classes, config, task.multi_label)
                cells = rows[name] = {}
                for count in config.num_labels:
                    scores = []
                    for draw in range(config.seeds):
                        drawn = labelled_set(len(train), count, config.seed, draw)
                        labelled = (train[drawn], labels[0][drawn])
                        scores.append(head.score(labelled, (test, labels[1])))
                        progress.update()
                    cells[str(count)] = spread(scores)
    return tasks


def _numbered(labels, task):
    """Labels of both splits as heads take them, and the number of classes, None of a regression."""
    if task.is_regression:
        return labels, None
    if task.multi_label:
        return labels, labels[0].shape[1]
    classes = np.unique(labels[0])  # Heads number them from 0 without holes.

    def numbers(part):
        place = np.minimum(np.searchsorted(classes, part), len(classes) - 1)
        return np.where(classes[place] == part, place, -1)  # What was never seen is never right.

    return [numbers(part) for part in labels], len(classes)


def labelled_set(num_recordings, count, seed, draw):
    """Indices of the recordings whose labels are used; smaller sets lie inside larger ones."""
    return np.random.default_rng([seed, draw]).permutation(num_recordings)[:count]


def spread(scores):
    """min, median and max over label draws."""
    cell = {"min": np.min(scores), "median": np.median(scores), "max": np.max(scores)}
    return {name: round(float(value), 4) for name, value in cell.items()}


def table(tasks):
    """The tasks of a report as a Markdown table: min ← **median** → max over label draws."""
    counts = list(next(iter(tasks.values()))["pretrained"])
    lines = [
        "| task | encoder | " + " | ".join(f"{count} labels" for count in counts) + " |",
        "|---" * (2 + len(counts)) + "|",
    ]
    for task, rows in tasks.items():
        digits = 3 if rows["metric"] in ("accuracy", "mean average precision") else 1
        for name in ENCODERS:
            cells = []
            for cell in rows[name].values():
                low, middle, high = (f"{cell[k]:.{digits}f}" for k in ("min", "median", "max"))
                cells.append(f"{low} ← **{middle}** → {high}")
            lines.append(f"| {task}, {rows['metric']} | {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
