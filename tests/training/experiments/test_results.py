"""Numbers are those of the reports, differences are tested by counting, the page is whole."""

import base64
import dataclasses
import html.parser
import io
import itertools
import json
import re

import numpy as np
import pytest
from PIL import Image

from training import records
from training.config import ReproduceConfig
from training.errors import UserError
from training.experiments import (
    cells,
    figures,
    page,
    plans,
    published,
    reproduction,
    results,
    tables,
)

CONFIG = ReproduceConfig(table=(1, 2), figure=(2, 3), ablation=True, pretrain_seeds=6, seeds=2)
TASKS = {
    "family": "accuracy",
    "instrument": "accuracy",
    "pitch": "mean squared error in semitones²",
    "pitch within a semitone": "accuracy",
}
DIGITS = {task: 1 if task == "pitch" else 3 for task in TASKS}


def score(task, folder, encoder, count, draw):
    """A number that tells apart all that it depends on, but for what is to be found better."""
    ours = folder.startswith("perturbed/") and encoder == "pretrained"
    random = np.random.default_rng([*map(ord, f"{task}{folder}{encoder}{count}{draw}")])
    value = 0.5 + 0.02 * random.random() + 0.1 * ours + np.log10(int(count)) / 50
    return 100 * (1 - value) if task == "pitch" else value


