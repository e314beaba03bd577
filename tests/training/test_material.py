"""What a run learns from: stored as what is smaller, varied if it is sound, always the same."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from training import material, models, objectives
from training.data.augmentation import Augmentation
from training.data.examples import Examples
from training.data.prepared import prepared
from training.data.sets import DataSet
from training.errors import UserError
from training.recipes import RECIPES


def waveforms(count, samples=16000):
    random = np.random.default_rng(0)
    return random.integers(-9000, 9000, (count, samples)).astype("int16")


def of_sounds(inputs):
    return DataSet("audio", lambda config, split: Examples("audio", inputs), "test", {})


def pictures(count):
    return np.random.default_rng(0).integers(0, 256, (count, 64, 64, 1)).astype("uint8")


def of_pictures(inputs):
    return DataSet("image", lambda *_: Examples("image", inputs), "test", {}, inputs.shape[1:])


def config_of(recipe, **changes):
    return dataclasses.replace(RECIPES[recipe](), batch_size=4, **changes)


def test_spectrograms_are_stored_where_they_are_smaller_and_computed_where_waveforms_are(tmp_path):
    sounds = waveforms(6)
    mapped = prepared("sounds", tmp_path, ((sound, {}, "") for sound in sounds)).inputs
    whole = {"max_gain_db": 0.0, "min_time": 1.0, "min_frequency": 1.0}
    small = config_of("notes", cache_dir=str(tmp_path), **whole)
    # Linear bins, ten times as many frames: 390 KB in place of 32.
    large = dataclasses.replace(small, num_mel_bins=None, stride_ms=4.0, fft_length=1024 * 2)
    large = dataclasses.replace(large, remainder="crop")
    for config, dtype in ((small, "float32"), (large, "int16")):
        in_memory, on_disk = (
            material.load(config, of_sounds(inputs)) for inputs in (sounds, mapped)
        )
        assert in_memory.examples.dtype == on_disk.examples.dtype == dtype
        assert isinstance(on_disk.examples, np.memmap) and in_memory.sha256 == on_disk.sha256
        frontend = models.make_frontend(config)
        expected = frontend(sounds.astype("float32") / 32768).numpy()
        for loaded in (in_memory, on_disk):
            x, _ = next(iter(material.validation_of(config, "audio", loaded.held_out)))
            np.testing.assert_allclose(x, expected, rtol=1e-5, atol=1e-5)
            batches = material.batches_of(config, "audio", loaded.examples, 0, 3)
            seen = np.concatenate([x.numpy() for x, _ in batches])  # Two epochs of 6.
            assert len(seen) == 12
            for epoch in (seen[:6], seen[6:]):
                order = [int(np.abs(expected - x).sum(axis=(1, 2, 3)).argmin()) for x in epoch]
                assert sorted(order) == list(range(6))


@pytest.mark.parametrize("mapped", [False, True])
def test_a_share_of_the_data_is_of_whole_recordings_and_part_of_a_larger_share(mapped, tmp_path):
    sounds = waveforms(30)
    if mapped:
        sounds = prepared("sounds", tmp_path, ((sound, {}, "") for sound in sounds)).inputs
    groups = np.repeat(np.arange(10), 3)  # Three windows each.
    examples = Examples("audio", sounds, sample_rate=16000, groups=groups)
    data_set = DataSet("audio", lambda config, split: examples, "test", {})

    def learnt_from(share, seed=0):
        config = config_of("notes", data_share=share, seed=seed, cache_dir=str(tmp_path))
        loaded = material.load(config, data_set)
        assert len(loaded.held_out) == 30
        everything = material.load(config_of("notes", cache_dir=str(tmp_path)), data_set).examples
        assert isinstance(loaded.examples, np.memmap) == mapped
        # Spectrograms of another batch differ by rounding.
        apart = [[np.abs(x - y).max() for y in everything] for x in loaded.examples]
        assert np.max(np.min(apart, axis=1)) < 1e-3 < np.partition(apart, 1, axis=1)[:, 1].min()
        return np.argmin(apart, axis=1).tolist(), loaded.sha256

    (small, of_small), (large, of_large), (other, _) = (
        learnt_from(0.3),
        learnt_from(0.6),
        learnt_from(0.3, seed=1),
    )
    assert len(small) == 9 and len(large) == 18 and of_small != of_large
    assert all(small[i : i + 3] == [small[i] + j for j in range(3)] for i in (0, 3, 6))
    assert set(small) < set(large) and set(small) != set(other)
    assert learnt_from(0.3) == (small, of_small)


def test_pictures_are_given_between_0_and_1():
    four = pictures(4)
    ((x, _),) = material.batches_of(config_of("digit_scenes", jitter=0), "image", four, 0, 1)
    assert x.dtype == tf.float32
    expected = np.sort(four.astype("float32") / 255, axis=0)
    np.testing.assert_allclose(np.sort(x, axis=0), expected, rtol=1e-6)


def test_pictures_are_not_shifted_or_amplified_like_sounds():
    config = config_of("notes", max_shift=2, min_time=0.5)
    assert config.max_gain_db
    config = dataclasses.replace(config, min_area=0.5)
    assert material.augmentation(config, "image") == Augmentation(min_area=0.5)
    assert material.augmentation(config, "audio").min_area == 1
    assert material.augmentation(config, "audio").max_shift == config.max_shift


@pytest.mark.parametrize(
    ("recipe", "make", "changes"),
    [
        ("digit_scenes", lambda: of_pictures(pictures(8)), {"min_snr_db": 10.0}),
        ("digit_scenes", lambda: of_pictures(pictures(8)), {"max_shift": 3}),
        ("notes", lambda: of_sounds(waveforms(8)), {"min_area": 0.5}),
    ],
)
def test_variations_of_another_kind_of_example_are_refused(recipe, make, changes):
    with pytest.raises(UserError, match=f"--{next(iter(changes))} is for (sounds|pictures)"):
        material.load(config_of(recipe, **changes), make())


@pytest.mark.parametrize("changes", [{"min_time": 0.9}, {"max_shift": 3}])
def test_variations_that_views_do_not_have_are_refused(changes):
    config = config_of("notes", objective="contrastive", **changes)
    with pytest.raises(UserError, match=f"--{next(iter(changes))} does nothing with --objective"):
        material.load(config, of_sounds(waveforms(8)))


def test_orders_of_an_evaluation_are_permutations_and_always_the_same():
    config = config_of("notes")
    orders = material.fixed_orders(config, 6)
    np.testing.assert_array_equal(np.sort(orders, axis=1), np.tile(np.arange(10), (6, 1)))
    np.testing.assert_array_equal(orders, material.fixed_orders(config, 6))


def test_views_come_in_pairs_and_again_in_every_evaluation():
    data_set = of_pictures(pictures(10))
    config = config_of("digit_scenes", objective="contrastive")
    loaded = material.load(config, data_set)
    validation = material.validation_of(config, "image", loaded.held_out)
    first, second = (np.concatenate(list(validation)) for _ in range(2))
    assert first.shape == (8, 2, 64, 64, 1)  # Whole batches.
    np.testing.assert_array_equal(first, second)
    (batch,) = material.batches_of(config, "image", loaded.examples, 5, 6)
    assert batch.shape == (4, 2, 64, 64, 1)


def test_views_are_not_told_from_those_of_the_same_example():
    data_set = of_pictures(pictures(7))
    config = config_of("digit_scenes", objective="contrastive")
    loaded = material.load(config, data_set)
    validation = material.validation_of(config, "image", loaded.held_out)
    assert [len(batch) for batch in validation] == [4]
    config = dataclasses.replace(config, batch_size=8)
    with pytest.raises(UserError, match="--batch_size=8 is more than the 7 there are"):
        material.load(config, data_set)
    with pytest.raises(UserError, match="--batch_size must be at least 2"):
        dataclasses.replace(config, batch_size=1).check()


def test_chance_is_that_of_the_best_constant_guess():
    config = config_of("digit_scenes", objective="cross_entropy", num_permutations=3)
    permutations = material.orders_of(config).permutations
    best = max(np.mean([row == guess for row in permutations]) for guess in permutations)
    assert objectives.measured(config)[2] == pytest.approx(best) and best > 0.3
    assert objectives.measured(config_of("digit_scenes"))[2] == 1 / 9
    contrastive = config_of("digit_scenes", objective="contrastive")
    assert objectives.measured(contrastive)[2] == 1 / 7  # One of the seven other views.


def never_loaded(data_set):
    """Decoding may take an hour: what is refused is refused before."""

    def load(*_):
        pytest.fail("it was loaded")

    return dataclasses.replace(data_set, load=load)


@pytest.mark.parametrize("changes", [{"image_size": 32}, {"num_frames": 4}, {"channels": 1}])
def test_settings_of_pictures_are_refused_for_sounds(changes):
    with pytest.raises(UserError, match=f"--{next(iter(changes))} is for .*which holds sounds"):
        config = config_of("notes", data="folder", **changes)
        material.load(config, never_loaded(of_sounds(waveforms(8))))


@pytest.mark.parametrize("changes", [{"num_frames": 4}, {"sample_rate": 8000}])
def test_settings_of_clips_and_sounds_are_refused_for_pictures(changes):
    with pytest.raises(UserError, match=f"--{next(iter(changes))} is for .*which holds pictures"):
        material.load(config_of("digit_scenes", **changes), never_loaded(of_pictures(pictures(8))))
