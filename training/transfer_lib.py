"""Transfer: what an encoder is worth where labels are few, beside the same one untrained."""

import dataclasses
import os
import pathlib
import time

import numpy as np
import tqdm

import keras_s2l
from keras_s2l import pretrained_encoders
from training import distribution, heads, markdown, pictures, records, scores, transfer_rows
from training.config import HEAD_NOT_STATED_IN_THE_PAPER
from training.data import decoding, sets
from training.errors import UserError


def run(config, workdir):
    """Trains a head for each task, encoder, number of labels and draw of labels.

    Of several workers all do the same and the chief alone writes.

    Args:
        config: `TransferConfig`; `encoder` is the exported folder, and all that is opened of it.
        workdir: Folder for config.json, report.json, report.md and the picture.

    Returns:
        The report.

    Raises:
        UserError: If the encoder, the data, the workdir or the devices do not fit.
    """
    began = time.monotonic()
    config.check()
    workdir = pathlib.Path(workdir)
    asked = _with_whole_path(config)  # As records hold it, whatever the folder it was asked from.
    records.refuse_workdir_in_folder(asked, workdir)
    records.refuse_other_run(workdir, asked)
    config = _with_folder_of_encoder(asked)
    metadata = _metadata(config)
    strategy = distribution.make_strategy(config.strategy)
    distribution.check_batch_size(strategy, config.head_batch_size, "head_batch_size")
    is_chief = distribution.is_chief(strategy)
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
    num_recordings = len(train.starts())
    if max(config.num_labels) > num_recordings:
        raise UserError(
            f"--num_labels={max(config.num_labels)} is more than the {num_recordings} labelled "
            f"training recordings of --data={config.data}."
        )
    if is_chief:
        records.write_config(workdir, asked, HEAD_NOT_STATED_IN_THE_PAPER)
    drawn = [labelled_set(num_recordings, config, draw) for draw in range(config.seeds)]
    with distribution.loss_of_a_worker_is_one_line(strategy, lambda: "it begins anew"):
        rows = transfer_rows.make(config, metadata, splits, drawn)
        with strategy.scope():
            tasks = _tasks(config, data_set.tasks, splits, drawn, rows, is_chief)
    report = {
        "config": records.as_json(asked),
        "encoder": {
            "name": metadata["name"],
            "embedding": config.embedding or metadata["embedding"],
        },
        "environment": records.environment(),
        "recordings": {split: len(part.starts()) for split, part in splits.items()},
        "left_out": {name: why for part in splits.values() for name, why in part.left_out.items()},
        "tasks": tasks,
        "effective_ranks": {
            name: row.effective_rank for name, row in rows.items() if config.protocol == "frozen"
        },
        "seconds": round(time.monotonic() - began, 1),
        "peak_memory_bytes": records.peak_memory_bytes(),
    }
    if is_chief:
        _write(workdir, report)
    return report


def _write(workdir, report):
    text = table(report["tasks"])
    if ranks := report["effective_ranks"]:
        listed = ", ".join(f"{name} {rank}" for name, rank in ranks.items())
        text += f"\nEffective rank of the embeddings, which tells of a collapse: {listed}.\n"
    records.write_text(workdir / "report.md", text)
    pictures.save(pictures.transfer_curves(report["tasks"]), workdir / "pictures" / "transfer.png")
    # Last: it says that the run is finished.
    records.write_json(workdir / "report.json", report)


def _with_whole_path(config):
    """The config, with a path of its encoder that holds wherever one goes on, if it is no name."""
    if config.encoder in ("", *pretrained_encoders.names()):
        return config
    return dataclasses.replace(config, encoder=os.path.abspath(os.path.expanduser(config.encoder)))


def _with_folder_of_encoder(config):
    """The config, with a folder in place of the name of an encoder that comes with the package."""
    if config.encoder not in pretrained_encoders.names():
        return config
    return dataclasses.replace(config, encoder=keras_s2l.pretrained(config.encoder))


