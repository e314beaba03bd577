"""NSynth: its splits, and an extracted folder of it."""

import json
import os

import numpy as np
import pytest
import soundfile
import tensorflow_datasets as tfds
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.data import nsynth_on_disk, tfds_on_disk
from training.config import PretrainConfig
from training.data import nsynth, sets, tfds_sets
from training.data.decoding import Settings
from training.errors import UserError

WHOLE = Settings(window_samples=64000)
NOTES = tfds_on_disk.notes([3, 14], range(40, 60))


@pytest.fixture
def folder(tmp_path):
    splits = {
        "train": NOTES,
        "valid": tfds_on_disk.notes([5], [50]),
        "test": tfds_on_disk.notes([6, 7], [50, 70], [100]),
    }
    return nsynth_on_disk.write(tmp_path / "set", splits)


@pytest.fixture
def load(folder, tmp_path):
    """`nsynth.load_folder` of the folder, with a cache of its own."""

    def load(split="train", settings=WHOLE):
        return nsynth.load_folder(folder, split, settings, tmp_path / "cache")

    return load


@settings(deadline=None, max_examples=200, derandomize=True)
@given(st.integers(0, 1005), st.integers(0, 127), st.lists(st.integers(0, 127), min_size=2))
def test_a_note_of_train_is_on_one_side_at_all_velocities(instrument, pitch, velocities):
    names = [f"synth_lead_synthetic_{instrument:03d}-{pitch:03d}-{v:03d}" for v in velocities]
    sides = {split: {nsynth.belongs(name, split) for name in names} for split in nsynth.SPLITS}
    assert sides["train"] == {not side for side in sides["test_notes"]}
    assert len(sides["train"]) == 1
    assert sides["valid"] == sides["test"] == {True}


def test_a_twentieth_of_the_notes_is_held_out():
    notes = tfds_on_disk.notes(range(100), range(100), [25])
    share = np.mean([nsynth.belongs(name, "test_notes") for name, *_ in notes])
    assert abs(share - 0.05) < 4 * np.sqrt(0.05 * 0.95 / len(notes))  # Four standard deviations.


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_examples_are_the_files_with_the_labels_of_examples_json(split, folder, load):
    read = load(split)
    entries = json.loads((folder / f"nsynth-{split}" / "examples.json").read_text())
    names = sorted(name for name in entries if nsynth.belongs(name, split))
    assert len(read) == len(names) > 0 and read.sample_rate == 16000 and not read.left_out
    for task, key in (
        ("pitch", "pitch"),
        ("instrument", "instrument"),
        ("family", "instrument_family"),
    ):
        assert list(read.labels[task]) == [entries[name][key] for name in names]
        assert read.labels[task].dtype == np.int64
    for name, waveform in zip(names, read.inputs):
        path = folder / f"nsynth-{split}" / "audio" / f"{name}.wav"
        np.testing.assert_array_equal(waveform, soundfile.read(path, dtype="int16")[0])


def test_all_of_train_is_in_one_of_its_two_splits(load):
    notes, held_out = load("train"), load("test_notes")
    pairs = [
        list(zip(part.labels["instrument"], part.labels["pitch"])) for part in (notes, held_out)
    ]
    assert len(held_out) and not set(pairs[0]) & set(pairs[1])
    assert sorted(pairs[0] + pairs[1]) == sorted((i, pitch) for _, i, pitch, _ in NOTES)


def test_the_folder_gives_what_tfds_gives(load, tmp_path):
    tfds_on_disk.write("nsynth/full", tmp_path / "tfds", {"train": tfds_on_disk.nsynth(NOTES)})
    for split in ("train", "test_notes"):
        ours = load(split)
        theirs = tfds_sets.load("nsynth", split, WHOLE, tmp_path / "tfds", tmp_path / "cache")
        in_order = np.lexsort([theirs.labels["pitch"], theirs.labels["instrument"]])
        for task, labels in ours.labels.items():
            np.testing.assert_array_equal(labels, theirs.labels[task][in_order])
        difference = ours.inputs.astype(int) - theirs.inputs[in_order]
        assert np.abs(difference).max() <= 1  # The last bit of a file's 16.
    features = tfds.builder("nsynth/full", data_dir=tmp_path).info.features
    assert list(nsynth.FAMILIES) == features["instrument"]["family"].names
    assert ours.classes["family"] == theirs.classes["family"]


