"""Whom the benchmark of ranking ops times: a contender's description, and our own ones."""

import dataclasses
import importlib.metadata
import importlib.util
import math
from collections.abc import Callable

import keras
import numpy as np

import keras_s2l
from training import ranking_calls

SIGMA = 1.0
NUM_SAMPLES = 100
CLOSED_FORM, MONTE_CARLO = "perturbed, closed form", f"perturbed, {NUM_SAMPLES} samples"
PERTURBED_SIZES = ((256, 10), (1024, 20))


@dataclasses.dataclass(frozen=True)
class Contender:
    """One way to rank.

    Attributes:
        build: From a `Problem` to its `run(count)`, see `ranking_calls`.
        module: What must be importable; "" if it is ours.
        distributions: Packages whose versions tell the contender apart.
        install: How to get it.
        is_soft_rank: Whether it has a strength and a regularization; otherwise it is timed once for
            each cell.
        has_backward: Whether it has a gradient.
        max_batch, max_n: Largest cells that it is fast enough for.
        sizes: The only cells that it is timed on, pairs of batch and n; all, where it is empty.
    """

    name: str
    build: Callable
    module: str = ""
    distributions: tuple[str, ...] = ()
    install: str = ""
    is_soft_rank: bool = True
    has_backward: bool = True
    max_batch: float = math.inf
    max_n: float = math.inf
    sizes: tuple[tuple[int, int], ...] = ()

    def takes(self, batch, n):
        allowed = not self.sizes or (batch, n) in self.sizes
        return allowed and batch <= self.max_batch and n <= self.max_n

    def is_installed(self):
        return not self.module or importlib.util.find_spec(self.module) is not None

    def versions(self):
        """Of its packages; "unknown" for what is importable and was not installed as a package."""
        return {name: _version(name) for name in self.distributions}


def _version(distribution):
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def ours(backend, accelerator=False):
    """Our ops and the backend's own sort, the floor of what ranks by sorting."""
    soft_ranks = [
        Contender("ours", _soft_rank(ranking_calls.in_graph)),
        Contender("ours, per call", _soft_rank(ranking_calls.per_call), max_n=20),
    ]
    if backend == "tensorflow":
        soft_ranks.append(Contender("ours, eager", _soft_rank(ranking_calls.eager), max_n=20))
    # On processors JAX's sort takes longer than all else together where rows are long.
    max_n = 20 if backend == "jax" and not accelerator else math.inf
    sort = Contender("argsort", _argsort, is_soft_rank=False, has_backward=False, max_n=max_n)
    perturbed = [
        Contender(name, _perturbed(**options), is_soft_rank=False, sizes=PERTURBED_SIZES)
        for name, options in (
            (CLOSED_FORM, {}),
            (MONTE_CARLO, {"num_samples": NUM_SAMPLES, "seed": 0}),
        )
    ]
    return [*soft_ranks, sort, *perturbed]


def _soft_rank(how):
    def build(problem):
        def soft_rank(scores):
            return keras_s2l.soft_rank(
                scores, problem.strength, regularization=problem.regularization
            )

        return how(soft_rank, problem)

    return build


def _argsort(problem):
    if keras.backend.backend() == "jax":
        import jax.numpy as jnp

        return ranking_calls.in_graph(jnp.argsort, problem)
    import tensorflow as tf

    return ranking_calls.in_graph(tf.argsort, problem)


def _perturbed(**options):
    """In a chain. The samples have one seed: a compiler may draw them once for all turns."""

    def build(problem):
        def perturbed_rank(scores):
            return keras_s2l.perturbed_rank(scores, SIGMA, **options)

        return ranking_calls.in_graph(perturbed_rank, problem)

    return build


def monte_carlo_error(scores):
    """Largest error of the sampled ranks in a batch: the closed form is exact."""
    exact = keras_s2l.perturbed_rank(scores, SIGMA)
    sampled = keras_s2l.perturbed_rank(scores, SIGMA, num_samples=NUM_SAMPLES, seed=0)
    return float(np.max(np.abs(np.asarray(exact) - np.asarray(sampled))))
