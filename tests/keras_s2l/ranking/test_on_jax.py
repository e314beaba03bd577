"""The numbers on JAX, compiled and mapped, against the slow references."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from tests import references
from tests.keras_s2l.ranking import cases

ROOT = pathlib.Path(__file__).resolve().parents[3]
ON_JAX = """
import functools, sys
sys.modules["tensorflow"] = None
import jax, numpy as np
from keras_s2l import isotonic_regression, perturbed_rank, soft_rank, soft_sort
scores, upstream = np.load(sys.argv[1]).values()
ops = {
    "l2": soft_rank,
    "kl": functools.partial(soft_rank, regularization="kl"),
    "sort l2": soft_sort,
    "sort kl": functools.partial(soft_sort, regularization="kl"),
    "normal": perturbed_rank,
    "gumbel": functools.partial(perturbed_rank, noise="gumbel"),
    "isotonic": isotonic_regression,
}
results = {}
for name, op in ops.items():
    def ranks_and_slopes(scores, upstream, op=op):
        ranks, pullback = jax.vjp(op, scores)
        return ranks, pullback(upstream)[0]
    mapped = jax.jit(jax.vmap(ranks_and_slopes))(scores, upstream)
    results[name], results[name + " slope"] = mapped
    if scores.shape[1] < 10:
        whole = jax.jit(ranks_and_slopes)(scores, upstream)
        np.testing.assert_allclose(whole[0], mapped[0], atol=1e-5)
        np.testing.assert_allclose(whole[1], mapped[1], atol=1e-5)
        np.testing.assert_allclose(op(scores), mapped[0], atol=1e-5)
np.savez(sys.argv[2], **results)
"""


@pytest.mark.slow
@pytest.mark.parametrize("n", [9, 40])
def test_numbers_are_right_where_tensorflow_cannot_be_imported(n, tmp_path):
    scores, upstream = (cases.scores_of(n, seed).astype("float32") for seed in (0, 1))
    np.savez(tmp_path / "scores.npz", scores, upstream)
    output = subprocess.run(
        [sys.executable, "-c", ON_JAX, tmp_path / "scores.npz", tmp_path / "results.npz"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": "jax"},
    )
    assert output.returncode == 0, output.stderr
    truth = {
        "l2": references.soft_rank,
        "kl": lambda row, strength: references.pooled_ranks(row, strength, "kl")[0],
        "sort l2": references.soft_sort,
        "sort kl": lambda row, strength: references.soft_sort(row, strength, "kl"),
        "normal": references.perturbed_rank,
        "gumbel": references.perturbed_rank_gumbel,
        "isotonic": lambda row, _: -references.pooled(-row)[0],
    }
    results = np.load(tmp_path / "results.npz")
    for name, reference in truth.items():
        rows = [reference(row, 1.0) for row in scores.astype("float64")]
        np.testing.assert_allclose(results[name], rows, atol=1e-6 * n, err_msg=name)
        slopes = results[name + " slope"]
        assert slopes.shape == scores.shape and np.isfinite(slopes).all()
    for name in ("l2", "kl"):
        slopes = [
            references.soft_rank_jacobian(row, 1.0, name) @ given
            for row, given in zip(scores, upstream)
        ]
        np.testing.assert_allclose(results[name + " slope"], slopes, atol=1e-5 * n)
