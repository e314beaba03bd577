"""Heads learn, sets of labels are nested and paired, and a report is a table."""

import dataclasses
import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import soundfile

import keras_s2l
from training import pictures, records, transfer_lib, transfer_rows
from training.config import ENCODERS, TransferConfig
from training.data import sets
from training.data.examples import Examples
from training.end_to_end import EndToEnd
from training.errors import UserError
from training.heads import Answers, Head

# The decay is meant for thousands of features, and would hold these few down.
CONFIG = TransferConfig(head_steps=150, head_units=32, head_weight_decay=0.1)


def clusters(count, seed):
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, count)
    centers = np.float32([[4, 0], [0, 4], [-4, -4]])
    return centers[labels] + random.normal(size=(count, 2)).astype("float32"), labels


def test_a_head_tells_clusters_apart():
    (accuracy,) = Head(2, Answers(3), CONFIG).score(clusters(200, 0), clusters(300, 1))
    assert accuracy > 0.95


def test_a_regression_head_is_measured_in_the_unit_of_the_labels():
    random = np.random.default_rng(0)
    x = random.normal(size=(600, 2)).astype("float32")
    y = 60 + 10 * x[:, 0]
    config = dataclasses.replace(CONFIG, head_steps=500)
    head = Head(2, Answers(None, tolerances=(0.5, 1.0)), config)
    error, half, whole = head.score((x[:300], y[:300]), (x[300:], y[300:]))
    assert error < 0.05 * y.var()
    assert 0 < half < whole <= 1
    answers = Answers(None, tolerances=(1.0,))
    off = np.float32([[0.0], [0.95], [-1.05], [3.0]])
    measured = answers.measure(off, np.zeros(4), np.float32([-1, 1]))
    np.testing.assert_allclose(measured, [np.mean(off**2), 0.5], rtol=1e-5)


def test_a_head_tells_which_classes_are_there_and_is_measured_by_average_precision():
    x = np.random.default_rng(0).normal(size=(600, 4)).astype("float32")
    present = x > 0.5
    present[:, 3] = False  # Of no example: it has no precision.
    config = dataclasses.replace(CONFIG, head_steps=300)
    head = Head(4, Answers(4, multi_label=True), config)
    (learned,) = head.score((x[:300], present[:300]), (x[300:], present[300:]))
    (noise,) = head.score((x[:300], present[:300][::-1]), (x[300:], present[300:]))
    assert learned > 0.95
    assert noise < 0.6


def test_classes_are_numbered_without_holes_and_unseen_ones_are_never_right():
    labels = [np.array([7, 2, 7, 4]), np.array([2, 3, 7, 9, 1])]
    (train, test), count = transfer_lib._numbered(labels, sets.Task("test"))
    assert count == 3
    np.testing.assert_array_equal(train, [2, 0, 2, 1])
    np.testing.assert_array_equal(test, [0, -1, 2, -1, -1])


def test_a_split_of_one_class_is_refused():
    splits = {
        "train": Examples("image", np.zeros((3, 2)), {"label": np.array([0, 1, 1])}),
        "test": Examples("image", np.zeros((2, 2)), {"label": np.array([1, 1])}),
    }
    with pytest.raises(UserError, match=r"The test split .* holds one class of label alone"):
        transfer_lib._refuse_one_class(CONFIG, {"label": sets.Task("test")}, splits)


def test_each_labelled_set_starts_from_the_same_head():
    keras.utils.set_random_seed(3)
    head = Head(2, Answers(3), CONFIG)
    train, test = clusters(60, 0), clusters(300, 1)
    first = head.score(train, test)
    head.score(clusters(60, 2), test)
    assert head.score(train, test) == first


def test_a_feature_that_stands_still_on_the_labels_does_not_explode():
    train, test = clusters(100, 0), clusters(300, 1)
    still = lambda x, value: np.concatenate([x, np.full((len(x), 1), value, "float32")], axis=1)  # noqa: E731
    (score,) = Head(3, Answers(3), CONFIG).score(
        (still(train[0], 0.0), train[1]), (still(test[0], 0.01), test[1])
    )
    assert score > 0.9