def test_sounds_are_cut_and_resampled_as_the_settings_say(tmp_path):
    splits = {"valid": tfds_on_disk.notes([1], [69], [25])}
    folder = nsynth_on_disk.write(tmp_path / "set", splits, rate=44100, num_samples=88200)
    settings = Settings(sample_rate=8000, window_samples=8000)
    read = nsynth.load_folder(folder, "valid", settings, tmp_path / "cache")
    assert read.inputs.shape == (2, 8000) and list(read.groups) == [0, 0]
    strongest = np.abs(np.fft.rfft(read.inputs)).argmax(axis=1)
    assert list(strongest) == [440, 440]


def test_a_corrupt_note_is_left_out_and_named(folder, load):
    broken = NOTES[0][0]
    (folder / "nsynth-train" / "audio" / f"{broken}.wav").write_bytes(b"RIFF and no more")
    split = "test_notes" if nsynth.belongs(broken, "test_notes") else "train"
    read = load(split)
    assert list(read.left_out) == [broken] and read.left_out[broken].startswith("corrupt: ")
    assert len(read) == sum(nsynth.belongs(name, split) for name, *_ in NOTES) - 1


def test_many_corrupt_notes_are_an_error(folder, load):
    for path in (folder / "nsynth-test" / "audio").iterdir():
        path.write_bytes(b"RIFF and no more")
    with pytest.raises(UserError, match=r"2 of the first 2 examples of nsynth-test are corrupt"):
        load("test")


def test_changed_files_are_decoded_anew(folder, load):
    before = load("valid")
    path = folder / "nsynth-valid" / "audio" / f"{tfds_on_disk.notes([5], [50])[0][0]}.wav"
    soundfile.write(path, tfds_on_disk.tone(90), 16000, "PCM_16")
    os.utime(path, ns=(1, 1))
    assert not np.array_equal(load("valid").inputs, before.inputs)


def spoil_json(folder):
    (folder / "nsynth-valid" / "examples.json").write_text("{")


def empty_json(folder):
    (folder / "nsynth-valid" / "examples.json").write_text("{}")


def no_pitch(folder):
    path = folder / "nsynth-valid" / "examples.json"
    path.write_text(path.read_text().replace('"pitch"', '"hight"'))


def no_json(folder):
    (folder / "nsynth-valid" / "examples.json").unlink()


def no_sound(folder):
    next((folder / "nsynth-valid" / "audio").iterdir()).unlink()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (spoil_json, "examples.json: Expecting"),
        (empty_json, "examples.json holds no notes"),
        (no_pitch, "lacks instrument_family, instrument, pitch"),
        (no_json, "No such file"),
        (no_sound, r"audio lacks 1 notes, the first is guitar_acoustic_005-050-\d+.wav"),
    ],
)
def test_another_folder_is_one_line(spoil, said, folder, load):
    spoil(folder)
    with pytest.raises(UserError, match=f"is no extracted NSynth, which holds .*{said}") as caught:
        load("valid")
    assert "\n" not in str(caught.value)


def test_it_is_what_data_and_folder_name(folder, tmp_path):
    config = PretrainConfig(
        data="nsynth", folder=str(folder), cache_dir=str(tmp_path / "cache"), window_samples=32000
    )
    data_set = sets.of(config)
    assert data_set.held_out == "valid" and data_set.unlabelled == "train"
    assert data_set.splits() == ["train", "test", "test_notes"]
    assert data_set.load(config, "valid").inputs.shape == (4, 32000)
