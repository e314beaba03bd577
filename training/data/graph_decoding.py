"""Sounds decoded in a `tf.data` graph, where the native part of tensorflow-io loads."""

import functools
import importlib.util
import os
import warnings

import soundfile
import tensorflow as tf

# Samples of all channels. The ops decode whole files, so longer ones are left to be read block by
# block. (Those that do read ranges share one reader among parallel calls, and mix files up.)
LONGEST = 1 << 22


@functools.cache
def available():
    """Whether the native part of tensorflow-io is there and loads: up to TensorFlow 2.17."""
    if importlib.util.find_spec("tensorflow_io") is None:
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Without its native part it warns, and imports.
        from tensorflow_io import audio
    try:
        audio.decode_wav(b"", dtype=tf.int16)
    except NotImplementedError:
        return False
    except tf.errors.OpError:  # The decoder's own word on an empty file.
        return True


def decode_all(paths, ahead):
    """Decodes sounds, in parallel and in their order.

    Args:
        paths: List of `pathlib.Path`s.
        ahead: How many to decode ahead of the one that is asked for.

    Yields:
        For each path float32 `(samples, channels)` with full scale at 1, and the sample rate; or
        None if the graph cannot decode it, or not all of it, or it is long.
    """
    decoders = _decoders()
    numbers = {formats: number for number, formats in enumerate(decoders, start=1)}

    def headers():
        for path in paths:
            yield os.fsencode(path), *_header(path, numbers)

    def decode(path, number, num_samples, sample_rate):
        branches = [
            lambda: tf.zeros([0, 0]),
            *(lambda d=d: d(tf.io.read_file(path)) for d in decoders.values()),
        ]
        return tf.switch_case(number, branches), num_samples, sample_rate

    types = (tf.string, tf.int32, tf.int64, tf.int32)
    signature = tuple(tf.TensorSpec([], dtype) for dtype in types)
    dataset = tf.data.Dataset.from_generator(headers, output_signature=signature)
    decoded = iter(dataset.map(decode, num_parallel_calls=ahead, deterministic=True))
    for _ in paths:
        try:
            samples, num_samples, sample_rate = (part.numpy() for part in next(decoded))
        except tf.errors.OpError:  # Of this file alone: the next one follows.
            yield None
            continue
        whole = len(samples) == num_samples > 0
        yield (samples, int(sample_rate)) if whole else None


def _header(path, numbers):
    """The number of the decoder, 0 for none, the number of samples and the sample rate."""
    try:
        header = soundfile.info(path)
    except soundfile.LibsndfileError:
        return 0, 0, 0
    if header.frames * header.channels > LONGEST:
        return 0, 0, 0
    number = numbers.get((header.format, header.subtype), 0)
    return number, header.frames, header.samplerate


def _decoders():
    """Functions from the bytes of a file to float32 `(samples, channels)`, by its format.

    Not of 32-bit integers, whose bits tensorflow-io takes for floats.
    """
    from tensorflow_io import audio

    def scaled(decode, dtype, middle, full_scale):
        return lambda content: (
            (tf.cast(decode(content, dtype=dtype), tf.float32) - middle) / full_scale
        )

    return {
        ("WAV", "PCM_U8"): scaled(audio.decode_wav, tf.uint8, 128, 2**7),
        ("WAV", "PCM_16"): scaled(audio.decode_wav, tf.int16, 0, 2**15),
        ("WAV", "PCM_24"): scaled(audio.decode_wav, tf.int32, 0, 2**31),
        ("WAV", "FLOAT"): lambda content: audio.decode_wav(content, dtype=tf.float32),
        ("FLAC", "PCM_16"): scaled(audio.decode_flac, tf.int16, 0, 2**15),
        ("FLAC", "PCM_24"): scaled(audio.decode_flac, tf.int32, 0, 2**31),
        ("OGG", "VORBIS"): audio.decode_vorbis,
        ("MP3", "MPEG_LAYER_III"): audio.decode_mp3,
    }
