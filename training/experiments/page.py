"""report.html, one self-contained page, and report.md, the same tables."""

import base64
import html
import io
import pathlib
import re

from training.experiments import figures, plans, tables
from training.markdown import table as markdown_table

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem;
       color: #1b1b1b; background: #fff; }
table { border-collapse: collapse; margin: 1rem 0; font-size: 0.85rem; display: block;
        overflow-x: auto; }
th, td { border-bottom: 1px solid #ddd; padding: 0.35rem 0.7rem; text-align: left; }
td { white-space: nowrap; }
th { background: #f4f4f4; }
tr.paper td { color: #777; font-style: italic; }
img { max-width: 100%; }
pre { background: #f4f4f4; padding: 0.7rem; overflow-x: auto; }
nav a { margin-right: 1rem; }
"""
NAMES = {
    "table1": "Table I",
    "table2": "Table II",
    "figure2": "Figure 2",
    "data": "Figure 2, over data",
    "figure3": "Figure 3",
    "ablation": "Ablation",
}
COMPARED = {"table1": "perturbed F-Y in closed form", "ablation": "the recipe"}
EMBEDDINGS = {
    "fc": "first fully connected layer, the paper's embedding",
    "patches": "features of the patches",
    "levels": "levels of the backbone",
}


def as_markdown(results, command):
    """report.md: the tables, and what they do not show."""
    parts = [f"# The paper's experiments on {results['config']['data']}\n", _said(results)]
    for name, experiment in results["experiments"].items():
        parts.append(f"## {NAMES[name]}: {experiment['title'].lower()}\n")
        for embedding in experiment["rows"]:
            parts.append(f"Embedding: {EMBEDDINGS[embedding]}.\n")
            lines = tables.of_experiment(name, experiment, results["metrics"], embedding)
            parts.append(markdown_table(lines))
            parts += map(
                markdown_table, _comparisons(name, experiment, results["metrics"], embedding)
            )
    parts.append(f"Command: `{command}`. {_where(results)}\n")
    return "\n".join(parts)


def as_html(results, command, workdir):
    """report.html: everything in one file, which asks nothing of any other.

    Args:
        results: As `results.gather` gives them.
        command: That makes them.
        workdir: Folder of the cells, for the pictures of runs.
    """
    parts = [f"<h1>The paper's experiments on {html.escape(results['config']['data'])}</h1>"]
    links = (f'<a href="#{name}">{NAMES[name]}</a>' for name in results["experiments"])
    parts.append(f"<nav>{''.join(links)}</nav>")
    parts += [f"<p>{html.escape(line)}</p>" for line in _said(results).splitlines() if line]
    for name, experiment in results["experiments"].items():
        parts += _section(name, experiment, results["metrics"])
    parts += _pretext(results, pathlib.Path(workdir))
    parts.append(f"<h2>How it was made</h2><pre>{html.escape(command)}</pre>")
    parts.append(f"<p>{html.escape(_where(results))}</p>")
    title = f"keras_s2l: the paper's experiments on {html.escape(results['config']['data'])}"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body>\n</html>\n"
    )


def _said(results):
    """First of all which orderings hold, and what the numbers are."""
    config, lines = results["config"], []
    for name, ours in COMPARED.items():
        if name in results["experiments"]:
            lines += _orderings(results["experiments"][name], results["metrics"], ours)
    if config["objectives"]:
        lines.append(
            "Table I has only the objectives that were asked for beside perturbed F-Y in closed "
            f"form: {', '.join(config['objectives'])}. The others were not run."
        )
    if config["validation"]:
        lines.append(
            "Measured on parts of the training split, to choose settings by: no note of the test "
            "splits was used."
        )
    lines.append(
        f"Each cell: min ← median → max over {_seeds(results)} of the mean over "
        f"{config['seeds']} draws of labels (supervised training: "
        f"{'one draw' if config['setting'] == 'quick' else 'as many'} for each seed). A difference "
        f"counts (*) where the exact paired permutation test over seeds gives p < {tables.ALPHA}, "
        "not corrected for the number of comparisons. Heads are perceptrons of three layers on the "
        "frozen encoder; supervised training is of the whole network, up to the levels, whatever "
        f"the embedding; {_ends(config)}. All pre-training is of {_steps(results)} steps: more may "
        "change the order."
    )
    return "\n\n".join(lines) + "\n"


def _ends(config):
    if config["early_stopping"]:
        return "both stop early, by a fifth of the labels held out from them"
    return "both end after their steps, without early stopping"


def _orderings(experiment, metrics, ours):
    """What is surely better or worse, a line for each embedding; or why nothing is."""
    found = {
        embedding: tables.orderings(experiment, metrics, embedding)
        for embedding in experiment["rows"]
    }
    if not any(found.values()):
        return [
            f"Whether {ours} is better than anything else is not told: two rows were not both "
            f"measured with {tables.FEWEST_SEEDS} pre-training seeds, and no paired test of fewer "
            f"reaches p < {tables.ALPHA}."
        ]
    return [
        f"On the {EMBEDDINGS[embedding]}, {ours} is {'. It is '.join(said)}."
        for embedding, said in found.items()
        if said
    ]


def _steps(results):
    return f"{results['steps']:,}" if results["steps"] else "its recipe's number of"


def _seeds(results):
    """How many there are, in words: of what was stopped fewer than were asked for."""
    asked, counts = results["config"]["pretrain_seeds"], set()
    for experiment in results["experiments"].values():
        for row in (row for rows in experiment["rows"].values() for row in rows):
            of_tasks = [seeds for of in row["scores"].values() for seeds in of.values()]
            counts |= {len(seeds) for seeds in of_tasks} or {0}
    if counts == {asked}:
        return f"{asked} pre-training seed{'s' if asked > 1 else ''}"
    measured = " to ".join(str(count) for count in sorted({min(counts), max(counts)}))
    return f"{measured} of {asked} pre-training seeds"


def _section(name, experiment, metrics):
    parts = [f'<h2 id="{name}">{NAMES[name]}: {html.escape(experiment["title"].lower())}</h2>']
    for embedding in experiment["rows"]:
        parts.append(f"<h3>{EMBEDDINGS[embedding].capitalize()}</h3>")
        if experiment["x_label"] and any(row["scores"] for row in experiment["rows"][embedding]):
            figure = figures.curves(name, experiment, metrics, embedding)
            parts.append(_image(_png(figure), f"{NAMES[name]}, {embedding}"))
        parts.append(_table(tables.of_experiment(name, experiment, metrics, embedding)))
        parts += map(_table, _comparisons(name, experiment, metrics, embedding))
    return parts


def _comparisons(name, experiment, metrics, embedding):
    """A list of the table of them, empty where there are none or not two seeds to compare."""
    if name not in COMPARED:
        return []
    lines = tables.of_comparisons(experiment, metrics, embedding)
    return [lines] if any(cell for _, *cells in lines[1:] for cell in cells) else []


def _pretext(results, workdir):
    """How the runs learnt, and what one of them puts in order."""
    parts = []
    if (figure := figures.learning(results["runs"])) is not None:
        parts.append("<h2>Learning to put in order</h2>")
        parts.append(_image(_png(figure), "Held-out patches in their place against steps"))
    picture = workdir / plans.OURS / "seed0" / "pretrain" / "pictures" / "reordered.png"
    if picture.is_file():
        parts.append("<h2>Examples, shuffled, and put in order by the model</h2>")
        parts.append(_image(picture.read_bytes(), "Held-out examples of the first seed"))
    return parts


def _where(results):
    """Commit and machine of the runs."""
    machines = {
        f"commit {of['commit']}, {of['cpu']}, {of['cpu_cores']} cores"
        + "".join(f", {name}" for name in of["accelerators"])
        + f", TensorFlow {of['packages']['tensorflow']}, Keras {of['packages']['keras']}"
        for of in results["environments"]
    }
    hours = results["seconds"] / 3600
    return f"Programs ran for {hours:.1f} h in all: {'; '.join(sorted(machines))}."


def _table(lines):
    header, *others = lines
    rows = [f"<tr>{''.join(f'<th>{html.escape(cell)}</th>' for cell in header)}</tr>"]
    for line in others:
        of_paper = ' class="paper"' if line[0].startswith("the paper") else ""
        cells = "".join(f"<td>{_bold(html.escape(cell))}</td>" for cell in line)
        rows.append(f"<tr{of_paper}>{cells}</tr>")
    return "<table>" + "\n".join(rows) + "</table>"


def _bold(cell):
    return re.sub(r"\*\*(.*?)\*\*", r"<b>\1</b>", cell)


def _image(png, alternative):
    encoded = base64.b64encode(png).decode()
    return f'<img alt="{html.escape(alternative)}" src="data:image/png;base64,{encoded}">'


def _png(figure):
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=110, format="png")
    return buffer.getvalue()