def test_batch_norms_are_found_wherever_they_are_and_nothing_else_changes():
    inner = keras_s2l.PatchEncoder(keras_s2l.note_backbone((4, 8)))
    model = keras.Sequential([keras.Input((2, 16, 6, 1)), inner])
    # As it comes from metadata.json.
    before = json.loads(json.dumps(keras.saving.serialize_keras_object(model)))
    after = transfer_rows.with_batch_norms(before, momentum=0.25)
    assert transfer_rows.with_batch_norms(after, momentum=0.99) == before
    layers = keras.saving.deserialize_keras_object(after).layers[0].backbone.layers
    momenta = [x.momentum for x in layers if isinstance(x, keras.layers.BatchNormalization)]
    assert momenta == [0.25, 0.25]


def test_each_draw_of_labels_is_another_one():
    config = dataclasses.replace(CONFIG, num_labels=(10, 40))
    first, again, other = (transfer_lib.labelled_set(100, config, draw) for draw in (2, 2, 3))
    assert len(set(first)) == 40 and max(first) < 100
    np.testing.assert_array_equal(first, again)
    assert set(first[:10]) != set(other[:10])


ROWS = ("pretrained", "untrained", "calibrated")


def test_the_table_shows_min_median_and_max():
    cell = transfer_lib.spread([0.3, 0.1, 0.2, 0.9, 0.25])
    draws = [0.3, 0.1, 0.2, 0.9, 0.25]
    assert cell == {"min": 0.1, "median": 0.25, "max": 0.9, "draws": draws}
    pitch = {"min": 10.04, "median": 12.0, "max": 30.0}
    rows = {"metric": "accuracy"} | {name: {"20": cell} for name in ROWS}
    table = transfer_lib.table(
        {"family": rows, "pitch": {**rows, "metric": "error", "pretrained": {"20": pitch}}}
    )
    assert "| family, accuracy | untrained | 0.100 ← **0.250** → 0.900 |" in table
    assert "| pitch, error | pretrained | 10.0 ← **12.0** → 30.0 |" in table


@pytest.mark.parametrize("encoder", [*ENCODERS, "supervised"])
def test_every_encoder_is_drawn(encoder):
    cells = {count: {"min": 0.1, "median": 0.2, "max": 0.3} for count in ("20", "40")}
    figure = pictures.transfer_curves({"family": {"metric": "accuracy", encoder: cells}})
    (line,) = figure.axes[0].lines
    assert line.get_label() == encoder and list(line.get_ydata()) == [0.2, 0.2]


def loudness(inputs, training):
    """An encoder, of which it is known what it gives: mean absolute sample, and a constant."""
    level = np.abs(np.asarray(inputs)).mean(axis=1, keepdims=True)
    return np.concatenate([level, np.ones_like(level)], axis=1)


