"""A stand-in for our programs: counts its runs, and fails, waits or ends as it is told."""

import pathlib
import signal
import sys
import time

workdir = next(a.split("=", 1)[1] for a in sys.argv if a.startswith("--workdir="))
workdir = pathlib.Path(workdir)
workdir.mkdir(parents=True, exist_ok=True)
runs = workdir / "runs.txt"
count = int(runs.read_text()) + 1 if runs.exists() else 1
runs.write_text(str(count))
if "--fail_once=1" in sys.argv and count == 1:
    sys.exit("error: the first time it fails")
if "--wait=1" in sys.argv and count == 1:

    def save(*_):
        time.sleep(2 if "--save_seconds=2" in sys.argv else 0)
        (workdir / "saved").write_text("")
        sys.exit(1)

    signal.signal(signal.SIGTERM, save)
    (workdir / "waits").write_text("")
    time.sleep(60)
(workdir / "ended").write_text(str(time.time()))
