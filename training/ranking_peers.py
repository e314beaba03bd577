"""The peers that the benchmark of ranking ops times where they are installed."""

import numpy as np

from training import ranking_calls
from training.ranking_contenders import Contender


def peers(backend, accelerator=False):
    """Every peer, installed or not; on an accelerator those that compute where JAX does."""
    if accelerator:
        return [row for row in peers(backend) if backend == "jax" and "jax" in row.distributions]
    fast_soft_sort = {
        "module": "fast_soft_sort",
        "distributions": ("fast_soft_sort", "numba"),
        "install": "pip install git+https://github.com/google-research/fast-soft-sort",
    }
    rows = [
        Contender(
            "torchsort",
            _torchsort,
            module="torchsort",
            distributions=("torchsort", "torch"),
            install="pip install torch setuptools && pip install --no-build-isolation torchsort  "
            "# compiles C++",
        ),
        Contender("fast-soft-sort", _fast_soft_sort, **fast_soft_sort),
    ]
    if backend == "tensorflow":
        rows.append(
            Contender("fast-soft-sort tf_ops", _fast_soft_sort_tf, max_batch=256, **fast_soft_sort)
        )
    return [
        *rows,
        Contender(
            "softjax",
            _softjax,
            module="softjax",
            distributions=("softjax", "jax"),
            install="pip install softjax  # Python 3.12 or later",
            max_n=1000,
        ),
        Contender(
            "ott-jax",
            _ott,
            module="ott",
            distributions=("ott-jax", "jax"),
            install="pip install ott-jax",
            is_soft_rank=False,
            max_n=100,
        ),
        Contender(
            "diffsort",
            _diffsort,
            module="diffsort",
            distributions=("diffsort", "torch"),
            install="pip install diffsort torch",
            is_soft_rank=False,
            max_n=100,
        ),
    ]


def _torchsort(problem):
    import torchsort

    return ranking_calls.torch_calls(
        lambda scores: torchsort.soft_rank(scores, problem.regularization, problem.strength),
        problem,
    )


def _diffsort(problem):
    """A relaxed sorting network at its defaults; odd-even, the one that takes any n."""
    import diffsort
    import torch

    n = problem.scores.shape[1]
    network, places = diffsort.DiffSortNet("odd_even", n), torch.arange(n)
    return ranking_calls.torch_calls(lambda scores: (network(scores)[1] * places).sum(-1), problem)


def _ott(problem):
    """Optimal transport onto the ranks, differentiated through its iterations.

    Its default, implicit differentiation, raises on scores such as these: its solver diverges.
    """
    from ott.tools import soft_sort

    options = {"implicit_diff": None} if problem.backward else {}
    return ranking_calls.jax_calls(lambda scores: soft_sort.ranks(scores, **options), problem)


def _softjax(problem):
    """The same projection for l2; its "smooth" is a close relative of kl."""
    import softjax

    options = {
        "axis": -1,
        "softness": problem.strength * max(1, problem.scores.shape[1] - 1),
        "mode": {"l2": "c0", "kl": "smooth"}[problem.regularization],
        "method": "fast_soft_sort",
        "descending": False,
        "standardize": False,
    }
    return ranking_calls.jax_calls(lambda scores: softjax.rank(scores, **options), problem)


def _fast_soft_sort(problem):
    """Row by row in NumPy, and Numba where it is installed, as the authors' code goes."""
    from fast_soft_sort import numpy_ops

    def call():
        ranks, gradient = np.empty_like(problem.scores), np.empty_like(problem.scores)
        for i, row in enumerate(problem.scores):
            op = numpy_ops.SoftRank(
                row,
                regularization_strength=problem.strength,
                regularization=problem.regularization,
            )
            ranks[i] = op.compute()
            if problem.backward:
                gradient[i] = op.vjp(problem.upstream[i])
        return (ranks, gradient) if problem.backward else (ranks,)

    return ranking_calls.repeated(call)


def _fast_soft_sort_tf(problem):
    """It raises in a graph: eager is the one way to call it."""
    from fast_soft_sort import tf_ops

    def soft_rank(scores):
        return tf_ops.soft_rank(
            scores,
            regularization_strength=problem.strength,
            regularization=problem.regularization,
        )

    return ranking_calls.tf_calls(soft_rank, problem, compiled=False)
