"""An export is there whole, with all that goes with it, or not at all."""

import functools
import json
import shutil
import tarfile

import keras
import numpy as np
import pytest
import tensorflow as tf

from export import archives, encoders, export_lib, saved_model, sources
from tests.training import distributed_runs
from training import pretrain_lib, records
from training.data import sets
from training.errors import UserError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A finished run in half precision, with a checkpoint between evaluations."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as monkeypatch:
        distributed_runs.use_small_set(functools.partial(monkeypatch.setitem, sets.SETS))
        config = distributed_runs.small_config(
            precision="mixed_bfloat16", steps=4, evaluate_every=2, save_every_steps=3
        )
        pretrain_lib.run(config, folder)
    return folder


@pytest.fixture(scope="module")
def export(workdir, tmp_path_factory):
    output = tmp_path_factory.mktemp("exports") / "mine"
    export_lib.run(sources.of_run(workdir), output)
    return output


def in_folder(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_all_that_goes_with_it_is_there_and_in_the_archive(export):
    promised = {"saved_model.pb", "metadata.json", "MODEL_CARD.md", "picture.png", "encoder.keras"}
    promised |= {"SHA256SUMS", "model-metadata.json", "model-instance-metadata.json"}
    assert promised <= in_folder(export) and archives.differing(export) == []
    with tarfile.open(archives.beside(export)) as tar:
        files = {member.name for member in tar.getmembers() if member.isfile()}
    assert files == in_folder(export)
    beside = {path.name for path in export.parent.iterdir()}
    assert beside == {"mine", "mine.tar.gz"}  # Nothing unfinished is left.


def test_signatures_are_those_of_the_metadata_and_agree(export):
    metadata = records.read_json(export / "metadata.json")
    loaded = tf.saved_model.load(str(export))
    assert set(metadata["signatures"]) == set(loaded.signatures)
    assert set(loaded.signatures) == {"serving_default", "fc", "patches", "levels"}
    x = np.random.default_rng(0).random((3, 24, 24, 1)).astype("float32")
    for name, signature in loaded.signatures.items():
        embeddings = signature(pictures=tf.constant(x))["embeddings"]
        assert embeddings.dtype == tf.float32
        assert embeddings.shape == (3, metadata["signatures"][name]["dimensions"])
    np.testing.assert_array_equal(
        loaded(x), loaded.signatures["levels"](pictures=tf.constant(x))["embeddings"]
    )
    assert metadata["embedding"] == "levels"
    assert metadata["dimensions"] == metadata["signatures"]["levels"]["dimensions"]


def test_the_keras_file_is_the_same_encoder_and_safe_to_load(export):
    model = keras.saving.load_model(export / "encoder.keras", safe_mode=True)
    x = np.random.default_rng(0).random((3, 24, 24, 1)).astype("float32")
    loaded = tf.saved_model.load(str(export))
    np.testing.assert_allclose(model(x), loaded(x), atol=1e-5)


def test_the_card_says_what_the_records_of_the_run_say(workdir, export):
    card = (export / "MODEL_CARD.md").read_text()
    report = records.read_json(workdir / "report.json")
    assert "# keras_s2l/digit_scenes" in card and "4 steps of 8 examples, seed 0" in card
    accuracy = report["held_out"]["patch_accuracy"]
    assert f"patch_accuracy {accuracy:.4g} (patches in their place; chance 0.111)" in card
    assert report["environment"]["commit"] in card and "patches in a grid of 3 x 3" in card
    assert "(any, 24, 24, 1)" in card and "in [0, 1], of shape [24, 24, 1]" in card
    assert "sigma 1.0" in card and "temperature" not in card and "max_shift" not in card
    for heading in ("Input and output", "Training", "What it is not good for", "Licence"):
        assert f"## {heading}" in card
    for name in ("model-metadata.json", "model-instance-metadata.json"):
        assert "INSERT_OWNER_SLUG_HERE" in (export / name).read_text()
    instance = json.loads((export / "model-instance-metadata.json").read_text())
    assert instance["framework"] == "tensorFlow2" and instance["fineTunable"]


def test_a_checkpoint_is_exported_with_what_was_measured_then(workdir, tmp_path):
    for step in (2, 3):
        path = workdir / "checkpoints" / f"step_{step:08d}.weights.h5"
        export_lib.run(sources.of_checkpoint(path), tmp_path / str(step))
    measured, not_measured = (
        records.read_json(tmp_path / str(step) / "metadata.json")["pretrained"] for step in (2, 3)
    )
    assert (measured["step"], not_measured["step"]) == (2, 3)
    (row,) = [row for row in records.read_log(workdir / "log.csv") if row["step"] == 2]
    assert measured["held_out"]["patch_accuracy"] == row["val_patch_accuracy"]
    assert not_measured["held_out"] == {}
    assert "Nothing was measured at this step" in (tmp_path / "3" / "MODEL_CARD.md").read_text()
    assert not (tmp_path / "3" / "picture.png").exists()  # That of the run shows its end.


def test_what_is_no_checkpoint_is_refused(workdir, tmp_path):
    with pytest.raises(UserError, match="is no checkpoint of a run"):
        sources.of_checkpoint(workdir / "final.weights.h5")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "config.json").write_bytes((workdir / "config.json").read_bytes())
    content = (workdir / "checkpoints" / "step_00000002.weights.h5").read_bytes()
    cut = tmp_path / "checkpoints" / "step_00000002.weights.h5"
    cut.write_bytes(content[:-9])
    with pytest.raises(UserError, match="is damaged"):
        sources.of_checkpoint(cut)


