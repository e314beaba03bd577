"""The benchmark of loading, on a tiny export."""

import dataclasses
import json

import pytest

from export import benchmark_hub_lib
from export.config import BenchmarkHubConfig
from keras_s2l import HubEncoder
from tests.keras_s2l import exports
from training.errors import UserError


@pytest.mark.slow
def test_the_report_holds_what_was_timed(tmp_path):
    exports.write_audio(exports.audio_encoder(), tmp_path / "export")
    folder = str(tmp_path / "export")
    config = BenchmarkHubConfig(export=folder, rounds=2, steps=2, batch_size=4)
    report = benchmark_hub_lib.run(config, tmp_path / "run")
    assert json.loads((tmp_path / "run" / "report.json").read_text()) == report
    assert report["largest_difference"] < 1e-5
    assert report["parameters"] == HubEncoder(folder).count_params()
    text = (tmp_path / "run" / "report.md").read_text()
    beside = {"loading": ["hub.load"], "training": ["Keras layers", "Keras layers, XLA"]}
    for part, others in beside.items():
        taken = report[part]["milliseconds"]
        assert list(taken) == ["HubEncoder", *others] and min(taken.values()) > 0
        for name in others:
            ratio = report[part]["ratio"][name]
            assert ratio == pytest.approx(taken["HubEncoder"] / taken[name], rel=0.01)
            assert (
                f"| {name} | {taken['HubEncoder']:.1f} | {taken[name]:.1f} | {ratio:.3f} |" in text
            )
    with pytest.raises(UserError, match="holds a finished report"):
        benchmark_hub_lib.run(config, tmp_path / "run")


def test_medians_are_of_all_rounds_and_all_take_turns():
    called = []

    def contender(name, seconds):
        seconds = iter(seconds)
        return lambda: called.append(name) or next(seconds)

    contenders = {"a": contender("a", [9, 0.1, 0.5, 0.2]), "b": contender("b", [9, 0.1, 0.1, 7])}
    result = benchmark_hub_lib._in_turns(contenders, 3)
    assert result == {"milliseconds": {"a": 200.0, "b": 100.0}, "ratio": {"b": 2.0}}
    assert called == ["a", "b", "b", "a", "a", "b", "b", "a"]


def test_what_cannot_be_timed_is_refused(tmp_path):
    config = BenchmarkHubConfig(export=str(tmp_path))
    with pytest.raises(UserError, match=r"--export must be a folder"):
        benchmark_hub_lib.run(config, tmp_path / "run")
    with pytest.raises(UserError, match=r"--rounds must be at least 1"):
        dataclasses.replace(config, rounds=0).check()
