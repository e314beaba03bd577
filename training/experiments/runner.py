"""Runs the programs of the experiments, each in a process of its own; done ones are kept."""

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

from training import records
from training.errors import UserError
from training.experiments.cells import EXPORT, FOLDERS, TRANSFER

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


class Runner:
    """Runs cells, as many at once as there are jobs, and keeps the record of each.

    Args:
        workdir: Folder of the experiments.
        jobs: How many run at once; they share the cores.
    """

    def __init__(self, workdir, jobs):
        self.workdir = pathlib.Path(workdir).resolve()
        self.jobs = jobs
        self.running = {}  # By cell its process, and when it began.
        self.taken = {}  # By what is like it the seconds of what was run, here or before.
        self.began = time.monotonic()

    def run(self, cells):
        """Runs what is not done yet.

        Raises:
            UserError: If a program ends with an error, or had other settings before.
            KeyboardInterrupt: If the user stopped it, once all programs have saved what they have.
        """
        waiting, done = [], set()
        for cell in cells:
            record = self._record(cell)
            if record is not None and record["ended"]:
                done.add(cell.folder)
                self._note(cell, record["seconds"])
            else:
                waiting.append(cell)
        if done:
            print(f"{len(done)} of {len(cells)} programs are done already.", flush=True)
        with self._stopped_together():
            while waiting or self.running:
                self._start(waiting, done)
                for cell in self._ended():
                    done.add(cell.folder)
                    self._say(cell, len(done), len(cells), waiting)
                time.sleep(0.05)

    def _record(self, cell):
        """What is known of a cell: its command, seconds so far and whether it ended well."""
        path = self._path(cell)
        if not path.exists():
            return None
        record = records.read_json(path)
        if _without_folders(record["command"]) != _without_folders(cell.command):
            raise UserError(
                f"{path.parent} was begun by other settings: give these again, or another "
                "--workdir."
            )
        return record

    def _path(self, cell):
        return self.workdir / f"{cell.folder}.json"

    def _start(self, waiting, done):
        ready = [cell for cell in waiting if cell.needs is None or cell.needs in done]
        for cell in ready[: self.jobs - len(self.running)]:
            waiting.remove(cell)
            folder = self.workdir / cell.folder
            if cell.kind == TRANSFER:  # It never overwrites what an interrupt left.
                shutil.rmtree(folder, ignore_errors=True)
            if cell.kind == EXPORT:
                folder.mkdir(parents=True, exist_ok=True)
            self._write(cell, 0.0, ended=False)
            log = self.workdir / f"{cell.folder}.log"
            with log.open("ab") as output:
                process = subprocess.Popen(
                    [sys.executable, "-m", *self._absolute(cell.command)],
                    cwd=ROOT,
                    env=self._environment(),
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # Ctrl-C reaches us, and we tell them.
                )
            self.running[cell] = process, time.monotonic()

    def _absolute(self, command):
        """A command for whichever folder it runs in."""
        for argument in command:
            name, _, value = argument.partition("=")
            inside = name in ("--workdir", "--output", "--encoder")
            yield f"{name}={self.workdir / value}" if inside else argument

    def _environment(self):
        if self.jobs == 1:
            return None
        threads = str(max(len(os.sched_getaffinity(0)) // self.jobs, 1))
        names = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")
        # Else the first program would take all memory of a GPU.
        shared = {**dict.fromkeys(names, threads), "TF_FORCE_GPU_ALLOW_GROWTH": "true"}
        return {**os.environ, **shared}

    def _ended(self):
        for cell, (process, began) in list(self.running.items()):
            if process.poll() is None:
                continue
            del self.running[cell]
            seconds = self._write(cell, time.monotonic() - began, not process.returncode)
            if process.returncode:
                raise UserError(
                    f"{cell.folder} ended with status {process.returncode}: "
                    f"{self._last_line(cell)} (all it said is in {cell.folder}.log). The same "
                    "command goes on from here."
                )
            self._note(cell, seconds)
            yield cell

    def _last_line(self, cell):
        log = (self.workdir / f"{cell.folder}.log").read_text(encoding="utf-8", errors="replace")
        return (log.strip().splitlines() or ["it said nothing"])[-1]

    def _write(self, cell, seconds, ended):
        """Adds to the record of a cell; gives its seconds in all."""
        path = self._path(cell)
        before = records.read_json(path)["seconds"] if path.exists() else 0.0
        record = {
            "command": list(cell.command),
            "seconds": round(before + seconds, 1),
            "ended": ended,
        }
        records.write_json(path, record)
        return record["seconds"]

    def _note(self, cell, seconds):
        for like in _likes(cell):
            self.taken.setdefault(like, []).append(seconds)

    def _say(self, cell, done, total, waiting):
        print(
            f"{done} of {total}, {cell.folder}: {self.taken[cell.kind][-1]:.0f} s; "
            f"{_minutes(time.monotonic() - self.began)}, {self._left([*waiting, *self.running])}",
            flush=True,
        )

    def _left(self, cells):
        """What is known of the time that cells still take, from those that are most like them."""
        mean = {like: sum(of) / len(of) for like, of in self.taken.items()}
        unknown = dict.fromkeys(cell.kind for cell in cells if cell.kind not in mean)
        if unknown:
            return f"how long the rest takes is known after the first {', '.join(unknown)}"
        seconds = sum(next(mean[like] for like in _likes(c) if like in mean) for c in cells)
        seconds -= sum(time.monotonic() - began for _, began in self.running.values())
        return f"about {_minutes(max(seconds, 0) / self.jobs)} left"

    @contextlib.contextmanager
    def _stopped_together(self):
        """On the way out asks all programs to stop, and waits for what they save."""

        def stop(*_):
            raise KeyboardInterrupt

        signals = (signal.SIGTERM, signal.SIGHUP)  # The latter from a terminal that is closed.
        previous = {number: signal.signal(number, stop) for number in signals}
        previous[signal.SIGINT] = signal.getsignal(signal.SIGINT)
        try:
            yield
        finally:
            for number in previous:  # Who asks again must not leave programs behind.
                signal.signal(number, signal.SIG_IGN)
            try:
                self._stop()
            finally:
                for number, handler in previous.items():
                    signal.signal(number, handler)

    def _stop(self):
        for process, _ in self.running.values():
            process.terminate()
        if self.running:
            with contextlib.suppress(OSError):  # Who read what is printed may be gone.
                print(f"Stopping; waiting for {len(self.running)} to save …", flush=True)
        for cell, (process, began) in self.running.items():
            status = process.wait()
            self._write(cell, time.monotonic() - began, ended=status == 0)


def _likes(cell):
    """What is like a cell, the nearest first: its other seeds, other arms, other measurements."""
    parts = cell.folder.split("/")
    return (parts[0], parts[-1]), parts[-1], cell.kind


def _without_folders(command):
    """A command without where its data lie, which may change."""
    return [a for a in command if a.split("=")[0].removeprefix("--") not in FOLDERS]


def _minutes(seconds):
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
