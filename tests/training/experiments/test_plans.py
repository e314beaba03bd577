"""What is compared is what the paper compares, and all of it can be run."""

import dataclasses

import pytest

from training import models
from training.config import PretrainConfig, ReproduceConfig, TransferConfig, changed
from training.data import sets
from training.errors import UserError
from training.experiments import cells, plans, published
from training.recipes import RECIPES

EVERYTHING = {
    "notes": {"table": (1, 2), "figure": (2, 3), "ablation": True},
    "nsynth": {"table": (1, 2), "figure": (2, 3)},
    "moving_digits": {"table": (1,), "figure": (2, 3)},
    "digit_scenes": {"table": (1, 2), "figure": (2,)},
}


def asked(data, **changes):
    return ReproduceConfig(data=data, **{**EVERYTHING[data], **changes})


def options(command):
    """The flags of a command."""
    return dict(argument.removeprefix("--").split("=", 1) for argument in command[1:])


def as_typed(config_class, given):
    """Flags as a config holds them."""
    fields = {field.name: field for field in dataclasses.fields(config_class)}
    made = {}
    for name, text in given.items():
        default = fields[name].default
        if isinstance(default, bool):
            made[name] = {"True": True, "False": False}[text]
        elif isinstance(default, tuple):
            kind = str if name == "encoders" else int
            made[name] = tuple(map(kind, text.split(",")))
        else:
            kind = float if default is None else type(default)  # `min_snr_db` has no default.
            made[name] = kind(text)
    return made


@pytest.mark.parametrize("data", EVERYTHING)
def test_every_run_can_be_made_and_every_measurement_is_taken(data):
    made = cells.make(asked(data, pretrain_seeds=1), plans.experiments(asked(data)))
    kinds = {cell.kind: 0 for cell in made}
    for cell in made:
        kinds[cell.kind] += 1
        given = options(cell.command)
        if cell.kind == cells.PRETRAIN:
            given.pop("workdir")
            recipe = RECIPES[given["recipe"]]()
            config = changed(recipe, as_typed(PretrainConfig, given))
            config.check()
            models.make_model(config, sets.of(config))  # Patches divide.
        if cell.kind == cells.TRANSFER:
            given.pop("workdir")
            changed(TransferConfig(), as_typed(TransferConfig, given)).check()
    assert kinds[cells.PRETRAIN] == kinds[cells.EXPORT] >= 4
    folders = [cell.folder for cell in made]
    assert len(set(folders)) == len(folders)
    assert all(cell.needs in folders[:number] for number, cell in enumerate(made) if cell.needs)


def test_table_1_holds_all_that_the_paper_compares_and_measures_nothing_twice():
    (table,) = plans.experiments(asked("notes", table=(1,), figure=(), ablation=False))
    assert list(table.rows) == ["fc", "patches", "levels"]
    for rows in table.rows.values():
        assert {row.paper for row in rows} - {None} == set(published.TABLES["table1"])
    made = cells.make(asked("notes", table=(1,), figure=(), ablation=False), [table])
    transfers = [options(cell.command) for cell in made if cell.kind == cells.TRANSFER]
    beside = [given for given in transfers if given.get("encoders") == "untrained,calibrated"]
    assert len(beside) == 6 * 3  # Once for each seed and embedding.
    # And supervised training with as many labels and with more.
    assert len(transfers) == 6 * (8 * 3 + 3 + 2 + 1)  # And statistics, whatever the embedding.


def test_table_1_holds_ours_beside_the_objectives_that_are_asked_for():
    config = asked("notes", table=(1,), figure=(), ablation=False, objectives=("soft_rank",))
    (table,) = plans.experiments(config)
    trained = [row.arm.name for row in table.rows["fc"] if row.encoder == "pretrained"]
    assert trained == ["perturbed", "soft_rank"]
    all_rows = plans.experiments(dataclasses.replace(config, objectives=()))[0].rows["fc"]
    beside = [row for row in table.rows["fc"] if row.encoder != "pretrained"]
    assert beside == [row for row in all_rows if row.encoder != "pretrained"]
    runs = {c.folder: c for c in cells.make(config, [table]) if c.kind == cells.PRETRAIN}
    assert len(runs) == 2 * 6


