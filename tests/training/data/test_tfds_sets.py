"""Data sets that TFDS prepares: how to get them, and what is read of them."""

import io
import shutil
import sys
import tracemalloc

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from tests.training.data import tfds_on_disk as on_disk
from training.config import DataConfig, PretrainConfig, TransferConfig
from training.data import DATA_SETS, decoding, published, sets, sources, tfds_sets
from training.data.decoding import Settings
from training.errors import UserError


@pytest.fixture
def load(tmp_path):
    """`tfds_sets.load`, from `tmp_path / "tfds"`, with a cache of its own."""

    def load(name, split="train", **settings):
        settings = Settings(**settings)
        return tfds_sets.load(name, split, settings, tmp_path / "tfds", tmp_path / "cache")

    return load


def squared(pixels, size):
    """The middle of a picture, by PIL."""
    side = min(pixels.shape[:2])
    top, left = (pixels.shape[0] - side) // 2, (pixels.shape[1] - side) // 2
    middle = Image.fromarray(pixels[top : top + side, left : left + side])
    return np.asarray(middle.resize((size, size), Image.Resampling.BICUBIC))


def test_flags_know_every_data_set():
    assert set(DATA_SETS) == {*sets.SETS, *sets.PUBLISHED, "folder"}
    assert set(sources.SOURCES) == set(sets.PUBLISHED)


@pytest.mark.parametrize("name", sets.PUBLISHED)
def test_all_that_is_asked_of_a_set_is_in_its_source(name):
    data_set, source = sets.PUBLISHED[name], sources.SOURCES[name]
    assert data_set.kind == source.kind
    assert {*data_set.splits(), data_set.held_out, data_set.unlabelled} == set(source.splits)
    assert set(data_set.tasks) == set(source.labels)
    settings = Settings(image_size=20, num_frames=5, channels=1)
    shape = {"audio": (), "image": (20, 20, 1), "video": (5, 20, 20, 1)}[source.kind]
    assert sets.of(TransferConfig(data=name), settings).shape == shape


