"""Other formats give what the encoder gives, or nothing is exported."""

import keras
import numpy as np
import pytest

import keras_s2l
from export import formats
from training.errors import UserError

pytestmark = pytest.mark.slow
SHAPES = {"pictures": (24, 24, 3), "spectrograms": (30, 12, 1)}


def make_encoder(kind):
    keras.utils.set_random_seed(0)
    channels = SHAPES[kind][-1]
    model = keras_s2l.ShuffleToLearn(keras_s2l.image_backbone(channels, (4, 6, 8)), 3, "height")
    if kind == "spectrograms":
        model = keras_s2l.ShuffleToLearn(keras_s2l.note_backbone((4, 6, 8)), 4, "frequency")
    model.build((None, *SHAPES[kind]))
    return model.encoder


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("name", formats.NEEDED)
def test_what_is_converted_gives_what_the_encoder_gives(name, kind, tmp_path):
    encoder = make_encoder(kind)
    differences = formats.write(encoder, [name], tmp_path)
    assert list(differences) == [name] and differences[name] <= 1e-5
    assert [path.name for path in tmp_path.iterdir()] == [formats.FILES[name]]
    run = {"litert": formats._run_litert, "onnx": formats._run_onnx}[name]
    for batch in (1, 5):
        x = np.random.default_rng(batch).random((batch, *SHAPES[kind])).astype("float32")
        np.testing.assert_allclose(run(tmp_path / formats.FILES[name], x), encoder(x), atol=1e-5)


def test_what_gives_something_else_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(formats, "_run_litert", lambda path, inputs: np.full((3, 1), np.nan))
    with pytest.raises(UserError, match=r"--formats=litert: what was converted differs by nan"):
        formats.write(make_encoder("pictures"), ["litert"], tmp_path)


def test_what_is_unknown_or_not_installed_is_refused(monkeypatch):
    formats.refuse_missing(["litert", "onnx"])
    with pytest.raises(UserError, match=r"--formats must be some of .*Received: pmml"):
        formats.refuse_missing(["pmml"])
    monkeypatch.setitem(formats.NEEDED, "onnx", ("onnx", "no_such_converter"))
    with pytest.raises(
        UserError, match=r"needs no_such_converter: `pip install 'keras_s2l\[onnx\]"
    ):
        formats.refuse_missing(["onnx"])
