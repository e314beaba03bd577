"""Pictures of a run, as PNG files and as arrays for TensorBoard."""

import io
import math
import pathlib

import matplotlib.figure
import numpy as np


def reordering(model, inputs, order, kind):
    """Examples as they were, as the network sees them, and as it puts them in order.

    Args:
        model: A built `ShuffleToLearn`.
        inputs: Array `(examples, ...)`.
        order: Integers `(examples, num_patches)`, how to shuffle them.
        kind: "audio" for spectrograms `(time, frequency, 1)`, "image" or "video".

    Returns:
        A matplotlib figure: a row for each example.
    """
    shuffled, restored = model.reorder(inputs, order)
    columns = {"input": inputs, "shuffled": shuffled, "put in order by the model": restored}
    return _side_by_side(columns, kind, tops=np.max(inputs, axis=tuple(range(1, inputs.ndim))))


def views(pairs, kind):
    """Two views of each example beside each other.

    Args:
        pairs: Array `(examples, 2, ...)`.
        kind: As for `reordering`.

    Returns:
        A matplotlib figure: a row for each example.
    """
    columns = {"a view": pairs[:, 0], "another": pairs[:, 1]}
    return _side_by_side(columns, kind, tops=np.max(pairs, axis=tuple(range(1, pairs.ndim))))


def _side_by_side(columns, kind, tops):
    """A row for each example, a column for each version; `tops` are the brightest shades."""
    width, height = (4, 1.2) if kind == "video" else (3, 2.4)
    figure = matplotlib.figure.Figure(
        (width * len(columns), height * len(tops)), layout="constrained"
    )
    axes = figure.subplots(len(tops), len(columns), squeeze=False)
    for row, example_axes in enumerate(axes):
        for axis, (title, examples) in zip(example_axes, columns.items()):
            example = np.asarray(examples[row])
            if kind == "audio":
                picture, look = example[..., 0].T, {"origin": "lower", "aspect": "auto"}
            else:
                picture, look = _as_strip(example) if kind == "video" else example, {}
            # Normalised patches lie about 0: they have a range of their own.
            low = min(float(np.min(picture)), 0.0)
            top = max(float(np.max(picture)) if low < 0 else float(tops[row]), low + 1e-6)
            shades = {"cmap": "magma" if kind == "audio" else "gray", "vmin": 0, "vmax": 1}
            axis.imshow(np.squeeze((picture - low) / (top - low)).clip(0, 1), **look, **shades)
            axis.set_xticks([])
            axis.set_yticks([])
            if row == 0:
                axis.set_title(title)
        if kind == "audio":
            example_axes[0].set_ylabel("frequency")
    if kind == "audio":
        for axis in axes[-1]:
            axis.set_xlabel("time")
    return figure


