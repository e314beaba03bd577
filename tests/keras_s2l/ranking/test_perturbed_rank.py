"""Perturbed ranks against pairwise loops over SciPy's laws, against sampling, and differences."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import special, stats

from keras_s2l import PerturbedRank, perturbed_rank
from tests import references
from tests.keras_s2l.ranking import cases
from tests.layer_checks import check_layer

REFERENCES = {
    "normal": references.perturbed_rank,
    "gumbel": references.perturbed_rank_gumbel,
}

each_noise = pytest.mark.parametrize("noise", REFERENCES)


def test_example_of_the_docstring():
    ranks = perturbed_rank(np.array([[5.0, 1.0, 2.0]]), sigma=1.0)
    np.testing.assert_allclose(ranks, [[1.98, 0.24, 0.78]], atol=5e-3)


@each_noise
@pytest.mark.parametrize("n", [9, 40])
def test_hostile_rows_match_reference_at_every_sigma(n, noise):
    scores = cases.hostile_rows(n)
    for sigma in cases.STRENGTHS if n == 9 else [1e-8, 1.0, 1e4]:
        with np.errstate(over="ignore"):
            truth = [REFERENCES[noise](row.astype("float64"), sigma) for row in scores]
        ranks = perturbed_rank(scores, sigma, noise)
        np.testing.assert_allclose(ranks, truth, atol=1e-6 * n, err_msg=f"sigma {sigma}")


@each_noise
@pytest.mark.slow
def test_long_rows_match_reference(noise):
    scores = cases.scores_of(300, batch=2)
    law = stats.norm(scale=np.sqrt(2)) if noise == "normal" else stats.logistic()
    margins = scores[:, :, None] - scores[:, None, :]
    truth = law.cdf(margins / 0.7).sum(axis=2) - 0.5
    np.testing.assert_allclose(perturbed_rank(scores, 0.7, noise), truth, atol=1e-9)


def test_two_scores_with_gumbel_noise_are_a_logistic_function_of_their_margin():
    margins = np.linspace(-3, 3, 7)
    scores = np.stack([margins, np.zeros(7)], axis=1)
    ranks = perturbed_rank(scores, 0.7, "gumbel").numpy()
    np.testing.assert_allclose(ranks[:, 0], special.expit(margins / 0.7), atol=1e-12)


@each_noise
@pytest.mark.parametrize("n, jit", [(2, None), (9, None), (40, None), (9, False), (9, True)])
def test_gradient_matches_finite_differences(jit, n, noise):
    scores, upstream = cases.scores_of(n), cases.scores_of(n, seed=1)
    for sigma in (0.3, 3.0):
        op = functools.partial(perturbed_rank, sigma=sigma, noise=noise)
        inside = functools.partial(cases.gradient_of, op)
        if jit is not None:
            inside = tf.function(inside, jit_compile=jit)
        exact = inside(tf.constant(scores), tf.constant(upstream))
        numeric = cases.finite_differences(op, scores, upstream, delta=1e-5)
        assert np.abs(numeric).max() > 1e-3
        np.testing.assert_allclose(exact, numeric, atol=1e-6)


@each_noise
def test_second_derivative_matches_finite_differences(noise):
    scores, upstream, direction = (tf.constant(cases.scores_of(9, seed)) for seed in range(3))
    op = functools.partial(perturbed_rank, noise=noise)
    first = functools.partial(cases.gradient_of, op, upstream=upstream)
    exact = cases.gradient_of(first, scores, direction)
    numeric = cases.finite_differences(first, scores.numpy(), direction.numpy(), delta=1e-5)
    assert np.abs(numeric).max() > 1e-3
    np.testing.assert_allclose(exact, numeric, atol=1e-6)


@each_noise
def test_gradient_of_hostile_rows_is_finite_and_sums_to_zero(noise):
    scores, upstream = cases.hostile_rows(9), cases.scores_of(9, batch=13)
    for sigma in cases.STRENGTHS:
        op = functools.partial(perturbed_rank, sigma=sigma, noise=noise)
        gradient = cases.gradient_of(op, scores, upstream).numpy()
        assert np.isfinite(gradient).all(), sigma
        total = np.abs(gradient.astype("float64").sum(axis=1))
        assert (total <= 1e-4 / sigma).all(), sigma


@each_noise
def test_closed_form_is_the_mean_rank_of_noisy_scores(noise):
    scores, sigma, draws = np.array([5.0, 1.0, 2.0, 1.5, 4.0]), 1.3, 40000
    random = np.random.RandomState(0)
    noises = random.randn(draws, 5) if noise == "normal" else random.gumbel(size=(draws, 5))
    ranks = stats.rankdata(scores + sigma * noises, axis=1) - 1
    standard_error = ranks.std(axis=0) / np.sqrt(draws)
    deviation = np.abs(perturbed_rank(scores, sigma, noise).numpy() - ranks.mean(axis=0))
    assert (deviation < 4 * standard_error).all()


@each_noise
@pytest.mark.slow
def test_draws_converge_to_the_closed_form_as_does_their_gradient(noise):
    scores, upstream = (np.tile(cases.scores_of(9, seed)[:1], (200, 1)) for seed in (0, 1))
    exact = functools.partial(perturbed_rank, sigma=0.7, noise=noise)
    true_ranks = exact(scores).numpy()
    true_gradient = cases.gradient_of(exact, scores, upstream).numpy()
    errors = []
    for num_samples in (10, 160):
        drawn = functools.partial(exact, num_samples=num_samples, seed=3)
        gradients = cases.gradient_of(drawn, scores, upstream).numpy()
        ranks = drawn(scores).numpy()
        for estimates, truth in ((ranks, true_ranks), (gradients, true_gradient)):
            # The mean of 200 independent estimates lies within their standard error: no bias.
            standard_error = estimates.std(axis=0) / np.sqrt(200)
            assert (np.abs(estimates.mean(axis=0) - truth[0]) < 4.5 * standard_error + 1e-3).all()
            errors.append(np.sqrt(np.mean((estimates - truth) ** 2)))
    # Sixteen times the draws leave a quarter of the error.
    np.testing.assert_allclose([errors[0] / errors[2], errors[1] / errors[3]], 4.0, rtol=0.2)


@each_noise
def test_drawn_ranks_are_those_of_the_shape_direction_axis_and_mask(noise):
    mask, scores = cases.mask_and_scores()
    drawn = functools.partial(perturbed_rank, sigma=1e-3, noise=noise, num_samples=3, seed=1)
    truth = cases.row_by_row(references.hard_rank, mask, scores)
    np.testing.assert_allclose(drawn(scores, mask=mask), truth, atol=0.5)
    ranks = drawn(scores.T, direction="descending", axis=0, mask=mask.T).numpy().T
    truth = cases.row_by_row(lambda row: references.hard_rank(-row), mask, scores)
    np.testing.assert_allclose(ranks, truth, atol=0.5)
    totals = np.where(mask, drawn(scores, sigma=1.0, mask=mask), 0.0).sum(axis=1)
    np.testing.assert_allclose(totals, [m * (m - 1) / 2 for m in cases.LENGTHS], atol=1e-9)
    gradient = cases.gradient_of(functools.partial(drawn, mask=mask), scores, scores * 0 + 1)
    np.testing.assert_array_equal(np.asarray(gradient)[~mask], 0.0)
    broken = np.where(np.arange(7)[:, None] == 1, np.nan, cases.scores_of(9))
    np.testing.assert_array_equal(np.isnan(drawn(broken)).all(axis=1), np.arange(7) == 1)
    assert drawn(np.zeros((7, 9), "float16")).dtype == "float16"


def test_an_integer_seed_repeats_and_a_generator_goes_on():
    drawn = functools.partial(perturbed_rank, cases.scores_of(9), num_samples=2)
    np.testing.assert_array_equal(drawn(seed=5), drawn(seed=5))
    assert np.any(drawn(seed=5) != drawn(seed=6))
    generator = keras.random.SeedGenerator(5)
    assert np.any(drawn(seed=generator) != drawn(seed=generator))
    assert np.any(drawn() != drawn())


@pytest.mark.parametrize("num_samples", [0, -1, 1.5, True])
def test_a_bad_number_of_draws_is_refused(num_samples):
    for make in (functools.partial(perturbed_rank, np.zeros((7, 9))), PerturbedRank):
        with pytest.raises(ValueError, match=r"`num_samples` must be a positive.*Received"):
            make(num_samples=num_samples)


@pytest.mark.parametrize("make", [functools.partial(perturbed_rank, np.zeros(2)), PerturbedRank])
def test_an_unknown_noise_is_refused(make):
    with pytest.raises(ValueError, match=r"`noise` must be one of.*Received: noise='uniform'"):
        make(noise="uniform")


@pytest.mark.parametrize("sigma", [0, -1.0, float("inf"), float("nan"), True, "1", None])
def test_layer_refuses_a_bad_sigma(sigma):
    with pytest.raises(ValueError, match=r"`sigma` must be a positive.*Received: sigma="):
        PerturbedRank(sigma)


@each_noise
def test_layer_passes_the_shared_check(noise, tmp_path):
    scores = cases.scores_of(9).astype("float32")
    layer = PerturbedRank(0.7, noise, direction="descending", axis=1)
    check_layer(layer, scores, tmp_path)
    truth = perturbed_rank(scores, 0.7, noise, direction="descending")
    np.testing.assert_array_equal(layer(scores), truth)


def test_layer_draws_other_noise_each_time_from_its_seed():
    scores = cases.scores_of(9).astype("float32")
    layer = PerturbedRank(num_samples=2, seed=4)
    first, second = layer(scores).numpy(), layer(scores).numpy()
    assert np.any(first != second)
    again = PerturbedRank.from_config(layer.get_config())
    np.testing.assert_array_equal(again(scores), first)
    mask = np.arange(9) < np.arange(3, 10)[:, None]
    np.testing.assert_array_equal(layer(scores, mask=mask).numpy()[~mask], -1.0)


def test_a_saved_layer_goes_on_drawing_where_it_was(tmp_path):
    scores = np.random.default_rng(0).normal(size=(4, 5)).astype("float32")
    inputs = keras.Input((5,))
    model = keras.Model(inputs, PerturbedRank(num_samples=1, seed=3)(inputs))
    first = np.asarray(model(scores))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    following = np.asarray(loaded(scores))
    np.testing.assert_array_equal(following, model(scores))
    assert not np.array_equal(following, first)
