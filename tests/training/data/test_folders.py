"""A folder of files as a data set: kinds, labels, splits, what is left out, and the cache."""

import itertools
import os
import threading
from unittest import mock

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from training.config import PretrainConfig
from training.data import decoding, folder_files, folders, sets
from training.data.decoding import Settings
from training.errors import UserError

SPLITS = ("train", "test")
SMALL = Settings(window_samples=1600, image_size=8)


@pytest.fixture
def load(tmp_path):
    """`folders.load` of `tmp_path / "set"`, with a cache of its own."""

    def load(split="train", settings=SMALL):
        return folders.load(tmp_path / "set", split, settings, tmp_path / "cache")

    return load


@pytest.fixture
def put(tmp_path):
    """Writes a file into `tmp_path / "set"`: pictures of one red value, sounds, text or bytes."""

    def put(name, content, rate=16000):
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif isinstance(content, str):
            path.write_text(content)
        elif name.endswith(".wav"):
            soundfile.write(path, content, rate, subtype="FLOAT")
        else:
            picture = Image.new("RGB", (10, 10), (content, 0, 0))
            picture.paste((content, 255, 255), (5, 5, 10, 10))
            picture.save(path)

    return put


def both(load):
    """The first red value of all examples, with their class, or None; train, then test."""
    found = []
    for split in SPLITS:
        try:
            examples = load(split)
        except UserError:  # By chance, all of a few files are in the other one.
            continue
        names = examples.classes.get("label")
        labels = examples.labels.get("label", [None] * len(examples))
        found += [
            (int(image[0, 0, 0]), names and names[label])
            for image, label in zip(examples.inputs, labels)
        ]
    return found


def test_subfolders_are_classes_in_both_splits(put, load):
    for number in range(30):
        put(f"{'cab'[number % 3]}/deeper/{number}.png", number)
    train, test = load("train"), load("test")
    assert train.classes == test.classes == {"label": ("a", "b", "c")}
    assert train.kind == "image" and train.sample_rate is None and not train.left_out
    assert train.inputs.dtype == np.uint8 and train.inputs.shape[1:] == (8, 8, 3)
    assert isinstance(train.inputs, np.memmap) and train.labels["label"].dtype == np.int64
    assert len(train) + len(test) == 30 and len(test) > 0
    assert sorted(both(load)) == [(number, "cab"[number % 3]) for number in range(30)]


def test_files_without_subfolders_are_unlabelled(put, load):
    for number in range(20):
        put(f"{number}.png", number)
    assert load().labels == {} and load().classes == {}
    assert sorted(red for red, _ in both(load)) == list(range(20))


def test_examples_are_in_the_order_of_their_names(put, load):
    for number in np.random.RandomState(0).permutation(50):
        put(f"{number:02d}.png", int(number))
    reds = load().inputs[:, 0, 0, 0].astype(int)
    assert list(reds) == sorted(reds)


def test_labels_csv_gives_labels_and_splits(put, load):
    for number in range(6):
        put(f"in/{number}.png", number)
    rows = [
        f"./in/{number}.png, {'ab'[number % 2]}, {'train' if number < 4 else 'test'}"
        for number in range(6)
    ]
    put("labels.csv", "\ufeffpath,label,split\n" + "\n".join(rows) + "\n\n")
    assert list(load("train").inputs[:, 0, 0, 0]) == [0, 1, 2, 3]
    assert list(load("test").inputs[:, 0, 0, 0]) == [4, 5]
    np.testing.assert_array_equal(load("test").labels["label"], [0, 1])
    assert load("test").classes == {"label": ("a", "b")}


def test_the_classes_of_a_split_are_those_of_the_whole_folder(put, load):
    put("labels.csv", "path,label,split\n0.png,z,train\n1.png,a,test")
    put("0.png", 0)
    put("1.png", 1)
    for split, label in (("train", 1), ("test", 0)):
        assert load(split).classes == {"label": ("a", "z")}
        assert list(load(split).labels["label"]) == [label]


