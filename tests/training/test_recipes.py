"""Each recipe runs from its data to a transfer report, on few and small examples."""

import dataclasses
import json
import shutil
from unittest import mock

import numpy as np
import pytest
import soundfile
import tensorflow as tf
from PIL import Image

import keras_s2l
from export import export_lib, sources
from tests.training.data import tfds_on_disk
from training import material, models, pretrain_lib, transfer_lib
from training.config import BACKBONES, ENCODERS, OBJECTIVES, TransferConfig
from training.data import digit_scenes, moving_digits, nsynth, sets
from training.data.examples import Examples
from training.errors import UserError
from training.linear_probe import LinearProbe
from training.recipes import RECIPES

pytestmark = pytest.mark.slow


def tones(config, split):
    """Decaying tones of some pitches, labelled like notes."""
    del config
    random = np.random.default_rng(len(split))
    pitches = random.integers(40, 90, 40)
    times = np.arange(16000) / 16000
    waves = np.sin(2 * np.pi * 440 * 2 ** ((pitches[:, None] - 69) / 12) * times)
    audio = (20000 * waves * np.exp(-4 * times)).astype("int16")
    labels = {"family": pitches % 3, "instrument": pitches % 5, "pitch": pitches}
    return Examples("audio", audio, labels, sample_rate=16000)


TINY = {
    "notes": tones,
    "moving_digits": lambda config, split: moving_digits.load(split, 40),
    "digit_scenes": lambda config, split: digit_scenes.load(split, 40),
}


def nsynth_notes():
    """Notes: 40 for `train`, 10 for `test_notes`, and some of other instruments."""
    notes = tfds_on_disk.notes(range(20), range(40, 60), [25])
    train = [note for note in notes if nsynth.belongs(note[0], "train")]
    test_notes = [note for note in notes if nsynth.belongs(note[0], "test_notes")]
    return {
        "train": tfds_on_disk.nsynth(train[::9][:40] + test_notes[:10]),
        "valid": tfds_on_disk.nsynth(tfds_on_disk.notes([200], range(50, 55))),
        "test": tfds_on_disk.nsynth(tfds_on_disk.notes([300, 301], range(50, 55))),
    }


PUBLISHED = {
    "nsynth": ("nsynth/full", nsynth_notes),
    "ucf101": (
        "ucf101/ucf101_1",
        lambda: {
            "train": tfds_on_disk.ucf101(range(17, 57)),
            "test": tfds_on_disk.ucf101([20, 30, 16, 18]),
        },
    ),
    "cifar10": (
        "cifar10",
        lambda: {
            "train": tfds_on_disk.cifar10(range(40)),
            "test": tfds_on_disk.cifar10(range(50, 60)),
        },
    ),
    "imagenet2012": (
        "imagenet2012",
        lambda: {
            "train": tfds_on_disk.imagenet2012(range(40)),
            "validation": tfds_on_disk.imagenet2012(range(50, 60)),
        },
    ),
}


def published(data, folder):
    """The fields of a config for a set, which lies prepared in a folder if TFDS has it."""
    if data in PUBLISHED:
        name, splits = PUBLISHED[data]
        tfds_on_disk.write(name, folder / "tfds", splits())
    return {"data_dir": str(folder / "tfds"), "cache_dir": str(folder / "cache")}


@pytest.fixture(autouse=True)
def tiny_sets(monkeypatch):
    make_tiny(monkeypatch, TINY)


def make_tiny(monkeypatch, names):
    """Few examples, and few batches for the statistics of batch normalisation."""
    for name in names:
        monkeypatch.setitem(sets.SETS, name, tiny(name))
    monkeypatch.setattr(material, "STATISTICS_BATCHES", 2)


def tiny(name):
    return dataclasses.replace(sets.SETS[name], load=TINY[name])


def few_steps(recipe, **changes):
    return dataclasses.replace(
        RECIPES[recipe](), steps=2, batch_size=4, evaluate_every=2, hidden_units=8, **changes
    )


# Networks that take long for four seconds of sound, and cuts of notes, are only pre-trained.
ONLY_PRE_TRAINED = ("notes_time", "notes_grid", "nsynth_paper")


@pytest.mark.parametrize("recipe", ONLY_PRE_TRAINED)
def test_a_recipe_pre_trains(recipe, tmp_path):
    config = few_steps(recipe)
    pre_train(dataclasses.replace(config, **published(config.data, tmp_path)), tmp_path)