def _metadata(config):
    folder = pathlib.Path(config.encoder)
    if not (folder / "saved_model.pb").is_file() or not (folder / "metadata.json").is_file():
        raise UserError(
            f"--encoder={config.encoder} is no export: give the folder that "
            "`python -m export.export_encoder` made, or one of those that come with the package: "
            f"{', '.join(pretrained_encoders.names())}."
        )
    metadata = records.read_json(folder / "metadata.json")
    lacking = {"name", "input", "embedding", "dimensions", "architectures"} - set(metadata)
    if lacking or "kind" not in metadata["input"]:
        lacking = sorted(lacking) or ["the kind of its input"]
        raise UserError(
            f"{folder}/metadata.json is not one of this version's: it lacks {lacking}. Export the "
            "encoder again."
        )
    if config.embedding and config.embedding not in metadata["architectures"]:
        raise UserError(
            f"--embedding must be {' or '.join(metadata['architectures'])} of this encoder. "
            f"Received: {config.embedding}."
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
            f"--encoder={config.encoder} takes {expected['kind']}, --data={config.data} is {kind}: "
            "give data or an encoder of the other's kind."
        )
    if config.protocol == "frozen" and "statistics" in config.encoders and kind != "audio":
        raise UserError(
            f"--encoders=statistics is for encoders of sounds. Received: --encoder={config.encoder}"
            f", which takes {kind}."
        )


def _refuse_one_class(config, tasks, splits):
    """Raises `UserError` where a split holds one class alone: any encoder would be perfect."""
    for name, task in tasks.items():
        for split in ("train", task.test_split):
            labels = splits[split].labels[name]
            if not task.multi_label and len(np.unique(labels)) < 2:
                raise UserError(
                    f"The {split} split of --data={config.data} holds one class of {name} alone: "
                    "there is nothing to tell apart. Each split must have two classes or more."
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


def _tasks(config, data_tasks, splits, drawn, rows, show_progress=True):
    """The cells of every task, with a progress bar over all of them."""
    total = len(data_tasks) * len(rows) * len(config.num_labels) * config.seeds
    shown = {"desc": "Training heads", "unit": "head", "mininterval": 1.0}
    tasks = {}
    with tqdm.tqdm(total=total, disable=not show_progress, **shown) as progress:
        for name_of_task, task in data_tasks.items():
            labels = [_labels(splits[split], name_of_task) for split in ("train", task.test_split)]
            labels, num_classes = _numbered(labels, task)
            answers = heads.Answers(num_classes, task.multi_label, tuple(task.within.values()))
            measured = {name_of_task: task.metric, **dict.fromkeys(task.within, "accuracy")}
            tasks |= {name: {"metric": metric} for name, metric in measured.items()}
            for name, row in rows.items():
                learner = row.learner(answers)
                test = row.measured(task.test_split, labels[1])
                for count in config.num_labels:
                    by_draw = []
                    for chosen in drawn:
                        by_draw.append(learner.score(row.labelled(chosen[:count], labels[0]), test))
                        progress.update()
                    for what, of_draws in zip(measured, zip(*by_draw)):
                        tasks[what].setdefault(name, {})[str(count)] = spread(of_draws)
    return tasks


def _labels(part, task):
    """Of recordings, not of their windows."""
    return part.labels[task][part.starts()]


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


def labelled_set(num_recordings, config, draw):
    """Numbers of the recordings whose labels are used; smaller sets are the first of these."""
    order = np.random.default_rng([config.seed, draw]).permutation(num_recordings)
    return order[: max(config.num_labels)]


def spread(of_draws):
    """min, median and max over label draws, and the scores themselves."""
    cell = {"min": np.min(of_draws), "median": np.median(of_draws), "max": np.max(of_draws)}
    cell = {name: round(float(value), 4) for name, value in cell.items()}
    return {**cell, "draws": [round(float(score), 4) for score in of_draws]}


def table(tasks):
    """The tasks of a report as a Markdown table: min ← **median** → max over label draws."""
    counts = list(_cells(next(iter(tasks.values())))[0][1])
    lines = [["task", "encoder", *(f"{count} labels" for count in counts)]]
    for task, rows in tasks.items():
        for name, of_counts in _cells(rows):
            cells = [
                scores.spread(cell["min"], cell["median"], cell["max"], rows["metric"])
                for cell in of_counts.values()
            ]
            lines.append([f"{task}, {rows['metric']}", name, *cells])
    return markdown.table(lines)


def _cells(rows):
    """Names of what is compared in a task, with their cells by number of labels."""
    return [(name, cells) for name, cells in rows.items() if name != "metric"]