GROUPS = st.lists(st.integers(0, 15), min_size=1, max_size=60)


@settings(deadline=None, max_examples=100, derandomize=True)
@given(GROUPS, st.randoms())
def test_splits_follow_from_the_group_alone(numbers, random):
    groups = {f"{place}.wav": f"group {number}" for place, number in enumerate(numbers)}
    splits = folder_files.draw_splits(groups)
    assert set(splits) == set(groups) and set(splits.values()) <= {"train", "test"}
    for split in SPLITS:
        inside = {groups[name] for name in groups if splits[name] == split}
        outside = {groups[name] for name in groups if splits[name] != split}
        assert not inside & outside
    some = random.sample(sorted(groups), random.randint(0, len(groups)))
    assert folder_files.draw_splits({name: groups[name] for name in some}) == {
        name: splits[name] for name in some
    }


def test_a_fifth_of_the_groups_is_for_testing():
    splits = folder_files.draw_splits({str(number): str(number) for number in range(10000)})
    share = sum(split == "test" for split in splits.values()) / 10000
    assert abs(share - 0.2) < 4 * np.sqrt(0.2 * 0.8 / 10000)  # Four standard deviations.


@settings(deadline=None, max_examples=100, derandomize=True)
@given(GROUPS, st.data())
def test_given_splits_are_refused_if_and_only_if_a_group_straddles(numbers, data):
    groups = {f"{place}.wav": f"group {number}" for place, number in enumerate(numbers)}
    drawn = st.lists(st.sampled_from(SPLITS), min_size=len(groups), max_size=len(groups))
    splits = dict(zip(groups, data.draw(drawn)))
    straddles = any(
        groups[one] == groups[other] and splits[one] != splits[other]
        for one, other in itertools.combinations(groups, 2)
    )
    try:
        folder_files._check_groups(groups, splits)
    except UserError as error:
        assert straddles and "is in both splits" in str(error)
    else:
        assert not straddles


def test_groups_of_labels_csv_stay_together(put, load):
    groups = {number: f"g{number % 7}" if number < 28 else "" for number in range(40)}
    put(
        "labels.csv",
        "path,label,group\n" + "\n".join(f"{n}.png,a,{group}" for n, group in groups.items()),
    )
    for number in groups:
        put(f"{number}.png", number)
    reds = [set(load(split).inputs[:, 0, 0, 0].astype(int)) for split in SPLITS]
    assert not {groups[n] for n in reds[0] if n < 28} & {groups[n] for n in reds[1] if n < 28}
    # Files without a group are drawn one by one.
    assert {n for n in reds[0] if n >= 28} and {n for n in reds[1] if n >= 28}
    assert reds[0] | reds[1] == set(groups)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("path,label,colour\n0.png,a,red", "may have split,group. Unknown: colour"),
        ("path;label\n0.png;a", "Unknown: path;label"),
        ("path,split\n0.png,train", "must have the columns path,label.* Found: path, split"),
        ("path,label,label\n0.png,a,b", "Found: path, label, label"),
        ("", "Found: none"),
        (b"\xff\xfe\x00", "no CSV file in UTF-8"),
        ("path,label\n0.png,a\n2.png,b", "row 3: there is no file 2.png"),
        ("path,label\n0.png,a\n../set/1.png,b", "row 3: there is no file"),
        ("path,label\n0.png,a\n\n./0.png,b", "row 4: 0.png is there twice"),
        ("path,label\n0.png,a\n1.png", "row 3: has 1 cells, not 2"),
        ("path,label\n0.png,a,b", "row 2: has 3 cells, not 2"),
        ("path,label,split\n0.png,a,valid", "row 2: the split must be train or test, not 'valid'"),
        ("path,label,split\n0.png,a,", "row 2: the split must be train or test, not ''"),
        (
            "path,label,split,group\n0.png,a,train,x\n1.png,a,test,x",
            "the group x is in both splits, 0.png in train and 1.png in test",
        ),
    ],
)
def test_what_is_wrong_with_labels_csv_is_named(content, message, put, load):
    put("0.png", 0)
    put("1.png", 1)
    put("labels.csv", content)
    with pytest.raises(UserError, match=message) as error:
        load()
    assert "\n" not in str(error.value)


