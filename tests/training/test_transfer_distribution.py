"""Several devices or workers transfer as one does; of workers only one writes."""

import subprocess
import sys
import types

import numpy as np
import pytest

from tests.replicas import ROOT
from tests.training import transfer_runs
from tests.training.processes import run_on_two_workers, run_program, wait_for
from training import distribution, records, retrained, transfer_lib
from training.config import TransferConfig
from training.data.stream import WHOLE, Share
from training.errors import UserError

ROWS = {
    "frozen": ("pretrained", "untrained", "calibrated"),
    "finetune": ("pretrained", "supervised"),
}
WRITTEN = ["config.json", "pictures", "report.json", "report.md"]


@pytest.mark.parametrize(("workers", "replicas"), [(1, 2), (2, 2), (2, 4), (3, 6)])
def test_the_rows_of_all_workers_are_the_batch_of_one(workers, replicas):
    config = TransferConfig(head_batch_size=12, head_steps=7)
    inputs, targets = np.arange(20, dtype="float32")[:, None], np.arange(20)

    def rows(share):
        return [y.numpy() for _, y in retrained.batches(inputs, targets, config, share)]

    of_workers = [rows(Share(worker, workers, replicas)) for worker in range(workers)]
    each = replicas // workers  # Batches a step of each worker.
    whole = rows(WHOLE)
    assert len(whole) == 7
    for step, batch in enumerate(whole):
        parts = [part for of_one in of_workers for part in of_one[step * each : (step + 1) * each]]
        assert all(len(part) == 12 // replicas for part in parts)
        np.testing.assert_array_equal(np.concatenate(parts), batch)


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    folder = tmp_path_factory.mktemp("transfer") / "export"
    transfer_runs.export(folder)
    return folder


def test_a_batch_that_does_not_divide_is_refused(export, tmp_path, monkeypatch):
    strategy = types.SimpleNamespace(num_replicas_in_sync=3)
    monkeypatch.setattr(distribution, "make_strategy", lambda name: strategy)
    config = TransferConfig(encoder=str(export), strategy="mirrored")
    with pytest.raises(UserError, match=r"--head_batch_size must .* 3 devices .* next one is 129"):
        transfer_lib.run(config, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_an_unknown_strategy_is_refused(tmp_path):
    with pytest.raises(
        UserError, match="--strategy must be none or mirrored or multi_worker or tpu"
    ):
        transfer_lib.run(TransferConfig(strategy="parameter_server"), tmp_path)


def test_the_help_shows_the_flags():
    command = [sys.executable, "-m", "training.transfer", "--help"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout
    assert "--strategy: <none|mirrored|multi_worker|tpu>" in said
    assert "--head_batch_size: examples in a step, over all devices" in said


def program(export, answers, strategy, workdirs):
    """Transfers by both protocols, the one with a linear head, the other with a perceptron."""
    workdirs = {protocol: str(folder) for protocol, folder in workdirs.items()}
    return f"""
        import numpy as np
        from tests.training import transfer_runs

        answers = {{}}
        for protocol, workdir in {workdirs}.items():
            head = "linear" if protocol == "frozen" else "mlp"
            answers[protocol], traced = transfer_runs.run(
                {str(export)!r}, workdir, protocol=protocol, head=head, strategy={strategy!r}
            )
            # Two labelled sets each, the second one without tracing again.
            assert traced == len(answers[protocol]) // 2 * int(os.environ["DEVICES"])
        np.savez({str(answers)!r}, **answers)
    """


def workdirs(folder):
    return {protocol: folder / protocol for protocol in ROWS}


@pytest.fixture(scope="module")
def alone(export):
    """What one device answers, and where its reports lie."""
    folder = export.parent / "alone"
    answers = export.parent / "alone.npz"
    wait_for(run_program(program(export, answers, "none", workdirs(folder)), DEVICES="1"))
    return np.load(answers), folder


def assert_same(answers, folder, alone):
    """The answers, to rounding; the scores, but for an example whose answer is a tie."""
    right, right_folder = alone
    for protocol, rows in ROWS.items():
        # Where gradients are near 0, Adam makes of their rounding a step.
        tolerance = {"frozen": 1e-5, "finetune": 1e-4}[protocol]
        for ours, other in zip(answers[protocol], right[protocol], strict=True):
            np.testing.assert_allclose(ours, other, rtol=0, atol=tolerance * np.abs(other).max())
        assert sorted(path.name for path in (folder / protocol).iterdir()) == WRITTEN
        report, expected = (
            records.read_json(where / protocol / "report.json")["tasks"]["place"]
            for where in (folder, right_folder)
        )
        assert tuple(report) == ("metric", *rows)
        for row in rows:
            for count in ("20", "40"):
                assert report[row][count] == pytest.approx(expected[row][count], abs=0.03)


@pytest.mark.slow
def test_two_replicas_transfer_as_one_device(export, alone, tmp_path):
    answers = tmp_path / "answers.npz"
    wait_for(run_program(program(export, answers, "mirrored", workdirs(tmp_path)), DEVICES="2"))
    assert_same(np.load(answers), tmp_path, alone)


@pytest.mark.slow
def test_two_workers_transfer_as_one_device_and_only_the_chief_writes(export, alone, tmp_path):
    chief = workdirs(tmp_path)
    other = {**chief, "finetune": tmp_path / "nothing"}  # The same one, and one of its own.
    saved = [tmp_path / "chief.npz", tmp_path / "other.npz"]
    run_on_two_workers(
        [
            program(export, answers, "multi_worker", folders)
            for answers, folders in zip(saved, (chief, other), strict=True)
        ]
    )
    for answers in saved:
        assert_same(np.load(answers), tmp_path, alone)
    assert not (tmp_path / "nothing").exists()
