"""How scores of tasks are read and written."""

EFFECTIVE_RANK = "effective rank"  # Of embeddings: no score of a task.


def is_error(metric):
    """Whether less is better."""
    return "error" in metric


def digits(metric):
    """Decimals that tell scores apart: shares lie in [0, 1], errors and ranks are larger."""
    return 1 if is_error(metric) or metric == EFFECTIVE_RANK else 3


def spread(low, middle, high, metric):
    """min ← **median** → max, as tables show them."""
    low, middle, high = (f"{value:.{digits(metric)}f}" for value in (low, middle, high))
    return f"{low} ← **{middle}** → {high}"
