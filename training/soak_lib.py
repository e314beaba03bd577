"""The soak: a run that is killed and goes on, beside one that is left alone."""

import contextlib
import os
import pathlib
import random
import shlex
import signal
import subprocess
import sys
import time

import h5py

from training import pictures, records
from training.checkpoints import Checkpoints
from training.errors import UserError
from training.flags import STOPPED
from training.workdirs import CHECKPOINTS, FINAL_WEIGHTS

ROOT = pathlib.Path(__file__).resolve().parent.parent
ENDLESS = 10**8  # Steps.
PERIOD = 0.5  # Seconds between looks at the memory.


def run(config, workdir):
    """Disturbs a run, ends it, repeats it undisturbed and compares the two.

    Args:
        config: `SoakConfig`.
        workdir: Folder for both runs, `disturbed` and `undisturbed`, and the report.

    Returns:
        The report.

    Raises:
        UserError: If the workdir holds another soak, or a run ends otherwise than it was made to.
    """
    config.check()
    workdir = pathlib.Path(workdir)
    records.refuse_other_run(workdir, config)
    records.write_config(workdir, config)
    disturbed, undisturbed = workdir / "disturbed", workdir / "undisturbed"
    processes = Processes(shlex.split(config.pretrain), workdir / "output.txt")
    load_before = os.getloadavg()[0]
    kills = _disturb(config, processes, disturbed)
    steps = max(Checkpoints(disturbed / CHECKPOINTS).steps(), default=0) + 1
    for folder in (disturbed, undisturbed):
        processes.start(folder, steps)
        processes.must_end_with(0)
    resumed, fresh = (records.read_json(f / "report.json") for f in (disturbed, undisturbed))
    seconds_a_save = fresh["seconds_saving"] / fresh["saves_of_this_process"]
    report = {
        "config": records.as_json(config),
        "environment": records.environment(),
        "load_before": round(load_before, 2),
        "steps": steps,
        "kills": kills,
        "same_weights": _same_weights(disturbed / FINAL_WEIGHTS, undisturbed / FINAL_WEIGHTS),
        "same_log": (disturbed / "log.csv").read_text() == (undisturbed / "log.csv").read_text(),
        "seconds_restoring": resumed["seconds_restoring"],
        "seconds_to_first_step": {
            "resumed": resumed["seconds_to_first_step"],
            "fresh": fresh["seconds_to_first_step"],
        },
        "seconds_a_save": round(seconds_a_save, 4),
        "share_of_a_save_a_minute": round(seconds_a_save / 60, 6),
        "peak_mebibytes": [round(max(m for _, m in line)) for line in processes.memory if line],
    }
    pictures.save(
        pictures.memory(processes.memory, [kill["second"] for kill in kills]),
        workdir / "pictures" / "memory.png",
    )
    records.write_text(workdir / "report.md", page(report))
    records.write_json(workdir / "report.json", report)
    return report


def _disturb(config, processes, folder):
    """Kills and starts again until the time is over; gives the kills."""
    draw, kills = random.Random(config.seed), []
    deadline = time.monotonic() + 60 * config.minutes
    while (left := deadline - time.monotonic()) >= config.kill_seconds[0]:
        processes.start(folder, ENDLESS)
        processes.watch(min(draw.uniform(*config.kill_seconds), left))
        number = draw.choice([signal.SIGKILL, signal.SIGTERM])
        processes.end_by(number)
        step = max(Checkpoints(folder / CHECKPOINTS).steps(), default=0)
        kills.append({"signal": number.name, "second": processes.seconds(), "saved_step": step})
        print(f"{number.name} after {processes.seconds():.0f} s; saved step {step}", flush=True)
    return kills


class Processes:
    """Processes of `training.pretrain`, one after the other.

    Args:
        settings: Its flags.
        output: File that gets what they say.

    Attributes:
        memory: Of each process `(second, mebibytes)`, the resident memory over time.
    """

    def __init__(self, settings, output):
        self.settings = settings
        self.output = output
        self.memory = []
        self._began = time.monotonic()

    def seconds(self):
        return round(time.monotonic() - self._began, 1)

    def start(self, workdir, steps):
        command = [sys.executable, "-m", "training.pretrain", *self.settings]
        command += [f"--steps={steps}", f"--workdir={workdir.resolve()}"]
        with self.output.open("a") as file:
            self._process = subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=file)
        self.memory.append([])

    def watch(self, seconds=float("inf")):
        """Notes the memory until the process ends, or so many seconds have passed."""
        status = pathlib.Path(f"/proc/{self._process.pid}/status")
        until = time.monotonic() + seconds
        try:
            while (left := until - time.monotonic()) > 0 and self._process.poll() is None:
                for line in status.read_text().splitlines():
                    if line.startswith("VmRSS:"):
                        self.memory[-1].append((self.seconds(), int(line.split()[1]) / 1024))
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(min(PERIOD, left))
        except BaseException:  # Nothing goes on when the soak is stopped.
            self._process.kill()
            raise

    def end_by(self, number):
        """Sends a signal; SIGTERM is answered by a checkpoint, or before training by the end."""
        self._process.send_signal(number)
        self.must_end_with(-number, *([STOPPED] if number == signal.SIGTERM else []))

    def must_end_with(self, *known):
        self.watch()
        if self._process.returncode not in known:
            raise UserError(
                f"training.pretrain ended with status {self._process.returncode} where it should "
                f"with {' or '.join(map(str, known))}: {self.output} says why."
            )


def _same_weights(first, second):
    """Whether two files of weights hold the same arrays, bit for bit."""
    return _arrays(first) == _arrays(second)


def _arrays(path):
    found = {}

    def visit(name, item):
        if isinstance(item, h5py.Dataset):
            found[name] = (item.shape, str(item.dtype), item[()].tobytes())

    with h5py.File(path) as file:
        file.visititems(visit)
    return found


def page(report):
    """The report as Markdown."""
    signals = [kill["signal"] for kill in report["kills"]]
    first = report["seconds_to_first_step"]
    peaks = report["peak_mebibytes"]
    return (
        f"# A run of {report['steps']} steps, killed {len(signals)} times\n\n"
        f"{signals.count('SIGKILL')} by SIGKILL, {signals.count('SIGTERM')} by SIGTERM. Compared "
        f"with a run that was left alone: weights {_verdict(report['same_weights'])}, log "
        f"{_verdict(report['same_log'])}.\n\n"
        f"- Taking up the last checkpoint took {report['seconds_restoring']:.3f} s. The first step "
        f"ended {first['resumed']:.2f} s after the start of the run, {first['fresh']:.2f} s of the "
        "one left alone; each was measured once.\n"
        f"- Training waited {report['seconds_a_save']:.4f} s for a checkpoint: "
        f"{report['share_of_a_save_a_minute']:.3%} of its time with one a minute.\n"
        f"- Peak resident memory of a process: {min(peaks)} to {max(peaks)} MiB.\n"
        f"- Load of the machine before: {report['load_before']}, on "
        f"{report['environment']['cpu_cores']} cores.\n\n"
        "![resident memory over time](pictures/memory.png)\n"
    )


def _verdict(same):
    return "the same, bit for bit" if same else "NOT the same"
