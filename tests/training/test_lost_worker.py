"""Of several workers one is lost: the others say so and end, and all go on from one step."""

import contextlib

import h5py
import numpy as np
import pytest

from tests.training.processes import run_on_two_workers, run_program, two_clusters

pytestmark = pytest.mark.slow

RUN = "run({workdir!r}, strategy='multi_worker', steps=8, evaluate_every=4)"
# Only stderr is left to read, and when this worker is killed.
KILLED_AT_STEP_6 = """
    import time
    from training import flags

    class Killed(callbacks.RefuseNan):
        def on_train_batch_end(self, batch, logs=None):
            super().on_train_batch_end(batch, logs)
            if {killed} and int(self.model.optimizer.iterations.numpy()) == 6:
                os.kill(os.getpid(), signal.SIGKILL)

    callbacks.RefuseNan = Killed
    sys.argv, sys.stdout = ["a program"], open(os.devnull, "w")
    flags.run(lambda: {run})
"""


@contextlib.contextmanager
def two_workers(programs):
    processes = [
        run_program(program, DEVICES="1", TF_CONFIG=cluster)
        for program, cluster in zip(programs, two_clusters(), strict=True)
    ]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()


def weights(workdir):
    found = {}
    with h5py.File(workdir / "final.weights.h5") as file:
        file.visititems(
            lambda name, item: found.update({name: item[()]} if hasattr(item, "dtype") else {})
        )
    return found


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("undisturbed")
    run_on_two_workers([RUN.format(workdir=str(workdir))] * 2)
    return weights(workdir)


@pytest.mark.parametrize("lost", [0, 1])
def test_the_others_end_with_one_line_and_all_go_on_from_one_step(lost, undisturbed, tmp_path):
    run = RUN.format(workdir=str(tmp_path))
    programs = [KILLED_AT_STEP_6.format(killed=number == lost, run=run) for number in range(2)]
    with two_workers(programs) as processes:
        processes[lost].communicate(timeout=300)
        survivor = processes[1 - lost]
        said = survivor.communicate(timeout=60)[0]
    assert survivor.returncode == 1, said
    assert "Traceback" not in said
    (line,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert "Another worker was lost" in line and "it goes on from step 4." in line

    saved = sorted(path.name for path in tmp_path.glob("checkpoints/step_*.weights.h5"))
    assert saved == ["step_00000004.weights.h5"]  # Nothing of the step that one of them took.
    if lost == 0:
        return  # What is left is the same, and so is how it goes on.
    run_on_two_workers([f"assert {run}['steps_of_this_process'] == 4"] * 2)
    resumed = weights(tmp_path)
    assert resumed.keys() == undisturbed.keys() and len(resumed) > 20
    for name, expected in undisturbed.items():
        np.testing.assert_array_equal(resumed[name], expected, err_msg=name)
