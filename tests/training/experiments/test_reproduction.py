"""A small table, by the real programs from data to the page."""

import dataclasses
import json

import pytest

from training.config import ReproduceConfig
from training.experiments import plans, reproduction


@pytest.mark.slow
def test_a_table_is_measured_by_the_programs_and_then_not_again(tmp_path, monkeypatch, capsys):
    of_pictures = plans.MATERIALS["digit_scenes"]
    slicings = {name: of_pictures.slicings[name] for name in ("grid", "small_grid")}
    small = dataclasses.replace(of_pictures, steps={"quick": 4}, num_labels=30, slicings=slicings)
    monkeypatch.setitem(plans.MATERIALS, "digit_scenes", small)
    monkeypatch.setattr(plans, "EMBEDDINGS", ("fc",))
    config = ReproduceConfig(data="digit_scenes", table=(2,), pretrain_seeds=1, seeds=2, jobs=2)
    written = reproduction.run(config, tmp_path / "run")
    assert "7 of 7" in capsys.readouterr().out
    gathered = json.loads((tmp_path / "run" / "results.json").read_text())
    rows = gathered["experiments"]["table2"]["rows"]["fc"]
    assert [row["label"] for row in rows] == ["grid 3 x 3", "grid 2 x 2"]
    for row in rows:
        assert 0 < row["partial_ranks"]["0"] < 1
        assert set(row["scores"]) == set(gathered["metrics"])
        assert all(0 <= of["30"]["0"] <= 1 for of in row["scores"].values())
    assert rows[0]["scores"] != rows[1]["scores"]
    before = written.read_bytes()
    assert reproduction.run(config, tmp_path / "run") == written
    assert "7 of 7 programs are done already" in capsys.readouterr().out
    assert written.read_bytes() == before