def test_each_recipe_is_called_by_its_name_and_each_backbone_is_of_one():
    assert all(RECIPES[name]().recipe == name for name in RECIPES)
    assert {recipe().backbone for recipe in RECIPES.values()} == set(BACKBONES)


def pre_train(config, tmp_path, windows=1):
    report = pretrain_lib.run(config, tmp_path / "run")
    assert report["examples"] == 40 * windows
    assert 0 <= report["held_out"][report["measured"]["metric"]] <= 1
    assert (tmp_path / "run/pictures/reordered.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("recipe", "changes", "windows"),
    [
        *((recipe, {}, 1) for recipe in RECIPES if recipe not in ONLY_PRE_TRAINED),
        ("notes", {"data": "nsynth"}, 4),  # Of a second, from recordings of four.
    ],
)
def test_a_recipe_runs_from_data_to_a_transfer_report(recipe, changes, windows, tmp_path):
    config = few_steps(recipe, **changes)
    where = published(config.data, tmp_path)
    pre_train(dataclasses.replace(config, **where), tmp_path, windows)
    export_lib.run(sources.of_run(tmp_path / "run"), tmp_path / "export")
    transfer = TransferConfig(
        data=config.data,
        encoder=str(tmp_path / "export"),
        num_labels=(30,),
        seeds=1,
        head_steps=2,
        **where,
    )
    tasks = transfer_lib.run(transfer, tmp_path / "transfer")["tasks"]
    known = sets.of(config).tasks
    assert set(tasks) == set(known).union(*(task.within for task in known.values()))
    for rows in tasks.values():
        for encoder in ("pretrained", "untrained", "calibrated"):
            assert np.isfinite(rows[encoder]["30"]["median"])


