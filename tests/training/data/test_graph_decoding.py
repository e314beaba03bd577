"""Sounds decoded in the graph, where tensorflow-io loads, are those that soundfile decodes.

`make test-io` runs this where it loads; elsewhere the same holds of the route without it.
"""

import importlib.util
import itertools

import av
import numpy as np
import pytest
import soundfile
import tensorflow as tf

from training.data import decoding, graph_decoding, sounds
from training.data.decoding import Settings

VERSION = tuple(int(number) for number in tf.__version__.split(".")[:2])
LOADS = importlib.util.find_spec("tensorflow_io") is not None and VERSION <= (2, 17)

# What is decoded in the graph, with the largest difference that decoders may have.
FORMATS = {
    ("wav", "PCM_U8"): 0,
    ("wav", "PCM_16"): 0,
    ("wav", "PCM_24"): 0,
    ("wav", "FLOAT"): 0,
    ("flac", "PCM_16"): 0,
    ("flac", "PCM_24"): 0,
    ("ogg", "VORBIS"): 1e-6,
    ("mp3", "MPEG_LAYER_III"): 1e-5,
}
OTHERS = [
    ("wav", "PCM_32"),
    ("wav", "DOUBLE"),
    ("wav", "ULAW"),
    ("flac", "PCM_S8"),
    ("ogg", "OPUS"),
]


def noise(num_samples, num_channels, seed=0):
    random = np.random.RandomState(seed)
    return (0.2 * random.randn(num_samples, num_channels)).clip(-1, 1)


@pytest.fixture
def decoded_in_graph(monkeypatch):
    """What `decoding.decode_all` has decoded in the graph of each path, or None."""

    def decoded_in_graph(paths):
        def decode(path, kind, settings, sound):
            yield path, sound

        with monkeypatch.context() as patched:
            patched.setattr(decoding, "decode", decode)
            found = [next(parts) for parts in decoding.decode_all(paths, "audio", Settings())]
        assert [path for path, _ in found] == paths
        return [sound for _, sound in found]

    return decoded_in_graph


def whole(path, sound):
    """Samples and rate by the route that `decoding.decode` takes."""
    if sound is not None:
        return sound
    blocks, rates = zip(*sounds.read(path))
    return np.concatenate(blocks), rates[0]


def test_it_is_available_where_its_native_part_loads():
    assert graph_decoding.available() is LOADS


@pytest.mark.parametrize(("suffix", "subtype"), FORMATS)
@pytest.mark.parametrize("rate", [8000, 44100, 22050])
def test_both_routes_give_the_same_samples(suffix, subtype, rate, decoded_in_graph, tmp_path):
    paths = []
    for num_channels, num_samples in itertools.product([1, 2], [1200, 30002]):
        paths.append(tmp_path / f"{num_channels} ä {num_samples}.{suffix}")
        soundfile.write(paths[-1], noise(num_samples, num_channels), rate, subtype)
    for path, sound in zip(paths, decoded_in_graph(paths)):
        assert (sound is not None) is LOADS
        samples, sample_rate = whole(path, sound)
        expected, _ = soundfile.read(path, dtype="float32", always_2d=True)
        assert samples.dtype == np.float32 and sample_rate == rate
        tolerance = FORMATS[suffix, subtype]
        np.testing.assert_allclose(samples, expected, atol=tolerance, rtol=0)


@pytest.mark.parametrize("rate", [11025, 44101, 96000])
def test_odd_rates_are_known(rate, decoded_in_graph, tmp_path):
    soundfile.write(tmp_path / "a.wav", noise(500, 1), rate)
    [sound] = decoded_in_graph([tmp_path / "a.wav"])
    assert whole(tmp_path / "a.wav", sound)[1] == rate


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_24"])
def test_what_the_graph_refuses_soundfile_reads(subtype, decoded_in_graph, tmp_path):
    """tensorflow-io refuses a WAV file of an odd number of bytes of samples."""
    soundfile.write(tmp_path / "a.wav", noise(2001, 1), 16000, subtype)
    assert decoded_in_graph([tmp_path / "a.wav"]) == [None]
    [part] = decoding.decode(tmp_path / "a.wav", "audio", Settings(window_samples=2001))
    expected, _ = soundfile.read(tmp_path / "a.wav", dtype="float64")
    np.testing.assert_allclose(part.inputs[0] / 32768, expected, atol=0.6 / 32768)