def reds_of(load, split):
    return set(load(split).inputs[:, 0, 0, 0].astype(int))


ALL = ("train", "test", "unlabelled", "held_out")


def drawn_of(groups, split):
    """The numbers of the files in a split, given their groups by number."""
    splits = folder_files.draw_splits({group: group for group in groups.values()})
    return {number for number, group in groups.items() if splits[group] == split}


def test_files_beside_the_classes_are_for_pre_training(put, load, capsys):
    names = {n: f"{'ab'[n % 2]}/{n}.png" if n < 20 else f"{n}.png" for n in range(40)}
    for number, name in names.items():
        put(name, number)
    train, test = drawn_of(names, "train"), drawn_of(names, "test")
    labelled = set(range(20))
    expected = [train & labelled, test & labelled, train, test]
    assert [reds_of(load, split) for split in ALL] == expected
    for split in ("unlabelled", "held_out"):
        assert load(split).labels == {} and load(split).classes == {}
    assert "20 of 40 files of " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("rows", "said"),
    [("0.png,x", True), ("0.png,x\na/1.png,y", True), ("a/1.png,x\nb/2.png,y", False)],
)
def test_subfolders_beside_labels_csv_are_said_to_be_no_classes(rows, said, put, load, capsys):
    """Unless all that lies in them has a label there."""
    for name in ("0.png", "a/1.png", "b/2.png"):
        put(name, 0)
    put("labels.csv", "path,label,split\n" + rows.replace("\n", ",train\n") + ",train")
    assert load("train").classes == {"label": tuple(sorted({*rows} & {*"xy"}))}
    [line] = [line for line in capsys.readouterr().out.splitlines() if " of 3 files " in line]
    assert line.endswith(": subfolders are not taken as such.") == said


def test_files_that_labels_csv_leaves_out_or_empty_are_for_pre_training(put, load):
    for number in range(8):
        put(f"{number}.png", number)
    put(
        "labels.csv",
        "path,label,group\n0.png,a,x\n1.png,b,x\n2.png,a,y\n3.png,b,y\n4.png,,x\n5.png,,y",
    )
    groups = {**dict(enumerate("xxyyxy")), 6: "6.png", 7: "7.png"}
    train, test = drawn_of(groups, "train"), drawn_of(groups, "test")
    assert (0 in train) != (2 in train)  # Else choose other names of groups.
    labelled = {0, 1, 2, 3}
    assert [reds_of(load, split) for split in ALL] == [
        train & labelled,
        test & labelled,
        train,
        test,
    ]


def test_given_splits_hold_files_back_from_pre_training(put, load):
    """The files that are not in `labels.csv` are drawn, as they are without it."""
    names = {number: f"{number}.png" for number in range(30)}
    for number, name in names.items():
        put(name, number)
    put(
        "labels.csv",
        "path,label,split\n0.png,a,train\n1.png,b,train\n2.png,a,test\n3.png,b,test\n4.png,,test",
    )
    others = set(range(5, 30))
    train, test = drawn_of(names, "train") & others, drawn_of(names, "test") & others
    assert len(test) > 1
    assert [reds_of(load, split) for split in ALL] == [
        {0, 1},
        {2, 3},
        {0, 1} | train,
        {2, 3, 4} | test,
    ]


def test_files_follow_a_group_whose_split_is_given(put, load):
    """The group of `1.png`, which is not in `labels.csv`, is its name."""
    put("0.png", 0)
    put("1.png", 1)
    for split, other in (("unlabelled", "held_out"), ("held_out", "unlabelled")):
        given = {"unlabelled": "train", "held_out": "test"}[split]
        put("labels.csv", f"path,label,split,group\n0.png,a,{given},1.png")
        assert reds_of(load, split) == {0, 1}
        with pytest.raises(UserError, match=f"The {other} split of .* has no files"):
            load(other)


