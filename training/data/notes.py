"""`notes`: single notes of musical instruments, rendered from a General MIDI sound bank.

Like NSynth: 16 kHz mono, labelled with pitch, velocity, instrument (General MIDI program) and
family (program // 8, 15 of them). About 14,000 notes of one second; `notes_varied` are
three times as many, of more pitches and levels, each a little out of tune.
"""

import dataclasses
import hashlib
import importlib.util
import pathlib
import typing

import numpy as np
import tensorflow_datasets as tfds
import tqdm

from training.data.draws import drawn

SAMPLE_RATE = 16000
NUM_SAMPLES = 16000
HELD_SAMPLES = 12000  # NSynth holds 3 seconds of its 4, then lets go.
PROGRAMS = range(120)  # The last 8 programs are sound effects.
PITCHES = range(36, 96)
VELOCITIES = (64, 112)
VARIED_PITCHES = range(24, 109)
VARIED_VELOCITIES = (32, 64, 96, 127)
MAX_CENTS = 40  # Out of tune, up or down: it stays the pitch it is.
FAMILIES = (
    "piano",
    "chromatic_percussion",
    "organ",
    "guitar",
    "bass",
    "strings",
    "ensemble",
    "brass",
    "reed",
    "pipe",
    "synth_lead",
    "synth_pad",
    "synth_effects",
    "ethnic",
    "percussive",
)
SILENCE = 1e-3  # A note whose peak lies below is no note.
HELD_OUT_PROGRAMS = (1, 5)  # The second and the sixth of the 8 programs of each family.
HELD_OUT_NOTES = 0.15  # Of the notes of each other program.
VALIDATION_PROGRAMS = (3, 7)  # Of those of `train`, to choose settings by.


@dataclasses.dataclass
class NotesConfig(tfds.core.BuilderConfig):
    """Which sound bank to render, and whether in many variations."""

    soundfont: str = ""
    varied: bool = False


def default_soundfont():
    """Path of the bank that `pretty_midi` ships, TimGM6mb."""
    package = importlib.util.find_spec("pretty_midi")
    if package is None:
        raise ModuleNotFoundError(
            "The default sound bank comes with pretty_midi: run `pip install pretty_midi`, or give "
            "any .sf2 file with --soundfont."
        )
    return str(pathlib.Path(package.submodule_search_locations[0]) / "TimGM6mb.sf2")


