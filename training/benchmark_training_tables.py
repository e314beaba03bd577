"""The report of the benchmark of training steps, as Markdown."""

from training import projections
from training.markdown import table


def page(report):
    """report.md."""
    machine = report["environment"]
    sections = [
        f"# Training steps of the recipe `{report['config']['recipe']}`\n\n"
        f"Batches of {report['batch_size']}, {report['num_patches']} patches; medians of "
        f"{report['config']['rounds']} turns of {report['config']['steps']} steps. Commit "
        f"{machine['commit']}; {machine['cpu']}, {machine['cpu_cores']} cores; load before "
        f"{report['load_before']}: what else runs slows all down, and not all alike.\n"
    ]
    if "objectives" in report:
        sections.append("## Objectives\n\n" + objectives(report["objectives"]))
    if "normalization" in report:
        sections.append("## Batch normalisation\n\n" + normalization(report["normalization"]))
    if "scaling" in report:
        sections.append("## Scaling\n\n" + scaling(report["scaling"]))
    return "\n".join(sections)


def objectives(part):
    """Fixed sets beside all permutations; ratios are to the step over all permutations."""
    rows = [["objective", "ms a step", "ratio", "peak memory, MiB"]]
    for name, taken in part["milliseconds_a_step"].items():
        ratio, memory = part["ratio"][name], part["peak_memory_bytes"][name] / 2**20
        rows.append([name, f"{taken:.1f}", f"{ratio:.3f}", f"{memory:.0f}"])
    waiting = part["share_of_a_step_that_waits_for_data"]
    return f"{table(rows)}\nA step waits for data {waiting:.1%} of its time.\n"


def normalization(part):
    """One kernel beside the operations of Keras."""
    rows = [["batch normalisation", "ms a step", "ratio"]]
    for name, taken in part["milliseconds_a_step"].items():
        rows.append([name, f"{taken:.1f}", f"{part['ratio'][name]:.3f}"])
    return table(rows)


def scaling(part):
    """Settings beside their references, what a step is made of, and what follows from it."""
    sections = [_settings(part["settings"]), _step(part["step"])]
    if "computed" in part:
        sections.append(_computed(part["computed"]))
    return "\n".join([*sections, "![scaling](pictures/scaling.png)\n"])


def _settings(settings):
    header = ("setting", "devices", "batch", "patches", "ms a step", "examples a second")
    rows = [(*header, "speed over reference", "all-reduce, ms", "peak memory, MiB")]
    for name, row in settings.items():
        reduced = row["milliseconds_all_reduce"]
        rows.append(
            [
                *(name, row["devices"], row["batch_size"], row["num_patches"]),
                f"{row['milliseconds_a_step']:.1f}",
                f"{row['examples_a_second']:.0f}",
                f"{row['speed_over_reference']:.2f} of {row['reference']}",
                "" if reduced is None else f"{reduced:.1f}",
                f"{row['peak_memory_bytes'] / 2**20:.0f}",
            ]
        )
    return table(rows)


def _step(step):
    taken = step["milliseconds"]
    rows = [["part of a step", *taken], ["ms", *(f"{value:.1f}" for value in taken.values())]]
    return (
        f"{table(rows)}\n"
        "*Input* is made by the pipeline meanwhile, here alone; *update* is the optimizer and the "
        f"metrics. The forward part of the batch is {step['forward_flops'] / 1e9:.1f} GFLOP; "
        f"devices would add up {step['gradient_bytes'] / 1e6:.2f} MB of gradients. A step of `fit` "
        f"takes {step['fit_over_bare_loop']:.3f} times one of a bare loop over a `tf.function`.\n"
    )


def _computed(part):
    header = (
        "computed, not measured",
        "devices",
        "precision",
        "batch",
        "ms of work",
        "ms of bytes",
    )
    rows = [(*header, "ms of latency", "examples a second", "of linear")]
    for name, row in part["machines"].items():
        rows.append(
            [
                *(name, row["devices"], row["precision"], row["batch_size"]),
                *(f"{row[f'milliseconds_of_{of}']:.2f}" for of in ("work", "bytes", "latency")),
                row["examples_a_second"],
                f"{row['share_of_linear']:.0%}",
            ]
        )
    sources = "; ".join(
        f"{name}: {', '.join(row['sources'])}" for name, row in part["machines"].items()
    )
    return (
        f"{table(rows)}\n"
        f"At {projections.UTILISATION:.0%} of the published peak, an assumption; with as many "
        f"examples a device as here; {part['all_reduces']} all-reduces a step, as counted in the "
        "program of two workers; nothing overlaps. A latency of 0 is one that nobody has "
        f"published. {sources}.\n"
    )
