"""The layers of an export: the encoder, and what its further signatures give."""

import dataclasses

import keras
import tensorflow as tf

import keras_s2l
from training import models
from training.checkpoints import load_weights
from training.data.form import Form


@dataclasses.dataclass(frozen=True)
class Made:
    """What is written, in float32 whatever the precision of the run.

    Attributes:
        encoder: Built layer from a batch of inputs to the embedding of the run.
        inputs: `tf.TensorSpec` of a batch: waveforms of any length, or pictures of one size.
        further: Layers and specs by name of the signature: all embeddings, of the same inputs, and
            of sounds `spectrogram`, from one window's spectrogram.
        form: Of the examples.
        window_samples: Of sounds, None of others.
    """

    encoder: keras.layers.Layer
    inputs: tf.TensorSpec
    further: dict
    form: Form
    window_samples: int | None

    @property
    def window_model(self):
        """The encoder as a Keras model of inputs of one size: of sounds, of one spectrogram."""
        return self.further["spectrogram"][0] if self.form.kind == "audio" else self.encoder

    @property
    def keras_model(self):
        """The encoder as a Keras model, to be saved as `.keras`."""
        if isinstance(self.encoder, keras.Model):
            return self.encoder
        inputs = keras.Input(self.inputs.shape[1:], name=self.inputs.name)
        return keras.Model(inputs, self.encoder(inputs), name=self.encoder.name)


def make(source):
    """The layers of a `sources.Source`."""
    config, form = source.config, source.form
    trained = models.make_model(config, form)
    load_weights(trained, source.weights)
    model = models.make_model(dataclasses.replace(config, precision="float32"), form)
    model.set_weights(trained.get_weights())
    shape = models.input_shape(config, form)
    if form.kind == "audio":
        inputs = tf.TensorSpec((None, None), tf.float32, name="waveforms")
        frontend = models.make_frontend(config)
        # Traced once, its matrices are stored once, and not in each function of the SavedModel.
        window = tf.TensorSpec((None, config.window_samples), tf.float32)
        frontend.call = tf.function(frontend.call).get_concrete_function(window)
    else:
        inputs = tf.TensorSpec(shape, tf.float32, name="pictures")
        frontend = None

    def encoder_for(embedding):
        encoder = model.encoder_for(embedding)
        if frontend is None:
            return encoder
        whole = keras_s2l.WaveformEncoder(
            frontend, encoder, config.window_samples, name="waveform_encoder"
        )
        whole.build((None, None))
        return whole

    by_name = {name: encoder_for(name) for name in model.embeddings}
    further = {name: (encoder, inputs) for name, encoder in by_name.items()}
    if frontend is not None:
        spec = tf.TensorSpec(shape, tf.float32, name="spectrograms")
        further["spectrogram"] = (model.encoder, spec)
    window = config.window_samples if form.kind == "audio" else None
    return Made(by_name[model.embedding], inputs, further, form, window)
