"""Sounds come later and louder, as the waveforms would."""

import numpy as np
import pytest
import tensorflow as tf

from keras_s2l import LogSpectrogram
from training.data.augmentation import Augmentation, delayed, louder, noisier
from training.data.stream import step_seed


def varied(augmentation, start, end):
    x = np.ones((8, 6, 1, 1), "float32")
    steps = [augmentation.vary(x, step_seed(0, step)).numpy() for step in range(start, end)]
    return np.concatenate(steps)[..., 0, 0]


def test_delayed_examples_begin_with_zeros_and_lose_their_end():
    x = np.random.default_rng(0).normal(size=(5, 7, 2, 1)).astype("float32")
    moved = delayed(x, np.int32([0, 1, 3, 6, 7])).numpy()
    for example, shift, result in zip(x, [0, 1, 3, 6, 7], moved, strict=True):
        expected = np.concatenate([np.zeros((shift, 2, 1)), example[: 7 - shift]])
        np.testing.assert_array_equal(result, expected)


def test_shifts_differ_between_examples_and_come_again_after_a_resume():
    augmentation = Augmentation(max_shift=4)
    shifts = 6 - varied(augmentation, 0, 20).sum(axis=1)
    assert set(shifts) == {0, 1, 2, 3, 4}
    np.testing.assert_array_equal(shifts[8 * 13 :], 6 - varied(augmentation, 13, 20).sum(axis=1))


def test_gains_fill_their_range_and_come_again_after_a_resume():
    augmentation = Augmentation(max_gain_db=6.0)
    levels = varied(augmentation, 0, 20)[:, 0]
    gains = 20 * np.log10(np.expm1(levels) / np.expm1(1))
    assert -6.001 < gains.min() < -5 and 5 < gains.max() < 6.001 and abs(gains.mean()) < 1
    np.testing.assert_array_equal(levels[8 * 13 :], varied(augmentation, 13, 20)[:, 0])


def test_louder_is_the_spectrogram_of_the_louder_waveform():
    frontend = LogSpectrogram(num_mel_bins=20)
    waveforms = np.random.default_rng(0).uniform(-0.3, 0.3, (2, 2000)).astype("float32")
    gains = np.float32([6.0, -12.0])
    expected = frontend(waveforms * 10 ** (gains[:, None] / 20))
    np.testing.assert_allclose(louder(frontend(waveforms), gains), expected, rtol=1e-4)


def test_noise_is_as_loud_as_it_is_said_and_comes_again():
    x = np.log1p(np.random.default_rng(0).random((3, 60, 40, 1))).astype("float32") * 3
    draws = np.random.default_rng(1).uniform(1e-7, 1, x.shape).astype("float32")
    snr = np.float32([0.0, 10.0, 30.0])
    power = np.expm1(x.astype("float64")) ** 2
    added = np.expm1(noisier(x, snr, draws).numpy().astype("float64")) ** 2 - power
    ratio = 10 * np.log10(power.mean(axis=(1, 2, 3)) / added.mean(axis=(1, 2, 3)))
    np.testing.assert_allclose(ratio, snr, atol=0.3)
    augmentation = Augmentation(min_snr_db=5.0)
    first, again, other = (augmentation.vary(x, step_seed(0, step)).numpy() for step in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first > x).mean() > 0.99 and (first != other).any()
    silent = noisier(np.zeros((1, 4, 4, 1), "float32"), np.float32([5.0]), draws[:1, :4, :4])
    np.testing.assert_array_equal(silent, 0.0)


def test_noise_is_that_of_the_noisy_waveform():
    frontend = LogSpectrogram(fft_length=1024)
    random = np.random.default_rng(0)
    sound = (0.3 * np.sin(np.arange(16000) * 0.3))[None].astype("float32")
    noise = random.normal(0, 0.3 / np.sqrt(2) / 10, sound.shape)  # 20 dB softer.
    expected = np.expm1(frontend((sound + noise).astype("float32")).numpy()) ** 2
    x = frontend(sound).numpy()
    draws = random.uniform(1e-7, 1, x.shape).astype("float32")
    made = np.expm1(noisier(x, np.float32([20.0]), draws).numpy()) ** 2
    far = slice(200, 500)  # Bins where there is noise alone.
    ratio = 10 * np.log10(made[:, :, far].mean() / expected[:, :, far].mean())
    assert abs(ratio) < 0.5


def test_of_sounds_a_part_of_the_time_and_of_the_frequencies_is_kept_that_comes_again():
    ramp = np.linspace(0, 1, 24, dtype="float32")
    in_time = np.broadcast_to(ramp[:, None, None], (200, 24, 30, 1))
    in_frequency = np.broadcast_to(ramp[None, :, None], (200, 30, 24, 1))
    augmentation = Augmentation(min_time=0.5, min_frequency=0.8)
    for x, least in ((in_time, 0.5), (in_frequency, 0.8)):
        kept = np.ptp(augmentation.vary(x, step_seed(0, 7)).numpy(), axis=(1, 2, 3))
        assert least - 0.001 < kept.min() < least + 0.03 and 0.97 < kept.max() < 1.001
        begins = augmentation.vary(x, step_seed(0, 7)).numpy().min(axis=(1, 2, 3))
        assert begins.min() < 0.01 and begins.max() > 0.6 * (1 - least)
    whole = Augmentation(min_time=0.5).vary(in_frequency, step_seed(0, 7)).numpy()
    np.testing.assert_allclose(whole, in_frequency, atol=1e-6)
    sounds = np.random.default_rng(0).random((4, 24, 20, 1)).astype("float32")
    first, again, other = (
        augmentation.vary(sounds, step_seed(0, step)).numpy() for step in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_of_pictures_a_part_is_seen_that_comes_again():
    ramp = np.linspace(0, 1, 24, dtype="float32")
    heights, widths = (
        np.ptp(Augmentation(min_area=0.4).vary(x, step_seed(0, 7)).numpy(), axis=(1, 2, 3))
        for x in (
            np.broadcast_to(ramp[:, None, None], (200, 24, 24, 1)),
            np.broadcast_to(ramp[None, :, None], (200, 24, 24, 1)),
        )
    )
    areas = heights * widths
    assert 0.399 < areas.min() < 0.5 and 0.85 < areas.max() < 1.001
    clips = np.random.default_rng(0).random((4, 3, 24, 20, 1)).astype("float32")
    first, again, other = (
        Augmentation(min_area=0.4).vary(clips, step_seed(0, step)).numpy() for step in (1, 1, 2)
    )
    assert first.shape == clips.shape
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize(
    "augmentation",
    [
        Augmentation(max_shift=3),
        Augmentation(max_gain_db=6.0),
        Augmentation(min_snr_db=10.0),
        Augmentation(min_time=0.5),
        Augmentation(min_frequency=0.5),
        Augmentation(min_area=0.5),
        Augmentation(2, 3.0, 20.0, 0.6, 0.7),
    ],
    ids=repr,
)
def test_examples_vary_in_the_graph_of_a_pipeline_as_they_do_eagerly(augmentation):
    x = np.random.default_rng(0).random((4, 24, 20, 1)).astype("float32")
    batches = tf.data.Dataset.from_tensors((x, step_seed(0, 1))).map(augmentation.vary)
    (batch,) = batches.as_numpy_iterator()
    np.testing.assert_allclose(batch, augmentation.vary(x, step_seed(0, 1)), atol=1e-5)
    assert np.abs(batch - x).max() > 0.01
