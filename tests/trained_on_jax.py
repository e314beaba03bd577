"""What training on one and on two devices of JAX gives, for tests to compare; they run it as
`KERAS_BACKEND=jax python -m tests.trained_on_jax devices FILE`, or `process FILE`, one of two.
"""

import re
import sys

import jax
import keras
import numpy as np

import keras_s2l
from tests.replicas import ROOT

BATCH = 8
PERMUTATIONS = keras_s2l.fixed_permutations(6, 4)


def sampled_loss():
    return keras_s2l.FenchelYoungRankLoss(num_samples=3, seed=2)


class Together(keras.losses.Loss):
    """The sum of all losses of ranks: what is wrong with one is wrong with it."""

    def __init__(self):
        super().__init__()
        sampled = sampled_loss()
        self.seed_generator = sampled.seed_generator
        self.losses = [
            sampled,
            keras_s2l.FenchelYoungRankLoss(),
            keras_s2l.SoftRankLoss(),
            keras_s2l.SoftRankLoss(regularization="kl"),
            keras_s2l.ScoreMeanSquaredError(),
        ]

    def call(self, order, scores):
        return sum(loss.call(order, scores) for loss in self.losses)


def examples():
    """Twenty, the last batch is of four: the louder the later, so that halves of a batch differ."""
    random = np.random.default_rng(0)
    loudness = np.linspace(0.5, 3, 20)[:, None, None, None]
    x = (random.normal(size=(20, 8, 16, 1)) * loudness).astype("float32")
    return x, PERMUTATIONS[random.integers(0, len(PERMUTATIONS), 20)]


def make(loss, patches=None, metrics=None, permutations=None):
    backbone = keras.Sequential(
        [
            keras.layers.Flatten(),
            keras.layers.Dense(8, use_bias=False),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
        ]
    )
    patches = patches or keras_s2l.Patches(4, "frequency")
    model = keras_s2l.ShuffleToLearn(
        backbone, patches=patches, hidden_units=8, permutations=permutations, seed=1
    )
    model.build((None, 8, 16, 1))
    random = np.random.default_rng(0)
    for weights in model.trainable_variables:
        if len(weights.shape) == 2:
            weights.assign(random.normal(size=weights.shape) / weights.shape[0] ** 0.5)
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), loss, metrics)
    return model


def trained(model, x, order, batch):
    """Losses and weights of 21 steps on given orders."""
    fit = {"epochs": 7, "batch_size": batch, "shuffle": False, "verbose": 0}
    return {"losses": model.fit(x, order, **fit).history["loss"], "weights": flat(model)}


def drawn(model, x, batch):
    """Losses of six steps on orders that the model draws."""
    return model.fit(x, epochs=2, batch_size=batch, shuffle=False, verbose=0).history["loss"]


def flat(model):
    return np.concatenate([np.ravel(weights) for weights in model.get_weights()])


class Seen(keras.metrics.Metric):
    """Keeps the orders of the last batch, and how its scores are laid out over the devices."""

    def __init__(self, shape):
        super().__init__()
        self.orders = self.add_variable(shape, "zeros", "int32")
        self.share = None

    def update_state(self, order, scores, sample_weight=None):
        def keep(sharding):
            self.share = sharding.shard_shape(scores.shape)

        jax.debug.inspect_array_sharding(scores, callback=keep)
        self.orders.assign(order)

    def result(self):
        return keras.ops.sum(self.orders)

    def reset_state(self):
        pass


def drawn_orders(x):
    """Of three steps on the same eight examples, all alike; and the share of one device.

    Patches are jittered, and the loss draws, on devices that each shall compute their share only.
    """
    seen = Seen((BATCH, 8))
    patches = keras_s2l.Patches(8, "frequency", jitter=1)
    loss = keras_s2l.FenchelYoungRankLoss(num_samples=1, seed=2)
    model = make(loss, metrics=[seen], patches=patches)
    model.optimizer.learning_rate = 0.0
    orders, states = [], []
    for _ in range(3):
        model.fit(np.repeat(x[:1], BATCH, axis=0), batch_size=BATCH, verbose=0)
        orders.append(np.asarray(seen.orders.value))
        states.append(np.asarray(loss.seed_generator.state.value))
    return {"orders": orders, "share": seen.share, "states": states}


