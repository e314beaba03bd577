"""The rendered notes: labels, splits, and what is dropped."""

import numpy as np
import pytest

from training.config import DataConfig
from training.data import notes, sets
from training.data.draws import drawn
from training.errors import UserError


@pytest.fixture
def few_notes(monkeypatch):
    monkeypatch.setattr(notes, "PROGRAMS", [8 * f + member for f in range(15) for member in (0, 1)])
    monkeypatch.setattr(notes, "PITCHES", range(48, 72, 6))


def rendered(soundfont=None):
    return [note for _, note in notes.render_notes(soundfont or notes.default_soundfont())]


def test_rendering_gives_the_same_bytes_again(few_notes):
    first, second = rendered(), rendered()
    assert len(first) > 200
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a["audio"], b["audio"])


def test_a_note_sounds_at_its_pitch(few_notes):
    """The strongest period of a piano note, by autocorrelation, is that of its key."""
    for note in rendered():
        if note["instrument"] != 0 or note["velocity"] != max(notes.VELOCITIES):
            continue
        audio = note["audio"][2000:6000].astype("float64")
        correlation = np.correlate(audio, audio, "full")[len(audio) - 1 :]
        period = notes.SAMPLE_RATE / (440 * 2 ** ((note["pitch"] - 69) / 12))
        near = slice(round(0.7 * period), round(1.4 * period) + 1)
        best = near.start + np.argmax(correlation[near])
        assert abs(12 * np.log2(best / period)) < 0.5


def test_samples_fill_the_range_without_clipping(few_notes, monkeypatch):
    monkeypatch.setattr(notes, "PROGRAMS", [94])  # Its filter overshoots full scale by far.
    monkeypatch.setattr(notes, "PITCHES", range(70, 74))
    for note in rendered():
        at_full_scale = np.abs(note["audio"].astype(int)) >= 32767
        assert at_full_scale.sum() <= 2


def test_silent_and_duplicate_notes_are_dropped(few_notes, monkeypatch):
    play = notes._play
    monkeypatch.setattr(
        notes,
        "_play",
        lambda synth, pitch, velocity: {
            48: lambda: np.zeros(notes.NUM_SAMPLES, "float32"),
            54: lambda: np.full(notes.NUM_SAMPLES, 0.5, "float32"),
        }.get(pitch, lambda: play(synth, pitch, velocity))(),
    )
    made = rendered()
    assert not [note for note in made if note["pitch"] == 48]
    assert len([note for note in made if note["pitch"] == 54]) == 1


def cents_from_equal_temperament(audio, pitch):
    """How much sharp a steady note is, by the highest peak near its fundamental."""
    spectrum = np.abs(np.fft.rfft(audio[2000:12000] * np.hanning(10000), 2**18))
    hertz = np.fft.rfftfreq(2**18, 1 / notes.SAMPLE_RATE)
    expected = 440 * 2 ** ((pitch - 69) / 12)
    near = (hertz > expected * 2 ** (-1 / 12)) & (hertz < expected * 2 ** (1 / 12))
    return 1200 * np.log2(hertz[near][np.argmax(spectrum[near])] / expected)


def test_varied_notes_are_out_of_tune_by_cents_that_come_again(monkeypatch):
    monkeypatch.setattr(notes, "PROGRAMS", [16])  # An organ: it holds its tone.
    monkeypatch.setattr(notes, "VARIED_PITCHES", range(60, 84, 2))
    monkeypatch.setattr(notes, "PITCHES", range(60, 84, 2))
    bank = notes.default_soundfont()
    varied, again = (list(notes.render_notes(bank, varied=True)) for _ in range(2))
    assert [note["audio"].tobytes() for _, note in varied] == [
        note["audio"].tobytes() for _, note in again
    ]
    assert {note["velocity"] for _, note in varied} == set(notes.VARIED_VELOCITIES)
    in_tune = dict.fromkeys(notes.PITCHES)
    for _, note in notes.render_notes(bank):
        in_tune[note["pitch"]] = cents_from_equal_temperament(note["audio"], note["pitch"])
    off = []
    for _, note in varied:
        cents = cents_from_equal_temperament(note["audio"], note["pitch"])
        off.append(cents - in_tune[note["pitch"]])
        name = f"16/{note['pitch']}/{note['velocity']}/tuning"
        assert off[-1] == pytest.approx(notes.MAX_CENTS * (2 * drawn(name) - 1), abs=4)
    assert min(off) < -25 and max(off) > 25


