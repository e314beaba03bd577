"""Files of sounds, pictures and clips, as arrays of one shape."""

import collections
import concurrent.futures
import contextlib
import dataclasses
import itertools
import os

import av
import numpy as np
from PIL import Image, ImageOps

from training.data import graph_decoding, sounds
from training.data.recordings import SILENCE, loudness
from training.errors import UserError

SUFFIXES = {
    "audio": (".wav", ".flac", ".mp3", ".ogg"),
    "image": (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp"),
    "video": (".mp4", ".avi", ".webm", ".mkv", ".mov"),
}
MOST_CORRUPT = 0.01  # Of the files of a set. More of them, and something is wrong with it.
VERSION = 2  # One more whenever a file comes to give other arrays.
PART = 1 << 21  # Samples of a long sound that come at a time: two minutes at 16 kHz.
MOST_FRAMES = 64  # For each frame that is asked for, so many lie in memory at most.


@dataclasses.dataclass(frozen=True)
class Settings:
    """The one shape that all files are brought to.

    Attributes:
        sample_rate: Of sounds, in samples a second.
        window_samples: Length of the windows that sounds are cut into.
        image_size: Height and width of pictures and frames, in pixels.
        num_frames: Frames of a clip.
        channels: 3 for colours, 1 for grey.

    Raises:
        ValueError: If one of them is not a positive integer, or `channels` neither 1 nor 3.
    """

    sample_rate: int = 16000
    window_samples: int = 16000
    image_size: int = 64
    num_frames: int = 16
    channels: int = 3

    def __post_init__(self):
        for name, value in dataclasses.asdict(self).items():
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"`{name}` must be a positive integer. Received: {name}={value!r}")
        if self.channels not in (1, 3):
            raise ValueError(
                f"`channels` must be 3 (colours) or 1 (grey). Received: channels={self.channels}"
            )


SETTINGS_OF = {
    "audio": ("sample_rate", "window_samples"),
    "image": ("image_size", "channels"),
    "video": ("image_size", "channels", "num_frames"),
}


def settings_of(kind, settings):
    """By name those that files of a kind depend on."""
    return {name: getattr(settings, name) for name in SETTINGS_OF[kind]}


def state_of(stat):
    """What changes with the content of a file; unlike the other, its last time cannot be set."""
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


@dataclasses.dataclass(frozen=True)
class Decoded:
    """What became of one file, or of a part of a long sound.

    Attributes:
        inputs: Its examples `(examples, ...)`, of the shapes that `Examples` gives; a sound has
            one for each window, a picture or a clip is one.
        left_out: Why the file gave no example, or fewer; empty if all of it could be used, and in
            all parts but the last.
        sample_rate, num_channels: Of a sound, as it was; None for others.
    """

    inputs: np.ndarray
    left_out: str = ""
    sample_rate: int | None = None
    num_channels: int | None = None


class CorruptFile(ValueError):
    """What a file holds cannot be read, or is nothing, or numbers that are not finite."""


def refuse_corrupt(corrupt, num_seen, num_all, what, mend):
    """Ends the decoding of a set, as soon as too much of it is corrupt.

    Args:
        corrupt: Why, by name, of the files that are corrupt.
        num_seen: How many have been seen, these included.
        num_all: How many there are.
        what: What they are, and of which set.
        mend: What to do about it, a sentence.

    Raises:
        UserError: If more than one file and more than 1 % of all are corrupt.
    """
    if len(corrupt) > max(1, MOST_CORRUPT * num_all):
        name, why = next(iter(corrupt.items()))
        raise UserError(
            f"{len(corrupt)} of the first {num_seen} {what} are corrupt, the first is {name} "
            f"({why}). {mend}"
        )


def decode(path, kind, settings, sound=None):
    """Decodes a file.

    Sounds are mixed down, resampled and cut into windows. What remains at the end is padded, or
    left out if it is less than half a window of a longer sound. Left out are windows that deviate
    from their mean by less than `SILENCE`, sounds shorter than a tenth of a window, and pictures
    and clips of one colour. A window that overshoots full scale is turned down as a whole: clipping
    would distort. Transparent pictures are laid on white.

    Args:
        path: Its `pathlib.Path`.
        kind: "audio", "image" or "video".
        settings: `Settings`.
        sound: float32 `(samples, channels)` and the sample rate, if the sound is decoded already.

    Yields:
        `Decoded`: one, or of a long sound several, so that it never lies in memory as a whole.

    Raises:
        CorruptFile: If what it holds cannot be used; a long sound has given what came before.
        OSError: If the file itself cannot be read.
    """
    if kind == "audio":
        yield from _audio(path, settings, sound)
    else:
        yield {"image": _image, "video": _video}[kind](path, settings)


def decode_all(paths, kind, settings):
    """Decodes files in threads, a few ahead of the one that is asked for.

    Args:
        paths: List of `pathlib.Path`s.
        kind, settings: As for `decode`.

    Yields:
        An iterator like `decode` for each path, in their order. Use each up before the next.
    """
    in_graph = kind == "audio" and graph_decoding.available()
    decoded = (
        graph_decoding.decode_all(paths, _num_threads()) if in_graph else itertools.repeat(None)
    )
    files = ((path, decode(path, kind, settings, sound)) for path, sound in zip(paths, decoded))
    with contextlib.closing(in_threads(files)) as begun:
        for _, parts in begun:
            yield parts


def in_threads(files):
    """Runs iterators in threads, a few ahead of the one that is asked for.

    Args:
        files: Iterator of pairs: anything, and an iterator like `decode`.

    Yields:
        The same, in their order. Use each iterator up before the next.
    """
    num_threads = _num_threads()
    with concurrent.futures.ThreadPoolExecutor(num_threads) as threads:
        ahead = collections.deque()
        for file, parts in files:
            ahead.append((file, _one_ahead(threads, parts, threads.submit(next, parts, None))))
            if len(ahead) > num_threads:
                yield ahead.popleft()
        yield from ahead


