"""The phases of the main job, timed, and the report made from what they leave."""

import contextlib
import pathlib
import resource
import shutil
import signal
import subprocess
import sys
import time

from training import records
from training.config.fields import as_text
from training.errors import UserError

ROOT = pathlib.Path(__file__).resolve().parent.parent
PHASES = "phases.json"


def run(config, workdir):
    """Runs the phases that are not done yet and writes report.json and report.md.

    Args:
        config: `DemoConfig`.
        workdir: Folder of the run. A finished run in it is moved to `<workdir>.1`, `.2` …

    Returns:
        What to print: the table of the transfer, and where the rest is.

    Raises:
        UserError: If a phase fails or the folder holds something else; what was done is kept.
    """
    config.check()
    workdir = pathlib.Path(workdir).resolve()
    if workdir.exists() and not (workdir / PHASES).exists() and any(workdir.iterdir()):
        raise UserError(
            f"--workdir={workdir} holds files that are not of a demo: give a new or empty folder."
        )
    if (workdir / PHASES).exists() and (workdir / "report.json").exists():
        kept = _free_name(workdir)
        workdir.rename(kept)
        print(f"The finished run that was in {workdir} is kept in {kept}.", flush=True)
    done = records.read_json(workdir / PHASES) if (workdir / PHASES).exists() else {}
    for name, command in _phases(config, workdir).items():
        phase = done.setdefault(name, {"command": command, "seconds": 0.0, "ended": False})
        if phase["ended"] and phase["command"] != command:
            raise UserError(
                f"--workdir={workdir} holds an unfinished run whose phase {name} had other "
                "settings: give them again, another --workdir, or remove it."
            )
        if not phase["ended"]:
            if name == "transfer":  # It never overwrites what an interrupt left.
                shutil.rmtree(workdir / name, ignore_errors=True)
            phase["command"] = command
            _run_phase(name, phase, lambda: records.write_json(workdir / PHASES, done))
    return _report(workdir, {name: phase["seconds"] for name, phase in done.items()})


def _run_phase(name, phase, write):
    """Runs the command of a phase; its seconds count whether or not it ends well."""
    write()
    print(f"\n=== {name}: {' '.join(phase['command'])}", flush=True)
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", *phase["command"]], cwd=ROOT)
    previous = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    try:
        status = None
        while status is None:
            # A terminal sends Ctrl-C to the program too: wait until it has saved what it has.
            with contextlib.suppress(KeyboardInterrupt):
                status = process.wait()
    finally:
        signal.signal(signal.SIGTERM, previous)
    phase["seconds"] = round(phase["seconds"] + time.monotonic() - began, 1)
    phase["ended"] = status == 0
    write()
    if status != 0:
        raise UserError(f"{name} ended with status {status}; the same command goes on from here.")
    print(f"=== {name}: {phase['seconds']} s", flush=True)


def _phases(config, workdir):
    """The command of each phase, in order."""

    def command(program, *names, **paths):
        options = {**{name: getattr(config, name) for name in names}, **paths}
        return [program] + [f"--{k}={as_text(v)}" for k, v in options.items() if v is not None]

    pretrain, export = workdir / "pretrain", workdir / "export"
    return {
        "render": command("training.prepare", "data_dir"),
        "pretrain": command(
            "training.pretrain", "data_dir", "steps", "seed", recipe="notes", workdir=pretrain
        ),
        "export": command("export.export_encoder", workdir=pretrain, output=export, overwrite=True),
        "transfer": command(
            "training.transfer",
            *("data_dir", "num_labels", "seeds", "seed"),
            encoder=export,
            workdir=workdir / "transfer",
        ),
    }


def _free_name(workdir):
    number = 1
    while (kept := workdir.with_name(f"{workdir.name}.{number}")).exists():
        number += 1
    return kept


def _report(workdir, seconds):
    """Gathers the reports of the phases into one; gives what to print."""
    pretrain = records.read_json(workdir / "pretrain" / "report.json")
    transfer = records.read_json(workdir / "transfer" / "report.json")
    pictures = workdir / "pictures"
    pictures.mkdir(exist_ok=True)
    for made in sorted(workdir.glob("*/pictures/*.png")):
        shutil.copy(made, pictures / made.name)
    report = {
        "wall_seconds": round(sum(seconds.values()), 1),
        "seconds": seconds,
        # Of the largest process: the phases run one after another.
        "peak_memory_bytes": max(
            records.peak_memory_bytes(resource.RUSAGE_CHILDREN),
            pretrain["peak_memory_bytes"],
            transfer["peak_memory_bytes"],
        ),
        "held_out": pretrain["held_out"],
        "measured": pretrain["measured"],
        "tasks": transfer["tasks"],
        "environment": records.environment(),
    }
    table = (workdir / "transfer" / "report.md").read_text(encoding="utf-8")
    summary = _summary(report, table)
    records.write_text(workdir / "report.md", _markdown(summary))
    records.write_json(workdir / "report.json", report)
    return f"\n{summary}\nEverything is in {workdir}: report.md, report.json and pictures.\n"


def _summary(report, table):
    seconds = ", ".join(f"{name} {value:.0f} s" for name, value in report["seconds"].items())
    return (
        f"{table}\n"
        "min ← median → max over draws of labels; one pre-training seed. "
        f"Held-out patches put in their place: {report['held_out']['patch_accuracy']:.1%} "
        f"(chance {report['measured']['chance']:.0%}).\n"
        f"{report['wall_seconds']:.0f} s in all: {seconds}; peak memory "
        f"{report['peak_memory_bytes'] / 2**30:.1f} GiB.\n"
    )


def _markdown(summary):
    return (
        "# What the pre-trained encoder is worth\n\n"
        "Frozen encoder, perceptron of three layers on few labels, beside the same encoder "
        "untrained, and untrained with batch-norm statistics of unlabelled notes (calibrated). "
        "Family and pitch are tested on instruments, the instrument on notes, that neither "
        "pre-training nor the labels have seen.\n\n"
        f"{summary}\n"
        "![input, shuffled, put in order](pictures/reordered.png)\n\n"
        "![transfer](pictures/transfer.png)\n\n"
        "![learning curve](pictures/learning_curve.png)\n"
    )
