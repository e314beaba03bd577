"""The report of the benchmark of training steps, as Markdown."""


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
    if "scaling" in report:
        sections.append("## Scaling\n\n" + scaling(report["scaling"]))
    return "\n".join(sections)


def objectives(part):
    """Fixed sets beside all permutations; ratios are to the step over all permutations."""
    lines = ["| objective | ms a step | ratio | peak memory, MiB |", "|---|---|---|---|"]
    for name, taken in part["milliseconds_a_step"].items():
        ratio, memory = part["ratio"][name], part["peak_memory_bytes"][name] / 2**20
        lines.append(f"| {name} | {taken:.1f} | {ratio:.3f} | {memory:.0f} |")
    waiting = part["share_of_a_step_that_waits_for_data"]
    return "\n".join(lines) + f"\n\nA step waits for data {waiting:.1%} of its time.\n"


def scaling(part):
    """Settings beside their references, and what a step is made of."""
    lines = [
        "| setting | devices | batch | patches | ms a step | examples a second | speed over "
        "reference | all-reduce, ms | peak memory, MiB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in part["settings"].items():
        reduced = row["milliseconds_all_reduce"]
        cells = [
            name,
            row["devices"],
            row["batch_size"],
            row["num_patches"],
            f"{row['milliseconds_a_step']:.1f}",
            f"{row['examples_a_second']:.0f}",
            f"{row['speed_over_reference']:.2f} of {row['reference']}",
            "" if reduced is None else f"{reduced:.1f}",
            f"{row['peak_memory_bytes'] / 2**20:.0f}",
        ]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines) + "\n\n" + _step(part) + "\n![scaling](pictures/scaling.png)\n"


def _step(part):
    taken = part["step"]["milliseconds"]
    names, values = " | ".join(taken), " | ".join(f"{value:.1f}" for value in taken.values())
    first = next(iter(part["settings"].values()))
    return (
        f"| ms of a step | {names} |\n|---{'|---' * len(taken)}|\n| {next(iter(part['settings']))}"
        f" | {values} |\n\n"
        "*Input* is made by the pipeline meanwhile, here alone; *update* is the optimizer and the "
        f"metrics. Replicas add up {first['gradient_bytes'] / 1e6:.2f} MB of gradients a step. "
        f"A step of `fit` takes {part['step']['fit_over_bare_loop']:.3f} times one of a bare loop "
        "over a `tf.function`.\n"
    )