def test_numbers_that_are_not_finite_are_refused(few_notes, monkeypatch):
    monkeypatch.setattr(notes, "_play", lambda *_: np.full(notes.NUM_SAMPLES, np.nan, "float32"))
    with pytest.raises(ValueError, match="not finite for program 0, pitch 48"):
        rendered()


@pytest.mark.parametrize("validation", [False, True])
def test_splits_hold_out_instruments_of_every_family_and_whole_notes(validation):
    by_split = {"train": [], "test_notes": [], "test_instruments": []}
    for program in notes.PROGRAMS:
        for pitch in notes.PITCHES:
            split = notes.split_of(program, pitch, validation)
            by_split[split].append((program, pitch))
    programs = {split: {program for program, _ in members} for split, members in by_split.items()}
    assert not programs["train"] & programs["test_instruments"]
    assert programs["train"] == programs["test_notes"]
    for split in programs:
        assert {program // 8 for program in programs[split]} == set(range(15))
    held_out = len(by_split["test_notes"])
    assert 0.12 < held_out / (held_out + len(by_split["train"])) < 0.18


def test_settings_are_chosen_by_notes_of_the_training_split_alone(few_notes, monkeypatch, tmp_path):
    programs = [8 * f + member for f in range(15) for member in (0, 1, 3)]
    monkeypatch.setattr(notes, "PROGRAMS", programs)
    configs = [DataConfig(data_dir=str(tmp_path), validation=on) for on in (False, True)]
    made = [
        {
            split: sets.of(config).load(config, split)
            for split in ("train", "test_notes", "test_instruments")
        }
        for config in configs
    ]

    def notes_of(part):
        return {sound.tobytes() for sound in part.inputs}

    whole = notes_of(made[0]["train"])
    parts = [notes_of(part) for part in made[1].values()]
    assert set.union(*parts) == whole and sum(map(len, parts)) == len(whole)
    held_out = made[1]["test_instruments"].labels["instrument"] % 8
    assert set(held_out) <= set(notes.VALIDATION_PROGRAMS)
    assert not set(made[1]["train"].labels["instrument"] % 8) & set(notes.VALIDATION_PROGRAMS)


@pytest.mark.slow
def test_a_prepared_set_holds_what_was_rendered(few_notes, tmp_path):
    config = DataConfig(data_dir=str(tmp_path))
    made = {split: sets.of(config).load(config, split) for split in ("train", "test_instruments")}
    by_label = {
        (int(note["instrument"]), int(note["pitch"]), note["velocity"]): note for note in rendered()
    }
    audio = {note["audio"].tobytes() for note in by_label.values()}
    for part in made.values():
        assert part.sample_rate == 16000 and part.inputs.dtype == np.int16
        np.testing.assert_array_equal(part.labels["family"], part.labels["instrument"] // 8)
        assert all(recording.tobytes() in audio for recording in part.inputs)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "There is no sound bank"),
        (b"RIFF....WAVE", "is no SoundFont 2 bank"),
        (b"RIFF\xff\xff\x00\x00sfbk and no more", "is a damaged SoundFont 2 bank"),
    ],
)
def test_what_is_no_sound_bank_is_refused_and_nothing_prepared(content, message, tmp_path):
    path = tmp_path / "bank.sf2"
    if content is not None:
        path.write_bytes(content)
    config = DataConfig(soundfont=str(path), data_dir=str(tmp_path / "sets"))
    with pytest.raises(UserError, match=message):
        sets.of(config).load(config, "train")
    assert not list((tmp_path / "sets").rglob("*.tfrecord*"))


def test_a_bank_without_notes_for_a_split_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(notes, "PROGRAMS", [0])
    monkeypatch.setattr(notes, "PITCHES", range(48, 60))
    with pytest.raises(UserError, match="no notes for the split test_instruments"):
        sets.SETS["notes"].load(DataConfig(data_dir=str(tmp_path)), "train")
    assert not list(tmp_path.rglob("*.tfrecord*"))