def test_experiments_share_their_runs():
    apart = [
        cells.make(config, plans.experiments(config))
        for config in (
            asked("notes", table=(1,), figure=(), ablation=False),
            asked("notes", table=(2,), figure=(), ablation=False),
            asked("notes", table=(), figure=(3,), ablation=False),
        )
    ]
    config = asked("notes", figure=(3,), ablation=False)
    together = cells.make(config, plans.experiments(config))
    commands = [
        {cell.folder: cell.command for cell in some if cell.kind == cells.PRETRAIN}
        for some in (*apart, together)
    ]
    assert commands[3] == commands[0] | commands[1] | commands[2]
    # Ours is in all of them, the fixed permutations are in two.
    assert len(commands[3]) == sum(map(len, commands[:3])) - 6 * 3


def test_a_number_of_labels_is_trained_from_alone_once_for_a_table_and_a_figure():
    config = asked("notes", table=(1,), figure=(2,), ablation=False, pretrain_seeds=1)
    given = [options(cell.command) for cell in cells.make(config, plans.experiments(config))]
    trained = [of["num_labels"] for of in given if of.get("protocol") == "supervised"]
    assert sorted(trained, key=int) == ["500", "1000", "3000", "5000"]


@pytest.mark.parametrize("stops", [True, False])
def test_all_that_is_trained_from_labels_stops_early_if_asked_for(stops):
    config = asked("notes", pretrain_seeds=1, early_stopping=stops)
    for cell in cells.make(config, plans.experiments(config)):
        given = options(cell.command)
        expected = "True" if stops and cell.kind == cells.TRANSFER else None
        assert given.get("early_stopping") == expected
        longer = expected and "protocol" not in given  # Whole networks take long enough.
        assert given.get("head_steps") == ("1000" if longer else None)
        assert given.get("head_weight_decay") == ("3.0" if longer else None)


def test_seeds_are_run_one_after_the_other():
    config = asked("digit_scenes", pretrain_seeds=3)
    made = cells.make(config, plans.experiments(config))
    seeds = [int(options(c.command)["seed"]) for c in made if c.kind == cells.PRETRAIN]
    assert seeds == sorted(seeds) and set(seeds) == {0, 1, 2}


def test_all_programs_take_the_same_data():
    config = asked("notes", soundfont="/bank.sf2", data_dir="/sets", validation=True)
    for cell in cells.make(config, plans.experiments(config)):
        given = options(cell.command)
        if cell.kind != cells.EXPORT:
            assert (given["soundfont"], given["data_dir"]) == ("/bank.sf2", "/sets")
            assert given.get("validation") == (None if cell.kind == cells.PREPARE else "True")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"table": (), "figure": ()}, "Give what to measure"),
        ({"table": (3,)}, "--table must be of 1, 2"),
        ({"figure": (1,)}, "--figure must be of 2, 3"),
        ({"setting": "slow"}, "--setting must be quick or full"),
        (
            {"table": (2,), "objectives": ("soft_rank",)},
            "--objectives are the rows of table 1: give --table=1 too",
        ),
        ({"pretrain_seeds": 0}, "--pretrain_seeds must be at least 1"),
    ],
)
def test_settings_that_cannot_be_run_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        asked("notes", **{"ablation": False, **changes}).check()


def test_a_table_that_the_data_cannot_have_is_refused():
    with pytest.raises(UserError, match=r"There is no table2 .*, but table1, figure2, figure3"):
        plans.experiments(ReproduceConfig(data="moving_digits", table=(1, 2)))
    with pytest.raises(UserError, match=r"must be of perturbed, .*Received: l2, ranks"):
        plans.experiments(ReproduceConfig(data="notes", table=(1,), objectives=("ranks", "l2")))
    with pytest.raises(UserError, match="--data must be notes or nsynth"):
        plans.experiments(ReproduceConfig(data="folder", table=(1,)))


@pytest.mark.parametrize("data", EVERYTHING)
def test_every_arm_is_called_otherwise(data):
    labels = {}
    for experiment in plans.experiments(asked(data)):
        for rows in experiment.rows.values():
            for row in rows:
                labels.setdefault(row.arm.label, set()).add(row.arm.name)
    assert all(len(names) == 1 for names in labels.values())
