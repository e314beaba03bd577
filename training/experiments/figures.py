"""The figures of a report, with what the paper's plots show beside ours."""

import matplotlib
import matplotlib.figure
import matplotlib.ticker
import numpy as np
from cycler import cycler

from training import scores
from training.experiments import published, results

STYLES = ("o-", "s-", "^-", "v-", "D-", "P-")


def curves(name, experiment, metrics, embedding):
    """Each task against what varies: median over seeds, min to max shaded; the paper's dashed.

    Args:
        name: Of the experiment.
        experiment: As in results.json.
        metrics: By task.
        embedding: Of the rows.

    Returns:
        A matplotlib figure.
    """
    rows = experiment["rows"][embedding]
    tasks = results.tasks_of(rows, metrics)
    figure = matplotlib.figure.Figure((4.2 * len(tasks), 3.8), layout="constrained")
    panels = figure.subplots(1, len(tasks), squeeze=False)[0]
    labels = list(dict.fromkeys(row["label"] for row in rows))
    for axis, task in zip(panels, tasks):
        for label, points in _lines(rows, task).items():
            number = labels.index(label)
            xs = sorted(points)
            low, middle, high = np.transpose([results.spread(points[x]) for x in xs])
            color = f"C{number}"
            axis.plot(xs, middle, STYLES[number % len(STYLES)], color=color, label=label)
            axis.fill_between(xs, low, high, color=color, alpha=0.15)
        if embedding == "fc":  # It measures no other one.
            _draw_paper(axis, name, rows, task)
        axis.set(title=task, xlabel=experiment["x_label"], ylabel=metrics[task])
        if experiment["x_label"] == "labels":
            axis.set_xscale("log")
        places = sorted({x for line in axis.lines for x in line.get_xdata()})
        axis.set_xticks(places, [f"{x:g}" for x in places])
        axis.set_xticks([], minor=True)
        if scores.is_error(metrics[task]):  # The paper's are many times as large as ours.
            axis.set_yscale("log")
            axis.yaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1, 1.5, 2, 3, 4, 5, 7)))
            axis.yaxis.set_major_formatter("{x:g}")
            axis.yaxis.set_minor_formatter("")
        axis.grid(alpha=0.3)
    handles = {}
    for axis in panels:
        handles |= dict(zip(*reversed(axis.get_legend_handles_labels())))
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=4, frameon=False)
    return figure


def _lines(rows, task):
    """By label the scores by seed at each place."""
    lines = {}
    for row in rows:
        for count, of_seeds in row["scores"].get(task, {}).items():
            x = int(count) if row["x"] is None else row["x"]
            lines.setdefault(row["label"], {})[x] = of_seeds
    return lines


def _draw_paper(axis, name, rows, task):
    papers = {row["label"]: row["paper"] for row in rows}
    for number, (label, paper) in enumerate(papers.items()):
        points = published.FIGURES.get(name, {}).get(paper, {}).get(task, ())
        points = [(x, y) for x, y in points if y is not None]
        if points:
            axis.plot(
                *zip(*points), ":", color=f"C{number}", marker="x", label=f"{label}, the paper"
            )


def learning(runs):
    """Share of the held-out patches in their place against steps, of each arm: median over seeds.

    Of fixed permutations those of the likeliest one of the set, which are not as hard to find.

    Args:
        runs: As in results.json.

    Returns:
        A matplotlib figure, `None` where nothing was put in order.
    """
    figure = matplotlib.figure.Figure((7, 4.2), layout="constrained")
    axis = figure.subplots()
    axis.set_prop_cycle(cycler(linestyle=["-", "--", ":"]) * matplotlib.rcParams["axes.prop_cycle"])
    for run in runs.values():
        logs = [rows for rows in run["logs"].values() if rows and "val_patch_accuracy" in rows[0]]
        if not logs:
            continue
        length = min(map(len, logs))
        values = np.median([[row["val_patch_accuracy"] for row in log[:length]] for log in logs], 0)
        if not np.isfinite(values).any():
            continue
        axis.plot([row["step"] for row in logs[0][:length]], values, marker=".", label=run["label"])
    if not axis.lines:
        return None
    axis.set(xlabel="step", ylabel="held-out patches in their place", ylim=(0, 1))
    axis.grid(alpha=0.3)
    figure.legend(loc="outside right center", frameon=False, fontsize="small")
    return figure