@pytest.mark.parametrize("when", ["before it is verified", "before it is loaded"])
def test_a_checkpoint_that_a_run_removes_meanwhile_is_told_so(when, workdir, monkeypatch, tmp_path):
    (tmp_path / "checkpoints").mkdir()
    for name in ("config.json", "checkpoints/step_00000002.weights.h5"):
        shutil.copy(workdir / name, tmp_path / name)
    path = tmp_path / "checkpoints" / "step_00000002.weights.h5"
    module, name = (sources, "is_whole") if "verified" in when else (encoders, "load_weights")
    read = getattr(module, name)

    def remove_and_read(*args):
        path.unlink()
        return read(*args)

    monkeypatch.setattr(module, name, remove_and_read)
    with pytest.raises(UserError, match=r"step_00000002.* was removed meanwhile.* take the newest"):
        export_lib.run(sources.of_checkpoint(path), tmp_path / "export")
    assert not (tmp_path / "export").exists()


def test_an_export_is_replaced_only_if_asked_for(workdir, export):
    before = (export / "saved_model.pb").stat().st_mtime_ns
    with pytest.raises(UserError, match="or --overwrite"):
        export_lib.run(sources.of_run(workdir), export)
    assert (export / "saved_model.pb").stat().st_mtime_ns == before
    export_lib.run(sources.of_run(workdir), export, overwrite=True)
    assert (export / "saved_model.pb").stat().st_mtime_ns > before
    assert {path.name for path in export.parent.iterdir()} == {"mine", "mine.tar.gz"}


def test_an_export_that_holds_something_else_is_not_replaced(workdir, export, monkeypatch):
    (export / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="files that no export made"):
        export_lib.run(sources.of_run(workdir), export, overwrite=True)
    assert (export / "notes.txt").read_text() == "mine"
    (export / "notes.txt").unlink()


def test_what_appears_meanwhile_is_not_replaced(workdir, monkeypatch, tmp_path):
    def while_others_write(made, folder):
        (tmp_path / "export").mkdir()
        (tmp_path / "export" / "mine.txt").write_text("keep")
        return ""

    monkeypatch.setattr(export_lib, "_check_in_fresh_process", while_others_write)
    with pytest.raises(UserError, match="holds something already"):
        export_lib.run(sources.of_run(workdir), tmp_path / "export")
    assert [path.name for path in tmp_path.iterdir()] == ["export"]
    assert (tmp_path / "export" / "mine.txt").read_text() == "keep"


def test_other_files_are_never_replaced(workdir, tmp_path):
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "mine.txt").write_text("keep")
    for overwrite in (False, True):
        with pytest.raises(UserError, match=r"--output=.* holds"):
            export_lib.run(sources.of_run(workdir), tmp_path / "export", overwrite)
    assert (tmp_path / "export" / "mine.txt").read_text() == "keep"
    archives.beside(tmp_path / "other").write_text("mine")
    with pytest.raises(UserError, match="is there already"):
        export_lib.run(sources.of_run(workdir), tmp_path / "other")
    with pytest.raises(UserError, match="is a file"):
        export_lib.run(sources.of_run(workdir), tmp_path / "export" / "mine.txt")


@pytest.mark.parametrize("failing", ["the disk", "the check"])
def test_an_export_that_fails_leaves_nothing(failing, workdir, monkeypatch, tmp_path):
    def full_disk(*_, **__):
        raise OSError("No space left on device")

    def other_weights(encoder, inputs, folder, further):
        encoder.set_weights([weight + 0.1 for weight in encoder.get_weights()])
        write(encoder, inputs, folder, further)
        encoder.set_weights([weight - 0.1 for weight in encoder.get_weights()])

    write = saved_model.write
    if failing == "the disk":
        monkeypatch.setattr(tf.saved_model, "save", full_disk)
    else:
        monkeypatch.setattr(saved_model, "write", other_weights)
    with pytest.raises((OSError, UserError), match=r"No space left|does not match its checkpoint"):
        export_lib.run(sources.of_run(workdir), tmp_path / "export")
    assert list(tmp_path.iterdir()) == []