def windows(levels_of_recordings):
    """Recordings of one to three windows, each of a level of its own."""
    levels = np.concatenate(levels_of_recordings)
    sounds = np.tile(np.int16([1, -1] * 8), (len(levels), 1)) * levels[:, None].astype("int16")
    groups = np.repeat(np.arange(len(levels_of_recordings)) * 2, [*map(len, levels_of_recordings)])
    return Examples("audio", sounds, {"label": groups // 2 % 2}, sample_rate=16, groups=groups)


def test_labels_are_those_of_recordings_and_embeddings_the_means_of_their_windows():
    train = windows([[3276], [6553, 13106], [100, 200, 300], [32767]])
    splits = {"train": train, "test": windows([[10, 20], [30]])}
    np.testing.assert_array_equal(train.starts(), [0, 1, 3, 6])
    np.testing.assert_array_equal(transfer_lib._labels(train, "label"), [0, 1, 0, 1])
    row = transfer_rows.FrozenRow(loudness, CONFIG, splits, [np.array([3, 1]), np.array([1, 2])])
    embeddings, labels = row.labelled(np.array([2, 3, 1]), np.array([0, 1, 0, 1]))
    levels = np.float32([200, 32767, (6553 + 13106) / 2]) / 32768
    np.testing.assert_allclose(embeddings[:, 0], levels, rtol=1e-6)
    np.testing.assert_array_equal(labels, [0, 1, 1])
    test, _ = row.measured("test", None)
    np.testing.assert_allclose(test[:, 0], np.float32([15, 30]) / 32768, rtol=1e-6)
    assert len(row.embeddings["train"]) == 3  # The first recording is in no draw.


def test_embeddings_that_are_not_finite_are_refused():
    waveforms = np.ones((4, 10), "float32")
    splits = {split: Examples("audio", waveforms, sample_rate=8) for split in ("train", "test")}

    def broken(batch, training):
        return np.where(np.arange(len(batch)) == 3, np.nan, 1.0)[:, None]

    with pytest.raises(UserError, match="NaN or infinity for 1 of the 4 recordings of the test"):
        drawn = [np.array([0, 2])]
        transfer_rows.FrozenRow(broken, CONFIG, splits, drawn)


def test_statistics_are_those_of_each_bin_in_time():
    spectrogram = {"window_ms": 20.0, "stride_ms": 10.0, "fft_length": 512, "num_mel_bins": 7}
    expected = {"kind": "audio", "sample_rate": 8000, "spectrogram": {**spectrogram, "floor": 0.01}}
    waveforms = np.random.default_rng(0).uniform(-0.5, 0.5, (3, 2000)).astype("float32")
    found = np.asarray(transfer_rows._statistics(expected)(waveforms, training=False))
    frontend = keras_s2l.LogSpectrogram(8000, floor=0.01, **spectrogram)
    of_bins = np.asarray(frontend(waveforms))[..., 0].transpose(0, 2, 1)
    assert found.shape == (3, 14)
    np.testing.assert_allclose(found[:, :7], of_bins.mean(axis=-1), rtol=1e-5)
    np.testing.assert_allclose(found[:, 7:], of_bins.std(axis=-1), rtol=1e-4)


class OneFeature(keras.layers.Layer):
    """Encodes by one trainable weight, which starts where it tells nothing."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 2), initializer="zeros")
        super().build(shape)

    def call(self, inputs):
        return inputs @ self.kernel + 1e-3 * inputs[:, :2]


def test_end_to_end_the_encoder_learns_and_starts_anew_for_each_labelled_set():
    random = np.random.default_rng(0)
    sides = random.integers(0, 2, 80)
    # The third and fourth sample tell the class, which the encoder does not see at first.
    inputs = random.normal(size=(80, 4)).astype("float32")
    inputs[:, 2:] += 3 * (2 * sides[:, None] - 1)
    encoder = OneFeature()
    encoder.build((None, 4))
    config = dataclasses.replace(CONFIG, learning_rate=1e-2, head_steps=100)
    learner = EndToEnd(encoder, (4,), Answers(2), config)
    starts = np.arange(40)
    train = (inputs[:40], starts, sides[:40])
    first = learner.score(train, (inputs[40:], starts, sides[40:]))
    (frozen,) = Head(2, Answers(2), config).score(
        (inputs[:40, :2], sides[:40]), (inputs[40:, :2], sides[40:])
    )
    assert first[0] > 0.95 > 0.75 > frozen
    learner.score((inputs[:40], starts, 1 - sides[:40]), (inputs[40:], starts, sides[40:]))
    assert learner.score(train, (inputs[40:], starts, sides[40:])) == first


def test_end_to_end_the_windows_of_a_recording_answer_together():
    random = np.random.default_rng(0)
    sides = random.integers(0, 2, 60)
    # Each recording has three windows, one of which tells nothing but noise.
    windows_ = random.normal(size=(60, 3, 4)).astype("float32") * [[[0.1], [0.1], [1.0]]]
    windows_[:, :2] += (2 * sides - 1)[:, None, None]
    windows_ = windows_.reshape(180, 4).astype("float32")
    encoder = OneFeature()
    encoder.build((None, 4))
    config = dataclasses.replace(CONFIG, head_steps=60)
    learner = EndToEnd(encoder, (4,), Answers(2), config)
    starts = np.arange(0, 90, 3)
    test = (windows_[90:], starts, sides[30:])
    assert learner.score((windows_[:90], starts, sides[:30]), test)[0] > 0.95


def brightness(count, seed):
    """Noisy pictures, of which the brighter half is one class."""
    random = np.random.default_rng(seed)
    sides = random.integers(0, 2, count)
    pixels = random.integers(0, 180, (count, 12, 12, 1)) + 40 * sides[:, None, None, None]
    return Examples("image", pixels.astype("uint8"), {"side": sides, "same": sides})


def export_of_pictures():
    """What transfer reads of an export: its encoder has batch normalisations."""
    model = keras_s2l.ShuffleToLearn(keras_s2l.image_backbone(1, (4, 8)), 2, "height")
    model.build((None, 12, 12, 1))
    architecture = json.loads(json.dumps(keras.saving.serialize_keras_object(model.encoder)))
    return {
        "embedding": "levels",
        "architectures": {"levels": architecture},
        "input": {"kind": "image", "shape": [12, 12, 1]},
    }


@pytest.mark.parametrize("count", [20, 65])
def test_batch_norms_have_the_statistics_of_however_few_examples_there_are(count):
    few, metadata = brightness(count, 0), export_of_pictures()
    pictures, splits = few.batch(np.arange(count)), {"train": few, "test": few}
    frozen = dataclasses.replace(CONFIG, num_labels=(10,), seeds=1, encoders=("calibrated",))
    supervised = dataclasses.replace(frozen, protocol="supervised")
    drawn = [transfer_lib.labelled_set(count, frozen, 0)]
    encoder = transfer_rows.make(supervised, metadata, splits, drawn)["supervised"].encoder
    layers = encoder._flatten_layers()
    first = next(x for x in layers if isinstance(x, keras.layers.BatchNormalization))
    seen, call = [], first.call
    first.call = lambda inputs, **kwargs: seen.append(inputs) or call(inputs, **kwargs)
    embeddings = encoder(pictures, training=False)
    mean, variance = (f(seen[0], axis=(0, 1, 2)) for f in (np.mean, np.var))
    # Of two batches the variance within them, and one of them has one example more.
    np.testing.assert_allclose(first.moving_mean, mean, atol=1e-5 if count == 20 else 1e-3)
    np.testing.assert_allclose(first.moving_variance, variance, rtol=1e-3 if count == 20 else 0.05)
    row = transfer_rows.make(frozen, metadata, splits, drawn)["calibrated"]
    np.testing.assert_allclose(row.embeddings["test"], embeddings, atol=1e-5)


def test_a_network_with_batch_norms_is_trained_from_labels_and_anew_for_each_task():
    metadata = export_of_pictures()
    config = dataclasses.replace(CONFIG, protocol="supervised", head_steps=60, num_labels=(100,))
    config = dataclasses.replace(config, seeds=2)
    splits = {"train": brightness(200, 0), "test": brightness(200, 1)}
    drawn = [transfer_lib.labelled_set(200, config, draw) for draw in range(2)]
    rows = transfer_rows.make(config, metadata, splits, drawn)
    tasks = {"side": sets.Task("test"), "same": sets.Task("test")}
    cells = transfer_lib._tasks(config, tasks, splits, drawn, rows)
    assert cells["side"]["supervised"]["100"]["min"] > 0.85
    assert cells["same"] == cells["side"]  # What the first task taught is forgotten.


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"protocol": "finetuned"},
            "--protocol must be frozen or finetune or supervised. Received",
        ),
        ({"head": "mpl"}, "--head must be mlp or linear"),
        ({"num_labels": ()}, "--num_labels must be at least 1"),
        ({"num_labels": (5, 0)}, "--num_labels must be at least 1"),
        ({"encoders": ("pretrained", "trained")}, "--encoders must be of pretrained, untrained"),
        ({"encoders": ()}, "--encoders must be of pretrained, untrained"),
        ({"seeds": 0}, "--seeds must be at least 1"),
        ({"seed": -1}, "--seed must be from 0"),
        ({"learning_rate": 0.0}, "--learning_rate must be above 0"),
        ({"head_weight_decay": -1.0}, "--head_weight_decay must be at least 0"),
    ],
)
def test_settings_that_cannot_be_run_are_refused(changes, message, tmp_path):
    with pytest.raises(UserError, match=message):
        transfer_lib.run(TransferConfig(encoder=str(tmp_path), **changes), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_statistics_of_sounds_are_refused_of_pictures_before_anything_is_done(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(transfer_lib, "_metadata", lambda config: export_of_pictures())
    config = TransferConfig(encoder=str(tmp_path), data="digit_scenes", data_dir=str(tmp_path))
    config = dataclasses.replace(config, encoders=("pretrained", "statistics"))
    with pytest.raises(UserError, match="--encoders=statistics is for encoders of sounds"):
        transfer_lib.run(config, tmp_path / "new")
    assert not any(tmp_path.iterdir())


def test_a_workdir_among_the_examples_is_refused(tmp_path):
    config = TransferConfig(data="folder", folder=str(tmp_path), encoder=str(tmp_path))
    with pytest.raises(UserError, match="lies within --folder"):
        transfer_lib.run(config, tmp_path / "transfer")


@pytest.mark.slow
def test_an_encoder_that_comes_with_the_package_is_used_by_its_name(tmp_path):
    """As the README has it, on recordings of one's own."""
    random, seconds = np.random.default_rng(0), np.arange(12000) / 16000
    for number in range(16):
        tone = 0.5 * np.sin(2 * np.pi * random.uniform(200, 2000) * seconds)
        for kind, sound in (("tone", tone), ("noise", random.uniform(-0.5, 0.5, 12000))):
            (tmp_path / "mine" / kind).mkdir(parents=True, exist_ok=True)
            soundfile.write(tmp_path / "mine" / kind / f"{number}.wav", sound, 16000)
    command = [sys.executable, "-m", "training.transfer", "--encoder=notes-frequency-10"]
    command += ["--data=folder", f"--folder={tmp_path}/mine", f"--cache_dir={tmp_path}/cache"]
    command += ["--num_labels=16", "--seeds=2", "--encoders=pretrained"]
    subprocess.run([*command, f"--workdir={tmp_path}/transfer"], check=True)
    report = records.read_json(tmp_path / "transfer" / "report.json")
    assert report["encoder"]["name"].startswith("keras_s2l/notes")
    assert report["tasks"]["label"]["pretrained"]["16"]["min"] == 1.0
    (rank,) = report["effective_ranks"].values()
    assert 1 < rank < 16
    assert f"collapse: pretrained {rank}." in (tmp_path / "transfer" / "report.md").read_text()


@pytest.mark.parametrize(
    ("given", "taken"),
    [("notes-frequency-10", None), ("./notes-frequency-10", "notes-frequency-10"), ("~/x", "~/x")],
)
def test_a_name_is_of_the_package_and_a_path_of_a_folder(given, taken, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes-frequency-10").mkdir()
    asked = transfer_lib._with_whole_path(TransferConfig(encoder=given))
    folder = transfer_lib._with_folder_of_encoder(asked).encoder
    if taken is None:
        assert asked.encoder == given and folder == keras_s2l.pretrained(given)
    else:
        assert asked.encoder == folder == os.path.abspath(os.path.expanduser(taken))


def test_a_cut_run_goes_on_with_the_path_that_it_was_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = TransferConfig(encoder="export", folder="")
    records.write_config(tmp_path / "transfer", transfer_lib._with_whole_path(asked))
    with pytest.raises(UserError, match="is no export"):  # And not that it has other settings.
        transfer_lib.run(asked, tmp_path / "transfer")


@pytest.mark.parametrize(
    "settings",
    [
        {"head_steps": 9},
        {"early_stopping": True},
        {"head_weight_decay": 1.0},
        {"strategy": "mirrored"},
    ],
)
def test_what_does_nothing_to_a_linear_probe_is_refused(settings, tmp_path):
    (name,) = settings
    config = TransferConfig(head="linear", **settings)
    with pytest.raises(UserError, match=f"--{name} does nothing with --head=linear on a frozen"):
        transfer_lib.run(config, tmp_path / "transfer")
    dataclasses.replace(config, protocol="supervised").check()


def test_another_name_is_refused_with_those_that_there_are(tmp_path):
    config = TransferConfig(encoder=str(tmp_path / "nts"))
    with pytest.raises(UserError, match=r"come with the package: .*notes-frequency-10"):
        transfer_lib.run(config, tmp_path / "transfer")


def test_a_finished_report_is_not_overwritten(tmp_path):
    records.write_config(tmp_path, CONFIG)
    (tmp_path / "report.json").write_text("mine")
    with pytest.raises(UserError, match="holds a finished report"):
        transfer_lib.run(CONFIG, tmp_path)
    assert (tmp_path / "report.json").read_text() == "mine"
