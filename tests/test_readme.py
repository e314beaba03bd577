"""What the README says runs."""

import ast
import pathlib
import re
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow_hub

import keras_s2l
from tests.replicas import run_on_two_replicas

ROOT = pathlib.Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language, page=README):
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


@pytest.mark.slow
def test_the_examples_run_as_they_stand(tmp_path, monkeypatch):
    shuffled_to_learn, comes_with_it, in_a_model = blocks("python")
    names = {}
    monkeypatch.chdir(tmp_path)
    exec(shuffled_to_learn.replace("epochs=20", "epochs=1"), names)
    assert names["embeddings"].shape[0] == 64 and np.isfinite(names["embeddings"]).all()
    saved = keras.saving.load_model("encoder.keras")
    np.testing.assert_allclose(saved.predict(names["spectrograms"]), names["embeddings"], atol=1e-5)
    exec(comes_with_it, names)
    assert names["encoder"].handle == keras_s2l.pretrained("notes-frequency-10")
    assert names["embeddings"].shape == (64, names["encoder"].compute_output_shape((64, 16000))[1])
    exec(in_a_model, names)
    assert names["classifier"](names["waveforms"]).shape == (64, 15)
    refused = re.search(r"Only instances of `keras.Layer` can be added to a\s+Sequential", README)
    with pytest.raises(ValueError, match=refused[0].replace("\n", " ")):
        keras.Sequential([tensorflow_hub.KerasLayer(names["encoder"].handle)])


def run_page(page, shown, check):
    """Runs the code of a page of docs; gives its names and how many lines showed what they give.

    Args:
        page: Its file name.
        shown: Pattern of such a line, with the groups expression and value.
        check: `check(given, said)`.
    """
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    names, checked = {}, 0
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(block, names)
        for line in block.splitlines():
            if match := re.fullmatch(shown, line):
                check(eval(match[1], names), ast.literal_eval(match[2]))
                checked += 1
    return names, checked


@pytest.mark.slow
def test_the_page_on_ranking_runs_and_its_numbers_are_right():
    def check(given, said):
        np.testing.assert_allclose(np.asarray(given), said, atol=0.01)

    names, checked = run_page("ranking.md", r"(\S.*?)\s+# (\[.*\]).*", check)
    assert checked >= 7
    assert np.isfinite(names["model"].predict(names["inputs"], verbose=0)).all()


def run_page_of_shapes(page):
    """The same of a page whose lines show shapes."""

    def check(given, said):
        assert tuple(given) == said

    return run_page(page, r"(\S.*\.shape)  # (\(.*\))", check)


@pytest.mark.slow
def test_the_page_on_encoders_runs_and_its_shapes_are_right():
    _, checked = run_page_of_shapes("encoders.md")
    assert checked == 9


@pytest.mark.slow
def test_the_script_for_several_devices_runs_as_it_stands():
    page = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
    code = blocks("python", page)[0]
    made = "strategy = tf.distribute.MirroredStrategy()"
    assert made in code
    # Of processors it would take one.
    run_on_two_replicas(code.replace(made, "assert strategy.num_replicas_in_sync == 2"))


def test_every_make_target_exists():
    targets = re.findall(r"^([\w-]+): ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    pages = [README, *(path.read_text(encoding="utf-8") for path in ROOT.glob("docs/*.md"))]
    used = re.findall(r"`?make ([\w-]+)`", "".join(pages)) + re.findall(r"^make ([\w-]+)", README)
    assert used and set(used) <= set(targets)
    assert "make test" in (ROOT / ".ci" / "run").read_text()


@pytest.mark.slow
def test_every_program_takes_the_flags_that_it_is_shown_with():
    """The programs themselves run in tests/test_main_job.py."""
    pages = [README, *(path.read_text(encoding="utf-8") for path in ROOT.glob("docs/*.md"))]
    shown = "".join(block for page in pages for block in blocks("bash", page))
    commands = shown.splitlines()
    commands = [line.split()[2:] for line in commands if line.startswith("python -m ")]
    assert {program for program, *_ in commands} >= {"training.pretrain", "training.transfer"}
    for program, *flags in commands:
        command = [sys.executable, "-m", program, "--help"]
        output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout
        for flag in flags:
            name = flag.split("=")[0]
            # As absl shows booleans.
            forms = [name, *("--[no]" + name.removeprefix(of) for of in ("--", "--no"))]
            assert any(form in output for form in forms), (program, flag)


def test_what_is_installed_by_hand_is_what_make_installs():
    makefile = (ROOT / "Makefile").read_text()
    for requirement in re.findall(r"pip install .*'(.+)'", README):
        assert requirement in makefile


def test_pictures_and_links_within_the_project_exist():
    targets = re.findall(r"\]\(([^)#]+)\)", README)
    assert targets
    for target in targets:
        assert target.startswith("https://") or (ROOT / target).exists(), target


def test_the_results_are_there_with_what_they_do_not_show():
    assert len(re.findall(r"← \*\*[\d.]+\*\* →", README)) == 36
    assert "What this does not show" in README
