"""Decoded files against what was written: sines, pictures and clips that are known exactly."""

import struct
import tracemalloc

import av
import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image
from scipy import signal

from training.data import decoding, sounds
from training.data.decoding import CorruptFile, Settings

SECOND = Settings(window_samples=16000)


def decode(path, kind, settings):
    """The one `Decoded` of a file that is not long."""
    [decoded] = decoding.decode(path, kind, settings)
    return decoded


def sine(frequency, rate, seconds=1.0, amplitude=0.5):
    return amplitude * np.sin(2 * np.pi * frequency * np.arange(int(rate * seconds)) / rate)


def amplitude_and_snr(samples, frequency, rate):
    """Of the sine of that frequency that fits best, by least squares; edges are left out."""
    times = np.arange(len(samples)) / rate
    basis = np.stack([f(2 * np.pi * frequency * times) for f in (np.sin, np.cos)], axis=1)
    inner = slice(rate // 10, -rate // 10)
    weights = np.linalg.lstsq(basis[inner], samples[inner], rcond=None)[0]
    noise = samples[inner] - basis[inner] @ weights
    amplitude = np.hypot(*weights)
    return amplitude, 10 * np.log10(amplitude**2 / 2 / np.mean(noise**2))


def write_clip(path, frames, codec="libx264", pix_fmt="yuv420p"):
    """Frames uint8 `(height, width, 3)`."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pix_fmt
        pictures = [av.VideoFrame.from_ndarray(frame, format="rgb24") for frame in frames]
        for picture in (*pictures, None):
            container.mux(stream.encode(picture))


def numbered(num_frames, step, size=(48, 64)):
    return [np.full((*size, 3), step * number, np.uint8) for number in range(num_frames)]


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100, 48000, 96000])
@pytest.mark.parametrize("frequency", [220.0, 1000.0, 3300.0])
def test_a_sine_keeps_its_frequency_and_amplitude_at_any_rate(rate, frequency, tmp_path):
    soundfile.write(tmp_path / "a.wav", sine(frequency, rate), rate, subtype="FLOAT")
    decoded = decode(tmp_path / "a.wav", "audio", SECOND)
    [samples] = decoded.inputs / 32768
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    assert abs(np.argmax(spectrum) - frequency) <= 1  # A bin is 1 Hz.
    amplitude, snr = amplitude_and_snr(samples, frequency, 16000)
    assert amplitude == pytest.approx(0.5, rel=0.01) and snr > 50
    assert (decoded.sample_rate, decoded.num_channels, decoded.left_out) == (rate, 1, "")


def test_what_the_new_rate_cannot_hold_does_not_fold_back(tmp_path):
    soundfile.write(tmp_path / "a.wav", sine(1000, 48000) + 0.4 * sine(11000, 48000), 48000)
    [samples] = decode(tmp_path / "a.wav", "audio", SECOND).inputs / 32768
    assert amplitude_and_snr(samples, 5000, 16000)[0] < 5e-4  # 11 kHz would appear at 16 - 11.


@pytest.mark.parametrize(("suffix", "snr"), [("wav", 80), ("flac", 80), ("ogg", 35), ("mp3", 50)])
@pytest.mark.parametrize("rate", [16000, 44100])
def test_all_formats_of_a_sine_agree(suffix, snr, rate, tmp_path):
    # The encoders of Vorbis and MP3 put the amplitude off by 1 % themselves at their best.
    lossy = suffix in ("ogg", "mp3")
    best = {"compression_level": 0.0} if lossy else {}
    soundfile.write(tmp_path / f"a.{suffix}", sine(1000, rate, 1.5), rate, **best)
    samples = decode(tmp_path / f"a.{suffix}", "audio", SECOND).inputs[0] / 32768
    amplitude, measured = amplitude_and_snr(samples, 1000, 16000)
    assert amplitude == pytest.approx(0.5, rel=0.02 if lossy else 0.01)
    assert measured > (snr if rate == 16000 else min(snr, 50))
    in_time = samples - sine(1000, 16000)  # No format delays it.
    assert np.abs(in_time[1600:-1600]).max() < 0.03


@pytest.mark.parametrize("num_channels", [1, 2, 3])
def test_channels_are_mixed_down_to_their_mean(num_channels, tmp_path):
    channels = np.random.RandomState(0).randint(-20000, 20000, (16000, num_channels), "int16")
    soundfile.write(tmp_path / "a.wav", channels, 16000)
    decoded = decode(tmp_path / "a.wav", "audio", SECOND)
    mean = channels.astype("float64").mean(axis=1)
    np.testing.assert_allclose(decoded.inputs[0], mean, atol=0.51)
    assert decoded.num_channels == num_channels


def write_aac(path):
    """Two seconds of 1 kHz in stereo."""
    with av.open(str(path), "w", format="adts") as container:
        stream = container.add_stream("aac", rate=44100, layout="stereo")
        sides = np.stack([sine(1000, 44100, 2.0), sine(1000, 44100, 2.0)]).astype("float32")
        frame = av.AudioFrame.from_ndarray(sides, format="fltp", layout="stereo")
        frame.sample_rate = 44100
        for part in (frame, None):
            container.mux(stream.encode(part))


def test_what_libsndfile_does_not_know_ffmpeg_decodes(tmp_path):
    """AAC in a file that is called MP3."""
    write_aac(tmp_path / "a.mp3")
    with pytest.raises(soundfile.LibsndfileError):
        soundfile.read(tmp_path / "a.mp3")
    decoded = decode(tmp_path / "a.mp3", "audio", SECOND)
    amplitude, snr = amplitude_and_snr(decoded.inputs[0] / 32768, 1000, 16000)
    assert amplitude == pytest.approx(0.5, rel=0.01) and snr > 25
    assert (decoded.sample_rate, decoded.num_channels) == (44100, 2)


def windows_one_by_one(samples, length):
    """The rule for windows, said as a loop."""
    windows = []
    for start in range(0, len(samples), length):
        part = list(samples[start : start + length])
        if len(part) * 2 >= length or start == 0:
            windows.append(part + [0] * (length - len(part)))
    return np.array(windows)


@hypothesis_settings(deadline=None, max_examples=60, derandomize=True)
@given(st.lists(st.integers(1, 20), min_size=1, max_size=8), st.integers(1, 20))
def test_windows_are_consecutive_and_the_last_is_dropped_below_half(sizes, length):
    samples = np.arange(1, sum(sizes) + 1)
    blocks = np.split(samples, np.cumsum(sizes)[:-1])
    windows = [window for part in sounds.windows(blocks, length) for window in part]
    padded = [np.pad(window, (0, length - len(window))) for window in windows]
    np.testing.assert_array_equal(padded, windows_one_by_one(samples, length))


@pytest.mark.parametrize("old", [8000, 11025, 16000, 22050, 44100, 44101, 48000, 96000])
@pytest.mark.parametrize("new", [16000, 22050])
def test_blocks_of_any_length_are_resampled_like_the_whole(old, new):
    """SciPy resamples all of it in float64; the difference is below a hundredth of 16 bits."""
    random = np.random.RandomState(old)
    whole = (0.2 * random.randn(sounds.BLOCK + 50000) + 0.1).astype("float32")
    cuts = sounds.BLOCK + np.sort(random.choice(50000, 9, replace=False))
    parts = sounds.resampled(np.split(whole, cuts), old, new)
    level = whole[: sounds.BLOCK].mean(dtype="float64")
    expected = signal.resample_poly(whole - level, new, old) + level
    np.testing.assert_allclose(np.concatenate(list(parts)), expected, atol=0.01 / 32768, rtol=0)


@pytest.mark.parametrize("num_samples", [1, 2, 27, 28, 440, 441, 442, 1000])
def test_short_sounds_are_resampled_whole(num_samples):
    whole = np.random.RandomState(0).randn(num_samples).astype("float32")
    part = np.concatenate(list(sounds.resampled([whole], 44100, 16000)))
    level = whole.mean(dtype="float64")
    expected = signal.resample_poly(whole - level, 16000, 44100) + level
    np.testing.assert_allclose(part, expected, atol=1e-6)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_a_long_sound_comes_in_parts_that_make_the_whole(suffix, tmp_path, monkeypatch):
    monkeypatch.setattr(decoding, "PART", 40000)
    monkeypatch.setattr(sounds, "BLOCK", 30000)
    samples = np.stack([sine(1000, 44100, 20.0), sine(300, 44100, 20.0)], axis=1)
    samples[5 * 44100 : 8 * 44100] = 0  # Of which the outer seconds hold echoes of the filter.
    soundfile.write(tmp_path / f"a.{suffix}", samples, 44100)
    parts = list(decoding.decode(tmp_path / f"a.{suffix}", "audio", SECOND))
    assert [len(part.inputs) for part in parts[:-1]] == [3] * (len(parts) - 1) and len(parts) > 5
    assert not any(part.left_out for part in parts[:-1])
    assert parts[-1].left_out == "silent: 1 of 20 windows"
    read, _ = soundfile.read(tmp_path / f"a.{suffix}", dtype="float32", always_2d=True)
    mono = read.mean(axis=1)
    level = mono[:30000].mean()
    expected = (signal.resample_poly(mono - level, 16000, 44100) + level).reshape(-1, 16000)
    decoded = np.concatenate([part.inputs for part in parts]) / 32768
    expected = np.delete(expected, 6, axis=0)
    np.testing.assert_allclose(decoded, expected, atol=1.1 / 32768, rtol=0)


def test_ffmpeg_reads_block_by_block_what_it_reads_at_once(tmp_path, monkeypatch):
    write_aac(tmp_path / "a.mp3")
    whole = np.concatenate([block for block, _ in sounds.read(tmp_path / "a.mp3")])
    monkeypatch.setattr(sounds, "BLOCK", 5000)
    blocks = [block for block, _ in sounds.read(tmp_path / "a.mp3")]
    assert len(blocks) > 10 and all(len(block) >= 5000 for block in blocks[:-1])
    np.testing.assert_array_equal(np.concatenate(blocks), whole)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length_of_a_sound(tmp_path):
    """A quarter of an hour takes 160 MB in 16 bits, in stereo, and 318 MB as floats."""
    second = np.random.RandomState(0).randint(-9000, 9000, (44100, 2), "int16")
    with soundfile.SoundFile(tmp_path / "a.wav", "w", 44100, 2) as file:
        for _ in range(900):
            file.write(second)
    tracemalloc.start()
    num_windows = 0
    for part in decoding.decode(tmp_path / "a.wav", "audio", SECOND):
        num_windows += len(part.inputs)
    assert tracemalloc.get_traced_memory()[1] < 40e6
    tracemalloc.stop()
    assert num_windows == 900


def test_silent_windows_are_left_out_and_counted(tmp_path):
    loud, silent = sine(440, 16000), np.zeros(16000)
    soundfile.write(
        tmp_path / "a.wav", np.concatenate([silent, loud, 9e-5 * loud]), 16000, subtype="FLOAT"
    )
    decoded = decode(tmp_path / "a.wav", "audio", SECOND)
    np.testing.assert_allclose(decoded.inputs / 32768, [loud], atol=2e-5)
    assert decoded.left_out == "silent: 2 of 3 windows"


@pytest.mark.parametrize("rate", [16000, 44100])
@pytest.mark.parametrize("level", [0, 0.3, -1.0])
def test_a_level_off_zero_is_silence(rate, level, tmp_path):
    samples = level + 5e-5 * np.random.RandomState(0).uniform(-1, 1, 3 * rate + rate // 2)
    soundfile.write(tmp_path / "a.wav", samples.clip(-1, 1), rate, subtype="FLOAT")
    decoded = decode(tmp_path / "a.wav", "audio", SECOND)
    assert not len(decoded.inputs) and decoded.left_out == "silent: 4 of 4 windows"


@pytest.mark.parametrize("rate", [16000, 48000])
@pytest.mark.parametrize(("milliseconds", "left_out"), [(2.5, True), (99, True), (101, False)])
def test_sounds_shorter_than_a_tenth_of_a_window_are_left_out(
    milliseconds, left_out, rate, tmp_path
):
    soundfile.write(tmp_path / "a.wav", sine(440, rate, milliseconds / 1000), rate)
    decoded = decode(tmp_path / "a.wav", "audio", SECOND)
    assert decoded.inputs.shape == (0 if left_out else 1, 16000)
    assert decoded.left_out == (f"too short: {milliseconds / 1000} seconds" if left_out else "")


def test_a_window_beyond_full_scale_is_turned_down_not_clipped(tmp_path):
    samples = np.concatenate([sine(1000, 16000, 1, 4.0), sine(1000, 16000, 1, 0.25)])
    soundfile.write(tmp_path / "a.wav", samples, 16000, subtype="FLOAT")
    for window, expected in zip(decode(tmp_path / "a.wav", "audio", SECOND).inputs, (1, 0.25)):
        amplitude, snr = amplitude_and_snr(window / 32768, 1000, 16000)
        assert amplitude == pytest.approx(expected, rel=0.01) and snr > 70


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_sounds_with_numbers_that_are_not_finite_are_corrupt(bad, tmp_path):
    samples = sine(440, 16000)
    samples[77] = bad
    soundfile.write(tmp_path / "a.wav", samples, 16000, subtype="FLOAT")
    with pytest.raises(CorruptFile, match="NaN or infinity"):
        decode(tmp_path / "a.wav", "audio", SECOND)


def test_a_long_sound_has_given_what_came_before_it_turned_out_corrupt(tmp_path, monkeypatch):
    monkeypatch.setattr(decoding, "PART", 16000)
    monkeypatch.setattr(sounds, "BLOCK", 16000)
    samples = np.tile(sine(440, 16000), 3)
    samples[40000] = np.nan
    soundfile.write(tmp_path / "a.wav", samples, 16000, subtype="FLOAT")
    parts = decoding.decode(tmp_path / "a.wav", "audio", SECOND)
    for part in (next(parts), next(parts)):
        np.testing.assert_allclose(part.inputs / 32768, [sine(440, 16000)], atol=2e-5)
    with pytest.raises(CorruptFile, match="NaN or infinity"):
        next(parts)


def test_a_sound_without_samples_is_corrupt(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(0), 16000)
    with pytest.raises(CorruptFile, match="no samples"):
        decode(tmp_path / "a.wav", "audio", SECOND)


def test_what_ffmpeg_says_of_a_damaged_file_is_short(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"no such thing" * 500)
    with pytest.raises(CorruptFile, match=r"^Invalid data found when processing input$"):
        decode(tmp_path / "a.mp4", "video", SECOND)


@pytest.mark.parametrize(
    ("name", "kind"), [("a.wav", "audio"), ("a.png", "image"), ("a.mp4", "video")]
)
def test_what_the_system_cannot_read_is_not_corrupt(name, kind, tmp_path):
    with pytest.raises(FileNotFoundError):
        decode(tmp_path / name, kind, SECOND)
    (tmp_path / name).mkdir()
    with pytest.raises(IsADirectoryError):
        decode(tmp_path / name, kind, SECOND)


@pytest.mark.parametrize(
    "name", [f"a{suffix}" for suffixes in decoding.SUFFIXES.values() for suffix in suffixes]
)
@pytest.mark.parametrize("content", [b"", b"no such thing" * 500])
def test_what_is_no_file_of_its_kind_is_corrupt(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    [kind] = [kind for kind in decoding.SUFFIXES if name.endswith(decoding.SUFFIXES[kind])]
    with pytest.raises(CorruptFile) as error:
        decode(tmp_path / name, kind, SECOND)
    assert str(error.value) and "\n" not in str(error.value)


def quarters(height, width):
    """Black, red, green and blue, from the upper left in the order one reads."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[: height // 2, width // 2 :, 0] = 255
    picture[height // 2 :, : width // 2, 1] = 255
    picture[height // 2 :, width // 2 :, 2] = 255
    return picture


@pytest.mark.parametrize("suffix", ["png", "bmp", "gif", "webp", "jpg", "jpeg"])
def test_pictures_of_all_formats_are_the_middle_square(suffix, tmp_path):
    lossless = {"lossless": True} if suffix == "webp" else {}
    wide = np.concatenate([np.full((32, 16, 3), 255, np.uint8), quarters(32, 32)], axis=1)
    wide = np.concatenate([wide, np.full((32, 16, 3), 255, np.uint8)], axis=1)
    Image.fromarray(wide).save(tmp_path / f"a.{suffix}", **lossless)
    [picture] = decode(tmp_path / f"a.{suffix}", "image", Settings(image_size=32)).inputs
    assert picture.dtype == np.uint8
    inside = np.s_[[4, 4, 24, 24], [4, 24, 4, 24]]  # JPEG blurs the edges.
    tolerance = 3 if suffix.startswith("j") else 0
    np.testing.assert_allclose(picture[inside], quarters(32, 32)[inside], atol=tolerance)


@pytest.mark.parametrize("shape", [(48, 80), (80, 48), (64, 64)])
def test_fine_detail_is_averaged_not_sampled(shape, tmp_path):
    """Of a chessboard of single pixels below a black edge nothing but the grey may be left."""
    board = 255 * (np.indices(shape).sum(axis=0) % 2).astype(np.uint8)
    board[: (shape[0] - min(shape)) // 2 + 4] = 0
    Image.fromarray(board).save(tmp_path / "a.png")
    settings = Settings(image_size=min(shape) // 4, channels=1)
    [picture] = decode(tmp_path / "a.png", "image", settings).inputs
    assert picture.shape == (settings.image_size, settings.image_size, 1)
    np.testing.assert_allclose(picture[3:-1, 1:-1], 127.5, atol=2)


# What has to be done to the stored picture, by the number that EXIF gives it.
ORIENTATIONS = {
    1: lambda x: x,
    2: np.fliplr,
    3: lambda x: np.rot90(x, 2),
    4: np.flipud,
    5: lambda x: np.swapaxes(x, 0, 1),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: np.swapaxes(np.rot90(x, 2), 0, 1),
    8: lambda x: np.rot90(x, 1),
}


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_pictures_are_turned_as_their_exif_says(orientation, tmp_path):
    stored = quarters(32, 32)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(tmp_path / "a.png", exif=exif)
    [picture] = decode(tmp_path / "a.png", "image", Settings(image_size=32)).inputs
    np.testing.assert_array_equal(picture, ORIENTATIONS[orientation](stored))


def test_pictures_of_16_bits_keep_their_range(tmp_path):
    ramp = np.tile(np.arange(32, dtype=np.uint16) * 2048, (32, 1))
    Image.fromarray(ramp).save(tmp_path / "a.png")
    [picture] = decode(tmp_path / "a.png", "image", Settings(image_size=32, channels=1)).inputs
    np.testing.assert_array_equal(picture[..., 0], ramp // 256)


def test_an_animation_gives_its_first_frame(tmp_path):
    frames = [Image.fromarray(quarters(64, 64)), *map(Image.fromarray, numbered(3, 60, (64, 64)))]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    [picture] = decode(tmp_path / "a.gif", "image", Settings()).inputs
    np.testing.assert_array_equal(picture, quarters(64, 64))


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_and_clips_of_one_colour_are_left_out(channels, tmp_path):
    settings = Settings(image_size=8, channels=channels, num_frames=2)
    Image.new("RGB", (20, 10), (10, 200, 30)).save(tmp_path / "a.png")
    write_clip(tmp_path / "a.mkv", [np.full((8, 8, 3), 77, np.uint8)] * 3, "ffv1", "bgr0")
    picture = decode(tmp_path / "a.png", "image", settings)
    clip = decode(tmp_path / "a.mkv", "video", settings)
    assert picture.inputs.shape == (0, 8, 8, channels) and picture.left_out == "one colour"
    assert clip.inputs.shape == (0, 2, 8, 8, channels) and clip.left_out == "one colour"


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB with one transparent colour"])
def test_transparent_pictures_lie_on_white(mode, tmp_path):
    """The left half is opaque; the right one is transparent, or half of it in modes that can."""
    grey, hidden, alpha = 40, 250, np.zeros((8, 8), np.uint8)
    values = np.full((8, 8), hidden, np.uint8)
    values[:, :4], alpha[:, :4] = grey, 255
    if mode in ("RGBA", "LA"):
        alpha[:, 6:] = 51  # A fifth.
    colours = [values] * (1 if mode in ("LA", "P") else 3)
    if mode in ("RGBA", "LA"):
        picture, options = Image.fromarray(np.stack([*colours, alpha], axis=-1), mode), {}
    elif mode == "P":
        picture, options = Image.fromarray(values).convert("P"), {"transparency": hidden}
    else:
        picture = Image.fromarray(np.stack(colours, axis=-1))
        options = {"transparency": (hidden, hidden, hidden)}
    picture.save(tmp_path / "a.png", **options)
    [decoded] = decode(tmp_path / "a.png", "image", Settings(image_size=8)).inputs
    opacity = alpha[..., None] / 255
    expected = np.broadcast_to(values[..., None] * opacity + 255 * (1 - opacity), (8, 8, 3))
    np.testing.assert_allclose(decoded, expected, atol=1)


def test_a_picture_that_ends_early_is_corrupt(tmp_path):
    noise = np.random.RandomState(0).randint(0, 255, (64, 64, 3), "uint8")
    Image.fromarray(noise).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(CorruptFile):
        decode(tmp_path / "a.png", "image", Settings())


def test_a_file_is_not_corrupt_because_memory_ran_out(tmp_path, monkeypatch):
    def run_out(path):
        raise MemoryError

    monkeypatch.setattr(decoding.Image, "open", run_out)
    with pytest.raises(MemoryError):
        decode(tmp_path / "a.png", "image", Settings())


CONTAINERS = [
    ("mp4", "libx264", "yuv420p", 2),
    ("mov", "libx264", "yuv420p", 2),
    ("webm", "libvpx", "yuv420p", 2),
    ("avi", "mpeg4", "yuv420p", 5),
    ("mkv", "ffv1", "bgr0", 0),
]


@pytest.mark.parametrize(("suffix", "codec", "pix_fmt", "tolerance"), CONTAINERS)
def test_frames_are_evenly_spaced_over_the_clip(suffix, codec, pix_fmt, tolerance, tmp_path):
    """Each frame is as bright as five times its number; 46 of them are three apart for 16."""
    write_clip(tmp_path / f"a.{suffix}", numbered(46, 5), codec, pix_fmt)
    settings = Settings(image_size=24)
    [clip] = decode(tmp_path / f"a.{suffix}", "video", settings).inputs
    assert clip.shape == (16, 24, 24, 3) and clip.dtype == np.uint8
    expected = np.arange(0, 46, 3) * 5
    np.testing.assert_allclose(clip.mean(axis=(1, 2, 3)), expected, atol=tolerance + 0.01)


@pytest.mark.parametrize("num_frames", [3, 4, 7, 100, 255])
@pytest.mark.parametrize("wanted", [1, 2, 3])
def test_frames_are_evenly_spaced_in_clips_of_any_length(num_frames, wanted, tmp_path):
    """Also where they are thinned out on the way: there each is off by d / 32 at most."""
    frames = numbered(num_frames, 1, (8, 8))
    for frame in frames:
        frame[-1, -1] = 255
    write_clip(tmp_path / "a.mkv", frames, "ffv1", "bgr0")
    settings = Settings(image_size=8, num_frames=wanted, channels=1)
    [clip] = decode(tmp_path / "a.mkv", "video", settings).inputs
    expected = np.linspace(0, num_frames - 1, wanted)
    error = np.abs(clip[:, 0, 0, 0] - expected)
    spacing = num_frames / wanted
    assert error.max() <= (0.5 if num_frames < 64 * wanted else max(0.5, spacing / 32))


@pytest.mark.parametrize("num_frames", [1, 15])
def test_clips_of_too_few_frames_are_left_out(num_frames, tmp_path):
    write_clip(tmp_path / "a.mp4", numbered(num_frames, 5))
    decoded = decode(tmp_path / "a.mp4", "video", Settings(image_size=32))
    assert decoded.inputs.shape == (0, 16, 32, 32, 3)
    assert decoded.left_out == f"too short: {num_frames} frames of 16"


def test_clips_are_turned_as_their_container_says(tmp_path):
    write_clip(tmp_path / "a.mov", [quarters(48, 48)] * 2)
    content = bytearray((tmp_path / "a.mov").read_bytes())
    # The matrix of the track header of QuickTime: x' = -y, y' = x turns clockwise by 90 degrees.
    place = content.index(b"tkhd") + 44
    content[place : place + 36] = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
    (tmp_path / "a.mov").write_bytes(content)
    [clip] = decode(tmp_path / "a.mov", "video", Settings(num_frames=2, image_size=48)).inputs
    inside = np.s_[[6, 6, 40, 40], [6, 40, 6, 40]]
    expected = np.rot90(quarters(48, 48), -1)
    np.testing.assert_allclose(clip[0][inside], expected[inside], atol=8)


def test_a_container_without_pictures_is_no_clip(tmp_path):
    soundfile.write(tmp_path / "a.wav", sine(440, 16000), 16000)
    (tmp_path / "a.wav").rename(tmp_path / "a.mp4")
    with pytest.raises(CorruptFile, match="no pictures"):
        decode(tmp_path / "a.mp4", "video", Settings())


def test_files_come_in_their_order_and_a_few_at_a_time(monkeypatch):
    """Number 3 is corrupt after two parts; all others have three."""
    started = []

    def decode(path, *_):
        for part in range(3):
            started.append((path, part))
            if (path, part) == (3, 2):
                raise CorruptFile("three")
            yield path, part

    monkeypatch.setattr(decoding, "decode", decode)
    monkeypatch.setattr(decoding.os, "cpu_count", lambda: 2)
    files = decoding.decode_all(range(100), "image", Settings())
    first = next(files)
    assert next(first) == (0, 0)
    assert {path for path, _ in started} <= set(range(6))
    assert len(started) <= 5 + 2  # One part of each file, and the next one of the first.
    assert list(first) == [(0, 1), (0, 2)]
    for path, parts in enumerate(files, start=1):
        if path == 3:
            assert [next(parts), next(parts)] == [(3, 0), (3, 1)]
            with pytest.raises(CorruptFile, match="three"):
                next(parts)
        else:
            assert list(parts) == [(path, 0), (path, 1), (path, 2)]
    assert path == 99


@pytest.mark.parametrize("wrong", [{"sample_rate": 0}, {"num_frames": 2.0}, {"channels": 2}])
def test_wrong_settings_are_refused_by_name(wrong):
    [(name, value)] = wrong.items()
    with pytest.raises(ValueError, match=f"`{name}` must be .*{value}"):
        Settings(**wrong)
