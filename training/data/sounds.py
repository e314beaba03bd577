"""Sounds of any length, block by block: read, resampled, cut into windows."""

import functools
import math

import av
import numpy as np
import soundfile
from scipy import signal

BLOCK = 1 << 18  # Samples that are read at a time.


def read(path):
    """Reads a sound.

    Args:
        path: Its `pathlib.Path`.

    Yields:
        Blocks, float32 `(samples, channels)` with full scale at 1, each with the sample rate.

    Raises:
        Exception: Of many kinds, if the file is damaged or holds no sound.
    """
    try:
        file = soundfile.SoundFile(path)
    except soundfile.LibsndfileError:  # Not a format of this libsndfile: ffmpeg knows more.
        yield from _read_by_ffmpeg(path)
        return
    # As if it were a pipe: else soundfile seeks after each block, and there MP3 crackles.
    file.seekable = lambda: False
    with file:
        while len(block := file.read(BLOCK, dtype="float32", always_2d=True)):
            yield block, file.samplerate


def _read_by_ffmpeg(path):
    with av.open(path) as container:
        if not container.streams.audio:
            raise ValueError("holds no sound")
        sample_rate = container.streams.audio[0].sample_rate
        to_float = av.AudioResampler(format="fltp")
        parts, num_samples = [], 0
        for frame in container.decode(audio=0):
            for part in to_float.resample(frame):
                parts.append(part.to_ndarray())  # (channels, samples)
                num_samples += part.samples
            if num_samples >= BLOCK:
                yield np.concatenate(parts, axis=1).T, sample_rate
                parts, num_samples = [], 0
        if parts:
            yield np.concatenate(parts, axis=1).T, sample_rate


def resampled(blocks, old, new):
    """Brings a sound to another rate; the result does not depend on how it is cut into blocks.

    It is `scipy.signal.resample_poly` of the whole. Beyond its ends the sound is taken to rest at
    the mean of its first `BLOCK` samples: with zeros, one off centre would begin with a click.

    Args:
        blocks: Iterable of float32 `(samples,)`, the first of `BLOCK` at least, or all there are.
        old, new: Sample rates.

    Yields:
        float32 `(samples,)`.
    """
    divisor = math.gcd(old, new)
    up, down = new // divisor, old // divisor
    if up == down:
        yield from blocks
        return
    low_pass = _low_pass(up, down)
    # Pieces begin at multiples of `down`, where old and new samples coincide, and have on either
    # side all that the filter looks at.
    margin = down * math.ceil(len(low_pass) / 2 / up / down)

    def inner(piece):
        piece = signal.resample_poly(piece, up, down, window=low_pass)
        return piece[margin * up // down : -margin * up // down]

    blocks = iter(blocks)
    block = next(blocks)
    rest_level = np.float32(block[:BLOCK].mean(dtype="float64"))
    waiting, num_old, num_new = np.zeros(margin, "float32"), 0, 0
    while block is not None:
        num_old += len(block)
        waiting = np.concatenate([waiting, block - rest_level])
        whole = (len(waiting) - 2 * margin) // down * down
        if whole > 0:
            yield inner(waiting[: whole + 2 * margin]) + rest_level
            num_new += whole * up // down
            waiting = waiting[whole:]
        block = next(blocks, None)
    left = -(-num_old * up // down) - num_new
    end = np.zeros(2 * margin + down - (len(waiting) - margin) % down, "float32")
    yield inner(np.concatenate([waiting, end]))[:left] + rest_level


@functools.lru_cache(maxsize=8)
def _low_pass(up, down):
    """The filter that `scipy.signal.resample_poly` would design anew for each piece."""
    widest = max(up, down)
    return signal.firwin(20 * widest + 1, 1 / widest, window=("kaiser", 5.0)).astype("float32")


def windows(blocks, length):
    """Cuts a sound into consecutive windows.

    What is left at its end is dropped if it is less than half a window, but for one that is
    shorter as a whole.

    Args:
        blocks: Iterable of `(samples,)`.
        length: Samples of a window.

    Yields:
        `(windows, length)`; at the end perhaps one that is shorter.
    """
    waiting, any_yet = np.zeros(0, "float32"), False
    for block in blocks:
        waiting = np.concatenate([waiting, block])
        whole = len(waiting) // length * length
        if whole:
            yield waiting[:whole].reshape(-1, length)
            waiting, any_yet = waiting[whole:], True
    if 2 * len(waiting) >= length or not any_yet:
        yield waiting[None]