class Notes(tfds.core.GeneratorBasedBuilder):
    """Notes rendered from a General MIDI sound bank.

    Splits, disjoint: `train`; `test_notes`, other notes of the instruments of `train`;
    `test_instruments`, all notes of other instruments, of every family.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: typing.ClassVar = {
        "1.0.0": "120 programs, one second; 60 pitches at 2 velocities, or `notes_varied`'s."
    }

    def _info(self):
        return self.dataset_info_from_configs(
            description=__doc__,
            features=tfds.features.FeaturesDict(
                {
                    "audio": tfds.features.Tensor(
                        shape=(NUM_SAMPLES,), dtype=np.int16, encoding="bytes"
                    ),
                    "pitch": tfds.features.Scalar(np.int32),
                    "velocity": tfds.features.Scalar(np.int32),
                    "instrument": tfds.features.Scalar(np.int32),
                    "family": tfds.features.ClassLabel(names=list(FAMILIES)),
                }
            ),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        del dl_manager  # Nothing is downloaded.
        notes = {"train": [], "test_notes": [], "test_instruments": []}
        of = self.builder_config
        for key, note in render_notes(of.soundfont, of.varied):
            notes[split_of(note["instrument"], note["pitch"])].append((key, note))
        for split, members in notes.items():
            if not members:
                raise ValueError(
                    f"The bank {of.soundfont} gives no notes for the split "
                    f"{split}: it lacks most of the General MIDI programs 0 to 119."
                )
        return {split: iter(members) for split, members in notes.items()}

    def _generate_examples(self):
        raise NotImplementedError  # `_split_generators` gives the examples themselves.


def notes_builder(soundfont=None, data_dir=None, varied=False):
    """The TFDS builder of `notes` for a sound bank.

    Args:
        soundfont: Path of an .sf2 file, or `None` for the one that `pretty_midi` ships.
        data_dir: Where prepared data sets lie, or `None` for the user's TFDS folder.
        varied: Whether of `notes_varied`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no sound bank.
    """
    path = pathlib.Path(soundfont or default_soundfont()).expanduser()
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no sound bank {path}. Give an .sf2 file with --soundfont."
        )
    content = path.read_bytes()
    if content[:4] != b"RIFF" or content[8:12] != b"sfbk":
        raise ValueError(
            f"{path} is no SoundFont 2 bank: it does not begin with a RIFF sfbk header."
        )
    # Banks of one name may differ, so the name of the data set holds what is in the file.
    digest = hashlib.sha256(content).hexdigest()[:8]
    name = f"{path.stem}-{digest}{'-varied' * varied}"
    config = NotesConfig(name=name, soundfont=str(path), varied=varied)
    return Notes(config=config, data_dir=data_dir)


def render_notes(soundfont, varied=False):
    """Renders every note of a bank once: yields `(key, features)`, the same bytes on every run.

    Silent and duplicate notes are dropped, and so are programs that the bank lacks.

    Args:
        soundfont: Path of an .sf2 file.
        varied: Whether at more pitches and velocities, each up to `MAX_CENTS` out of tune.
    """
    try:
        import tinysoundfont  # Only rendering needs it; a prepared data set loads without.
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "Rendering notes needs tinysoundfont: run `pip install --no-deps "
            "'tinysoundfont>=0.3.6,<0.4'` (its PyAudio serves live playback only)."
        ) from error

    synth = tinysoundfont.Synth(samplerate=SAMPLE_RATE)
    try:
        bank = synth.sfload(soundfont)
    except RuntimeError as error:
        raise ValueError(f"{soundfont} is a damaged SoundFont 2 bank.") from error
    seen = set()
    pitches = VARIED_PITCHES if varied else PITCHES
    velocities = VARIED_VELOCITIES if varied else VELOCITIES
    grid = [(p, k, v) for p in PROGRAMS for k in pitches for v in velocities]
    progress = tqdm.tqdm(grid, desc="Rendering notes", unit="note", mininterval=1.0)
    for key, (program, pitch, velocity) in enumerate(progress):
        try:
            synth.program_select(0, bank, 0, program)
        except RuntimeError:  # The bank lacks this program.
            continue
        if varied:
            draw = drawn(f"{program}/{pitch}/{velocity}/tuning")
            synth.set_tuning(0, MAX_CENTS * (2 * draw - 1) / 100)  # Semitones.
        audio = _play(synth, pitch, velocity)
        if not np.all(np.isfinite(audio)):
            raise ValueError(
                f"The bank {soundfont} gives numbers that are not finite for program {program}, "
                f"pitch {pitch}, velocity {velocity}: it is damaged, or not one for General MIDI."
            )
        peak = np.max(np.abs(audio))
        if peak < SILENCE:
            continue
        # Some resonant filters overshoot full scale: turn such notes down, clipping would distort.
        samples = np.round(audio / max(peak, 1.0) * 32767).astype(np.int16)
        digest = hashlib.sha256(samples.tobytes()).digest()
        if digest in seen:
            continue
        seen.add(digest)
        yield (
            key,
            {
                "audio": samples,
                "pitch": pitch,
                "velocity": velocity,
                "instrument": program,
                "family": program // 8,
            },
        )


def _play(synth, pitch, velocity):
    """One note, mixed down to mono float32 `(NUM_SAMPLES,)`."""
    synth.sounds_off()  # What still rings of the note before.
    synth.noteon(0, pitch, velocity)
    held = np.frombuffer(bytes(synth.generate(HELD_SAMPLES)), np.float32)
    synth.noteoff(0, pitch)
    released = np.frombuffer(bytes(synth.generate(NUM_SAMPLES - HELD_SAMPLES)), np.float32)
    return np.concatenate([held, released]).reshape(-1, 2).mean(axis=1)


def split_of(instrument, pitch, validation=False):
    """The split of a note.

    Both its velocities are on one side: they may be one sample at two levels.

    Args:
        instrument: Its General MIDI program.
        pitch: Its MIDI pitch.
        validation: Whether to split those of `train` again, in the same way but by other programs
            and notes.
    """
    held_out = VALIDATION_PROGRAMS if validation else HELD_OUT_PROGRAMS
    if instrument % 8 in held_out:
        return "test_instruments"
    draw = drawn(f"{instrument}/{pitch}{'/validation' * validation}")
    return "test_notes" if draw < HELD_OUT_NOTES else "train"