def write_json(path, content):
    """Without waiting for the disk, of so many files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def write_reports(workdir, config, lacking=()):
    """What the programs of all cells would leave."""
    experiments = plans.experiments(config)
    environment = records.environment()
    for cell in cells.make(config, experiments):
        write_json(
            workdir / f"{cell.folder}.json",
            {"command": list(cell.command), "seconds": 36.0, "ended": True},
        )
        if cell.kind in (cells.PREPARE, cells.EXPORT) or cell.folder in lacking:
            continue
        given = dict(a.removeprefix("--").split("=", 1) for a in cell.command[1:])
        report = {"environment": environment}
        if cell.kind == cells.PRETRAIN:
            report["held_out"] = {"patch_accuracy": 0.5 + int(given["seed"]) / 100}
            log = "step,patch_accuracy,val_patch_accuracy\n500,0.2,0.3\n1000,0.4,0.45\n"
            (workdir / cell.folder).mkdir(parents=True, exist_ok=True)
            (workdir / cell.folder / "log.csv").write_text(log)
        else:
            encoders = given.get("encoders", "supervised").split(",")
            frozen = encoders if "encoders" in given else []
            report["effective_ranks"] = {name: 10.0 + int(given["seed"]) for name in frozen}
            report["tasks"] = {
                task: {
                    "metric": metric,
                    **{
                        encoder: {
                            count: {
                                "draws": [
                                    score(task, cell.folder, encoder, count, draw)
                                    for draw in range(2)
                                ]
                            }
                            for count in given["num_labels"].split(",")
                        }
                        for encoder in encoders
                    },
                }
                for task, metric in TASKS.items()
            }
        write_json(workdir / cell.folder / "report.json", report)
    return experiments


def test_a_row_is_the_mean_over_draws_of_each_seed(tmp_path):
    experiments = write_reports(tmp_path, CONFIG)
    gathered = results.gather(CONFIG, experiments, tmp_path)
    assert gathered["metrics"] == TASKS
    row = next(
        row
        for row in gathered["experiments"]["table1"]["rows"]["fc"]
        if row["label"] == "fast soft ranking, l2"
    )
    for task in TASKS:
        assert list(row["scores"][task]) == ["1000"]
        for seed in range(6):
            folder = f"soft_rank/seed{seed}/pretrained-fc-1000"
            both = [score(task, folder, "pretrained", "1000", draw) for draw in range(2)]
            assert row["scores"][task]["1000"][str(seed)] == pytest.approx(np.mean(both))
    assert row["partial_ranks"] == pytest.approx({str(s): 0.5 + s / 100 for s in range(6)})
    assert row["effective_ranks"] == {str(s): 10.0 + s for s in range(6)}
    lines = gathered["experiments"]["figure2"]["rows"]["levels"]
    assert all(list(row["scores"]["pitch"]) == ["500", "1000", "3000", "5000"] for row in lines)


def test_seeds_that_are_not_measured_yet_are_left_out(tmp_path):
    experiments = plans.experiments(CONFIG)
    made = cells.make(CONFIG, experiments)
    lacking = {c.folder for c in made if c.folder.startswith(("perturbed/seed5", "soft_rank/"))}
    write_reports(tmp_path, CONFIG, lacking)
    gathered = results.gather(CONFIG, experiments, tmp_path)
    rows = {row["label"]: row for row in gathered["experiments"]["table1"]["rows"]["fc"]}
    ours = rows["perturbed F-Y, closed form"]["scores"]["family"]["1000"]
    assert list(ours) == ["0", "1", "2", "3", "4"]
    assert rows["fast soft ranking, l2"]["scores"] == {}
    compared = tables.of_comparisons(gathered["experiments"]["table1"], gathered["metrics"], "fc")
    by_label = {line[0]: line[1:] for line in compared[1:]}
    assert by_label["fast soft ranking, l2"] == [""] * 4
    assert all("p 0.062" in cell for cell in by_label["MSE"])  # Five seeds cannot tell more.


def test_a_page_is_made_of_whatever_there_is(tmp_path):
    made = cells.make(CONFIG, plans.experiments(CONFIG))
    there = {"perturbed/seed0/pretrain", "perturbed/seed0/pretrained-fc-1000"}
    experiments = write_reports(tmp_path, CONFIG, {c.folder for c in made} - there)
    gathered = {**results.gather(CONFIG, experiments, tmp_path), "seconds": 60.0}
    shown = Page()
    shown.feed(page.as_html(gathered, "command", tmp_path))
    assert len(shown.tables) == 3 + 3 + 3 * 2 + 3  # Of one seed nothing is compared.
    assert len(shown.images) == 2 + 1  # Ours in two figures, and how it learnt.
    markdown = page.as_markdown(gathered, "command")
    assert markdown.startswith(
        "# The paper's experiments on notes\n\n"
        "Whether perturbed F-Y in closed form is better than anything else is not told: two rows "
        "were not both measured with 6 pre-training seeds, and no paired test of fewer reaches p < "
        "0.05.\n\nWhether the recipe is better "
    )
    assert "max over 0 to 1 of 6 pre-training seeds" in markdown
    assert "All pre-training is of 1,000 steps" in markdown
    assert "both stop early, by a fifth of the labels held out" in markdown
    assert "The others were not run" not in markdown
    gathered["config"]["objectives"] = ["mean_squared_error", "soft_rank"]
    markdown = page.as_markdown(gathered, "command")
    assert "beside perturbed F-Y in closed form: mean_squared_error, soft_rank. The oth" in markdown
    gathered["config"]["early_stopping"] = False
    assert "both end after their steps" in page.as_markdown(gathered, "command")


def by_counting(first, second):
    """The exact paired permutation test of the mean difference, by all ways to swap pairs."""
    differences = np.array(first) - np.array(second)
    signs = itertools.product((1, -1), repeat=len(differences))
    means = np.array([np.mean(differences * s) for s in signs])
    # Two-sided as SciPy has it: twice the smaller tail.
    observed = differences.mean()
    tails = [np.mean(means >= observed - 1e-12), np.mean(means <= observed + 1e-12)]
    return min(2 * min(tails), 1.0)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("metric", ["accuracy", "mean squared error"])
def test_differences_are_tested_as_counting_gives(seed, metric):
    random = np.random.default_rng(seed)
    first, second = random.normal(0.3, 1, 6), random.normal(0, 1, 6)
    keyed = [{str(n): value for n, value in enumerate(of)} for of in (first, second)]
    compared = results.comparison(*keyed, metric)
    sign = -1 if metric != "accuracy" else 1
    assert compared["better"] == pytest.approx(sign * np.mean(first - second))
    assert compared["p"] == pytest.approx(by_counting(first, second))
    assert compared["seeds"] == 6
    assert results.comparison(keyed[0], {"0": 1.0}, metric) is None
    assert results.comparison(keyed[0], keyed[0], metric)["p"] == 1.0


def test_what_is_surely_better_is_said_first(tmp_path):
    experiments = write_reports(tmp_path, CONFIG)
    gathered = results.gather(CONFIG, experiments, tmp_path)
    table = gathered["experiments"]["table1"]
    (sentence,) = tables.orderings(table, gathered["metrics"], "fc")
    assert sentence.startswith("better than untrained; calibrated; statistics of the log spectr")
    assert "fixed permutations, 100" in sentence and "supervised, 3000 labels" in sentence
    row = tables.of_comparisons(table, gathered["metrics"], "fc")[1]
    assert all(re.fullmatch(r"\+\d+\.\d+ \(p 0\.031\) \*", cell) for cell in row[1:])
    first = page.as_markdown({**gathered, "seconds": 60.0}, "command").splitlines()[2]
    assert first.endswith(f"the paper's embedding, perturbed F-Y in closed form is {sentence}.")


@pytest.mark.parametrize("count", range(1, 9))
def test_with_too_few_seeds_nothing_is_called_better(count):
    least = by_counting([1.0] * count, [0.0] * count)
    assert (least < tables.ALPHA) == (count >= tables.FEWEST_SEEDS)
    scores = {"ours": 1.0, "other": 0.0}
    rows = [
        {
            **dict.fromkeys(("label", "arm"), arm),
            "encoder": "pretrained",
            "scores": {"family": {"1000": {str(n): scores[label] + n for n in range(count)}}},
            "effective_ranks": {},
        }
        for label, arm in (("ours", "perturbed"), ("other", "other"))
    ]
    said = tables.orderings({"rows": {"fc": rows}}, {"family": "accuracy"}, "fc")
    assert said == (["better than other"] if count >= tables.FEWEST_SEEDS else [])


def test_beside_what_is_better_than_the_method_stand_the_effective_ranks():
    def row(label, arm, rank, **scores):
        by_seed = {
            task: {"1000": {str(seed): value + seed / 1000 for seed in range(6)}}
            for task, value in scores.items()
        }
        ranks = dict.fromkeys("012345", rank)
        row = {"label": label, "arm": arm, "encoder": "pretrained", "scores": by_seed}
        return {**row, "effective_ranks": ranks}

    rows = [
        row("ours", "perturbed", 8.0, family=0.5, instrument=0.5),
        row("better", "mean_squared_error", 22.0, family=0.6, instrument=0.6),
        row("better at one", "soft_rank", 9.0, family=0.6, instrument=0.4),
    ]
    metrics = dict.fromkeys(("family", "instrument"), "accuracy")
    assert tables.orderings({"rows": {"fc": rows}}, metrics, "fc") == [
        "better than better at one (instrument)",
        "worse than better (effective rank 8.0 against 22.0); "
        "better at one (family; effective rank 8.0 against 9.0)",
    ]


class Page(html.parser.HTMLParser):
    """What a page shows, and whatever it would load."""

    def __init__(self):
        super().__init__()
        self.tables, self.images, self.addresses, self.open = [], [], [], []
        self.anchors = set()

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.addresses += [attributes[name] for name in ("src", "href") if name in attributes]
        assert tag not in ("script", "link", "iframe", "object")
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)
        if tag == "img":
            self.images.append(attributes)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")
        self.anchors.add(attributes.get("id"))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "td" in self.open or "th" in self.open:
            self.tables[-1][-1][-1] += data


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    """A workdir with a report of everything, and what it was made from."""
    workdir = tmp_path_factory.mktemp("reported")
    records.write_config(workdir, CONFIG)
    write_reports(workdir, CONFIG)
    pictures = workdir / "perturbed" / "seed0" / "pretrain" / "pictures"
    pictures.mkdir(parents=True)
    Image.new("RGB", (40, 30), "red").save(pictures / "reordered.png")
    written = reproduction.run(CONFIG, workdir)  # All is done: nothing runs.
    return workdir, written


def test_the_page_stands_alone_and_its_images_decode(reported):
    _, written = reported
    shown = Page()
    text = written.read_text(encoding="utf-8")
    shown.feed(text)
    assert not shown.open  # Every tag is closed.
    inside = [address for address in shown.addresses if address.startswith("#")]
    assert {address[1:] for address in inside} <= shown.anchors and len(inside) == 6
    others = [address for address in shown.addresses if not address.startswith("#")]
    assert all(address.startswith("data:image/png;base64,") for address in others)
    assert "url(" not in text and "@import" not in text
    sizes = []
    for image in shown.images:
        assert image["alt"]
        decoded = Image.open(io.BytesIO(base64.b64decode(image["src"].split(",", 1)[1])))
        decoded.load()
        sizes.append(decoded.size)
    assert len(sizes) == 3 * 2 + 1 + 1 and sizes[-1] == (40, 30)  # Curves, learning, examples.


def between(values, task):
    low, middle, high = (f"{f(list(values)):.{DIGITS[task]}f}" for f in (min, np.median, max))
    return f"{low} ← {middle} → {high}"


def difference(ours, other, task):
    """Of the largest numbers of labels."""
    first, second = (list(list(of.values())[-1].values()) for of in (ours, other))
    better = np.mean(first) - np.mean(second)
    p = by_counting(first, second)
    sign = -1 if task == "pitch" else 1
    return f"{sign * better:+.{DIGITS[task]}f} (p {p:.3f}){' *' if p < 0.05 else ''}"


def test_the_tables_of_the_page_are_those_of_results_json_and_of_the_markdown(reported):
    workdir, written = reported
    shown = Page()
    shown.feed(written.read_text(encoding="utf-8"))
    gathered = json.loads((workdir / "results.json").read_text())
    markdown = (workdir / "report.md").read_text(encoding="utf-8")
    of_markdown = [
        [cell.strip() for cell in line.removeprefix("|").removesuffix("|").split("|")]
        for line in markdown.splitlines()
        if line.startswith("|")
    ]
    in_markdown = [[cell.replace("**", "") for cell in line] for line in of_markdown]
    in_markdown = [line for line in in_markdown if set(line) != {"---"}]
    rows = [[cell.strip() for cell in row] for table in shown.tables for row in table]
    assert len(shown.tables) == 3 * 2 + 3 + 3 * 2 + 3 * 2
    assert in_markdown == rows
    left = iter(shown.tables)
    for name, experiment in gathered["experiments"].items():
        for rows in experiment["rows"].values():
            measured = [line for line in next(left)[1:] if line[0] != "the paper, on NSynth"]
            assert [line[1:5] for line in measured] == [
                [between(row["scores"][task][count].values(), task) for task in TASKS]
                for row in rows
                for count in row["scores"]["family"]
            ]
            if name in ("table1", "ablation"):
                ours = next(r for r in rows if r["label"] == "perturbed F-Y, closed form")
                assert [line[1:] for line in next(left)[1:]] == [
                    [difference(ours["scores"][task], row["scores"][task], task) for task in TASKS]
                    for row in rows
                    if row is not ours
                ]
    table = shown.tables[0]
    line = next(row for row in table if row[0] == "fixed permutations, 100")
    assert table[0][-2:] == ["effective rank", "patches in their place"]
    assert line[-2:] == ["10.0 ← 12.5 → 15.0", ""]
    of_paper = table[table.index(line) + 1]
    assert of_paper[:4] == ["the paper, on NSynth", "0.75", "0.7", "144.5"]
    count = len(cells.make(CONFIG, plans.experiments(CONFIG)))
    assert gathered["seconds"] == 36.0 * count
    assert f"ran for {count / 100:.1f} h in all" in markdown


def test_the_paper_is_drawn_beside_ours(tmp_path):
    from training.experiments import figures

    experiments = write_reports(tmp_path, CONFIG)
    gathered = results.gather(CONFIG, experiments, tmp_path)
    for name, lines in (("figure2", 7), ("figure3", 4), ("data", 1)):
        figure = figures.curves(name, gathered["experiments"][name], TASKS, "fc")
        axis = figure.axes[0]
        assert [one.get_yscale() for one in figure.axes] == ["linear", "linear", "log", "linear"]
        within = figure.axes[3]  # Of which the paper has nothing.
        assert list(within.get_xticks()) == sorted(set(within.lines[0].get_xdata()))
        assert axis.get_title() == "family" and len(axis.lines) == lines + (name == "figure2")
        if name == "data":
            continue
        of_paper = [line for line in axis.lines if line.get_label().endswith("the paper")]
        drawn = {tuple(map(tuple, line.get_xydata())) for line in of_paper}
        assert drawn == {tuple(of["family"]) for of in published.FIGURES[name].values()}


def test_more_may_be_asked_for_but_nothing_else_changed(tmp_path):
    few = dataclasses.replace(CONFIG, table=(2,), figure=(), ablation=False, pretrain_seeds=3)
    records.write_config(tmp_path, few)
    write_reports(tmp_path, few)
    reproduction.run(few, tmp_path)
    more = dataclasses.replace(few, table=(), figure=(3,), pretrain_seeds=2, data_dir="/moved")
    write_reports(tmp_path, dataclasses.replace(more, pretrain_seeds=3))
    written = reproduction.run(more, tmp_path)  # Both are there, with all seeds.
    shown = Page()
    shown.feed(written.read_text(encoding="utf-8"))
    assert len(shown.tables) == 3 + 2
    text = written.read_text()
    assert "--table=2 --figure=3 --pretrain_seeds=3 --seeds=2 --workdir=DIR" in text
    assert "max over 3 pre-training seeds" in text
    with pytest.raises(UserError, match="holds experiments with other settings"):
        reproduction.run(dataclasses.replace(more, seeds=3), tmp_path)


@pytest.mark.parametrize(
    ("first", "then", "expected"),
    [
        (("soft_rank",), ("mean_squared_error",), ["mean_squared_error", "soft_rank"]),
        ((), ("soft_rank",), []),
        (("soft_rank",), (), []),
    ],
)
def test_objectives_asked_for_later_come_beside_those_before(tmp_path, first, then, expected):
    few = dataclasses.replace(CONFIG, table=(1,), figure=(), ablation=False, pretrain_seeds=1)
    stored = dataclasses.replace(few, objectives=first)
    records.write_config(tmp_path, stored)
    asked = dataclasses.replace(few, objectives=then)
    write_reports(tmp_path, dataclasses.replace(few, objectives=tuple(expected)))
    reproduction.run(asked, tmp_path)
    kept = records.load_config(tmp_path, type(few))
    assert list(kept.objectives) == expected
    # A figure asked for alone leaves the table as it is.
    figure = dataclasses.replace(asked, table=(), objectives=(), figure=(3,))
    write_reports(tmp_path, dataclasses.replace(figure, table=(1,), objectives=kept.objectives))
    reproduction.run(figure, tmp_path)
    assert list(records.load_config(tmp_path, type(few)).objectives) == expected


def test_figures_and_page_name_every_experiment():
    assert set(page.NAMES) == {"table1", "table2", "figure2", "data", "figure3", "ablation"}


def test_a_run_that_was_not_measured_has_no_learning_curve():
    def run(value):
        return {"label": "an arm", "logs": {"0": [{"step": 1.0, "val_patch_accuracy": value}]}}

    assert figures.learning({"lost": run(np.nan)}) is None
    assert len(figures.learning({"lost": run(np.nan), "kept": run(0.5)}).axes[0].lines) == 1


def test_every_line_of_the_learning_curves_looks_otherwise():
    log = {"0": [{"step": 1.0, "val_patch_accuracy": 0.5}]}
    figure = figures.learning({str(n): {"label": f"arm {n}", "logs": log} for n in range(30)})
    lines = figure.axes[0].lines
    looks = {(line.get_color(), line.get_linestyle()) for line in lines}
    assert len(looks) == len({line.get_label() for line in lines}) == 30