def test_the_papers_recipe_sees_what_the_paper_says():
    config = RECIPES["nsynth_paper"]()
    spectrograms = models.make_frontend(config).compute_output_shape((32, 4 * 16000))
    assert spectrograms == (32, 1 + (64000 - 400) // 160, 513, 1)
    backbone_sees = keras_s2l.Patches(10, "frequency", "crop").compute_output_shape(spectrograms)
    assert backbone_sees == (32, 10, 398, 51, 1)
    assert config.steps / config.evaluate_every == 1000


def pictures(folder):
    random = np.random.default_rng(0)
    for number in range(40):
        (folder / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 255, (30, 40, 3)).astype("uint8")
        Image.fromarray(pixels).save(folder / "ab"[number % 2] / f"{number}.png")


def sounds(folder):
    folder.mkdir()
    random = np.random.default_rng(0)
    rows = ["path,label,group"]
    for number in range(40):
        samples = 0.1 * random.standard_normal((9000 + 300 * number, 2))
        soundfile.write(folder / f"{number}.flac", samples, 8000)
        rows.append(f"{number}.flac,{'xy'[number % 2]},{number // 2}")
    (folder / "labels.csv").write_text("\n".join(rows))


@pytest.mark.parametrize(
    ("make", "recipe", "decoded"),  # Not as other recipes and encoders would have it unasked.
    [
        (pictures, "digit_scenes", {"image_size": 32, "channels": 1}),
        (sounds, "notes", {"window_samples": 15000}),
    ],
)
def test_a_folder_of_ones_own_files_does_the_same(make, recipe, decoded, tmp_path):
    make(tmp_path / "mine")
    where = {"folder": str(tmp_path / "mine"), "cache_dir": str(tmp_path / "cache")}
    config = few_steps(recipe, data="folder", remainder="crop", **decoded, **where)
    pretrain_lib.run(config, tmp_path / "run")
    export_lib.run(sources.of_run(tmp_path / "run"), tmp_path / "export")
    transfer = TransferConfig(
        data="folder",
        encoder=str(tmp_path / "export"),
        num_labels=(20,),
        seeds=1,
        head_steps=2,
        **where,
    )
    tasks = transfer_lib.run(transfer, tmp_path / "transfer")["tasks"]
    assert list(tasks) == ["label"]
    assert 0 <= tasks["label"]["pretrained"]["20"]["median"] <= 1


def test_a_folder_without_labels_is_only_for_pre_training(tmp_path):
    pictures(tmp_path / "mine")
    for path in list((tmp_path / "mine").rglob("*.png")):
        path.rename(tmp_path / "mine" / path.name)
    where = {"folder": str(tmp_path / "mine"), "cache_dir": str(tmp_path / "cache")}
    config = few_steps("digit_scenes", data="folder", image_size=32, remainder="crop", **where)
    pretrain_lib.run(config, tmp_path / "run")
    export_lib.run(sources.of_run(tmp_path / "run"), tmp_path / "export")
    transfer = TransferConfig(data="folder", encoder=str(tmp_path / "export"), **where)
    with pytest.raises(UserError, match=r"is not labelled: put the files of each class"):
        transfer_lib.run(transfer, tmp_path / "transfer")


def test_a_run_does_not_go_on_with_other_files_and_is_exported_without_any(tmp_path):
    pictures(tmp_path / "mine")
    where = {"folder": str(tmp_path / "mine"), "cache_dir": str(tmp_path / "cache")}
    config = few_steps("digit_scenes", data="folder", image_size=32, remainder="crop", **where)
    pretrain_lib.run(config, tmp_path / "run")
    (tmp_path / "mine/a/0.png").unlink()
    with pytest.raises(UserError, match=r"is not what the run in .* began with: it gave \d+ "):
        pretrain_lib.run(dataclasses.replace(config, steps=4), tmp_path / "run")
    shutil.rmtree(tmp_path / "mine")
    assert pretrain_lib.run(config, tmp_path / "run")["examples"] > 20  # It is finished.
    export_lib.run(sources.of_run(tmp_path / "run"), tmp_path / "export")
    metadata = json.loads((tmp_path / "export/metadata.json").read_text())
    assert metadata["name"] == "keras_s2l/digit_scenes-mine"


def test_a_data_service_feeds_a_run_as_its_own_pipeline_does(tmp_path):
    service = tf.data.experimental.service
    dispatcher = service.DispatchServer()
    address = dispatcher.target.split("://")[1]
    worker = service.WorkerServer(service.WorkerConfig(dispatcher_address=address))
    pictures(tmp_path / "mine")
    where = {"folder": str(tmp_path / "mine"), "cache_dir": str(tmp_path / "cache")}
    config = few_steps("digit_scenes", data="folder", image_size=32, remainder="crop", **where)
    alone = pretrain_lib.run(config, tmp_path / "alone")
    fed = pretrain_lib.run(
        dataclasses.replace(config, data_service=dispatcher.target), tmp_path / "fed"
    )
    assert fed["held_out"] == alone["held_out"]
    # Where it is taken up again the service may be another one.
    more = dataclasses.replace(config, steps=4)
    alone = pretrain_lib.run(more, tmp_path / "alone")
    fed = pretrain_lib.run(
        dataclasses.replace(more, data_service=dispatcher.target), tmp_path / "fed"
    )
    assert fed["held_out"] == alone["held_out"]
    worker._stop()
    dispatcher._stop()


TAKEN_UP_AGAIN = ("perturbed_samples", "cross_entropy", "contrastive")


@pytest.mark.parametrize("objective", [x for x in OBJECTIVES if x not in TAKEN_UP_AGAIN])
def test_every_objective_trains_the_same_network(objective, tmp_path):
    config = few_steps("digit_scenes", objective=objective, num_permutations=20)
    report = pretrain_lib.run(config, tmp_path)
    assert np.isfinite(report["held_out"]["loss"])
    assert 0 <= report["held_out"][report["measured"]["metric"]] <= 1


@pytest.mark.parametrize("objective", TAKEN_UP_AGAIN)
def test_a_run_that_is_taken_up_again_ends_as_one_in_one_go(objective, tmp_path):
    config = few_steps("digit_scenes", objective=objective, num_permutations=20)
    config = dataclasses.replace(config, steps=4, evaluate_every=2)
    whole = pretrain_lib.run(config, tmp_path / "whole")
    pretrain_lib.run(dataclasses.replace(config, steps=2), tmp_path / "parts")
    parts = pretrain_lib.run(config, tmp_path / "parts")
    assert np.isfinite(whole["held_out"]["loss"])
    assert parts["held_out"] == whole["held_out"]


def test_a_workdir_among_the_examples_is_refused(tmp_path):
    pictures(tmp_path)
    config = few_steps("digit_scenes", data="folder", folder=str(tmp_path), remainder="crop")
    with pytest.raises(UserError, match=r"lies within --folder"):
        pretrain_lib.run(config, tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grid": (1, 1)}, "2 patches or more"),
        ({"objective": "cross_entropy", "num_permutations": 1}, "--num_permutations must be at"),
        ({"objective": "cross_entropy", "num_permutations": 10**6}, "must be at most 9! = 362880"),
        ({"grid": (3, 0)}, "--grid must be numbers above 0"),
        ({"grid": (5, 3), "gap": 1}, "does not divide"),
        ({"grid": (), "axis": "frequency"}, "--axis must be height or width where .* is image"),
    ],
)
def test_settings_that_make_no_task_are_refused_before_anything_is_written(
    changes, message, tmp_path
):
    with pytest.raises(UserError, match=message):
        pretrain_lib.run(few_steps("digit_scenes", **changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module", params=["notes", "digit_scenes"])
def exported(request, tmp_path_factory):
    """A recipe and the folder of an encoder that it left."""
    recipe, folder = request.param, tmp_path_factory.mktemp("exported")
    with pytest.MonkeyPatch.context() as monkeypatch:
        make_tiny(monkeypatch, [recipe])
        pretrain_lib.run(few_steps(recipe), folder / "run")
        export_lib.run(sources.of_run(folder / "run"), folder / "export")
    return recipe, str(folder / "export")


@pytest.mark.parametrize(
    ("protocol", "head", "rows"),
    [
        ("frozen", "linear", ["pretrained", "untrained", "calibrated"]),
        ("finetune", "mlp", ["pretrained", "supervised"]),
        ("supervised", "linear", ["supervised"]),
    ],
)
def test_every_protocol_compares_what_it_says(exported, protocol, head, rows, tmp_path):
    recipe, encoder = exported
    head_is_fitted = (protocol, head) == ("frozen", "linear")
    transfer = TransferConfig(
        data=recipe,
        encoder=encoder,
        num_labels=(20,),
        seeds=1,
        protocol=protocol,
        head=head,
        **({} if head_is_fitted else {"head_steps": 2}),
    )
    spied = {"autospec": True, "side_effect": LinearProbe.score}
    with mock.patch.object(LinearProbe, "score", **spied) as fitted:
        report = transfer_lib.run(transfer, tmp_path / "transfer")
    assert fitted.called == head_is_fitted
    for cells in report["tasks"].values():
        assert list(cells) == ["metric", *rows]
        assert all(np.isfinite(cells[name]["20"]["median"]) for name in rows)
    assert (tmp_path / "transfer/pictures/transfer.png").stat().st_size > 5000


def test_any_embedding_of_an_export_is_measured(exported, tmp_path):
    recipe, encoder = exported
    few = {"num_labels": (20,), "seeds": 2, "head_steps": 2}
    encoders = ENCODERS if recipe == "notes" else ENCODERS[:3]
    own = TransferConfig(data=recipe, encoder=encoder, encoders=encoders, **few)
    reports = {"levels": transfer_lib.run(own, tmp_path / "levels")}
    for name in ("fc", "patches"):
        other = dataclasses.replace(own, embedding=name, encoders=("pretrained",))
        reports[name] = transfer_lib.run(other, tmp_path / name)
    values = {}
    for embedding, report in reports.items():
        assert report["encoder"]["embedding"] == embedding
        rows = encoders if embedding == "levels" else ("pretrained",)
        assert all(list(cells) == ["metric", *rows] for cells in report["tasks"].values())
        cells = [cells["pretrained"]["20"] for cells in report["tasks"].values()]
        assert all(len(cell["draws"]) == 2 for cell in cells)
        values[embedding] = [cell["draws"] for cell in cells]
    assert values["levels"] != values["fc"] != values["patches"] != values["levels"]
    unknown = dataclasses.replace(own, embedding="fx")
    with pytest.raises(UserError, match=r"--embedding must be levels or .*patches or fc"):
        transfer_lib.run(unknown, tmp_path / "unknown")


def test_an_encoder_of_pictures_is_not_given_sounds_nor_the_other_way_round(exported, tmp_path):
    recipe, encoder = exported
    other = {"notes": "digit_scenes", "digit_scenes": "notes"}[recipe]
    transfer = TransferConfig(data=other, encoder=encoder, num_labels=(30,))
    with pytest.raises(UserError, match=rf"takes (audio|image), --data={other} is (image|audio)"):
        transfer_lib.run(transfer, tmp_path / "transfer")