def first_step(x):
    """Kernel before it, and the statistics that batch normalisation took in it."""
    model = make(None, permutations=PERMUTATIONS)
    _, dense, normalization, _ = model.context_free_network.patch_encoder.backbone.layers
    kernel = np.asarray(dense.kernel.value)
    model.fit(x[:BATCH], batch_size=BATCH, verbose=0)
    return {"kernel": kernel, "moving_variance": normalization.moving_variance.value}


def outputs(model, x):
    arguments = {"batch_size": BATCH, "verbose": 0}
    return {
        "evaluated": model.evaluate(x, **arguments),
        "scores": model.predict(x, **arguments),
        "embeddings": model.encoder.predict(x, **arguments),
    }


def message_of(function):
    try:
        function()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "none"


def run_docs(number):
    """Runs an example of docs/scaling.md that is for JAX, for one epoch."""
    page = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8").split("## On JAX")[1]
    code = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[number]
    names = {}
    code = code.replace("note_backbone()", "image_backbone(1, (4,))")
    exec(code.replace("epochs=20", "epochs=1, verbose=0"), names)
    return names


def jittered(x):
    """Patches of a grid, at offsets that are given."""
    offsets = np.random.default_rng(1).integers(0, 2, (len(x), 4, 2))
    patches = keras_s2l.Patches(grid=(2, 2), jitter=1)(x, offsets=offsets)
    return {"offsets": offsets, "jittered": patches}


def devices():
    """All on one device, then on two."""
    x, order = examples()
    numbers = {"x": x, **jittered(x)}
    for count, distribution in ((1, None), (2, keras.distribution.DataParallel())):
        keras.distribution.set_distribution(distribution)
        models = {
            "sampled": make(sampled_loss()),
            "ranks": make(Together()),
            "classes": make(None, permutations=PERMUTATIONS),
        }
        found = {"drawn": drawn(models["sampled"], x, BATCH)}
        for name, model in models.items():
            of_model = trained(model, x, order, BATCH)
            found |= {f"{name} {key}": value for key, value in of_model.items()}
        kept = models["sampled"]
        for part in (outputs(kept, x), drawn_orders(x), first_step(x)):
            found |= part
        if count == 2:
            found["devices"] = [len(v.value.sharding.device_set) for v in kept.variables]
            numbers["uneven"] = message_of(lambda m=models["ranks"]: m.fit(x[:5], order[:5]))
            keras.distribution.set_distribution(None)
        found["uneven embeddings"] = kept.encoder.predict(x[:13], batch_size=8, verbose=0)
        numbers |= {f"{count}/{key}": value for key, value in found.items()}
    numbers["docs"] = run_docs(0)["embeddings"]
    return numbers


def process():
    """What one of two processes gets, of which each has a half of every batch."""
    numbers = {"docs": run_docs(1)["embeddings"]}
    keras.distribution.set_distribution(keras.distribution.DataParallel(auto_shard_dataset=False))
    half = np.arange(20) % BATCH // (BATCH // 2)
    half[16:] = [0, 0, 1, 1]
    x, order = (array[half == jax.process_index()] for array in examples())
    model = make(sampled_loss())
    numbers["drawn"] = drawn(model, x, BATCH // 2)
    numbers |= trained(model, x, order, BATCH // 2)
    numbers["evaluated"] = model.evaluate(x, batch_size=BATCH // 2, verbose=0)
    keras.distribution.set_distribution(None)
    return {**numbers, "mine": half == jax.process_index(), "embeddings": model.encoder.predict(x)}


if __name__ == "__main__":
    np.savez(sys.argv[2], **{"devices": devices, "process": process}[sys.argv[1]]())
