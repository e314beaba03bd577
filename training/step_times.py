"""Training steps of a config and what they are made of, timed."""

import functools
import time

import tensorflow as tf

from training import distribution, material, models

WARM_UP = 3  # Steps, the first of which compiles.


class Steps:
    """Training steps of a config, one after the other.

    Args:
        config: `PretrainConfig`.
        form: Of an example.
        examples: Array `(examples, ...)`, as of `Material`.
        strategy: As `distribution.make_strategy` gives it, or None for one device.
    """

    def __init__(self, config, form, examples, strategy=None):
        self.strategy = strategy or distribution.make_strategy("none")
        with self.strategy.scope():
            self.model = models.make_model(config, form)
        self._make = functools.partial(material.batches_of, config, form.kind, examples, 0, 2**31)
        self.batches = self._make()
        # The same batch again and again costs nothing to get.
        self._repeated = distribution.distributed(self.strategy, self._same_batch)
        self.fit(WARM_UP)
        self._same = iter(self._repeated)
        self._step = self.model.train_function

    def _same_batch(self, share):
        return self._make(share=share).take(share.replicas // share.workers).cache().repeat()

    def seconds(self, count):
        """Of a step, by so many of them, without the input pipeline."""
        return _of_calls(lambda: self._step(self._same), count)

    def fit(self, count):
        """Of a step, by a `fit` of so many of them."""
        began = time.perf_counter()
        self.model.fit(self._repeated, steps_per_epoch=count, verbose=0, shuffle=False)
        return (time.perf_counter() - began) / count

    def waiting(self, count):
        """The share of so many steps that passes until the pipeline gives their batch."""
        batches = iter(self.batches)
        for _ in range(WARM_UP):
            self._take(next(batches))
        waited, began = 0.0, time.perf_counter()
        for _ in range(count):
            asked = time.perf_counter()
            batch = next(batches)
            waited += time.perf_counter() - asked
            self._take(batch)
        return waited / (time.perf_counter() - began)

    def _take(self, batch):
        _wait_for(self._step(iter(tf.data.Dataset.from_tensors(batch))))

    def all_reduce(self, count):
        """Seconds that the replicas take to add up their gradients, by so many times."""
        return _of_calls(self._add_up, count)

    @functools.cached_property
    def _add_up(self):
        gradients = [tf.zeros(variable.shape) for variable in self.model.trainable_variables]

        def in_replica():
            context = tf.distribute.get_replica_context()
            return context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)

        return tf.function(lambda: self.strategy.run(in_replica))

    @property
    def gradient_bytes(self):
        return 4 * sum(variable.shape.num_elements() for variable in self.model.trainable_variables)

    def all_reduces(self):
        """How often workers wait for each other in a step: for gradients, statistics, sums."""
        step = tf.function(lambda batch: self.strategy.run(self.model.train_step, (batch,)))
        graph = step.get_concrete_function(next(self._same)).graph.as_graph_def()
        nodes = [*graph.node, *(node for f in graph.library.function for node in f.node_def)]
        return sum(node.op.startswith("CollectiveReduce") for node in nodes)


class Split:
    """A training step of a permutation task cut into its parts, on one device.

    Args:
        steps: `Steps` of one device.
    """

    def __init__(self, steps):
        self.steps = steps
        model = steps.model
        x, order = next(iter(steps.batches))
        task = {**(x if isinstance(x, dict) else {"input": x}), "order": order}

        def forward():
            return model(task, training=True)

        def loss():
            return model.compute_loss(task, y_pred=forward(), training=True)

        def gradients():
            with tf.GradientTape() as tape:
                value = loss()
            return tape.gradient(value, [v.value for v in model.trainable_variables])

        self._bare = tf.function(model.train_step)
        self._batch = (x, order)
        self._beginnings = {
            "forward": tf.function(forward),
            "loss": tf.function(loss),
            "backward": tf.function(gradients),
        }
        for call in (*self._beginnings.values(), self._bare_step):
            _of_calls(call, WARM_UP)

    def _bare_step(self):
        return self._bare(self._batch)

    def seconds(self, count):
        """Of a step up to the end of each part, by so many of them; `update` ends all of it."""
        ends = {name: _of_calls(call, count) for name, call in self._beginnings.items()}
        return {**ends, "update": self.bare(count)}

    def bare(self, count):
        """Of a step in a bare loop over a `tf.function`."""
        return _of_calls(self._bare_step, count)

    def forward_flops(self):
        """Floating-point operations of the forward part, as TensorFlow's profiler counts them."""
        profiler = tf.compat.v1.profiler
        options = profiler.ProfileOptionBuilder(profiler.ProfileOptionBuilder.float_operation())
        graph = self._beginnings["forward"].get_concrete_function().graph
        counted = profiler.profile(graph, options=options.with_empty_output().build())
        return counted.total_float_ops

    def input(self, count):
        """Of the making of a batch where nothing else is done."""
        batches = iter(self.steps.batches)
        for _ in range(WARM_UP):
            next(batches)
        return _of_calls(lambda: next(batches), count)


def parts(ends):
    """Seconds of each part of a step, from those up to the end of each."""
    lengths, begin = {}, 0.0
    for name, end in ends.items():
        lengths[name], begin = end - begin, end
    return lengths


def _of_calls(call, count):
    began = time.perf_counter()
    for _ in range(count):
        result = call()
    _wait_for(result)
    return (time.perf_counter() - began) / count


def _wait_for(result):
    """Until a device has computed it all."""
    for value in tf.nest.flatten(result):
        for local in getattr(value, "values", [value]):
            local.numpy()
