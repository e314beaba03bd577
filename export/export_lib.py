"""From the workdir of a run to an export that has been checked."""

import contextlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import uuid

from export import archives, encoders, expectations, formats, model_card, saved_model
from keras_s2l import _archives
from training import records
from training.errors import UserError

ROOT = pathlib.Path(__file__).resolve().parent.parent


def run(source, output, overwrite=False, further_formats=()):
    """Exports the encoder of a run and checks it in a fresh process.

    Nothing appears under the names of `output` and its archive before the check is passed.

    Args:
        source: `sources.Source`, of a finished run or a checkpoint.
        output: Folder to make; `output.tar.gz` appears beside it.
        overwrite: Whether to replace what an earlier export made there.
        further_formats: Names of `formats.NEEDED`.

    Raises:
        UserError: If `output` holds something, a converter is missing, or the check fails.
    """
    output = pathlib.Path(output).resolve()
    formats.refuse_missing(further_formats)
    _refuse_to_overwrite(output, overwrite)
    made = encoders.make(source)
    output.parent.mkdir(parents=True, exist_ok=True)
    with _unfinished(output) as (folder, archive):
        _write(made, source, folder)
        for name, difference in formats.write(made.window_model, further_formats, folder).items():
            print(f"{formats.FILES[name]}: largest difference {difference:.3g}", flush=True)
        archives.write_sums(folder)
        print(_check_in_fresh_process(made, folder), flush=True)
        archives.pack(folder, archive)
        _put_in_place(folder, archive, output, overwrite)
    print(f"Exported {source.workdir}, step {source.step}, to {output} and {output}.tar.gz")


def _write(made, source, folder):
    """All files of an export but their sums."""
    saved_model.write(made.encoder, made.inputs, folder, made.further)
    made.keras_model.save(folder / "encoder.keras")
    metadata = model_card.metadata(made, source)
    records.write_json(folder / model_card.METADATA, metadata)
    if source.picture:
        shutil.copy(source.picture, folder / "picture.png")
    page = model_card.page(metadata, has_picture=bool(source.picture))
    records.write_text(folder / "MODEL_CARD.md", page)
    for name, record in model_card.kaggle(metadata).items():
        records.write_json(folder / name, record)


def _refuse_to_overwrite(output, overwrite):
    if output.exists() and not output.is_dir():
        raise UserError(f"--output={output} is a file: give a folder.")
    holds = output.exists() and any(output.iterdir())
    if holds and not overwrite:
        raise UserError(
            f"--output={output} holds something already, and nothing is overwritten unasked: give "
            "a new folder, or --overwrite."
        )
    if holds and not archives.is_export(output):
        raise UserError(
            f"--output={output} holds files that no export made, which --overwrite does not touch: "
            "give a new folder."
        )
    if not holds and archives.beside(output).exists():
        raise UserError(f"{archives.beside(output)} is there already: move it.")


@contextlib.contextmanager
def _unfinished(output):
    """A folder and an archive of names that no export has; nothing of them is left."""
    _archives.remove_abandoned(output.parent)
    unfinished = output.with_name(f"{output.name}.unfinished-{uuid.uuid4().hex}")
    unfinished.mkdir()
    try:
        yield unfinished / output.name, archives.beside(unfinished / output.name)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _put_in_place(folder, archive, output, overwrite):
    """Gives a checked export its name; an earlier one is removed once that is done."""
    _refuse_to_overwrite(output, overwrite)  # Another one may have been made meanwhile.
    replaced = output.with_name(f"{output.name}.replaced-{uuid.uuid4().hex}")
    if output.exists():
        os.replace(output, replaced)
    try:
        os.replace(folder, output)
    except BaseException:
        if replaced.exists():
            os.replace(replaced, output)
        raise
    os.replace(archive, archives.beside(output))
    shutil.rmtree(replaced, ignore_errors=True)


def _check_in_fresh_process(made, folder):
    """The table that `export.verify` prints, once it is content."""
    with tempfile.TemporaryDirectory() as elsewhere:
        expected = pathlib.Path(elsewhere) / "expected.npz"
        expectations.write(made, expected)
        command = [sys.executable, "-m", "export.verify"]
        command += [f"--export={folder.resolve()}", f"--expected={expected}"]
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}  # As this process itself.
        check = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    if check.returncode != 0:
        said = check.stdout.strip() or check.stderr.strip() or "nothing"
        raise UserError(
            f"The export does not match its checkpoint; none was made. export.verify says:\n{said}"
        )
    return check.stdout.strip()
