"""Imports go one way, cost little, and the public names are what the README says."""

import ast
import pathlib
import subprocess
import sys

import pytest

import keras_s2l

ROOT = pathlib.Path(__file__).resolve().parent.parent
# A module imports only from stages before its own; `model` sees them all.
STAGES = (
    *("_version", "_checks", "_compiled", "_gradients", "_nested", "_orders", "_seeds"),
    *(
        "frontends",
        "patches",
        "permutations",
        "shuffle",
        "normalization",
        "encoders",
        "backbones",
        "ranking",
        "losses",
        "metrics",
    ),
    *("precise_statistics", "multi_worker", "pretext_model", "model", "waveforms"),
    *("_archives", "handles", "_saved_models", "hub", "encoder_files", "pretrained_encoders"),
)


def imports(path):
    """Absolute names of all that a file imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def files(folder):
    return sorted((ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("path", files("keras_s2l"), ids=lambda path: path.name)
def test_the_library_knows_no_programs_and_no_tf_keras(path):
    for name in imports(path):
        top = name.split(".")[0]
        assert top not in ("training", "export", "absl", "tf_keras", "tensorflow_datasets"), name
        assert not name.startswith("tensorflow.keras"), name


@pytest.mark.parametrize("path", files("keras_s2l"), ids=lambda path: path.name)
def test_a_stage_imports_only_from_stages_before_it(path):
    stage = path.relative_to(ROOT / "keras_s2l").parts[0].removesuffix(".py")
    if stage == "__init__":
        return
    for name in imports(path):
        if name.startswith("keras_s2l."):
            source = name.split(".")[1]
            assert STAGES.index(source) <= STAGES.index(stage), f"{path}: {name}"


@pytest.mark.parametrize("path", files("training"), ids=lambda path: path.name)
def test_training_does_not_import_export(path):
    assert not [name for name in imports(path) if name.split(".")[0] == "export"]


@pytest.mark.parametrize("path", files("training") + files("export"), ids=lambda path: path.name)
def test_only_the_flags_file_and_mains_touch_flags(path):
    if path.name in ("flags.py", "verify.py"):
        return
    assert not [name for name in imports(path) if name.startswith("absl")]


def public():
    """What the library gives its users, by name; at least as much as it had."""
    items = {name: item for name, item in vars(keras_s2l).items() if not name.startswith("_")}
    items = {name: item for name, item in items.items() if callable(item)}
    assert len(items) >= 18
    return items


def test_every_public_name_is_in_the_readme():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert not [name for name in public() if f"`{name}`" not in readme]


def test_every_public_name_says_what_it_is_by_an_example():
    assert not [name for name, item in public().items() if "Example:" not in item.__doc__]


@pytest.mark.slow
def test_importing_the_library_imports_nothing_beyond_keras():
    code = (
        "import sys, keras; before = set(sys.modules); import keras_s2l; "
        "print({name.split('.')[0] for name in set(sys.modules) - before})"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert output.stdout.strip() == "{'keras_s2l'}", output.stderr


@pytest.mark.parametrize(
    "command",
    [
        "training.prepare --validation",
        "training.pretrain --steps=0",
        "training.transfer --seed=-1",
        "training.reproduce --table=3",
        "training.demo --num_labels=0",
        "training.soak --minutes=0",
        "training.benchmark_ranking --rounds=0",
        "training.benchmark_training --rounds=0",
        "export.export_encoder",
        "export.benchmark_hub --rounds=0",
    ],
)
def test_what_is_wrong_with_flags_is_said_before_keras_is_imported(command, tmp_path):
    """Which takes seconds."""
    module, *flags = command.split()
    folders = {"training.prepare": "data_dir", "export.export_encoder": "output"}
    arguments = [module, *flags, f"--{folders.get(module, 'workdir')}={tmp_path / 'new'}"]
    code = (
        "import runpy, sys; sys.modules.update(keras=None, tensorflow=None); "
        f"sys.argv = {arguments}; runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert ended.returncode == 1 and ended.stderr.startswith("error: "), ended.stderr
