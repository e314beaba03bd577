"""Several devices or workers train as one does; each has its rows; only one writes."""

import functools
import inspect
import sys
import types
from unittest import mock

import keras
import numpy as np
import pytest
import tensorflow as tf

from export import encoders, sources
from tests.replicas import run_on_two_replicas
from tests.training import distributed_runs
from tests.training.processes import run_on_two_workers, run_program, wait_for
from training import distribution, material, models, pretrain_lib, records, workdirs
from training.config import OBJECTIVES, PRECISIONS, PretrainConfig
from training.data import sets, stream
from training.data.augmentation import Augmentation
from training.data.stream import Share
from training.errors import UserError

SHARES = [(1, 1), (2, 2), (3, 3), (2, 4), (1, 4)]


@pytest.mark.parametrize(("workers", "replicas"), SHARES)
@pytest.mark.parametrize("data", ["audio", "image"])
@pytest.mark.parametrize("objective", ["perturbed", "contrastive"])
def test_the_rows_of_all_workers_are_the_batch_of_one(objective, data, workers, replicas):
    random = np.random.default_rng(0)
    shape, dtype = ((10, 9, 4, 1), "float32") if data == "audio" else ((10, 24, 24, 1), "uint8")
    examples = (9 * random.random(shape)).astype(dtype)
    config = distributed_runs.small_config(
        objective=objective, batch_size=12, max_shift=3, max_gain_db=6.0
    )

    def rows(share):
        batches = material.batches_of(config, data, examples, 3, 5, share)
        return [tf.nest.flatten(batch) for batch in batches]

    whole = rows(stream.WHOLE)
    of_workers = [rows(Share(worker, workers, replicas)) for worker in range(workers)]
    each = replicas // workers  # Batches a step of each worker.
    for step, batch in enumerate(whole):
        parts = [part for of_one in of_workers for part in of_one[step * each : (step + 1) * each]]
        assert all(len(part[0]) == 12 // replicas for part in parts)
        for number, expected in enumerate(batch):
            together = np.concatenate([part[number] for part in parts])
            # How a gain or a mean is rounded depends on the place in memory; light is taken from
            # pictures of up to 1, whatever is left.
            np.testing.assert_allclose(together, expected, rtol=1e-6, atol=2e-7)


def test_the_shape_of_a_batch_is_known_before_it_comes():
    config = distributed_runs.small_config()
    examples = distributed_runs.pictures(config, "train").inputs
    for share in (stream.WHOLE, Share(0, 2, 4)):
        x, order = material.batches_of(config, "image", examples, 0, 9, share).element_spec
        assert x["input"].shape == (8 // share.replicas, 24, 24, 1)
        assert order.shape == (8 // share.replicas, 9)


def test_all_that_is_drawn_is_drawn_for_the_whole():
    config = distributed_runs.small_config(objective="perturbed_samples", num_samples=3)
    examples = distributed_runs.pictures(config, "train").inputs

    def step(share):
        (batch,) = material.batches_of(config, "image", examples, 5, 6, share)
        return tf.nest.flatten(batch)

    assert [part.shape[1:] for part in step(stream.WHOLE)] == [(3, 9), (24, 24, 1), (9, 2), (9,)]
    shares = zip(*(step(Share(worker, 4, 4)) for worker in range(4)))
    for parts, whole in zip(shares, step(stream.WHOLE), strict=True):
        np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_what_varies_a_share_is_drawn_for_the_whole():
    x = np.random.default_rng(0).random((6, 9, 4, 1)).astype("float32")
    vary = Augmentation(3, 6.0).vary
    seed = stream.step_seed(0, 1)
    parts = [vary(x[2 * worker :][:2], seed, Share(worker, 3, 3)) for worker in range(3)]
    np.testing.assert_allclose(np.concatenate(parts), vary(x, seed), rtol=1e-6)


@pytest.mark.parametrize(("workers", "replicas"), SHARES[1:])
@pytest.mark.parametrize("num_examples", [4, 5, 21, 64])
def test_replicas_evaluate_each_example_once_in_as_many_batches(num_examples, workers, replicas):
    def batches(worker):
        task = mock.Mock(side_effect=lambda stored, index: index)
        share = Share(worker, workers, replicas)
        return list(stream.evaluation_stream(np.arange(num_examples), task, 8, share))

    of_workers = [batches(worker) for worker in range(workers)]
    assert len({len(of_one) for of_one in of_workers}) == 1
    sizes = [len(batch) for of_one in of_workers for batch in of_one]
    assert len(sizes) % replicas == 0 and min(sizes) >= 1 and max(sizes) - min(sizes) <= 1
    seen = np.concatenate([batch for of_one in of_workers for batch in of_one])
    assert sorted(seen) == list(range(num_examples))


@pytest.mark.parametrize("share", [stream.WHOLE, Share(0, 1, 2)])
def test_a_batch_may_come_from_all_over_the_examples(share):
    """Neighbours may be alike: one note at two velocities."""
    batches = stream.evaluation_stream(
        np.arange(12), lambda stored, index: stored, 4, share, apart=True
    )
    in_order = np.concatenate(list(batches))
    np.testing.assert_array_equal(in_order, [0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11])


@pytest.mark.slow
def test_two_replicas_train_and_measure_as_one_device():
    """In float32; all objectives in float64, without its rounding, in test_devices.py."""
    run_on_two_replicas("""
        from tests.training.distributed_runs import small_config, train, use_momentum

        def compare(rtol, weights_atol=None, **changes):
            config = small_config(**changes)
            (ours, losses, measured), (weights, expected, right) = (
                train(one, config) for one in (strategy, tf.distribute.get_strategy())
            )
            np.testing.assert_allclose(losses, expected, rtol=rtol)
            for name in right:
                np.testing.assert_allclose(measured[name], right[name], rtol=rtol, err_msg=name)
            if weights_atol:
                for one, other in zip(ours, weights, strict=True):
                    np.testing.assert_allclose(one, other, rtol=1e-5, atol=weights_atol)

        # One device normalises by another kernel, and Adam makes of the rounding of a gradient near
        # 0 a step.
        compare(1e-4)
        use_momentum()
        for objective in ("perturbed", "cross_entropy"):
            compare(1e-5, weights_atol=1e-4, objective=objective)
    """)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The workdir of a run on one device."""
    workdir = tmp_path_factory.mktemp("alone")
    wait_for(run_program(f"run({str(workdir)!r})", DEVICES="1"))
    return workdir


def assert_same_run(workdir, alone):
    report, expected = (records.read_json(folder / "report.json") for folder in (workdir, alone))
    assert report["held_out"] == pytest.approx(expected["held_out"], rel=1e-5)
    rows, right = (records.read_log(folder / "log.csv") for folder in (workdir, alone))
    assert len(rows) == len(right) == 2
    for row, other in zip(rows, right, strict=True):
        assert row == pytest.approx(other, rel=1e-5)


@pytest.mark.slow
def test_a_mirrored_run_is_taken_up_again_and_ends_as_one_on_one_device(alone, tmp_path):
    wait_for(
        run_program(
            f"""
            run({str(tmp_path)!r}, strategy="mirrored", steps=10)
            assert distribution.make_strategy("mirrored").num_replicas_in_sync == 2
            run({str(tmp_path)!r}, strategy="mirrored")
            """,
            DEVICES="2",
        )
    )
    assert_same_run(tmp_path, alone)


@pytest.mark.slow
def test_two_workers_stop_together_and_end_as_one_device_and_only_the_chief_writes(alone, tmp_path):
    chief, other = tmp_path / "chief", tmp_path / "other"
    stopped = """
        class Stopping(callbacks.RefuseNan):
            def on_train_batch_end(self, batch, logs=None):
                super().on_train_batch_end(batch, logs)
                if {signalled} and int(self.model.optimizer.iterations.numpy()) == 10:
                    signal.raise_signal(signal.SIGTERM)

        callbacks.RefuseNan = Stopping
        assert run({workdir!r}, strategy="multi_worker") is None
    """
    run_on_two_workers(
        [
            stopped.format(workdir=str(workdir), signalled=workdir == other)
            for workdir in (chief, other)
        ]
    )
    assert sorted(path.name for path in (chief / "checkpoints").iterdir()) == [
        "step_00000010.weights.h5"
    ]
    assert not other.exists()
    # Now the other one finds the chief's checkpoint.
    program = f"""
        report = run({str(chief)!r}, strategy="multi_worker")
        assert report["steps_of_this_process"] == 10
    """
    run_on_two_workers([program, program])
    assert_same_run(chief, alone)


def test_what_cannot_start_is_refused_in_one_line(monkeypatch):
    for name in ("TF_CONFIG", "SLURM_STEP_NUM_TASKS", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match="--strategy=multi_worker needs TF_CONFIG"):
        distribution.make_strategy("multi_worker")
    failing = mock.Mock(side_effect=ValueError("Please provide a TPU Name.\nMore of it."))
    monkeypatch.setattr(tf.distribute.cluster_resolver, "TPUClusterResolver", failing)
    with pytest.raises(UserError, match=r"--strategy=tpu cannot start: .* TPU Name\.$"):
        distribution.make_strategy("tpu")


def test_a_tpu_is_connected_then_initialised_then_used(monkeypatch):
    calls = mock.Mock()
    monkeypatch.setattr(tf.distribute.cluster_resolver, "TPUClusterResolver", calls.resolve)
    monkeypatch.setattr(tf.config, "experimental_connect_to_cluster", calls.connect)
    monkeypatch.setattr(tf.tpu.experimental, "initialize_tpu_system", calls.initialise)
    monkeypatch.setattr(tf.distribute, "TPUStrategy", calls.use)
    assert distribution.make_strategy("tpu") is calls.use.return_value
    resolver = calls.resolve.return_value
    assert calls.mock_calls == [
        mock.call.resolve(),
        mock.call.connect(resolver),
        mock.call.initialise(resolver),
        mock.call.use(resolver),
    ]


def test_a_slurm_step_names_its_workers(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    step = {"NUM_TASKS": "3", "NODELIST": "node[07-08]", "TASKS_PER_NODE": "2,1"}
    for name, value in step.items():
        monkeypatch.setenv(f"SLURM_STEP_{name}", value)
    monkeypatch.setenv("SLURM_PROCID", "2")
    made = mock.Mock()
    monkeypatch.setattr(tf.distribute, "MultiWorkerMirroredStrategy", made)
    distribution.make_strategy("multi_worker")
    cluster = made.call_args.kwargs["cluster_resolver"]
    workers = ["node07:8888", "node07:8889", "node08:8888"]
    assert cluster.cluster_spec().as_dict() == {"worker": workers}
    assert (cluster.task_type, cluster.task_id, cluster.rpc_layer) == ("worker", 2, "grpc")
    gpus = len(tf.config.list_physical_devices("GPU"))
    assert cluster.num_accelerators() == {"GPU": gpus}


def test_a_batch_that_does_not_divide_is_refused():
    strategy = types.SimpleNamespace(num_replicas_in_sync=8)
    distribution.check_batch_size(strategy, 64)
    with pytest.raises(UserError, match=r"by the 8 devices .* Received: 60; the next one is 64"):
        distribution.check_batch_size(strategy, 60)


def test_keras_still_has_what_is_overridden_for_several_workers():
    overridden = keras.Model._maybe_symbolic_build
    assert list(inspect.signature(overridden).parameters) == ["self", "iterator", "data_batch"]
    trainer = sys.modules[overridden.__module__]
    # Scalars of several workers are still reduced over an axis.
    assert 'strategy.reduce("MEAN", v, axis=0)' in inspect.getsource(trainer.reduce_per_replica)


def ops_within(graph_def):
    nodes = [*graph_def.node, *(n for f in graph_def.library.function for n in f.node_def)]
    return {node.op for node in nodes}


@pytest.mark.slow
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_xla_compiles_a_training_step_of_known_shapes_without_python(objective):
    config = distributed_runs.small_config(objective=objective, batch_size=4, jitter=2)
    data_set = distributed_runs.use_small_set(lambda *_: None)
    model = models.make_model(config, data_set)
    examples = distributed_runs.pictures(config, "train").inputs
    (batch,) = material.batches_of(config, "image", examples, 0, 1)
    step = tf.function(model.train_step, jit_compile=True)
    graph = step.get_concrete_function(batch).graph
    ops = ops_within(graph.as_graph_def())
    assert "Conv2D" in ops and not [name for name in ops if "PyFunc" in name]
    unknown = [
        (op.type, x.name)
        for op in graph.get_operations()
        for x in op.outputs
        if not x.shape.is_fully_defined()
    ]
    # What the normalisation keeps for its own gradient, of which XLA makes nothing.
    kept = {("FusedBatchNormV3", ":5"), ("ZerosLike", ":0")}
    assert {(kind, name[-2:]) for kind, name in unknown} == kept
    assert np.isfinite(step(batch)["loss"])


@pytest.mark.parametrize("warmup", [0, 4])
@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_the_learning_rate_follows_its_rule(schedule, warmup):
    config = PretrainConfig(schedule=schedule, warmup_steps=warmup, steps=20, learning_rate=0.5)
    given = models.learning_rate(config)
    for step in range(20):
        rate = given(step) if callable(given) else given
        if step < warmup:
            expected = 0.5 * step / warmup
        elif schedule == "cosine":
            expected = 0.25 * (1 + np.cos(np.pi * (step - warmup) / (20 - warmup)))
        else:
            expected = 0.5
        np.testing.assert_allclose(rate, expected, rtol=1e-5, atol=1e-7)


def test_a_warm_up_that_leaves_no_step_to_a_cosine_is_refused():
    PretrainConfig(steps=9, warmup_steps=9).check()  # It may be given more steps later.
    with pytest.raises(UserError, match="--warmup_steps must be below --steps=9"):
        PretrainConfig(steps=9, warmup_steps=9, schedule="cosine").check()


def test_a_run_whose_learning_rate_fell_to_0_is_not_given_more_steps(tmp_path):
    records.write_config(tmp_path, PretrainConfig(schedule="cosine", steps=5))
    with pytest.raises(UserError, match="--steps is 5 there, 6 now"):
        workdirs.resume_config(tmp_path, PretrainConfig(), {"steps": 6})


@pytest.mark.slow
def test_a_schedule_goes_on_where_a_run_was_stopped(tmp_path, monkeypatch):
    distributed_runs.use_small_set(functools.partial(monkeypatch.setitem, sets.SETS))
    config = distributed_runs.small_config(
        steps=4, evaluate_every=2, schedule="cosine", warmup_steps=1
    )
    whole = pretrain_lib.run(config, tmp_path / "whole")
    run = tmp_path / "parts"
    pretrain_lib.run(config, run)
    (run / "report.json").unlink()
    (run / "checkpoints/step_00000004.weights.h5").unlink()
    parts = pretrain_lib.run(config, run)
    assert parts["steps_of_this_process"] == 2 and parts["held_out"] == whole["held_out"]


@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS[1:])
def test_half_precision_trains_and_leaves_a_float32_encoder(precision, tmp_path, monkeypatch):
    data_set = distributed_runs.use_small_set(functools.partial(monkeypatch.setitem, sets.SETS))
    config = distributed_runs.small_config(precision=precision, steps=4, evaluate_every=2)
    pretrain_lib.run(config, tmp_path)
    assert keras.config.dtype_policy().name == "float32"
    model = models.make_model(config, data_set)
    assert model.context_free_network.patch_encoder.compute_dtype == precision.split("_")[1]
    weights = tmp_path / workdirs.FINAL_WEIGHTS
    encoder = encoders.make(sources.of_run(tmp_path)).encoder
    x = np.random.default_rng(0).random((2, 24, 24, 1)).astype("float32")
    exact = encoder(x)
    assert exact.dtype == tf.float32
    model.load_weights(weights)
    np.testing.assert_allclose(exact, tf.cast(model.encoder(x), tf.float32), rtol=0.1, atol=0.1)