@pytest.mark.parametrize("name", sources.SOURCES)
def test_an_absent_set_is_one_line_and_no_download(name, tmp_path):
    data_set = sets.of(PretrainConfig(data=name))
    with pytest.raises(UserError) as caught:
        data_set.load(PretrainConfig(data=name, data_dir=str(tmp_path / "tfds")), "train")
    line = str(caught.value)
    assert line.startswith(f"{name} is not prepared in {tmp_path}/tfds: ") and "\n" not in line
    assert f"`python -m training.prepare --data={name} --data_dir={tmp_path}/tfds`" in line
    assert not (tmp_path / "tfds").exists()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("cifar10", r"downloads 162\.17 MiB\."),
        ("voc2007", r"downloads 868\.85 MiB\."),  # Not also those of 2012.
        (
            "nsynth",
            r"downloads 73\..* GiB, .*pip install 'apache-beam.tfrecord.'.* NSynth with --folder",
        ),
        ("speech_commands", r"downloads 2\..* GiB, and needs pydub: run `pip install 'pydub'`"),
        ("ucf101", r"downloads 6\.48 GiB, and needs the program ffmpeg"),
        ("imagenet2012", r"ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar.*downloads/manual;"),
    ],
)
def test_an_absent_set_says_what_it_takes(name, said, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    for module in ("apache_beam", "pydub"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=said):
        tfds_sets.load(name, "train", Settings(), tmp_path)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nsynth", r"needs apache-beam.tfrecord.: run `pip install '.*'`\. Or give an extracted"),
        ("ucf101", "needs the program ffmpeg: install it"),
        ("imagenet2012", "Cannot prepare imagenet2012 in .*ILSVRC2012_img_train.tar"),
    ],
)
def test_what_cannot_be_prepared_is_one_line(name, said, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    with pytest.raises(UserError, match=said) as caught:
        sets.prepare(DataConfig(data=name, data_dir=str(tmp_path)))
    assert "\n" not in str(caught.value)


def test_what_lies_prepared_is_not_prepared_again(tmp_path):
    on_disk.write("cifar10", tmp_path, {"train": on_disk.cifar10(range(3))})
    builder = sets.prepare(DataConfig(data="cifar10", data_dir=str(tmp_path)))
    assert builder.info.splits["train"].num_examples == 3


def test_folders_are_refused_but_for_nsynth():
    for name in sorted(set(sets.PUBLISHED) - {"nsynth"}):
        with pytest.raises(UserError, match=f"--folder is for .* Received: --data={name}"):
            sets.of(PretrainConfig(data=name, folder="x"))
        with pytest.raises(UserError, match=f"--folder is for .* Received: --data={name}"):
            sets.prepare(DataConfig(data=name, folder="x"))
    assert sets.prepare(DataConfig(data="nsynth", folder="x")) is None


def test_pictures_are_those_that_were_written(load, tmp_path):
    splits = {"train": on_disk.cifar10(range(30)), "test": on_disk.cifar10(range(50, 55))}
    names = [f"class {number}" for number in range(10)]  # TFDS learns them from the download.
    on_disk.write("cifar10", tmp_path / "tfds", splits, names)
    for split, numbers in (("train", range(30)), ("test", range(50, 55))):
        examples = load("cifar10", split, image_size=32)
        assert examples.kind == "image" and examples.inputs.dtype == np.uint8
        assert isinstance(examples.inputs, np.memmap) and not examples.left_out
        assert examples.groups is None and examples.sample_rate is None
        np.testing.assert_array_equal(examples.inputs, [on_disk.picture(n) for n in numbers])
        np.testing.assert_array_equal(examples.labels["label"], [n % 10 for n in numbers])
        assert examples.classes == {"label": tuple(names)}
    grey = load("cifar10", image_size=16, channels=1)
    assert grey.inputs.shape == (30, 16, 16, 1)


def test_imagenet_is_tested_on_its_validation_split(load, tmp_path):
    splits = {"train": on_disk.imagenet2012(range(4)), "validation": on_disk.imagenet2012([9, 8])}
    on_disk.write("imagenet2012", tmp_path / "tfds", splits)
    test = load("imagenet2012", "test", image_size=20)
    np.testing.assert_array_equal(test.labels["label"], [2, 1])
    assert test.classes["label"][0] == "n01440764" and len(test.classes["label"]) == 1000
    for number, image in zip([9, 8], test.inputs):
        expected = squared(on_disk.picture(number, 40, 50), 20)
        # TFDS writes JPEG files: pixels of noise are off, their mean is not.
        assert np.corrcoef(expected.ravel(), image.ravel())[0, 1] > 0.7
        assert abs(expected.mean() - image.mean()) < 3


def test_voc_is_labelled_with_all_classes_of_a_picture(load, tmp_path):
    splits = {
        "train": on_disk.voc2007([1, 0b1010]),
        "validation": on_disk.voc2007([1 << 19]),
        "test": on_disk.voc2007([0b111]),
    }
    on_disk.write("voc/2007", tmp_path / "tfds", splits)
    train = load("voc2007")
    assert train.labels["present"].dtype == bool and train.labels["present"].shape == (3, 20)
    assert [list(np.flatnonzero(row)) for row in train.labels["present"]] == [[0], [1, 3], [19]]
    assert list(np.flatnonzero(load("voc2007", "test").labels["present"])) == [0, 1, 2]
    assert train.classes["present"][0] == "aeroplane"
    assert sets.PUBLISHED["voc2007"].tasks["present"].multi_label


def test_stl10_is_pre_trained_on_what_has_no_labels(load, tmp_path):
    splits = {
        "train": on_disk.stl10(range(2)),
        "test": on_disk.stl10(range(3)),
        "unlabelled": on_disk.stl10(range(10, 14), label=-1),
    }
    on_disk.write("stl10", tmp_path / "tfds", splits)
    data_set = sets.of(PretrainConfig(data="stl10"))
    assert data_set.unlabelled == "unlabelled" and data_set.splits() == ["train", "test"]
    unlabelled = load("stl10", "unlabelled", image_size=96)
    expected = [on_disk.picture(number, 96, 96) for number in range(10, 14)]
    np.testing.assert_array_equal(unlabelled.inputs, expected)


@pytest.mark.parametrize("num_frames", [1, 2, 5])
def test_clips_are_frames_evenly_spaced_from_the_first_to_the_last(num_frames, load, tmp_path):
    lengths = [5, 9, 17, 33, num_frames - 1]
    on_disk.write("ucf101/ucf101_1", tmp_path / "tfds", {"train": on_disk.ucf101(lengths)})
    clips = load("ucf101", image_size=24, num_frames=num_frames)
    assert clips.kind == "video" and clips.inputs.shape == (4, num_frames, 24, 24, 3)
    for length, clip in zip(lengths, clips.inputs):
        places = [i * (length - 1) / max(num_frames - 1, 1) for i in range(num_frames)]
        levels = [20 + 5 * round(place) for place in places]
        np.testing.assert_allclose(clip.mean(axis=(1, 2, 3)), levels, atol=1)
    np.testing.assert_array_equal(clips.labels["label"], range(4))
    [why] = clips.left_out.values()
    assert why == f"too short: {num_frames - 1} frames of {num_frames}"


def test_sounds_are_those_that_were_written_and_short_ones_padded(load, tmp_path):
    random = np.random.default_rng(0)
    written = [random.integers(-9000, 9000, n).astype("int16") for n in (16000, 9000, 5000)]
    silent = np.full(16000, 3, "int16")
    sounds = [*written, silent, np.zeros(0, "int16")]
    splits = {"validation": on_disk.speech_commands(sounds)}
    on_disk.write("speech_commands", tmp_path / "tfds", splits)
    read = load("speech_commands", "validation")
    assert read.inputs.dtype == np.int16 and read.sample_rate == 16000
    padded = [np.pad(sound, (0, 16000 - len(sound))) for sound in written]
    np.testing.assert_array_equal(read.inputs, padded)
    np.testing.assert_array_equal(read.labels["label"], [0, 1, 2])
    assert sorted(read.left_out.values()) == ["corrupt: holds no samples", "silent: 1 of 1 windows"]


def test_long_sounds_give_windows_of_one_group(load, tmp_path):
    notes = on_disk.notes([1, 2], [60], [25])
    on_disk.write("nsynth/full", tmp_path / "tfds", {"valid": on_disk.nsynth(notes)})
    read = load("nsynth", "valid", window_samples=16000)
    assert read.inputs.shape == (8, 16000)
    assert list(read.groups) == [0] * 4 + [1] * 4
    assert list(read.labels["instrument"]) == [1] * 4 + [2] * 4
    written = np.round(on_disk.tone(60) * 32768)
    np.testing.assert_array_equal(read.inputs[:4].ravel(), written)


@pytest.mark.parametrize("rate", [8000, 11025, 22050])
def test_sounds_keep_their_pitch_when_resampled(rate, load, tmp_path):
    notes = on_disk.notes([0], [57, 69, 81], [25])
    on_disk.write("nsynth/full", tmp_path / "tfds", {"test": on_disk.nsynth(notes)})
    read = load("nsynth", "test", sample_rate=rate, window_samples=4 * rate)
    assert read.sample_rate == rate
    strongest = np.abs(np.fft.rfft(read.inputs)).argmax(axis=1) / 4  # In hertz.
    np.testing.assert_allclose(strongest, [220, 440, 880], atol=0.5)
    assert list(read.labels["pitch"]) == [57, 69, 81]


@pytest.mark.slow
def test_no_instrument_and_pitch_of_nsynth_is_on_both_sides(load, tmp_path):
    notes = on_disk.notes(range(6), range(40, 70))
    splits = {
        "train": on_disk.nsynth(notes),
        "valid": on_disk.nsynth(on_disk.notes([7], [50])),
        "test": on_disk.nsynth(on_disk.notes([8], [50, 51])),
    }
    on_disk.write("nsynth/full", tmp_path / "tfds", splits)
    read = {
        split: load("nsynth", split, window_samples=64000)
        for split in sources.SOURCES["nsynth"].splits
    }
    pairs = {
        split: list(zip(part.labels["instrument"].tolist(), part.labels["pitch"].tolist()))
        for split, part in read.items()
    }
    assert not set(pairs["train"]) & set(pairs["test_notes"])
    together = sorted(pairs["train"] + pairs["test_notes"])
    assert together == sorted((instrument, pitch) for _, instrument, pitch, _ in notes)
    for split in ("train", "test_notes"):  # Both velocities of each.
        assert all(pairs[split].count(pair) == 2 for pair in pairs[split])
    assert len(read["valid"]) == 2 and len(read["test"]) == 4
    assert read["test"].classes["family"][3] == "guitar"
    assert list(read["test"].labels["family"]) == [8] * 4


def test_gansynth_keeps_the_splits_of_its_authors(load, tmp_path):
    notes = on_disk.notes([0, 1], range(40, 52), [25])
    splits = {"train": on_disk.nsynth(notes), "test": on_disk.nsynth(notes[:2])}
    on_disk.write("nsynth/gansynth_subset", tmp_path / "tfds", splits)
    assert len(load("nsynth_gansynth", window_samples=64000)) == len(notes)
    assert "test_notes" not in sources.SOURCES["nsynth_gansynth"].splits


def with_corrupt(num_examples, corrupt):
    examples = on_disk.cifar10(range(num_examples))
    for number in corrupt:
        examples[number]["image"] = io.BytesIO(b"\x89PNG\r\n\x1a\nand then nothing")
    return {"train": examples}


def test_a_corrupt_record_is_left_out_and_named(load, tmp_path):
    on_disk.write("cifar10", tmp_path / "tfds", with_corrupt(20, [7]))
    read = load("cifar10", image_size=32)
    [(name, why)] = read.left_out.items()
    assert name.startswith("cifar10-train") and name.endswith("__7") and why.startswith("corrupt: ")
    kept = [number for number in range(20) if number != 7]
    np.testing.assert_array_equal(read.inputs, [on_disk.picture(number) for number in kept])
    np.testing.assert_array_equal(read.labels["label"], [number % 10 for number in kept])


def test_many_corrupt_records_are_an_error(load, tmp_path):
    on_disk.write("cifar10", tmp_path / "tfds", with_corrupt(20, [7, 8]))
    with pytest.raises(
        UserError, match=r"2 of the first 9 examples of cifar10-train are corrupt, the first"
    ):
        load("cifar10", image_size=32)
    assert not list((tmp_path / "cache").iterdir())


@pytest.mark.parametrize(("num_items", "num_corrupt"), [(10, 2), (1000, 11)])
def test_no_more_is_decoded_once_too_many_are_corrupt(num_items, num_corrupt, tmp_path):
    asked = []

    def items():
        for number in range(num_items):
            asked.append(number)
            yield published.Item(str(number), {}, corrupt)

    def corrupt():
        raise decoding.CorruptFile("bad")

    message = (
        rf"{num_corrupt} of the first {num_corrupt} examples of set .* 0 \(corrupt: bad\)\. Get"
    )
    with pytest.raises(UserError, match=message):
        published.load("set", "image", items(), num_items, Settings(), tmp_path, [], {})
    assert len(asked) <= num_corrupt + 16 + 1  # So many are decoded ahead at most.


def test_of_fewer_items_than_there_may_be_one_percent_may_be_corrupt(tmp_path):
    """Of a split that lies in a larger one of TFDS the number is known at the end only."""

    def corrupt():
        raise decoding.CorruptFile("bad")

    def items(num_corrupt):
        for number in range(200):
            picture = [decoding.Decoded(np.full((1, 8, 8, 3), number, np.uint8))]
            decode = corrupt if number < num_corrupt else lambda picture=picture: picture
            yield published.Item(str(number), {}, decode)

    def load(num_corrupt):
        return published.load(
            "set", "image", items(num_corrupt), 9999, Settings(), tmp_path, [num_corrupt], {}
        )

    assert len(load(2)) == 198
    with pytest.raises(UserError, match="3 of the first 200 examples of set are corrupt"):
        load(3)


def test_a_sound_that_is_not_finite_is_corrupt(load, tmp_path):
    examples = on_disk.nsynth(on_disk.notes([0], [50, 60], [25]))
    examples[0]["audio"][100] = np.nan
    on_disk.write("nsynth/full", tmp_path / "tfds", {"valid": examples})
    read = load("nsynth", "valid", window_samples=64000)
    assert read.left_out == {"guitar_acoustic_000-050-025": "corrupt: holds NaN or infinity"}
    assert list(read.labels["pitch"]) == [60]


def test_a_set_that_is_damaged_on_disk_is_one_line(load, tmp_path):
    folder = on_disk.write("cifar10", tmp_path / "tfds", {"train": on_disk.cifar10(range(9))})
    [records] = folder.glob("*tfrecord*")
    records.write_bytes(records.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"is damaged: remove that folder .*") as caught:
        load("cifar10", image_size=32)
    assert "\n" not in str(caught.value)


def test_a_split_of_nothing_that_can_be_used_is_an_error(load, tmp_path):
    on_disk.write("ucf101/ucf101_1", tmp_path / "tfds", {"test": on_disk.ucf101([3, 4])})
    with pytest.raises(
        UserError, match=r"None of 2 examples of ucf101-test can be used, the first"
    ):
        load("ucf101", "test", num_frames=5)


def test_it_is_decoded_once_for_settings_that_matter(load, tmp_path, monkeypatch):
    folder = on_disk.write("cifar10", tmp_path / "tfds", {"train": on_disk.cifar10(range(9))})
    first = load("cifar10", image_size=32)
    for records in folder.glob("*tfrecord*"):
        records.unlink()
    again = load("cifar10", image_size=32, num_frames=3, window_samples=99)
    np.testing.assert_array_equal(first.inputs, again.inputs)
    for change in ({"image_size": 16}, {"image_size": 32, "channels": 1}):
        with pytest.raises(UserError, match="is damaged"):
            load("cifar10", **change)
    monkeypatch.setattr(decoding, "VERSION", decoding.VERSION + 1)
    with pytest.raises(UserError, match="is damaged"):
        load("cifar10", image_size=32)


def test_a_set_that_was_prepared_anew_is_decoded_anew(load, tmp_path):
    folder = on_disk.write("cifar10", tmp_path / "tfds", {"train": on_disk.cifar10(range(9))})
    load("cifar10", image_size=32)
    shutil.rmtree(folder)
    on_disk.write("cifar10", tmp_path / "tfds", {"train": on_disk.cifar10(range(20, 23))})
    np.testing.assert_array_equal(load("cifar10", image_size=32).labels["label"], [0, 1, 2])


def test_memory_stays_small(tmp_path):
    def items():
        for number in range(200):
            decoded = decoding.Decoded(np.empty((1, 250_000), np.int16))  # 100 MB together.
            yield published.Item(str(number), {}, lambda decoded=decoded: [decoded])

    tracemalloc.start()
    published.load("set", "audio", items(), 200, Settings(), tmp_path, [], {})
    assert tracemalloc.get_traced_memory()[1] < 25e6
    tracemalloc.stop()


def test_tfds_knows_the_sources(tmp_path):
    for source in sources.SOURCES.values():
        features = tfds.builder(source.name, data_dir=tmp_path).info.features
        assert source.kind in features
        assert all(tfds_sets._feature(features, path) for path in source.labels.values())
