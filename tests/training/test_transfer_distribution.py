"""Several devices or workers transfer as one does; of workers only one writes."""

import subprocess
import sys
import types

import numpy as np
import pytest

from tests.replicas import ROOT
from tests.training import transfer_runs
from tests.training.processes import (
    run_command,
    run_on_two_workers,
    run_program,
    two_clusters,
    wait_for,
)
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


PROTOCOLS = ("frozen", "finetune")


@pytest.fixture(scope="module")
def alone(export):
    """What one device answers, by protocol, and where its reports lie."""
    folder = export.parent / "alone"
    answers = {}
    for protocol in PROTOCOLS:
        answers[protocol], _ = transfer_runs.run(str(export), folder / protocol, protocol=protocol)
    return answers, folder


def program(export, answers, folder, strategy, protocols):
    return f"""
        import numpy as np
        from tests.training import transfer_runs

        answers = {{}}
        for protocol in {protocols}:
            workdir = os.path.join({str(folder)!r}, protocol)
            answers[protocol], traced = transfer_runs.run(
                {str(export)!r}, workdir, protocol=protocol, strategy={strategy!r}
            )
            # Two labelled sets each, the second one without tracing again.
            assert traced == len(answers[protocol]) // 2 * int(os.environ["DEVICES"])
        np.savez({str(answers)!r}, **answers)
    """


def assert_same_answers(answers, alone):
    for protocol, ours in np.load(answers).items():
        # Where gradients are near 0, Adam makes of their rounding a step.
        tolerance = {"frozen": 1e-5, "finetune": 1e-4}[protocol]
        for one, right in zip(ours, alone[0][protocol], strict=True):
            np.testing.assert_allclose(one, right, rtol=0, atol=tolerance * np.abs(right).max())


def assert_same_report(workdir, right, protocol):
    """The scores, but for an example whose answer is a tie."""
    assert sorted(path.name for path in workdir.iterdir()) == WRITTEN
    report, right = (records.read_json(folder / "report.json") for folder in (workdir, right))
    assert report["recordings"] == right["recordings"] == {"train": 60, "test": 41}
    (rows,), (same_rows,) = (of["tasks"].values() for of in (report, right))
    assert tuple(rows) == tuple(same_rows) == ("metric", *ROWS[protocol])
    for row in ROWS[protocol]:
        assert rows[row].keys() == same_rows[row].keys() and len(rows[row]) == 2
        for count, cell in rows[row].items():
            draws, same_draws = cell["draws"], same_rows[row][count]["draws"]
            assert draws == pytest.approx(same_draws, abs=0.03)
            assert cell["max"] == max(draws) and cell["min"] == min(draws)


@pytest.mark.slow
def test_two_replicas_transfer_as_one_device(export, alone, tmp_path):
    answers, folder = tmp_path / "answers.npz", tmp_path / "runs"
    wait_for(run_program(program(export, answers, folder, "mirrored", PROTOCOLS), DEVICES="2"))
    assert_same_answers(answers, alone)
    for protocol in PROTOCOLS:
        assert_same_report(folder / protocol, alone[1] / protocol, protocol)


@pytest.mark.slow
def test_two_workers_transfer_as_one_device_and_only_the_chief_writes(export, alone, tmp_path):
    workers = [tmp_path / "chief", tmp_path / "other"]
    answers = [folder.with_suffix(".npz") for folder in workers]
    run_on_two_workers(
        [
            program(export, saved, folder, "multi_worker", ("finetune",))
            for saved, folder in zip(answers, workers, strict=True)
        ]
    )
    for saved in answers:
        assert_same_answers(saved, alone)
    assert_same_report(workers[0] / "finetune", alone[1] / "finetune", "finetune")
    assert not workers[1].exists()


@pytest.mark.slow
def test_the_command_on_two_workers_reports_what_it_does_on_one(export, tmp_path):
    transfer_runs.write_pictures(tmp_path / "pictures")
    flags = {
        "encoder": export,
        "data": "folder",
        "folder": tmp_path / "pictures",
        "cache_dir": tmp_path / "cache",
        "protocol": "finetune",
        "num_labels": "20,60",
        "seeds": 2,
        "head_steps": 20,
        "learning_rate": 0.01,
        "head_batch_size": 16,
        "head_units": 16,
    }
    one, chief, other = (tmp_path / name for name in ("one", "chief", "other"))
    wait_for(run_command("training.transfer", {**flags, "workdir": one}))
    flags["strategy"] = "multi_worker"
    wait_for(
        *(
            run_command("training.transfer", {**flags, "workdir": workdir}, TF_CONFIG=cluster)
            for workdir, cluster in zip((chief, other), two_clusters(), strict=True)
        )
    )
    assert_same_report(chief, one, "finetune")
    assert not other.exists()
