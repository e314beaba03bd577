"""Patches share one backbone; embeddings of levels are made of its layers."""

import keras
import numpy as np
import pytest

import keras_s2l
from keras_s2l import PatchEncoder, note_backbone
from keras_s2l.encoders import ContextFreeNetwork, level_names, with_levels

PATCHES = np.random.default_rng(0).normal(size=(3, 4, 16, 6, 1)).astype("float32")


def test_each_patch_is_encoded_as_if_it_were_alone():
    backbone = note_backbone(widths=(4, 8))
    together = np.asarray(PatchEncoder(backbone)(PATCHES))
    for b in range(3):
        for i in range(4):
            alone = np.asarray(backbone(PATCHES[b, i][None]))[0]
            np.testing.assert_allclose(together[b, i], alone, atol=1e-5)


def test_a_backbone_with_positions_is_averaged_over_them():
    convolution = keras.layers.Conv2D(5, 3)
    features = np.asarray(PatchEncoder(convolution)(PATCHES))
    expected = np.asarray(convolution(PATCHES.reshape(12, 16, 6, 1))).mean(axis=(1, 2))
    np.testing.assert_allclose(features, expected.reshape(3, 4, 5), atol=1e-5)


def test_batch_normalisation_takes_its_statistics_over_all_patches():
    normalization = keras.layers.BatchNormalization(momentum=0.0)
    PatchEncoder(normalization)(PATCHES, training=True)
    np.testing.assert_allclose(normalization.moving_mean, PATCHES.mean(), atol=1e-5)
    np.testing.assert_allclose(normalization.moving_variance, PATCHES.var(), rtol=1e-4)


def test_levels_are_the_averages_of_the_named_layers_beside_the_features():
    backbone = note_backbone(widths=(4, 6, 8, 10))
    assert level_names(backbone, 2) == ("block_2", "block_3")
    x = PATCHES[0]
    levels = np.asarray(with_levels(backbone, ("block_2", "block_3"))(x))
    assert levels.shape == (4, 6 + 8 + 10)
    second = keras.Model(backbone.input, backbone.get_layer("block_2").output)
    np.testing.assert_allclose(levels[:, :6], np.asarray(second(x)).mean(axis=(1, 2)), atol=1e-6)
    np.testing.assert_allclose(levels[:, 14:], np.asarray(backbone(x)), atol=1e-6)


def test_levels_share_the_weights_of_the_backbone():
    backbone = note_backbone(widths=(4, 6, 8))
    levels = with_levels(backbone, level_names(backbone, 2))
    assert {id(w) for w in levels.weights} <= {id(w) for w in backbone.weights}


@pytest.mark.parametrize("levels", [(), ("block_9",), ("block_1", "nonsense")])
def test_unknown_levels_are_refused_with_the_known_ones(levels):
    with pytest.raises(ValueError, match=r"`levels` must name layers .*block_1"):
        with_levels(note_backbone(widths=(4, 8)), levels)


@pytest.mark.parametrize("names", [("early", "late"), ("block_1_expand", "block_2_expand")])
def test_a_foreign_backbone_has_no_levels_of_its_own(names):
    layers = [keras.layers.Dense(3, name=name) for name in (*names, "top")]
    assert level_names(keras.Sequential([keras.Input((4,)), *layers]), 2) == ()


@pytest.mark.parametrize("bad", [None, "resnet", 3])
def test_what_is_no_layer_is_refused(bad):
    with pytest.raises(ValueError, match="`backbone` must be a Keras model or layer"):
        PatchEncoder(bad)


@pytest.mark.parametrize("layer", [PatchEncoder, ContextFreeNetwork])
def test_saved_in_a_model_it_comes_back_the_same(layer, tmp_path):
    inputs = keras.Input(PATCHES.shape[1:])
    model = keras.Model(inputs, layer(note_backbone(widths=(4, 8)))(inputs))
    assert model.output_shape == (None, *model(PATCHES).shape[1:])
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(PATCHES), model(PATCHES))


def test_the_context_free_network_sees_all_patches_together():
    network = ContextFreeNetwork(note_backbone(widths=(4, 8)), hidden_units=16)
    scores = np.asarray(network(PATCHES))
    assert scores.shape == (3, 4)
    changed = PATCHES.copy()
    changed[:, 3] += 1
    assert np.all(np.abs(np.asarray(network(changed)) - scores)[:, 0] > 0)


class TwoLayers(keras.Model):
    """A model as users write them, without shapes."""

    def __init__(self, positions=True):
        super().__init__()
        self.convolution = keras.layers.Conv2D(5, 3, padding="same")
        self.pooling = keras.layers.MaxPooling2D()
        self.positions = positions

    def call(self, x):
        x = self.pooling(self.convolution(x))
        return x if self.positions else {"features": x}


@pytest.mark.parametrize("called_before", [False, True])
def test_a_subclassed_model_may_be_the_backbone(called_before):
    backbone = TwoLayers()
    if called_before:
        backbone(PATCHES[0])
    model = keras_s2l.ShuffleToLearn(backbone, num_patches=3, axis="frequency")
    x = np.random.default_rng(0).normal(size=(8, 16, 6, 1)).astype("float32")
    model.compile("adam")
    assert np.isfinite(model.fit(x, epochs=1, verbose=0).history["loss"]).all()
    features = np.asarray(PatchEncoder(backbone)(PATCHES))
    one_by_one = np.stack([np.asarray(backbone(p)).mean(axis=(1, 2)) for p in PATCHES])
    np.testing.assert_allclose(features, one_by_one, atol=1e-5)
    assert len(model.trainable_variables) == 2 + 4  # Of the convolution and of two dense layers.


def test_a_backbone_of_several_outputs_is_refused():
    with pytest.raises(ValueError, match=r"`backbone` must give one tensor .*features"):
        PatchEncoder(TwoLayers(positions=False))(PATCHES)