def test_labels_that_are_added_move_no_file_and_decode_none_again(put, load, decoded):
    """What an encoder has learnt from must not come to be tested on."""
    names = {number: f"{number}.png" for number in range(100)}
    for number, name in names.items():
        put(name, number)
    train, test = drawn_of(names, "train"), drawn_of(names, "test")
    assert 10 <= len(test) <= 30
    few = {*sorted(train)[:2], *sorted(test)[:1]}
    for labelled in (set(), few, set(range(50)), set(range(100))):
        rows = "".join(f"{number}.png,{'ab'[number % 2]}\n" for number in labelled)
        put("labels.csv", "path,label\n" + rows)
        assert reds_of(load, "unlabelled") == train
        assert reds_of(load, "held_out") == test
        for split, side in zip(SPLITS, (train, test)):
            part = load(split)
            reds = part.inputs[:, 0, 0, 0].astype(int)
            assert set(reds) == (side & labelled or side) and len(reds) == len(set(reds))
            # What is chosen is an array: a map stands for the whole file that it is of.
            assert isinstance(part.inputs, np.memmap) == (len(labelled) in (0, 100))
            if labelled:
                assert list(part.labels["label"]) == list(reds % 2)
    assert len(decoded) == 100


def test_with_hardly_a_label_pre_training_measures_on_a_fifth(put, tmp_path):
    for number in range(200):
        put(f"{number}.png", number)
    test = drawn_of({number: f"{number}.png" for number in range(200)}, "test")
    labelled = sorted(set(range(200)) - test)[:3]  # None of them is for testing.
    put("labels.csv", "path,label\n" + "".join(f"{number}.png,a\n" for number in labelled))
    config = PretrainConfig(
        data="folder", folder=str(tmp_path / "set"), cache_dir=str(tmp_path / "cache"), image_size=8
    )
    data_set = sets.of(config)
    learnt = data_set.load(config, data_set.unlabelled)
    measured = data_set.load(config, data_set.held_out)
    assert len(learnt) + len(measured) == 200 and 20 <= len(measured) <= 60
    with pytest.raises(UserError, match=r"The test split of .* has no labelled files"):
        data_set.load(config, "test")


def test_labelled_windows_keep_their_recordings(put, load):
    """Recording `n` has `n` windows and is as loud as its number says; odd ones have a label."""
    for number in range(1, 9):
        put(f"{number}.wav", tone(0.1 * number, amplitude=number / 20))
    rows = [f"{n}.wav,{'a' if n % 2 else ''},{'train' if n < 6 else 'test'}" for n in range(1, 9)]
    put("labels.csv", "path,label,split\n" + "\n".join(rows))
    for split, numbers in (("train", [1, 3, 5]), ("test", [7]), ("held_out", [6, 7, 8])):
        part = load(split)
        loud = np.round(np.abs(part.inputs / 32768).max(axis=1) * 20).astype(int)
        assert list(loud) == list(np.repeat(numbers, numbers))
        assert list(part.groups) == list(np.repeat(range(len(numbers)), numbers))
        assert list(loud[part.starts()]) == numbers


def test_of_what_is_left_out_a_labelled_split_names_what_is_its_own(put, load):
    put(
        "labels.csv",
        "path,label,split\na.wav,x,train\nb.wav,x,train\nc.wav,,train\nd.wav,x,test\ne.wav,,test",
    )
    for name in "ace":
        put(f"{name}.wav", tone())
    put("b.wav", 0 * tone())
    put("c.wav", 0 * tone(0.2))
    put("d.wav", 0 * tone())
    assert set(load("unlabelled").left_out) == {"b.wav", "c.wav"}
    assert set(load("train").left_out) == {"b.wav"}
    assert set(load("held_out").left_out) == {"d.wav"}
    with pytest.raises(UserError, match=r"None of 1 files of .* can be used, the first is d\.wav"):
        load("test")