@pytest.mark.parametrize(("suffix", "subtype"), OTHERS)
def test_what_the_graph_does_not_decode_right_is_left_to_soundfile(
    suffix, subtype, decoded_in_graph, tmp_path
):
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, noise(9000, 2), 48000, subtype)
    assert decoded_in_graph([path]) == [None]


def test_mp3_of_another_encoder_is_not_delayed(decoded_in_graph, tmp_path):
    """ffmpeg's says nothing about the delay in its header."""
    path = tmp_path / "a.mp3"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libmp3lame", rate=44100, layout="mono")
        frame = av.AudioFrame.from_ndarray(
            noise(44100, 1).astype("float32").T.copy(), format="fltp", layout="mono"
        )
        frame.sample_rate = 44100
        for part in (frame, None):
            container.mux(stream.encode(part))
    expected, _ = soundfile.read(path, dtype="float32", always_2d=True)
    samples, _ = whole(path, *decoded_in_graph([path]))
    np.testing.assert_allclose(samples, expected, atol=1e-5, rtol=0)


def test_long_sounds_are_left_to_be_read_block_by_block(decoded_in_graph, tmp_path, monkeypatch):
    monkeypatch.setattr(graph_decoding, "LONGEST", 2000)
    for number, num_samples in enumerate([1000, 1001]):
        soundfile.write(tmp_path / f"{number}.wav", noise(num_samples, 2), 16000)
    short, long = decoded_in_graph([tmp_path / "0.wav", tmp_path / "1.wav"])
    assert (short is not None) is LOADS and long is None


def outcome(parts):
    """Examples and what was left out, or the error."""
    try:
        parts = list(parts)
    except (decoding.CorruptFile, OSError) as error:
        return type(error), str(error)
    return [part.inputs.tolist() for part in parts], [part.left_out for part in parts]


@pytest.mark.parametrize(("suffix", "subtype"), FORMATS)
def test_damaged_files_come_out_the_same_and_harm_no_other(suffix, subtype, tmp_path):
    soundfile.write(tmp_path / f"good.{suffix}", noise(20000, 1), 16000, subtype)
    good = (tmp_path / f"good.{suffix}").read_bytes()
    damaged = {
        "empty": b"",
        "header": good[:50],
        "half": good[: len(good) // 2],
        "torn": good[: len(good) // 3] + b"?" * 999 + good[len(good) // 3 + 999 :],
        "text": b"no such thing" * 500,
    }
    paths = [tmp_path / f"missing.{suffix}"]
    for name, content in damaged.items():
        paths += [tmp_path / f"{name}.{suffix}", tmp_path / f"good.{suffix}"]
        paths[-2].write_bytes(content)
    settings = Settings(window_samples=4000)
    together = [outcome(parts) for parts in decoding.decode_all(paths, "audio", settings)]
    alone = [outcome(decoding.decode(path, "audio", settings)) for path in paths]
    for path, one, other in zip(paths, together, alone):
        if isinstance(one[0], list) and one[0]:
            np.testing.assert_allclose(one[0], other[0], atol=1, err_msg=path.name)
            assert one[1] == other[1]
        else:
            assert one == other
    assert together[0][0] is FileNotFoundError


def test_many_files_at_once_are_not_mixed_up(tmp_path):
    paths = []
    for number, (suffix, subtype) in zip(range(120), itertools.cycle(FORMATS)):
        paths.append(tmp_path / f"{number:03d}.{suffix}")
        samples = noise(1600 + 40 * number, 1 + number % 2, seed=number)
        soundfile.write(paths[-1], samples, 16000, subtype)
    settings = Settings(window_samples=1600)
    for path, parts in zip(paths, decoding.decode_all(paths, "audio", settings), strict=True):
        [expected], [part] = decoding.decode(path, "audio", settings), parts
        np.testing.assert_allclose(part.inputs, expected.inputs, atol=1)