def _num_threads():
    return min(2 * os.cpu_count(), 16)


def _one_ahead(threads, parts, future):
    """While a part is used the next one is decoded."""
    while (part := future.result()) is not None:
        future = threads.submit(next, parts, None)
        yield part


@contextlib.contextmanager
def _reading(path):
    """Makes one error of the many that decoders raise for a damaged file."""
    try:
        yield
    except (MemoryError, CorruptFile):
        raise
    except Exception as error:
        # Decoders hide the reasons of the system. Where it cannot read the file, this raises them.
        with open(path, "rb") as file:
            while file.read(1 << 20):
                pass
        # ffmpeg's own words, without its number and the path.
        words = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise CorruptFile(words.splitlines()[0]) from error


def _audio(path, settings, sound):
    blocks = iter([sound] if sound else _read(path))
    first = next(blocks, None)
    if first is None:
        raise CorruptFile("holds no samples")
    samples, sample_rate = first
    as_it_was = {"sample_rate": sample_rate, "num_channels": samples.shape[1]}
    mono = (_mono(samples) for samples, _ in itertools.chain([first], blocks))
    mono = sounds.resampled(mono, sample_rate, settings.sample_rate)
    length = settings.window_samples
    part, num_windows, num_silent = [np.empty((0, length), np.int16)], 0, 0
    for windows in sounds.windows(mono, length):
        if not num_windows and 10 * windows.size < length:
            seconds = windows.size / settings.sample_rate
            yield Decoded(part[0], f"too short: {seconds:.2g} seconds", **as_it_was)
            return
        loud = windows[loudness(windows) >= SILENCE]
        num_windows += len(windows)
        num_silent += len(windows) - len(loud)
        part.append(_as_int16(loud, length))
        if sum(map(len, part)) * length >= PART:
            yield Decoded(np.concatenate(part), **as_it_was)
            part = part[:1]
    left_out = f"silent: {num_silent} of {num_windows} windows" if num_silent else ""
    yield Decoded(np.concatenate(part), left_out, **as_it_was)


def _read(path):
    with _reading(path):
        yield from sounds.read(path)


def _mono(samples):
    if not np.isfinite(samples).all():
        raise CorruptFile("holds NaN or infinity")
    return samples.mean(axis=1)


def _as_int16(windows, length):
    """Filled up with zeros to the length, and turned down where they overshoot."""
    windows = windows / np.maximum(np.abs(windows).max(axis=1, keepdims=True), 1)
    windows = np.clip(np.round(windows * 32768), -32768, 32767).astype(np.int16)
    return np.pad(windows, ((0, 0), (0, length - windows.shape[1])))


def _image(path, settings):
    with _reading(path), Image.open(path) as file:
        upright = ImageOps.exif_transpose(file)  # Of an animation the first frame.
        picture = square(_on_white(upright), settings)
    return unless_one_colour(picture)


def _on_white(picture):
    """Whatever colours transparent pixels hold, they are not meant to be seen."""
    if "A" not in picture.getbands() and "transparency" not in picture.info:
        return picture
    picture = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)


def square(picture, settings):
    """The middle of a picture, uint8 `(image_size, image_size, channels)`."""
    if picture.mode.startswith("I"):  # 16 bits, of which PIL would clip all above 255.
        picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    picture = picture.convert("L" if settings.channels == 1 else "RGB")
    # Resizing the square in the middle is resizing the whole so that its shorter side fits, and
    # cropping that; PIL averages over all pixels that fall into one.
    side = min(picture.size)
    left, upper = (picture.width - side) / 2, (picture.height - side) / 2
    size = (settings.image_size, settings.image_size)
    box = (left, upper, left + side, upper + side)
    picture = picture.resize(size, Image.Resampling.BICUBIC, box)
    return np.asarray(picture).reshape(*size, settings.channels)


def unless_one_colour(example):
    """`Decoded` of a picture or a clip `(..., channels)`."""
    pixels = example.reshape(-1, example.shape[-1])
    if (pixels == pixels[0]).all():
        return Decoded(example[None][:0], "one colour")
    return Decoded(example[None])


def _video(path, settings):
    with _reading(path):
        frames, stride, num_frames = _frames(path, settings)
    if not num_frames:
        raise CorruptFile("holds no frames")
    if num_frames < settings.num_frames:
        none = np.empty((0, settings.num_frames, *frames[0].shape), np.uint8)
        return Decoded(none, f"too short: {num_frames} frames of {settings.num_frames}")
    wanted = np.linspace(0, num_frames - 1, settings.num_frames)  # From the first to the last.
    kept = np.minimum(np.round(wanted / stride).astype(int), len(frames) - 1)
    return unless_one_colour(np.stack([frames[index] for index in kept]))


def _frames(path, settings):
    """Every frame, or every second, fourth …; which of these it is, and the number of all frames.

    Headers are often wrong about the number, so it is known at the end only. Frames are thinned
    out whenever there are more than enough: memory stays small, and of frames `d` apart each is
    off by `d / 32` at most.
    """
    frames, num_frames, stride = [], 0, 1
    with av.open(path) as container:
        if not container.streams.video:
            raise CorruptFile("holds no pictures")
        for frame in container.decode(video=0):
            if num_frames % stride == 0:
                upright = np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90)
                frames.append(square(Image.fromarray(upright), settings))
            num_frames += 1
            if len(frames) == MOST_FRAMES * settings.num_frames:
                frames, stride = frames[::2], 2 * stride
    return frames, stride, num_frames
