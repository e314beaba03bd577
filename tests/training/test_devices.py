"""Several devices in other precisions, and several of each of several workers, train as one."""

import types

import pytest
import tensorflow as tf

from tests.replicas import run_on_two_replicas
from tests.training import distributed_runs
from tests.training.processes import run_command, run_program, two_clusters, wait_for
from tests.training.test_distribution import assert_same_run
from training import distribution, records
from training.errors import UserError


@pytest.mark.slow
def test_in_float64_two_replicas_are_one_device_to_a_millionth():
    """What differs in float32 is rounding alone. Soft ranks and MSE are means as these are."""
    run_on_two_replicas("""
        from tests.training.distributed_runs import small_config, train, use_momentum

        keras.config.set_floatx("float64")
        use_momentum()
        for objective in ("perturbed", "perturbed_samples", "cross_entropy", "contrastive"):
            config = small_config(objective=objective, precision="float64", steps=10)
            (ours, losses, measured), (weights, expected, right) = (
                train(one, config) for one in (strategy, tf.distribute.get_strategy())
            )
            assert len(losses) == 10 and losses[-1] != losses[0]
            np.testing.assert_allclose(losses, expected, rtol=1e-6)
            np.testing.assert_allclose(measured["loss"], right["loss"], rtol=1e-6)
            for one, other in zip(ours, weights, strict=True):
                assert one.dtype not in ("float32", "float16")
                np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)
    """)


@pytest.mark.slow
def test_in_half_precision_two_replicas_are_one_device_to_its_rounding():
    run_on_two_replicas("""
        import functools
        from tests.training.distributed_runs import small_config, train, use_momentum
        from training import models

        use_momentum()
        # From the default of 2**15 the first steps overflow: on one device, of more examples, once
        # more.
        models.LossScaleOptimizer = functools.partial(models.LossScaleOptimizer, initial_scale=64.0)
        for half, rtol, atol in (("bfloat16", 2e-3, 0.02), ("float16", 5e-4, 0.01)):
            config = small_config(precision=f"mixed_{half}", steps=8)
            (ours, losses, _), (weights, expected, _) = (
                train(one, config) for one in (strategy, tf.distribute.get_strategy())
            )
            np.testing.assert_allclose(losses, expected, rtol=rtol)
            for one, other in zip(ours, weights, strict=True):
                np.testing.assert_allclose(one, other, rtol=0, atol=atol)
    """)


@pytest.mark.slow
def test_a_step_that_overflows_on_one_replica_is_skipped_on_all():
    run_on_two_replicas("""
        from training.loss_scale import LossScaleOptimizer

        with strategy.scope():
            weight = keras.Variable(1.0)
            optimizer = LossScaleOptimizer(keras.optimizers.SGD(0.1), initial_scale=4.0)
            optimizer.build([weight])

        @tf.function
        def step(gradients):
            def of_replica():
                replica = tf.distribute.get_replica_context().replica_id_in_sync_group
                optimizer.apply([tf.gather(gradients, replica)], [weight])

            strategy.run(of_replica)

        for overflowing in ([1.0, np.inf], [np.nan, 1.0]):
            step(tf.constant(overflowing))
        assert weight.numpy() == 1.0 and optimizer.dynamic_scale.numpy() == 1.0
        assert int(optimizer.iterations.numpy()) == 2
        step(tf.constant([1.0, 2.0]))
        np.testing.assert_allclose(weight, 1.0 - 0.1 * 3.0)
    """)


@pytest.mark.slow
def test_two_workers_with_two_devices_each_end_as_one_device(tmp_path):
    """TensorFlow itself takes several GPUs of a worker, but one processor."""
    program = """
        from tensorflow.python.distribute import collective_all_reduce_strategy

        collective_all_reduce_strategy.CollectiveAllReduceExtended._initialize_local_devices = (
            lambda self, resolver, worker: ([f"{{worker}}/device:CPU:{{n}}" for n in (0, 1)], "CPU")
        )
        run({workdir!r}, strategy="multi_worker")
        assert distribution.make_strategy("multi_worker").num_replicas_in_sync == 4
    """
    several, alone = tmp_path / "several", tmp_path / "alone"
    wait_for(
        run_program(f"run({str(alone)!r})", DEVICES="1"),
        *(
            run_program(program.format(workdir=str(several)), DEVICES="2", TF_CONFIG=cluster)
            for cluster in two_clusters()
        ),
    )
    assert_same_run(several, alone)


@pytest.mark.parametrize("kind", ["CPU", "GPU", "TPU"])
@pytest.mark.parametrize(("replicas", "of_process"), [(1, 1), (2, 2), (2, 1)])
def test_xla_is_refused_for_several_devices_but_for_tpus(replicas, of_process, kind):
    names = [f"/job:localhost/replica:0/task:0/device:{kind}:{n}" for n in range(of_process)]
    extended = types.SimpleNamespace(worker_devices=names)
    strategy = types.SimpleNamespace(num_replicas_in_sync=replicas, extended=extended)
    distribution.check_jit_compile(strategy, False)
    if replicas == 2 and kind != "TPU":
        with pytest.raises(UserError, match=f"--jit_compile does not work for 2 {kind} devices"):
            distribution.check_jit_compile(strategy, True)
    else:
        distribution.check_jit_compile(strategy, True)
    distribution.check_jit_compile(tf.distribute.get_strategy(), True)


@pytest.mark.slow
def test_a_run_that_xla_compiles_is_one_that_it_does_not(tmp_path):
    distributed_runs.write_pictures(tmp_path / "pictures")
    flags = {
        "recipe": "digit_scenes",
        "data": "folder",
        "folder": tmp_path / "pictures",
        "cache_dir": tmp_path / "cache",
        "image_size": 24,
        "channels": 1,
        "gap": 0,
        "batch_size": 8,
        "steps": 4,
        "evaluate_every": 2,
    }
    plain, compiled, dumped = (tmp_path / name for name in ("plain", "compiled", "dumped"))
    wait_for(run_command("training.pretrain", {**flags, "workdir": plain}))
    wait_for(
        run_command(
            "training.pretrain",
            {**flags, "workdir": compiled, "jit_compile": True},
            XLA_FLAGS=f"--xla_dump_to={dumped}",
        )
    )
    assert list(dumped.glob("*one_step_on_data*"))  # What XLA compiled.
    rows, expected = (records.read_log(workdir / "log.csv") for workdir in (compiled, plain))
    assert [row["step"] for row in rows] == [2, 4]
    for row, other in zip(rows, expected, strict=True):
        assert row["loss"] == pytest.approx(other["loss"], rel=1e-4)
        assert row["val_loss"] == pytest.approx(other["val_loss"], rel=1e-4)
