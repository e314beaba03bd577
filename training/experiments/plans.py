"""What each table and figure of the paper compares, as runs of our programs."""

import dataclasses
import functools
import math

from training.errors import UserError
from training.experiments.materials import MATERIALS

EMBEDDINGS = ("fc", "patches", "levels")  # The paper's first.
PLOTTED = ("fc", "levels")


@dataclasses.dataclass(frozen=True)
class Arm:
    """A kind of pre-training, run once for each seed.

    Attributes:
        name: Of its folder.
        label: What sets it apart from all others.
        flags: Of `training.pretrain`, by name.
    """

    name: str
    label: str
    flags: dict = dataclasses.field(hash=False)


@dataclasses.dataclass(frozen=True)
class Measurement:
    """What the encoders of an arm are measured by.

    Attributes:
        embedding: "fc", "patches" or "levels".
        num_labels: Sizes of the labelled sets.
        encoders: Rows of the report of `training.transfer`; "supervised" is one of its own.
    """

    embedding: str
    num_labels: tuple
    encoders: tuple = ("pretrained",)

    @property
    def name(self):
        """Of its folder."""
        return "-".join(map(str, (*self.encoders, self.embedding, *self.num_labels)))


@dataclasses.dataclass(frozen=True)
class Row:
    """A line of a table or of a figure.

    Attributes:
        label: What it says.
        arm: What was trained.
        measurements: Where its numbers come from.
        encoder: Which row of the transfer report: "pretrained", "untrained", "calibrated",
            "statistics" or "supervised".
        x: Where its point lies, of a figure over something else than numbers of labels.
        paper: Its name in `published`, None for a row that is ours alone.
    """

    label: str
    arm: Arm
    measurements: tuple
    encoder: str = "pretrained"
    x: float | None = None
    paper: str | None = None


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A table, or a figure.

    Attributes:
        name: "table1", "table2", "figure2", "data", "figure3" or "ablation".
        title: What it asks.
        rows: `Row`s by embedding.
        x_label: Of a figure; "" of a table.
    """

    name: str
    title: str
    rows: dict
    x_label: str = ""


OBJECTIVES = {
    "perturbed": ("perturbed F-Y, closed form", {}, "perturbed"),
    "perturbed_samples": (
        "perturbed F-Y, Monte-Carlo",
        {"objective": "perturbed_samples"},
        "perturbed",
    ),
    "soft_rank": ("fast soft ranking, l2", {"objective": "soft_rank"}, "soft_rank"),
    "soft_rank_kl": ("fast soft ranking, kl", {"objective": "soft_rank_kl"}, None),
    "mean_squared_error": ("MSE", {"objective": "mean_squared_error"}, "mean_squared_error"),
    "cross_entropy_100": (
        "fixed permutations, 100",
        {"objective": "cross_entropy", "num_permutations": 100},
        "cross_entropy",
    ),
    "cross_entropy_1000": (
        "fixed permutations, 1000",
        {"objective": "cross_entropy", "num_permutations": 1000},
        None,
    ),
    "contrastive": ("contrastive learner", {"objective": "contrastive"}, None),
}
OURS = "perturbed"
SHARES = (0.1, 0.3, 1.0)


def experiments(config):
    """The experiments that a `ReproduceConfig` asks for.

    Raises:
        UserError: If there is no such experiment with its data, or no such objective.
    """
    if config.data not in MATERIALS:
        raise UserError(
            f"--data must be {' or '.join(MATERIALS)} for the paper's experiments. Received: "
            f"{config.data}."
        )
    material = MATERIALS[config.data]
    asked = [f"table{number}" for number in config.table]
    asked += [f"figure{number}" for number in config.figure]
    asked += ["ablation"] * config.ablation
    if unknown := set(config.objectives) - set(OBJECTIVES):
        raise UserError(
            f"--objectives must be of {', '.join(OBJECTIVES)}. Received: "
            f"{', '.join(sorted(unknown))}."
        )
    made = {
        "table1": [functools.partial(_table1, objectives=config.objectives)],
        "table2": [_table2] if material.slicings else [],
        "figure2": [_figure2, _shares],
        "figure3": [_figure3] if material.patches else [],
        "ablation": [_ablation] if material.ablations else [],
    }
    if lacking := [name for name in asked if not made[name]]:
        there_are = ", ".join(name for name, of_it in made.items() if of_it)
        raise UserError(
            f"There is no {' or '.join(lacking)} with --data={config.data}, but {there_are}."
        )
    return [make(material) for name in asked for make in made[name]]


def steps_of(config):
    """Training steps of each run, None for those of its recipe."""
    return config.steps or MATERIALS[config.data].steps[config.setting]


def _arm(material, name, label, flags):
    return Arm(name, label, {"recipe": material.recipe, **flags})


def _objective(material, name):
    label, flags, _ = OBJECTIVES[name]
    return _arm(material, name, label, flags)


def _frozen(material, embedding):
    """What rows of tables are measured by."""
    return (Measurement(embedding, (material.num_labels,)),)


def _supervised(*num_labels):
    """Each number on its own, for table 1 shares them with figure 2 and they take long."""
    return tuple(Measurement("levels", (number,), ("supervised",)) for number in num_labels)


def _table1(material, objectives):
    asked = {OURS, *(objectives or OBJECTIVES)}  # The others are compared with ours.
    arms = {name: _objective(material, name) for name in OBJECTIVES if name in asked}
    count = material.num_labels
    rows = {}
    for embedding in EMBEDDINGS:
        frozen = _frozen(material, embedding)
        # Once for each seed: other arms would have the same.
        fresh = (Measurement(embedding, (count,), ("untrained", "calibrated")),)
        rows[embedding] = [
            Row("untrained", arms[OURS], fresh, "untrained", paper="untrained"),
            Row("calibrated", arms[OURS], fresh, "calibrated"),
        ]
        for name in material.plain:
            plain = (Measurement("levels", (count,), (name,)),)  # Whatever the embedding.
            label = f"{name} of the log spectrogram"
            rows[embedding].append(Row(label, arms[OURS], plain, name))
        for name, arm in arms.items():
            row = Row(arm.label, arm, frozen, paper=OBJECTIVES[name][2])
            rows[embedding].append(row)
        more = [number for number in material.many_labels if number >= count]
        for number in more[:2]:  # Figure 2 has the others.
            label = "supervised" if number == count else f"supervised, {number} labels"
            rows[embedding].append(Row(label, arms[OURS], _supervised(number), "supervised"))
    return Experiment("table1", "What is learnt from", rows)


def _table2(material):
    rows = {embedding: [] for embedding in EMBEDDINGS}
    for number, (name, (label, flags, paper)) in enumerate(material.slicings.items()):
        arm = _objective(material, OURS)  # Of the recipe's own, which comes first.
        if number:
            arm = _arm(material, f"{OURS}-{name}", label, flags)
        for embedding, of_embedding in rows.items():
            of_embedding.append(Row(label, arm, _frozen(material, embedding), paper=paper))
    return Experiment("table2", "What is cut", rows)


def _ablation(material):
    arms = [_objective(material, OURS)]
    for name, (label, flags) in material.ablations.items():
        arms.append(_arm(material, f"{OURS}-{name}", label, flags))
    rows = {
        embedding: [Row(arm.label, arm, _frozen(material, embedding)) for arm in arms]
        for embedding in EMBEDDINGS
    }
    return Experiment("ablation", "What a choice is worth", rows)


def _figure2(material):
    lines = {
        OURS: OURS,
        "mean_squared_error": "mean_squared_error",
        "cross_entropy_1000": "cross_entropy",
    }
    rows = {embedding: [] for embedding in PLOTTED}
    for embedding, of_embedding in rows.items():
        for name, paper in lines.items():
            arm = _objective(material, name)
            measurements = (Measurement(embedding, material.many_labels),)
            of_embedding.append(Row(arm.label, arm, measurements, paper=paper))
        arm = _objective(material, OURS)
        measurements = _supervised(*material.many_labels)
        row = Row("no pre-training", arm, measurements, "supervised", paper="supervised")
        of_embedding.append(row)
    return Experiment("figure2", "How many labels it takes", rows, "labels")


def _shares(material):
    rows = {embedding: [] for embedding in PLOTTED}
    row_label = OBJECTIVES[OURS][0]
    for share in SHARES:
        arm = _objective(material, OURS)
        if share < 1:
            label = f"{row_label}, {share:.0%} of the data"
            arm = _arm(material, f"{OURS}-share{round(100 * share)}", label, {"data_share": share})
        for embedding, of_embedding in rows.items():
            of_embedding.append(_point(material, row_label, arm, embedding, 100 * share, None))
    return Experiment("data", "How much unlabelled data it takes", rows, "% of the unlabelled data")


def _figure3(material):
    rows = {embedding: [] for embedding in PLOTTED}
    for objective in (OURS, "cross_entropy_100"):
        label, flags, paper = OBJECTIVES[objective]
        for count in material.patches:
            arm = _objective(material, objective)
            if count != material.own_patches:
                flags_of_count = {**material.flags, **flags, "num_patches": count}
                if "num_permutations" in flags:  # Of few patches there are not so many.
                    most = min(flags["num_permutations"], math.factorial(count))
                    flags_of_count["num_permutations"] = most
                arm_label = f"{label}, {count} patches"
                arm = _arm(material, f"{objective}-n{count}", arm_label, flags_of_count)
            for embedding, of_embedding in rows.items():
                of_embedding.append(_point(material, label, arm, embedding, count, paper))
    return Experiment("figure3", "How many patches", rows, "patches")


def _point(material, label, arm, embedding, x, paper):
    return Row(label, arm, _frozen(material, embedding), x=x, paper=paper)
