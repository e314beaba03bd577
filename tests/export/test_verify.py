"""What is wrong with an export is seen, by a process that knows nothing of us."""

import subprocess
import sys
from unittest import mock

import keras
import numpy as np
import pytest
import tensorflow as tf

from export import archives, saved_model, verify
from tests.replicas import ROOT

SPEC = tf.TensorSpec((None, 5), tf.float32, name="samples")


@pytest.fixture
def encoder():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((5,))
    x = keras.layers.BatchNormalization()(keras.layers.Dense(4)(inputs))
    return keras.Model(inputs, keras.layers.Dense(3)(keras.ops.tanh(x)))


@pytest.fixture
def folder(encoder, tmp_path):
    made = tmp_path / "export"
    saved_model.write(encoder, SPEC, made, {"again": (encoder, SPEC)})
    archives.write_sums(made)
    return made


def expected(encoder):
    x = np.random.default_rng(0).normal(size=(4, 5)).astype("float32")
    arrays = {}
    for name in ("serving_default", "again"):
        arrays[f"0/{name}/inputs"] = x
        arrays[f"0/{name}/embeddings"] = np.array(encoder(x))
    return arrays


def found(folder, expected=None):
    return {
        what.split(" of ")[0]: (said, well) for what, said, well in verify.checks(folder, expected)
    }


@pytest.mark.parametrize("compared", [False, True])
def test_an_export_as_it_was_made_passes(encoder, folder, compared):
    checks = found(str(folder), expected(encoder) if compared else None)
    names = ["checksums", "signature serving_default", "signature again", "trainability"]
    assert sorted(checks) == sorted(names)
    assert all(well for _, well in checks.values()), checks
    assert checks["trainability"][0] == "8 variables, 6 trainable, 6 moved by a step"


@pytest.mark.parametrize("change", [0.1, np.nan])
@pytest.mark.parametrize("signature", ["serving_default", "again"])
def test_another_embedding_is_noticed(encoder, folder, signature, change):
    wrong = expected(encoder)
    wrong[f"0/{signature}/embeddings"][1, 2] += change
    checks = found(str(folder), wrong)
    assert [name for name, (_, well) in checks.items() if not well] == [f"signature {signature}"]


def test_a_signature_that_nothing_is_expected_of_is_noticed(encoder, folder):
    some = {key: value for key, value in expected(encoder).items() if "again" not in key}
    assert not found(str(folder), some)["signature again"][1]


def test_a_changed_file_is_noticed(folder):
    (folder / "fingerprint.pb").write_bytes(b"")
    assert found(str(folder))["checksums"] == ("differ: fingerprint.pb", False)
    for content in (None, "not sums"):
        (folder / archives.SUMS).unlink()
        if content:
            (folder / archives.SUMS).write_text(content)
        checks = found(str(folder))
        assert list(checks) == ["checksums"] and not checks["checksums"][1]  # Nothing was run.
        (folder / archives.SUMS).touch()


def test_a_folder_that_is_not_there_is_told(tmp_path):
    assert found(str(tmp_path / "nowhere")) == {"checksums": mock.ANY}


def test_a_graph_that_cannot_be_trained_is_noticed(tmp_path):
    constant = keras.layers.Lambda(lambda x: keras.ops.stop_gradient(x))
    inputs = keras.Input((5,))
    encoder = keras.Model(inputs, constant(keras.layers.Dense(3)(inputs)))
    saved_model.write(encoder, SPEC, tmp_path / "export")
    archives.write_sums(tmp_path / "export")
    checks = found(str(tmp_path / "export"))
    assert checks["trainability"] == ("2 variables, 2 trainable, 0 moved by a step", False)


@pytest.mark.slow
def test_the_program_prints_a_table_and_fails_where_something_is_wrong(folder):
    def run():
        command = [sys.executable, "-m", "export.verify", f"--export={folder}"]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    good = run()
    assert good.returncode == 0 and good.stdout.count("| ok |") == 4, good.stderr
    (folder / "fingerprint.pb").write_bytes(b"")
    bad = run()
    assert bad.returncode == 1 and "| checksums | differ: fingerprint.pb | NOT ok |" in bad.stdout
