"""Files that are there whole or not at all, whatever ends the program or the machine."""

import contextlib
import os
import pathlib


@contextlib.contextmanager
def whole(path, unfinished):
    """Within it a file is written under the path `unfinished`, and then it has its own name.

    It replaces one that has that name. What fails leaves nothing behind.
    """
    try:
        yield unfinished
        _put_in_place(unfinished, path)
    except BaseException:
        with contextlib.suppress(OSError):  # Of a folder that is read-only.
            unfinished.unlink(missing_ok=True)
        raise


def _put_in_place(unfinished, path):
    """Gives a written file its name, once it is on the disk."""
    with open(unfinished, "rb") as file:
        os.fsync(file.fileno())
    os.replace(unfinished, path)
    folder = os.open(pathlib.Path(path).parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # The name is part of the folder.
    finally:
        os.close(folder)
