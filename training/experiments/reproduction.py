"""The paper's experiments, from what is asked for to the page."""

import dataclasses
import pathlib

from training import lock, records
from training.config.fields import as_text
from training.errors import UserError
from training.experiments import cells, page, plans, results
from training.experiments.runner import Runner

# From one command to the next in the same workdir: what was asked for stays asked for.
MAY_CHANGE = ("table", "figure", "objectives", "ablation", "pretrain_seeds", "jobs", *cells.FOLDERS)


def run(config, workdir):
    """Runs what is not done yet, and writes results.json, report.md and report.html.

    Stopped by Ctrl-C or SIGTERM it writes them of what there is; the same command goes on.

    Args:
        config: `ReproduceConfig`.
        workdir: Folder of the experiments, made if need be.

    Returns:
        Path of the page.

    Raises:
        UserError: If the settings do not fit, or a program fails; what was done is kept.
    """
    config.check()
    workdir = pathlib.Path(workdir).resolve()
    records.refuse_workdir_in_folder(config, workdir)
    config = _with_those_before(config, workdir)
    experiments = plans.experiments(config)
    with lock.held(workdir):
        records.write_config(workdir, config)
        made = cells.make(config, experiments)
        runner = Runner(workdir, config.jobs)
        try:
            runner.run(made)
        finally:
            written = _write(config, experiments, workdir, made)
    return written


def _with_those_before(config, workdir):
    """The config with all that earlier commands asked for in the same workdir.

    Raises:
        UserError: If these had other settings.
    """
    stored = records.load_config(workdir, type(config))
    if stored is None:
        return config
    free = {name: getattr(config, name) for name in MAY_CHANGE}
    if dataclasses.replace(stored, **free) != config:
        raise UserError(
            f"--workdir={workdir} holds experiments with other settings: give these again, or "
            "another --workdir."
        )
    return dataclasses.replace(
        config,
        table=tuple(sorted({*stored.table, *config.table})),
        figure=tuple(sorted({*stored.figure, *config.figure})),
        objectives=_objectives(stored, config),
        ablation=stored.ablation or config.ablation,
        pretrain_seeds=max(stored.pretrain_seeds, config.pretrain_seeds),
    )


def _objectives(*configs):
    """All that are asked for of table 1; none stand for all of them."""
    asked = [config.objectives for config in configs if 1 in config.table]
    return () if () in asked else tuple(sorted({name for names in asked for name in names}))


def _write(config, experiments, workdir, made):
    gathered = results.gather(config, experiments, workdir)
    known = (workdir / f"{cell.folder}.json" for cell in made)
    gathered["seconds"] = sum(records.read_json(path)["seconds"] for path in known if path.exists())
    if not gathered["metrics"]:
        return None  # Nothing is measured yet.
    records.write_json(workdir / "results.json", gathered)
    command = _command(config)
    records.write_text(workdir / "report.md", page.as_markdown(gathered, command))
    records.write_text(workdir / "report.html", page.as_html(gathered, command, workdir))
    return workdir / "report.html"


def _command(config):
    """The command that asks for this, without the folders of this machine."""
    given = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if value != field.default and not field.metadata["is_path"]:
            given.append(f"--{field.name}={as_text(value)}")
    return " ".join(["python -m training.reproduce", *given, "--workdir=DIR"])
