"""Files that are there whole or not at all, whatever ends the program or the machine."""

import os
import pathlib


def put_in_place(unfinished, path):
    """Gives a written file its name, once it is on the disk; replaces one that has that name."""
    with open(unfinished, "rb") as file:
        os.fsync(file.fileno())
    os.replace(unfinished, path)
    folder = os.open(pathlib.Path(path).parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # The name is part of the folder.
    finally:
        os.close(folder)
