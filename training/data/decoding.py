"""Files of sounds, pictures and clips, as arrays of one shape."""

import collections
import concurrent.futures
import contextlib
import dataclasses
import os

import av
import numpy as np
import soundfile
from PIL import Image, ImageOps
from scipy import signal

from training.data.recordings import SILENCE

SUFFIXES = {
    "audio": (".wav", ".flac", ".mp3", ".ogg"),
    "image": (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp"),
    "video": (".mp4", ".avi", ".webm", ".mkv", ".mov"),
}
VERSION = 1  # One more whenever a file comes to give other arrays.
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


@dataclasses.dataclass(frozen=True)
class Decoded:
    """What became of one file.

    Attributes:
        inputs: Its examples `(examples, ...)`, of the shapes that `Examples` gives; a sound has
            one for each window, a picture or a clip is one.
        left_out: Why it gave no example, or fewer; empty if all of it could be used.
        sample_rate, num_channels: Of a sound, as it was; None for others.
    """

    inputs: np.ndarray
    left_out: str = ""
    sample_rate: int | None = None
    num_channels: int | None = None


class CorruptFile(ValueError):
    """A file cannot be read, or holds nothing, or numbers that are not finite."""


def decode(path, kind, settings):
    """Decodes a file.

    Args:
        path: Its `pathlib.Path`.
        kind: "audio", "image" or "video".
        settings: `Settings`.

    Returns:
        `Decoded`.

    Raises:
        CorruptFile: If it cannot be read.
    """
    return {"audio": _audio, "image": _image, "video": _video}[kind](path, settings)


def decode_all(paths, kind, settings):
    """Decodes files in threads, a few ahead of the one that is asked for.

    Args:
        paths: `pathlib.Path`s.
        kind, settings: As for `decode`.

    Yields:
        A finished `concurrent.futures.Future` of `Decoded` for each path, in their order; its
        `result()` raises `CorruptFile` if the file cannot be read.
    """
    num_threads = min(2 * os.cpu_count(), 16)
    with concurrent.futures.ThreadPoolExecutor(num_threads) as threads:
        ahead = collections.deque()
        for path in paths:
            ahead.append(threads.submit(decode, path, kind, settings))
            if len(ahead) > num_threads:
                yield _finished(ahead.popleft())
        while ahead:
            yield _finished(ahead.popleft())


def _finished(future):
    concurrent.futures.wait([future])
    return future


@contextlib.contextmanager
def _reading():
    """Makes one error of the many that decoders raise for a damaged file."""
    try:
        yield
    except (MemoryError, CorruptFile):
        raise
    except Exception as error:
        lines = str(error).splitlines() or [type(error).__name__]
        raise CorruptFile(lines[0]) from error


def _audio(path, settings):
    with _reading():
        samples, sample_rate = _samples(path)
    if not len(samples):
        raise CorruptFile("holds no samples")
    if not np.isfinite(samples).all():
        raise CorruptFile("holds NaN or infinity")
    mono = samples.mean(axis=1)
    if sample_rate != settings.sample_rate:
        mono = signal.resample_poly(mono, settings.sample_rate, sample_rate)
    # What overshoots full scale is turned down as a whole: clipping would distort.
    mono /= max(np.abs(mono).max(), 1.0)
    windows = _windows(mono, settings.window_samples)
    loud = np.abs(windows).max(axis=1) >= SILENCE
    num_silent = len(windows) - loud.sum()
    return Decoded(
        np.clip(np.round(windows[loud] * 32768), -32768, 32767).astype(np.int16),
        f"silent: {num_silent} of {len(windows)} windows" if num_silent else "",
        sample_rate,
        samples.shape[1],
    )


def _samples(path):
    """float32 `(samples, channels)`, full scale at 1, and the sample rate."""
    try:
        file = soundfile.SoundFile(path)
    except soundfile.LibsndfileError:  # Not a format of this libsndfile: ffmpeg knows more.
        return _samples_by_ffmpeg(path)
    with file:
        return file.read(dtype="float32", always_2d=True), file.samplerate


def _samples_by_ffmpeg(path):
    with av.open(path) as container:
        if not container.streams.audio:
            raise CorruptFile("holds no sound")
        to_float = av.AudioResampler(format="fltp")
        parts = [
            part.to_ndarray()  # (channels, samples)
            for frame in container.decode(audio=0)
            for part in to_float.resample(frame)
        ]
        return np.concatenate(parts, axis=1).T, container.streams.audio[0].sample_rate


def _windows(mono, length):
    """Consecutive windows: `(samples,)` to `(windows, length)`.

    The last one is filled up with zeros if it is at least half full, or the only one.
    """
    num_windows, rest = divmod(len(mono), length)
    if 2 * rest >= length or not num_windows:
        num_windows += 1
    mono = mono[: num_windows * length]
    return np.pad(mono, (0, num_windows * length - len(mono))).reshape(num_windows, length)


def _image(path, settings):
    with _reading(), Image.open(path) as file:
        upright = ImageOps.exif_transpose(file)  # Of an animation the first frame.
        return Decoded(_square(upright, settings)[None])


def _square(picture, settings):
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


def _video(path, settings):
    with _reading():
        frames, stride, num_frames = _frames(path, settings)
    if not num_frames:
        raise CorruptFile("holds no frames")
    if num_frames < settings.num_frames:
        none = np.empty((0, settings.num_frames, *frames[0].shape), np.uint8)
        return Decoded(none, f"too short: {num_frames} frames of {settings.num_frames}")
    wanted = np.linspace(0, num_frames - 1, settings.num_frames)  # From the first to the last.
    kept = np.minimum(np.round(wanted / stride).astype(int), len(frames) - 1)
    return Decoded(np.stack([frames[index] for index in kept])[None])


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
                frames.append(_square(Image.fromarray(upright), settings))
            num_frames += 1
            if len(frames) == MOST_FRAMES * settings.num_frames:
                frames, stride = frames[::2], 2 * stride
    return frames, stride, num_frames
