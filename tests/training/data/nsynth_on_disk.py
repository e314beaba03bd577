"""A small NSynth as its authors publish it."""

import json

import soundfile

from tests.training.data import tfds_on_disk as on_disk


def write(folder, splits, rate=16000, num_samples=64000):
    """Writes notes, lists by split as `tfds_on_disk.notes` gives them."""
    for split, notes in splits.items():
        audio = folder / f"nsynth-{split}" / "audio"
        audio.mkdir(parents=True)
        for name, _, pitch, _ in notes:
            sound = on_disk.tone(pitch, num_samples, rate)
            soundfile.write(audio / f"{name}.wav", sound, rate, "PCM_16")
        entries = {name: entry(*note, rate) for name, *note in notes}
        (audio.parent / "examples.json").write_text(json.dumps(entries))
    return folder


def entry(instrument, pitch, velocity, rate):
    return {
        "note": 201034,
        "sample_rate": rate,
        "pitch": pitch,
        "velocity": velocity,
        "instrument": instrument,
        "instrument_str": f"guitar_acoustic_{instrument:03d}",
        "instrument_family": instrument % 11,
        "instrument_family_str": "guitar",
        "instrument_source": 0,
        "instrument_source_str": "acoustic",
        "qualities": [0] * 10,
        "qualities_str": [],
    }
