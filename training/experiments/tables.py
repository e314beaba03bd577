"""The tables of a report: rows of strings, for whichever page shows them."""

from training import scores
from training.experiments import plans, published, results

ALPHA = 0.05
FEWEST_SEEDS = 6  # Of fewer no paired test reaches ALPHA: of 2**seeds swaps two are the extremes.


def of_experiment(name, experiment, metrics, embedding):
    """A table, the header first: of each row and task min ← **median** → max over seeds.

    Args:
        name: Of the experiment.
        experiment: As in results.json.
        metrics: By task.
        embedding: Of the rows.
    """
    rows = experiment["rows"][embedding]
    tasks = results.tasks_of(rows, metrics)
    of_tasks = [f"{task}, {metrics[task]}" for task in tasks]
    header = ["", *of_tasks, scores.EFFECTIVE_RANK, "patches in their place"]
    lines = [header]
    for row in rows:
        for count in _counts(row):
            cells = [_cell(row["scores"].get(task, {}).get(count), metrics[task]) for task in tasks]
            ranks = _cell(row["effective_ranks"], scores.EFFECTIVE_RANK)
            partial = _cell(row["partial_ranks"], "accuracy")
            lines.append([_label(row, count, experiment), *cells, ranks, partial])
        of_paper = published.TABLES.get(name, {}).get(row["paper"], {})
        if embedding == "fc" and set(of_paper) & set(tasks):  # It measures no other embedding.
            lines.append(_of_paper(name, row["paper"], tasks))
    return lines


def of_comparisons(experiment, metrics, embedding):
    """A table of how much better the method is than each other row, and how surely."""
    rows = experiment["rows"][embedding]
    ours = _ours(rows)
    tasks = list(ours["scores"])
    lines = [["ours better than", *(f"{task}, {metrics[task]}" for task in tasks)]]
    for row in rows:
        if row is ours:
            continue
        cells = []
        for task in tasks:
            compared = _compared(ours, row, task, metrics[task])
            cells.append("" if compared is None else _verdict(compared, metrics[task]))
        lines.append([row["label"], *cells])
    return lines


def orderings(experiment, metrics, embedding):
    """Sentences: than what the method is surely better, than what worse, and what is not told.

    Tasks stand behind a row where it is not so on all of them, and where the method is worse the
    effective ranks of both: a collapse would be a reason. Of fewer than `FEWEST_SEEDS` seeds
    nothing is said.
    """
    rows = experiment["rows"][embedding]
    ours = _ours(rows)
    tasks = list(ours["scores"])
    found = {"better than": {}, "worse than": {}, "not told from": {}}
    for row in (row for row in rows if row is not ours):
        for task in tasks:
            compared = _compared(ours, row, task, metrics[task])
            if compared is None or compared["seeds"] < FEWEST_SEEDS:
                continue
            verdict = "better than" if compared["better"] > 0 else "worse than"
            if compared["p"] >= ALPHA:
                verdict = "not told from"
            found[verdict].setdefault(row["label"], (row, []))[1].append(task)
    sentences = []
    for verdict, by_label in found.items():
        listed = []
        for label, (row, on) in by_label.items():
            behind = [", ".join(on)] * (len(on) < len(tasks))
            if verdict == "worse than" and row["effective_ranks"] and ours["effective_ranks"]:
                ranks = [_middle(of["effective_ranks"]) for of in (ours, row)]
                behind.append(f"effective rank {ranks[0]} against {ranks[1]}")
            listed.append(f"{label} ({'; '.join(behind)})" if behind else label)
        if listed:
            sentences.append(f"{verdict} {'; '.join(listed)}")
    return sentences


def _middle(ranks):
    """The median over seeds."""
    return f"{results.spread(ranks)[1]:.1f}"


def _ours(rows):
    """The row of the method."""
    return next(row for row in rows if row["arm"] == plans.OURS and row["encoder"] == "pretrained")


def _compared(ours, row, task, metric):
    """Each is measured with one number of labels, supervised training also with more than ours."""
    scores_of = [list(of["scores"].get(task, {}).values()) for of in (ours, row)]
    if not all(scores_of):
        return None
    (first,), (second,) = scores_of
    return results.comparison(first, second, metric)


def _verdict(compared, metric):
    mark = " *" if compared["p"] < ALPHA else ""
    return f"{compared['better']:+.{scores.digits(metric)}f} (p {compared['p']:.3f}){mark}"


def _counts(row):
    """Numbers of labels, as they stand in the scores; one of a row that has no scores yet."""
    counts = {count: None for of_task in row["scores"].values() for count in of_task}
    return list(counts) or [""]


def _label(row, count, experiment):
    """Of a line: in a figure with where its point lies."""
    if not experiment["x_label"]:
        return row["label"]
    if row["x"] is None:
        return f"{row['label']}, {count} {experiment['x_label']}"
    return f"{row['label']}, {row['x']:g} {experiment['x_label']}"


def _cell(by_seed, metric):
    found = results.spread(by_seed)
    return "" if found is None else scores.spread(*found, metric)


def _of_paper(name, row, tasks):
    values = published.TABLES[name][row]
    partial = published.PARTIAL_RANKS.get(row, "") if name == "table1" else ""
    cells = [str(values.get(task, "")) for task in tasks]
    return ["the paper, on NSynth", *cells, "", str(partial)]