def _as_strip(clip, most=8):
    """Up to so many frames of a clip beside each other."""
    return np.concatenate(clip[:: -(-len(clip) // most)], axis=1)


def learning_curve(rows, metric, meaning, chance):
    """A metric against steps.

    Args:
        rows: Of log.csv.
        metric: Its name there.
        meaning: What it is the share of.
        chance: What it is without learning.
    """
    figure = matplotlib.figure.Figure((6, 3.5), layout="constrained")
    axis = figure.subplots()
    steps = [row["step"] for row in rows]
    axis.plot(steps, [row[f"val_{metric}"] for row in rows], "o-", label="held out")
    axis.plot(steps, [row[metric] for row in rows], ".--", label="training")
    axis.axhline(chance, color="gray", linestyle=":", label="chance")
    axis.set(xlabel="step", ylabel=meaning, ylim=(0, 1))
    axis.legend()
    return figure


ENCODER_STYLES = {
    "pretrained": "o-",
    "untrained": "s--",
    "calibrated": "^:",
    "supervised": "v-.",
    "statistics": "D:",
}


def transfer_curves(tasks):
    """Each task against the number of labels: median, and min to max over label draws.

    Args:
        tasks: `report["tasks"]` of a transfer run.
    """
    figure = matplotlib.figure.Figure((4 * len(tasks), 3.5), layout="constrained")
    for axis, (task, rows) in zip(figure.subplots(1, len(tasks), squeeze=False)[0], tasks.items()):
        for encoder, style in ENCODER_STYLES.items():
            if encoder not in rows:
                continue
            counts = [int(count) for count in rows[encoder]]
            spread = {
                k: [cell[k] for cell in rows[encoder].values()] for k in ("min", "median", "max")
            }
            axis.plot(counts, spread["median"], style, label=encoder)
            axis.fill_between(counts, spread["min"], spread["max"], alpha=0.2)
        axis.set(title=task, xlabel="labels", ylabel=rows["metric"], xscale="log")
        axis.set_xticks(counts, [str(count) for count in counts], minor=False)
        axis.minorticks_off()
        axis.legend()
    return figure


def memory(processes, kills):
    """Resident memory over time.

    Args:
        processes: Of each process a list of `(second, mebibytes)`.
        kills: Seconds at which one was ended.
    """
    figure = matplotlib.figure.Figure((8, 3.5), layout="constrained")
    axis = figure.subplots()
    for samples in processes:
        axis.plot(*zip(*samples), color="C0")
    for second in kills:
        axis.axvline(second, color="gray", linestyle=":", linewidth=0.8)
    axis.set(xlabel="seconds; dotted: a process was killed", ylabel="resident memory, MiB")
    axis.set_ylim(bottom=0)
    return figure


def scaling(part):
    """Examples a second of each setting, and what a step is made of.

    Args:
        part: `report["scaling"]` of a benchmark of training steps.
    """
    figure = matplotlib.figure.Figure((9, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(2, 1))
    rows = part["settings"]
    bars = left.barh(list(rows), [row["examples_a_second"] for row in rows.values()])
    left.bar_label(bars, [f"× {row['speed_over_reference']:.2f}" for row in rows.values()])
    left.invert_yaxis()
    left.set(xlabel="examples a second; × how many of its reference")
    left.margins(x=0.15)
    below = 0.0
    for name, taken in part["step"]["milliseconds"].items():
        begin = 0.0 if name == "input" else below  # Made while the step before is at work.
        right.bar("pipeline" if name == "input" else "step", taken, bottom=begin, label=name)
        below += 0.0 if name == "input" else taken
    right.set(ylabel="ms")
    right.legend()
    return figure


def ranking_times(times):
    """Time for each entry of a row against its length, of all contenders of a benchmark.

    Args:
        times: `report["times"]` of a benchmark of the ranking ops.
    """
    times = [
        row
        for row in times
        if row["contender"] == "argsort"
        or (row["passes"] == "forward + backward" and "perturbed" not in row["contender"])
    ]
    variants = sorted({(r["regularization"], r["regime"]) for r in times if r["regime"]})[::-1]
    names = list(dict.fromkeys(row["contender"] for row in times))
    shape = (math.ceil(len(variants) / 2), min(2, len(variants)))
    figure = matplotlib.figure.Figure((6 * shape[1], 4.6 * shape[0]), layout="constrained")
    panels = figure.subplots(*shape, sharex=True, sharey=True, squeeze=False).flat
    for axis, variant in zip(panels, variants):
        for number, name in enumerate(names):
            chosen = [r for r in times if r["contender"] == name]
            chosen = [r for r in chosen if (r["regularization"], r["regime"]) in (variant, NEITHER)]
            _draw_times(axis, chosen, name, number)
        axis.set(title=", ".join(variant), xscale="log", yscale="log")
        axis.grid(alpha=0.3)
    figure.supxlabel("scores in a row; the line goes through the cells with most rows")
    figure.supylabel("time for each score, µs: forward + backward, of argsort forward only")
    figure.legend(*axis.get_legend_handles_labels(), loc="outside right center", frameon=False)
    return figure


def soft_ranks(scores, strengths, ranks, bounds):
    """Soft ranks of some scores against the strength.

    Args:
        scores: List of n numbers.
        strengths: Array of m strengths.
        ranks: Dictionary from the name of an op to its ranks `(m, n)`.
        bounds: Dictionary from names of these ops to the strengths between which ranks are soft.
    """
    figure = matplotlib.figure.Figure((4 * len(ranks), 3.4), layout="constrained")
    panels = figure.subplots(1, len(ranks), sharex=True, sharey=True, squeeze=False).flat
    for axis, (name, values) in zip(panels, ranks.items()):
        for score, line in zip(scores, np.transpose(values)):
            axis.plot(strengths, line, label=f"{score:g}")
        for bound in bounds.get(name, ()):
            axis.axvline(bound, color="grey", linestyle=":")
        axis.set(title=name, xscale="log")
        axis.grid(alpha=0.3)
    figure.supxlabel("strength, or sigma")
    figure.supylabel("rank")
    figure.legend(*axis.get_legend_handles_labels(), loc="outside right center", title="score")
    return figure


NEITHER = (None, None)  # Has neither regularization nor regime: the same in all panels.


def _draw_times(axis, rows, name, number):
    per_score = [row["microseconds"] / (row["batch"] * row["n"]) for row in rows]
    cells = sorted(zip([row["n"] for row in rows], [row["batch"] for row in rows], per_score))
    is_ours = name.startswith("ours")
    style = {
        "color": "black" if is_ours or name == "argsort" else f"C{number % 10}",
        "marker": "os^"[number % 3] if is_ours else "dvPX*<>ph"[number % 9],
        "markersize": 5,
    }
    line = {"ours": "-", "ours, per call": "--", "ours, eager": "-.", "argsort": ":"}.get(name, "-")
    axis.plot([n for n, *_ in cells], [y for *_, y in cells], linestyle="", **style)
    most = {n: y for n, _, y in cells}  # Of equal lengths the one with most rows is last.
    width = 2.2 if name == "ours" else 1.2
    axis.plot(list(most), list(most.values()), line, label=name, linewidth=width, **style)


def save(figure, path):
    """Writes a figure as PNG, making its folder."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def as_image(figure):
    """A figure as uint8 `(1, height, width, 4)`, as TensorBoard takes it."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=80, format="rgba")
    width, height = (round(inches * 80) for inches in figure.get_size_inches())
    return np.frombuffer(buffer.getvalue(), np.uint8).reshape(1, height, width, 4)
