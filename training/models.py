"""The front-end and the model of a config."""

import keras

import keras_s2l


def make_frontend(config):
    """The layer from waveforms to what the model slices."""
    return keras_s2l.LogSpectrogram(
        sample_rate=config.sample_rate,
        window_ms=config.window_ms,
        stride_ms=config.stride_ms,
        fft_length=config.fft_length,
        num_mel_bins=config.num_mel_bins,
        floor=config.floor,
        name="log_spectrogram",
    )


def make_model(config):
    """The model of a config, with fresh weights that follow from its seed, built and compiled."""
    keras.utils.set_random_seed(config.seed)
    model = keras_s2l.ShuffleToLearn(
        keras_s2l.note_backbone(),
        num_patches=config.num_patches,
        axis=config.axis,
        hidden_units=config.hidden_units,
        embedding=config.embedding,
        seed=config.seed,
    )
    model.build(make_frontend(config).compute_output_shape((None, config.window_samples)))
    model.compile(
        optimizer=keras.optimizers.Adam(config.learning_rate),
        loss=keras_s2l.FenchelYoungRankLoss(config.sigma),
        metrics=[keras_s2l.PatchAccuracy(), keras_s2l.ExactOrderAccuracy()],
        # XLA's convolutions are the slower ones on CPU: 1.5 times here.
        jit_compile=False,
    )
    # Weights files hold the optimizer too; unbuilt, it would skip them with a mere warning.
    model.optimizer.build(model.trainable_variables)
    return model
