"""What the paper reports, to be drawn beside ours.

Carr, Berthet, Blondel, Teboul, Zeghidour, https://arxiv.org/abs/2103.09879: Tables I and II, and
Figures 2 and 3, read off the plots to about 0.003. NSynth, 1000 labels unless said otherwise; pitch
is the mean squared error. Where the paper contradicts itself each number stands as it is printed.
"""

_TASKS = ("family", "instrument", "pitch")


def _rows(**rows):
    return {name: dict(zip(_TASKS, values)) for name, values in rows.items()}


TABLES = {
    "table1": _rows(
        untrained=(0.46, 0.35, 258.8),
        cross_entropy=(0.75, 0.70, 144.5),
        soft_rank=(0.84, 0.72, 133.9),
        perturbed=(0.85, 0.76, 124.6),
        mean_squared_error=(0.79, 0.71, 156.1),
    ),
    "table2": _rows(
        frequency=(0.82, 0.75, 136.7), time=(0.79, 0.68, 206.1), grid=(0.73, 0.45, 137.8)
    ),
}
PARTIAL_RANKS = {"soft_rank": 0.57, "perturbed": 0.58, "mean_squared_error": 0.51}


def _lines(xs, **rows):
    return {
        name: {task: list(zip(xs, ys)) for task, ys in zip(_TASKS, values)}
        for name, values in rows.items()
    }


FIGURES = {
    "figure2": _lines(
        (500, 1000, 3000, 5000, 10_000),
        perturbed=(
            (0.674, 0.711, 0.858, 0.878, 0.889),
            (0.562, 0.675, 0.845, 0.869, 0.881),
            (205, 187, 147, 144, 129),
        ),
        mean_squared_error=(
            (0.612, 0.712, 0.846, 0.848, 0.840),
            (0.504, 0.698, 0.839, 0.841, 0.843),
            (211, 171, 156, 165, 166),
        ),
        cross_entropy=(
            (0.590, 0.644, 0.767, 0.784, 0.823),
            (0.449, 0.559, 0.729, 0.769, 0.806),
            (245, 244, 187, 166, 149),
        ),
        supervised=(
            (0.429, 0.542, 0.698, 0.743, 0.743),
            (0.015, 0.116, 0.603, 0.715, 0.745),
            (None, None, 856, 534, 537),
        ),
    ),
    "figure3": _lines(
        (4, 8, 10, 12),
        perturbed=(
            (0.638, 0.823, 0.827, 0.809),
            (0.411, 0.730, 0.760, 0.757),
            (176, 127, 130, 146),
        ),
        cross_entropy=(
            (0.306, 0.465, 0.506, 0.646),
            (0.167, 0.317, 0.374, 0.562),
            (765, 630, 571, 254),
        ),
    ),
}
