"""The main job, end to end: render notes, pre-train, export, load in a fresh process, transfer.

Example:
  python -m training.demo --workdir=runs/demo

Each phase is one of the programs, in a process of its own. Interrupted, it goes on where it was;
a finished run is kept beside the new one. Ends with a table; report.json, report.md and the
pictures are in the workdir.
"""

from training import demo_lib, flags
from training.config import DemoConfig


def main():
    print(demo_lib.run(DemoConfig(**flags.given(DemoConfig)), flags.path("workdir")), end="")
    return 0


if __name__ == "__main__":
    flags.define(DemoConfig)
    flags.folder("workdir", "folder of the run")
    flags.run(main)
