"""Times HubEncoder beside what it adds to: plain `hub.load`, and plain Keras layers.

Example:
  python -m export.benchmark_hub --export=runs/notes/export --workdir=runs/hub

Loads an export by both, and trains a head together with the encoder, loaded and built of Keras
layers, those also compiled by XLA, on random inputs; all take turns. Compare the ratios of one run,
on a machine that does nothing else. Writes report.json and report.md to the workdir.
"""

from export.config import BenchmarkHubConfig
from training import flags


def main():
    config = BenchmarkHubConfig(**flags.given(BenchmarkHubConfig))
    config.check()
    from export import benchmark_hub_lib

    report = benchmark_hub_lib.run(config, flags.path("workdir"))
    print(benchmark_hub_lib.page(report), end="")
    return 0


if __name__ == "__main__":
    flags.define(BenchmarkHubConfig)
    flags.folder("workdir", "folder for the report")
    flags.run(main)
