"""Whose run a workdir holds: its settings, its data, and whether it has ended."""

from training import records
from training.config import MAY_CHANGE, changed
from training.data.form import Form
from training.errors import UserError

FINAL_WEIGHTS = "final.weights.h5"
CHECKPOINTS = "checkpoints"


def resume_config(workdir, recipe_config, changes):
    """The config of a run: what the workdir holds or the recipe gives, with the user's changes.

    Args:
        workdir: Folder of the run.
        recipe_config: `PretrainConfig` for a new run.
        changes: Fields that the user set. In a workdir that holds a run only those of `MAY_CHANGE`
            may differ, and `steps` not where the learning rate has fallen to 0 by then.

    Raises:
        UserError: If the workdir holds another run, or something that was set would do nothing.
    """
    stored = records.load_config(workdir, type(recipe_config))
    config = changed(stored or recipe_config, changes)
    if stored is not None:  # All of them, for one may change another: --axis takes a grid away.
        refuse_other_settings(workdir, stored, vars(config))
    return config


def refuse_other_settings(workdir, stored, settings):
    """Raises `UserError` for settings other than those stored that change what a run becomes."""
    different = [
        f"--{name} is {getattr(stored, name)!r} there, {value!r} now"
        for name, value in settings.items()
        if getattr(stored, name) != value
        and (name not in MAY_CHANGE or (name == "steps" and stored.schedule == "cosine"))
    ]
    if different:
        raise UserError(
            f"--workdir={workdir} holds a run that began otherwise: {'; '.join(different)}. Give "
            "another --workdir, or the same settings to go on with it."
        )


def refuse_other_data(config, workdir, data_set, loaded):
    """What a run learns from, for its records; `UserError` if it began with something else."""
    learnt_from = {
        "kind": data_set.kind,
        "shape": list(data_set.shape),
        "examples": len(loaded.examples),
        "sha256": loaded.sha256,
    }
    stored = records.data_in(workdir)
    if stored not in (None, learnt_from):
        raise UserError(
            f"--data={config.data} is not what the run in --workdir={workdir} began with: it gave "
            f"{stored['examples']} examples then, {len(loaded.examples)} others now. Bring back "
            "the files, or give another --workdir."
        )
    return learnt_from


def form_in(workdir):
    """The form of the examples that the run in a workdir learnt from."""
    data = records.data_in(workdir)
    return Form(data["kind"], tuple(data["shape"]))


def finished(config, workdir):
    """The report of a run that has all its steps behind it, or `None`."""
    path = workdir / "report.json"
    if not path.exists() or not (workdir / FINAL_WEIGHTS).exists():
        return None
    report = records.read_json(path)
    now, then = records.as_json(config), report.get("config") or {}
    free = dict.fromkeys(set(MAY_CHANGE) - {"steps"})
    return report if {**then, **free} == {**now, **free} else None
