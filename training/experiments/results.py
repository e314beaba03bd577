"""From the reports that runs left to the numbers of tables and figures."""

import itertools
import pathlib

import numpy as np
from scipy import stats

from training import records, scores
from training.experiments import cells, plans


def gather(config, experiments, workdir):
    """The numbers of all experiments, of the seeds that are measured whole.

    Args:
        config: `ReproduceConfig`.
        experiments: As `plans.experiments` gives them.
        workdir: Folder of the cells.

    Returns:
        A dictionary as results.json holds it: by experiment and embedding the rows, each with its
        scores by task and number of labels, one for each seed, the mean over its label draws.
    """
    reader = _Reader(config, experiments, pathlib.Path(workdir))
    made = {}
    for experiment in experiments:
        by_embedding = {
            embedding: [reader.row(row) for row in rows]
            for embedding, rows in experiment.rows.items()
        }
        made[experiment.name] = {
            "title": experiment.title,
            "x_label": experiment.x_label,
            "rows": by_embedding,
        }
    return {
        "config": records.as_json(config),
        "steps": plans.steps_of(config),
        "experiments": made,
        "metrics": reader.metrics,
        "runs": reader.runs(),
        "environments": reader.environments(),
    }


class _Reader:
    """Reads reports, each once."""

    def __init__(self, config, experiments, workdir):
        self.config = config
        self.workdir = workdir
        self.arms = cells.measurements(experiments)
        self.reports = {}
        self.metrics = {}  # By task.

    def _report(self, folder):
        if folder not in self.reports:
            path = self.workdir / folder / "report.json"
            self.reports[folder] = records.read_json(path) if path.exists() else None
        return self.reports[folder]

    def row(self, row):
        found, ranks = {}, {}
        seeds = range(self.config.pretrain_seeds)
        for seed, measurement in itertools.product(seeds, row.measurements):
            report = self._report(cells.folder_of(row.arm, seed, measurement))
            if report is None:
                continue
            if row.encoder in report["effective_ranks"]:
                ranks[str(seed)] = report["effective_ranks"][row.encoder]
            for task, rows in report["tasks"].items():
                self.metrics[task] = rows["metric"]
                for count, cell in rows[row.encoder].items():
                    by_count = found.setdefault(task, {})
                    by_count.setdefault(count, {})[str(seed)] = float(np.mean(cell["draws"]))
        return {
            "label": row.label,
            "arm": row.arm.name,
            "encoder": row.encoder,
            "x": row.x,
            "paper": row.paper,
            "scores": found,
            "effective_ranks": ranks,
            "partial_ranks": self._partial_ranks(row),
        }

    def _partial_ranks(self, row):
        """Share of the held-out patches in their place, by seed, where any may come anywhere."""
        objective = row.arm.flags.get("objective", plans.OURS)
        if row.encoder != "pretrained" or objective in ("cross_entropy", "contrastive"):
            return {}
        found = {}
        for seed in range(self.config.pretrain_seeds):
            if report := self._report(cells.folder_of(row.arm, seed)):
                found[str(seed)] = report["held_out"]["patch_accuracy"]
        return found

    def runs(self):
        """Of each arm how it learnt: by seed the rows of its log."""
        found = {}
        for arm in self.arms:
            logs = {}
            for seed in range(self.config.pretrain_seeds):
                folder = self.workdir / cells.folder_of(arm, seed)
                if (folder / "report.json").exists():
                    logs[str(seed)] = records.read_log(folder / "log.csv")
            found[arm.name] = {
                "label": arm.label,
                "flags": {name: str(value) for name, value in arm.flags.items()},
                "logs": logs,
            }
        return found

    def environments(self):
        """Of the runs that were read, each other one once."""
        found = []
        for report in self.reports.values():
            if report is not None and report["environment"] not in found:
                found.append(report["environment"])
        return found


def tasks_of(rows, metrics):
    """The tasks that any row has scores of, in the order of the metrics."""
    return [task for task in metrics if any(task in row["scores"] for row in rows)]


def comparison(ours, other, metric):
    """Whether ours is better than another, seed by seed.

    Args:
        ours, other: Scores by seed.
        metric: Of the scores.

    Returns:
        `None` unless two seeds or more have both; else a dictionary of "better", the mean of how
        much better ours is, "seeds", and "p", two-sided, of the exact paired permutation test of
        this mean: of all 2**seeds ways to swap a pair. With 5 seeds it is 0.0625 at least.
    """
    seeds = sorted(set(ours) & set(other))
    if len(seeds) < 2:
        return None
    sign = -1 if scores.is_error(metric) else 1
    better = sign * (
        np.array([ours[seed] for seed in seeds]) - np.array([other[seed] for seed in seeds])
    )
    if not better.any():
        return {"better": 0.0, "seeds": len(seeds), "p": 1.0}
    test = stats.permutation_test(
        (better,), np.mean, permutation_type="samples", n_resamples=np.inf
    )
    return {"better": float(better.mean()), "seeds": len(seeds), "p": float(test.pvalue)}


def spread(by_seed):
    """min, median and max over seeds, None of nothing."""
    if not by_seed:
        return None
    values = list(by_seed.values())
    return tuple(float(f(values)) for f in (np.min, np.median, np.max))
