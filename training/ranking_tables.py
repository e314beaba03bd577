"""The report of the benchmark of ranking ops, as Markdown."""

from training import markdown

# From short rows to long ones, for batches that keep a processor busy: what ours should reach.
GOALS = {
    "ours / argsort": ("≤", (1, 1.2, 1.2, 2)),
    "torchsort / ours": ("≥", (1.5, 1, 1, 0.5)),
    "fast-soft-sort / ours": ("≥", (25, 5, 2, 1)),
}
PASSES = ("forward + backward", "forward")
NONE = "–"
LEGEND = """\
Medians over rounds in which all contenders take turns, float32 scores of the standard normal law,
one process. *Pooled* is strength 1, where a long row is one block; *mixed* is strength 4 / n, where
it is many: read mixed for rows in general, as pooled ones can be seen to be one block without
sorting them.

- **ours**: chained within one compiled program, ranks and gradient both needed by the next turn.
- **ours, per call** and **ours, eager**: called from Python, compiled and not.
- **argsort**: the backend's own sort, chained within one compiled program too, forward only.
- **torchsort**, **fast-soft-sort** (NumPy, row by row), **fast-soft-sort tf_ops** (eager): the same
  operator, called from Python. **softjax**, jitted, is the same for l2 and a relative for kl.
- **ott-jax**, jitted, and **diffsort** are other relaxations, and know no regularization.

A ratio on a processor has its goal in brackets; a peer's ratio above 1 is in favour of ours. "–" is
what a contender lacks, or would take too long for.
"""


def page(report):
    """report.md."""
    machine = report["environment"]
    return "\n".join(
        [
            "# Soft ranks, timed beside the hard sort and the peers\n",
            LEGEND,
            f"Ours on {report['config']['backend']}, commit {machine['commit']}; "
            f"{_device(report)}; {machine['cpu']}, {machine['cpu_cores']} cores; "
            f"{report['seconds']:.0f} s in all. Load average before the run "
            f"{report['load_average']['before']:.1f}: others slow all down, "
            "and not all alike.\n",
            *(f"## {passes.capitalize()}\n\n{_both_tables(report, passes)}" for passes in PASSES),
            _perturbed(report["perturbed"]),
            _peers(report["peers"]),
            "![times](times.png)\n",
        ]
    )


def _device(report):
    accelerators = report["environment"]["accelerators"]
    return f"on {accelerators[0]}" if report["config"]["accelerator"] else "on the processor alone"


def ratio_tables(report, passes):
    """A table of ratios for each regularization and regime, with the goals of both passes."""
    return "\n".join(
        f"### {passes}, {', '.join(variant)}: ratios\n\n{_ratio_table(rows, report)}"
        for variant, rows in _variants(report["ratios"], passes).items()
    )


def _both_tables(report, passes):
    alone = [row for row in report["times"] if not row["regime"] and row["passes"] == passes]
    alone = [row for row in alone if not row["contender"].startswith("perturbed")]
    parts = []
    for variant, rows in _variants(report["times"], passes).items():
        ratios = _variants(report["ratios"], passes).get(variant, [])
        parts.append(
            f"### {passes}, {', '.join(variant)}: ratios\n\n{_ratio_table(ratios, report)}"
        )
        parts.append(f"### {passes}, {', '.join(variant)}: µs\n\n{_time_table(rows + alone)}")
    return "\n".join(parts)


def _variants(rows, passes):
    """Rows by regularization and regime, in the order in which they were timed."""
    found = {}
    for row in rows:
        if row["passes"] == passes and row["regime"]:
            found.setdefault((row["regularization"], row["regime"]), []).append(row)
    return found


def _ratio_table(rows, report):
    names = _columns([row["ratios"] for row in rows])
    table = [["rows x scores", *names]]
    for row in rows:
        cells = [_ratio(row, name, report) for name in names]
        table.append([f"{row['batch']} x {row['n']}", *cells])
    return markdown.table(table)


def _ratio(row, name, report):
    if name not in row["ratios"]:
        return NONE
    value = row["ratios"][name]
    text = f"{value:.2f}" if value < 10 else f"{value:.0f}"
    wanted = "" if report["config"]["accelerator"] else goal(row, name)
    return f"{text} ({wanted})" if wanted else text


def goal(row, name):
    """The goal of a ratio, such as "≥ 1.5", or "" if it has none."""
    if name not in GOALS or row["passes"] != PASSES[0]:
        return ""
    if row["n"] <= 20 and row["batch"] < 64:
        return ""
    sign, values = GOALS[name]
    longest = (20, 100, 10_000)
    return f"{sign} {values[sum(row['n'] > n for n in longest)]:g}"


def _time_table(rows):
    cells = {}
    for row in rows:
        cells.setdefault((row["batch"], row["n"]), {})[row["contender"]] = row["microseconds"]
    names = _columns(cells.values())
    table = [["rows x scores", *names]]
    for (batch, n), medians in cells.items():
        values = [_microseconds(medians.get(name)) for name in names]
        table.append([f"{batch} x {n}", *values])
    return markdown.table(table)


def _columns(rows):
    """All names in the rows, in the order of the row that has most."""
    return list(dict.fromkeys(name for row in sorted(rows, key=len)[::-1] for name in row))


def _microseconds(value):
    if value is None:
        return NONE
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"


def _perturbed(rows):
    if not rows:
        return ""
    names = ["rows x scores", "passes", "closed form, µs", "100 samples, µs", "ratio"]
    table = [[*names, "largest error of the samples, in ranks"]]
    for row in rows:
        times = (row["closed_form_microseconds"], row["monte_carlo_microseconds"])
        table.append(
            [
                f"{row['batch']} x {row['n']}",
                row["passes"],
                *map(_microseconds, times),
                f"{row['ratio']:.1f}",
                f"{row['monte_carlo_largest_error']:.2f}",
            ]
        )
    return f"## Perturbed ranks\n\n{markdown.table(table)}"


def _peers(peers):
    lines = []
    for name, peer in peers.items():
        versions = ", ".join(
            f"{package} {version}" for package, version in peer["versions"].items()
        )
        line = versions or "installed"
        if not peer["installed"]:
            line = f"absent; to add it: `{peer['install']}`"
        if peer["failure"]:
            line += f"; failed: {peer['failure']}"
        lines.append(f"- {name}: {line}\n")
    return "## Peers\n\n" + "".join(lines)