@pytest.mark.parametrize("labelled", [True, False])
def test_without_a_difference_the_unlabelled_split_is_the_training_split(
    labelled, put, load, decoded
):
    for number in range(12):
        put(f"{'ab'[number % 2]}/{number}.png" if labelled else f"{number}.png", number)
    train = load("train")
    num_decoded = len(decoded)
    np.testing.assert_array_equal(load("unlabelled").inputs, train.inputs)
    assert isinstance(train.inputs, np.memmap)
    assert len(decoded) == num_decoded


def test_classes_that_a_split_lacks_are_named_with_their_files(put, load, capsys):
    put("labels.csv", "path,label,split\n0.png,a,train\n1.png,b,train\n2.png,b,train\n3.png,a,test")
    for number in range(4):
        put(f"{number}.png", number)
    load("train")
    assert "Warning" not in capsys.readouterr().out
    load("test")
    [_, line] = capsys.readouterr().out.splitlines()  # The first is about the cache.
    assert line.startswith("Warning: the test split of ")
    assert line.endswith(" shows nothing of 1 of 2 classes: b (of 2 files).")


def test_two_kinds_are_refused(put, load):
    put("a/0.png", 0)
    put("a/1.WAV", b"")
    with pytest.raises(UserError, match=r"files of 2 kinds: audio \(1\), image \(1\)"):
        load()


def test_other_and_hidden_files_are_ignored(put, load):
    put("0.png", 7)
    put("notes.txt", "")
    put(".DS_Store", b"")
    put("._0.png", b"")
    put(".cache/1.png", 3)
    assert both(load) == [(7, None)]


@pytest.mark.parametrize("files", [[], ["a.txt", "b/c.m4a", ".d.png"]])
def test_a_folder_without_files_of_a_kind_says_what_was_expected(files, put, load, tmp_path):
    (tmp_path / "set").mkdir()
    for name in files:
        put(name, b"")
    with pytest.raises(UserError, match=r"no files of a known kind \(audio: \.wav .*video: .*\)"):
        load()


def test_a_missing_folder_and_a_wrong_split_are_refused(load):
    with pytest.raises(UserError, match=r"There is no folder .*set"):
        load()
    with pytest.raises(
        ValueError, match=r"train, test, unlabelled, held_out. .*split='validation'"
    ):
        load("validation")


def test_a_split_without_files_is_refused(put, load):
    put("0.png", 0)
    put("labels.csv", "path,label,split\n0.png,a,train")
    assert len(load("train")) == 1
    with pytest.raises(UserError, match=r"The test split of .* has no labelled files"):
        load("test")


def tone(seconds=0.1, rate=16000, amplitude=0.5):
    return amplitude * np.sin(2 * np.pi * 1000 * np.arange(round(seconds * rate)) / rate)


def test_all_windows_of_a_recording_are_in_its_split(put, load):
    """Recording `n` is as loud as its number says."""
    for number in range(1, 21):
        put(f"{'ab'[number % 2]}/{number}.wav", tone(0.1 * (1 + number % 4), amplitude=number / 40))
    seen = []
    for split in SPLITS:
        examples = load(split)
        assert examples.kind == "audio" and examples.sample_rate == 16000
        assert examples.inputs.dtype == np.int16 and examples.inputs.shape[1:] == (1600,)
        numbers = np.round(np.abs(examples.inputs / 32768).max(axis=1) * 40).astype(int)
        np.testing.assert_array_equal(examples.labels["label"], numbers % 2)
        # Of one recording are those, and only those, that have the same number.
        of_one = examples.groups[:, None] == examples.groups
        np.testing.assert_array_equal(of_one, numbers[:, None] == numbers)
        assert (np.diff(examples.groups) >= 0).all()
        for number, count in zip(*np.unique(numbers, return_counts=True)):
            assert count == 1 + number % 4
            seen.append(number)
    assert sorted(seen) == list(range(1, 21))


