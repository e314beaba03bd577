"""One run at a time in a workdir."""

import contextlib
import fcntl
import os
import socket

from training.errors import UserError

LOCK = "run.lock"


@contextlib.contextmanager
def held(workdir):
    """Keeps a workdir, made if need be, to this process.

    The kernel lets go of the lock when the process ends, however it ends; the file stays, and says
    who held it last.

    Args:
        workdir: `pathlib.Path`.

    Raises:
        UserError: If another process holds it.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    with open(workdir / LOCK, "a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise UserError(
                f"--workdir={workdir} is in use by {holder}: wait until it ends, or give another "
                "--workdir."
            ) from error
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield
