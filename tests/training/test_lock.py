"""A workdir belongs to one process at a time, until it ends, however it ends."""

import pathlib
import socket
import subprocess
import sys

import pytest

from training import lock
from training.errors import UserError

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def test_a_lock_is_refused_by_name_and_taken_over_from_a_killed_process(tmp_path):
    code = (
        "import pathlib, sys, time\nfrom training import lock\n"
        "with lock.held(pathlib.Path(sys.argv[1])):\n    print('held', flush=True)\n"
        "    time.sleep(100)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "held\n"
        holder = f"in use by process {process.pid} on {socket.gethostname()}"
        with pytest.raises(UserError, match=holder), lock.held(tmp_path):
            pass
    finally:
        process.kill()
        process.communicate()
    with lock.held(tmp_path):
        pass


def test_a_lock_is_free_again_after_an_error(tmp_path):
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), lock.held(tmp_path / "run"):
            raise ZeroDivisionError