def test_what_was_done_to_sounds_is_said_in_one_line(put, load, capsys):
    put("a.wav", tone())
    put("b.wav", tone(rate=8000), 8000)
    put("c.wav", np.stack([tone(rate=44100)] * 2, axis=1), 44100)
    put("d.wav", np.stack([tone()] * 2, axis=1))
    put("e.wav", tone(rate=8000), 8000)
    put("f.wav", np.concatenate([tone(), 0 * tone()]))
    put("labels.csv", "path,label,split\n" + "".join(f"{n}.wav,a,train\n" for n in "abcdef"))
    load()
    assert capsys.readouterr().out.splitlines()[0] == (
        "3 of 6 files resampled from 44100, 8000 to 16000; 2 mixed down; "
        "1 left out, wholly or in part"
    )
    load()  # Nothing is done now.
    assert not capsys.readouterr().out


def test_nothing_is_said_where_nothing_was_done(put, load, capsys):
    put("a.wav", tone())
    load()
    [line] = capsys.readouterr().out.splitlines()
    assert line.startswith("Prepared 1 examples")


def test_what_is_left_out_is_named_in_its_split(put, load):
    put("labels.csv", "path,label,split\na.wav,a,train\nb.wav,a,train\nc.wav,a,test\nd.wav,a,test")
    put("a.wav", np.concatenate([tone(), 0 * tone()]))
    put("b.wav", b"RIFF and no more")
    put("c.wav", tone())
    put("d.wav", 0 * tone())
    for _ in range(2):  # Also from the cache.
        train, test = load("train"), load("test")
        assert len(train) == len(test) == 1
        assert set(train.left_out) == {"a.wav", "b.wav"}
        assert train.left_out["a.wav"] == "silent: 1 of 2 windows"
        assert train.left_out["b.wav"].startswith("corrupt: ")
        assert test.left_out == {"d.wav": "silent: 1 of 1 windows"}


@pytest.fixture
def put_corrupt(put):
    """Writes pictures of which the first are corrupt, all of the training split."""

    def put_corrupt(num_files, num_corrupt):
        names = [f"{number:03d}.png" for number in range(num_files)]
        for number, name in enumerate(names):
            put(name, b"bad" if number < num_corrupt else number % 256)
        put("labels.csv", "path,label,split\n" + "".join(f"{name},a,train\n" for name in names))

    return put_corrupt


@pytest.mark.parametrize(("num_files", "num_corrupt"), [(10, 1), (200, 2)])
def test_few_corrupt_files_are_left_out_by_name(num_files, num_corrupt, put_corrupt, load):
    put_corrupt(num_files, num_corrupt)
    examples = load()
    assert sorted(examples.left_out) == [f"{number:03d}.png" for number in range(num_corrupt)]
    assert len(examples) == num_files - num_corrupt


