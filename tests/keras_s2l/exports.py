"""SavedModels to load: a tiny export of ours, and the shapes of popular ones by others."""

import keras
import numpy as np
import tensorflow as tf

from export import saved_model
from export.model_card import METADATA
from keras_s2l import LogSpectrogram, ShuffleToLearn, WaveformEncoder, note_backbone
from training import records

WORDS = ["cat", "dog", "bird"]


def audio_encoder():
    """An encoder of waveforms as `export.export_encoder` builds it, 9 variables to train."""
    keras.utils.set_random_seed(0)
    frontend = LogSpectrogram(num_mel_bins=8)
    model = ShuffleToLearn(note_backbone((4, 6, 8)), num_patches=4, axis="frequency")
    model.build(frontend.compute_output_shape((None, 1000)))
    encoder = WaveformEncoder(frontend, model.encoder, 1000)
    encoder.build((None, None))
    return encoder


def write_audio(encoder, folder):
    inputs = tf.TensorSpec((None, None), tf.float32, name="waveforms")
    saved_model.write(encoder, inputs, folder)
    described = {"kind": "audio", "sample_rate": 16000, "window_samples": 1000}
    architectures = {"levels": keras.saving.serialize_keras_object(encoder)}
    metadata = {"input": described, "embedding": "levels", "architectures": architectures}
    records.write_json(folder / METADATA, metadata)


def write_image_vectors(folder):
    """As of MobileNet: pictures of any size to vectors; L2 losses, batch normalisation."""
    import tf_keras

    layers = tf_keras.layers
    tf_keras.utils.set_random_seed(0)
    model = tf_keras.Sequential(
        [
            tf_keras.Input((None, None, 3)),
            layers.Conv2D(4, 3, strides=2, use_bias=False, kernel_regularizer="l2"),
            layers.BatchNormalization(momentum=0.5),
            layers.ReLU(6.0),
            layers.DepthwiseConv2D(3, depthwise_regularizer="l2"),
            layers.GlobalAveragePooling2D(),
        ]
    )
    model.save(str(folder), save_format="tf")
    return model


class Waveforms(tf.Module):
    """As YAMNet: one waveform, without a batch, to scores, embeddings and a spectrogram."""

    def __init__(self):
        super().__init__()
        self.kernel = tf.Variable(tf.random.stateless_normal((8, 3), (0, 1)))

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.float32)])
    def __call__(self, waveform):
        frames = tf.signal.frame(waveform, 8, 4)
        embeddings = frames @ self.kernel
        return tf.nn.softmax(embeddings), embeddings, tf.abs(tf.signal.rfft(frames))


def write_waveforms(folder):
    model = Waveforms()
    tf.saved_model.save(model, str(folder))
    return model


def write_text(folder, vocabulary):
    """As of nnlm: strings to vectors by a table, whose words are an asset."""
    vocabulary.write_text("\n".join(WORDS) + "\n")
    words = tf.lookup.TextFileInitializer(
        str(vocabulary),
        *(tf.string, tf.lookup.TextFileIndex.WHOLE_LINE),
        *(tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER),
    )
    root = tf.train.Checkpoint()
    root.table = tf.lookup.StaticVocabularyTable(words, num_oov_buckets=1)
    root.embeddings = tf.Variable(tf.reshape(tf.range(12.0), (4, 3)))

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string)])
    def embed(sentences):
        numbers = root.table.lookup(tf.strings.split(sentences))
        return tf.reduce_mean(tf.gather(root.embeddings, numbers), axis=1)

    root.__call__ = embed
    root.variables = root.trainable_variables = [root.embeddings]
    root.regularization_losses = []
    tf.saved_model.save(root, str(folder))


def write_several(folder, structure):
    """Two inputs, in a dict or a list, to a dict of two outputs."""
    root = tf.train.Checkpoint()
    root.scale = tf.Variable(2.0)

    @tf.function
    def call(inputs, training=False):
        left, right = inputs.values() if isinstance(inputs, dict) else inputs
        del training
        return {"sum": root.scale * (left + tf.cast(right, left.dtype)), "right": right}

    left = tf.TensorSpec((None, 3), tf.float32, name="left")
    right = tf.TensorSpec((None, 3), tf.int32, name="right")
    inputs = {"left": left, "right": right} if structure is dict else structure([left, right])
    for training in (False, True):
        concrete = call.get_concrete_function(inputs, training=training)
    del concrete
    root.__call__ = call
    root.variables = root.trainable_variables = [root.scale]
    serve = tf.function(lambda left, right: call([left, right])).get_concrete_function(left, right)
    tf.saved_model.save(root, str(folder), signatures={"serving_default": serve})


def write_legacy(folder, hub_module=False):
    """Of TF1: graphs for use and for training, with signatures; as a Hub module, without tags."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, (None, 3), "x")
        kernel = v1.get_variable("kernel", initializer=np.eye(3, dtype="float32") * 2)
        signature = v1.saved_model.predict_signature_def({"x": x}, {"default": x @ kernel})
        session.run(v1.global_variables_initializer())
        builder = v1.saved_model.Builder(str(folder))
        tags = [] if hub_module else ["serve"]
        builder.add_meta_graph_and_variables(session, tags, {"default": signature})
        builder.add_meta_graph(["train"], {"default": signature})
        builder.save()
    if hub_module:
        (folder / "tfhub_module.pb").write_bytes(b"\x08\x03")


def write_signatures_only(folder):
    """As Keras' own `model.export` writes it: a root that cannot be called."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.export(str(folder), verbose=False)
    return model
