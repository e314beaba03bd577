"""What a run leaves to read: config.json, report.json, log.csv; written whole or not at all."""

import contextlib
import csv
import dataclasses
import importlib.metadata
import json
import os
import pathlib
import platform
import resource
import subprocess

from training import files
from training.errors import UserError
from training.lock import LOCK


def write_text(path, text):
    """Writes a file so that it is never seen half written."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.whole(path, path.with_name(path.name + ".unfinished")) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def write_json(path, record):
    write_text(path, json.dumps(record, indent=2) + "\n")


def read_json(path):
    """A record, or `UserError` if the file is no JSON."""
    try:
        return json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{path} cannot be read as JSON ({error}).") from error


def config_in(workdir):
    """The fields of the config that a workdir holds, or `None` if it is new or empty.

    Raises:
        UserError: If the folder holds files that no run of ours made.
    """
    workdir = pathlib.Path(workdir)
    if workdir.exists() and not workdir.is_dir():
        raise UserError(f"--workdir={workdir} is a file: give a folder.")
    path = workdir / "config.json"
    if path.exists():
        record = read_json(path)
        if not isinstance(record, dict) or not isinstance(record.get("config"), dict):
            raise UserError(f"{path} is no config of ours: give a new or empty folder.")
        return record["config"]
    if workdir.exists() and not (workdir / LOCK).exists() and any(workdir.iterdir()):
        raise UserError(
            f"--workdir={workdir} holds files but no config.json, so it is no run of ours: give a "
            "new or empty folder."
        )
    return None


def load_config(workdir, config_class):
    """The config that a workdir holds, or `None` if it is new or empty.

    Raises:
        UserError: If it is no config of this class, or of another version of it.
    """
    stored = config_in(workdir)
    if stored is None:
        return None
    if set(stored) != {field.name for field in dataclasses.fields(config_class)}:
        raise UserError(
            f"--workdir={workdir} holds a run of another program or version: give a new folder."
        )
    lists = {name: tuple(value) for name, value in stored.items() if isinstance(value, list)}
    return config_class(**{**stored, **lists})


def refuse_workdir_in_folder(config, workdir):
    """Raises `UserError` if what a run writes would lie among the user's files."""
    folder = pathlib.Path(config.folder).resolve()
    if config.folder and pathlib.Path(workdir).resolve().is_relative_to(folder):
        raise UserError(
            f"--workdir={workdir} lies within --folder={config.folder}: the pictures of the run "
            "would be taken for examples. Give a folder elsewhere."
        )


def refuse_other_run(workdir, config):
    """Raises `UserError` if a workdir holds a finished report or a run with other settings."""
    stored = load_config(workdir, type(config))
    if (pathlib.Path(workdir) / "report.json").exists():
        raise UserError(
            f"--workdir={workdir} holds a finished report, and nothing is ever overwritten: give "
            "another folder, or remove it."
        )
    if stored is not None and stored != config:
        raise UserError(
            f"--workdir={workdir} holds a run with other settings: give another, or remove it."
        )


def environment():
    """What a reader needs to know to repeat a run: commit, versions, machine."""
    import keras  # Seconds, which programs that say what is wrong with a folder need not wait.

    backend = keras.backend.backend()
    return {
        "commit": commit(),
        "python": platform.python_version(),
        "packages": _packages(backend),
        "machine": platform.platform(),
        "cpu": _cpu_name(),
        "cpu_cores": len(os.sched_getaffinity(0)),
        "accelerators": _accelerators(backend),
    }


def _packages(backend):
    """Versions of those that are installed; JAX where it is what computes."""
    names = ["keras", "tensorflow", "numpy", "tensorflow-datasets", "keras_s2l"]
    if backend == "jax":
        names.append("jax")
    versions = {}
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


def _accelerators(backend):
    """Names of the devices that the backend sees beside the processor."""
    if backend == "jax":
        import jax

        return [device.device_kind for device in jax.devices() if device.platform != "cpu"]
    import tensorflow as tf  # Not where JAX computes: it need not be installed there.

    devices = [d for d in tf.config.list_physical_devices() if d.device_type != "CPU"]
    details = [tf.config.experimental.get_device_details(device) for device in devices]
    return [of.get("device_name", d.device_type) for d, of in zip(devices, details)]


def _cpu_name():
    """As Linux names it: `platform.processor()` gives its architecture at most."""
    path = pathlib.Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def commit(folder=pathlib.Path(__file__).parent):
    """Of the code in a folder, and whether files that it knows have changed since."""

    def git(*arguments):
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "HEAD") + (" with changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def as_json(config):
    """The fields of a config as JSON gives them back: lists for tuples."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def write_config(workdir, config, not_stated_in_the_paper=(), data=None):
    """config.json: the config, which choices are ours, the environment and what is learnt from."""
    fields = as_json(config)
    record = {
        "config": fields,
        "not_stated_in_the_paper": {name: fields[name] for name in not_stated_in_the_paper},
        "environment": environment(),
        "data": data,
    }
    write_json(pathlib.Path(workdir) / "config.json", record)


def data_in(workdir):
    """What the run in a workdir learns from, as it was written; `None` if the run is new."""
    path = pathlib.Path(workdir) / "config.json"
    return read_json(path).get("data") if path.exists() else None


def peak_memory_bytes(who=resource.RUSAGE_SELF):
    """Largest resident memory so far of this process, or of the largest of its children."""
    status = pathlib.Path("/proc/self/status")
    if who == resource.RUSAGE_SELF and status.exists():
        # `getrusage` would count what the process that started this one had by then.
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(fields["VmHWM"].split()[0]) * 1024
    return resource.getrusage(who).ru_maxrss * 1024


def drop_rows_after(path, step):
    """Drops the rows of a CSV log that a killed run wrote after its last checkpoint."""
    path = pathlib.Path(path)
    if not path.exists():
        return
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = list(csv.reader(file)) or [[]]
    if "step" not in header:
        return
    column = header.index("step")
    kept = [row for row in rows if len(row) == len(header) and int(float(row[column])) <= step]
    write_text(path, "".join(",".join(row) + "\n" for row in [header, *kept]))


def read_log(path):
    """The whole rows of a CSV log, as dictionaries of floats; a kill may have cut the last."""
    with pathlib.Path(path).open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if None not in row.values()]
    return [{name: float(value) for name, value in row.items()} for row in rows]