@pytest.mark.parametrize(("num_files", "num_corrupt"), [(10, 2), (200, 3), (300, 200)])
def test_more_corrupt_files_than_one_percent_end_it_at_once(
    num_files, num_corrupt, put_corrupt, load, decoded
):
    put_corrupt(num_files, num_corrupt)
    most = max(1, num_files // 100)
    message = rf"{most + 1} of the first {most + 1} files of .* corrupt, the first is 000\.png \("
    with pytest.raises(UserError, match=message):
        load()
    assert len(decoded) <= most + 1 + 16 + 1  # So many are decoded ahead at most.


@pytest.mark.parametrize("name", ["0.png", "0.wav"])
def test_what_the_system_cannot_read_is_named_and_not_corrupt(
    name, put, load, monkeypatch, tmp_path
):
    put(name, 0 if name.endswith("png") else tone())
    put("labels.csv", f"path,label,split\n{name},a,train")
    decode_all = decoding.decode_all

    def too_late(paths, *arguments):
        for path in paths:
            path.unlink()
        return decode_all(paths, *arguments)

    monkeypatch.setattr(decoding, "decode_all", too_late)
    with pytest.raises(UserError, match=rf"Cannot read .*set/{name}: No such file") as error:
        load()
    assert "\n" not in str(error.value)
    assert not list(tmp_path.glob("cache/*"))


@pytest.mark.parametrize("content", [np.zeros(1600), b"bad"])
def test_a_folder_of_which_nothing_can_be_used_is_refused(content, put, load):
    put("a.wav", content)
    with pytest.raises(UserError, match=r"None of 1 files of .* can be used, the first is a\.wav"):
        load()


@pytest.fixture
def decoded(monkeypatch):
    """The names of the files that were decoded, in any order."""
    names = []
    decode = decoding.decode
    monkeypatch.setattr(
        decoding,
        "decode",
        lambda path, *arguments: names.append(path.name) or decode(path, *arguments),
    )
    return names


def test_files_are_decoded_once_and_their_split_again_when_one_changes(
    put, load, decoded, tmp_path
):
    names = [f"{number}.png" for number in range(12)]
    for number, name in enumerate(names):
        put(name, number)
    splits = ["train" if number < 8 else "test" for number in range(12)]
    put("labels.csv", "path,label,split\n" + "\n".join(map("{},a,{}".format, names, splits)))
    first = both(load)
    assert sorted(decoded) == sorted(names) and both(load) == first and len(decoded) == 12
    (tmp_path / "set").rename(tmp_path / "moved")
    (tmp_path / "moved").rename(tmp_path / "set")  # Where it lies makes no difference.
    load()
    assert len(decoded) == 12
    put("3.png", 200)
    assert (200, "a") in both(load) and len(decoded) == 12 + 8
    os.utime(tmp_path / "set" / "10.png", (0, 0))
    both(load)
    assert len(decoded) == 20 + 4
    both(lambda split: load(split, Settings(image_size=4)))
    assert len(decoded) == 24 + 12


def test_labels_that_change_are_read_again_without_decoding(put, load, decoded):
    put("0.png", 0)
    put("1.png", 1)
    for one, other in ("ab", "ba", "cc"):
        put("labels.csv", f"path,label,split\n0.png,{one},train\n1.png,{other},train")
        assert both(load) == [(0, one), (1, other)]
    assert len(decoded) == 2


def test_a_failure_in_the_middle_leaves_no_cache(put, load, monkeypatch, tmp_path):
    for number in range(30):
        put(f"{number:02d}.png", number)
    decode = decoding.decode

    def fail(path, *arguments):
        if path.name == "15.png":
            raise MemoryError
        return decode(path, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(decoding, "decode", fail)
        with pytest.raises(MemoryError):
            load()
    assert not list((tmp_path / "cache").iterdir())
    assert sorted(red for red, _ in both(load)) == list(range(30))


def test_other_files_of_the_same_names_sizes_and_times_are_others(put, load, tmp_path):
    for value in (0.1, 0.2):
        put("0.wav", value * np.sign(np.cos(np.arange(3200))))
        os.utime(tmp_path / "set/0.wav", (0, 0))
        (examples,) = [found for split in SPLITS if (found := loads(load, split)) is not None]
        np.testing.assert_allclose(np.abs(examples.inputs / 32768), value, atol=1e-3)
        (tmp_path / "set").rename(tmp_path / f"of {value}")


def loads(load, split):
    try:
        return load(split)
    except UserError:
        return None


def test_settings_of_another_kind_decode_nothing_again(put, load, decoded):
    put("a/0.png", 0)
    put("a/1.png", 1)
    both(load)
    both(lambda split: load(split, Settings(image_size=8, window_samples=99, num_frames=3)))
    assert len(decoded) == 2


def test_no_thread_outlives_what_failed(put_corrupt, load, monkeypatch):
    put_corrupt(40, 2)
    with pytest.raises(UserError) as error:
        load()
    assert "corrupt" in str(error.value) and not pool_threads()
    put_corrupt(40, 0)
    monkeypatch.setattr("numpy.asarray", mock.Mock(side_effect=OSError("The disk is full.")))
    with pytest.raises(UserError, match="The disk is full"):
        load()
    assert not pool_threads()


def pool_threads():
    """The traceback, which is held, holds what failed, so no collection has ended them."""
    return [one for one in threading.enumerate() if one.name.startswith("ThreadPoolExecutor")]
