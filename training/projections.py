"""What machines that are not at hand would do: computed from what a step needs, not measured."""

import dataclasses

UTILISATION = 0.1  # Of the peak: an assumption of ours, for small convolutions reach little of it.
PASSES = 3  # A step does the work of the forward part about three times: backward is twice as much.


@dataclasses.dataclass(frozen=True)
class Machine:
    """What its makers and users have published of it.

    Attributes:
        devices: That train together.
        precision: Of `peak`.
        peak: Floating-point operations a second of one device.
        bandwidth: Bytes a second of an all-reduce, as NCCL's tests give it for the bus:
            https://github.com/NVIDIA/nccl-tests/blob/master/doc/PERFORMANCE.md
        latency: Seconds of an all-reduce of a few bytes; 0 where nobody has published it.
        sources: Addresses.
    """

    devices: int
    precision: str
    peak: float
    bandwidth: float
    latency: float
    sources: tuple


MACHINES = {
    # The latency is that of four such GPUs.
    "8 A100 in one machine": Machine(
        *(8, "mixed_bfloat16", 312e12, 200e9, 10e-6),
        (
            "https://www.nvidia.com/en-us/data-center/a100/",
            "https://github.com/NVIDIA/nccl-tests/issues/149",
            "https://github.com/NVIDIA/nccl-tests/issues/331",
        ),
    ),
    # The bandwidth is the line rate of their network, 100 Gb/s for each machine.
    "64 V100 in 8 machines": Machine(
        *(64, "mixed_float16", 125e12, 12.5e9, 630e-6),
        (
            "https://www.nvidia.com/en-us/data-center/v100/",
            "https://aws.amazon.com/ec2/instance-types/p3/",
            "https://gist.github.com/jacobkahn/3150a1a38abba40f58d8263d9c55969f",
        ),
    ),
    # 16 chips of two cores; the bandwidth is that of a pod, divided by its 4096 chips.
    "TPU v4-32": Machine(
        *(16, "mixed_bfloat16", 275e12, 1.1e15 / 4096, 0.0),
        ("https://cloud.google.com/tpu/docs/v4",),
    ),
}


def computed(machine, forward_flops, gradient_bytes, all_reduces, batch_size):
    """What a step would take.

    Args:
        machine: `Machine`.
        forward_flops: Of one example.
        gradient_bytes: That the devices add up in a step.
        all_reduces: How often they wait for each other in a step.
        batch_size: Examples for each device.

    Returns:
        A record: milliseconds of work, of bytes and of latency, none of them overlapping, and
        examples a second.
    """
    work = PASSES * forward_flops * batch_size / (UTILISATION * machine.peak)
    # An all-reduce moves each byte almost twice: 2 (n - 1) / n.
    moved = 2 * (machine.devices - 1) / machine.devices * gradient_bytes / machine.bandwidth
    waits = all_reduces * machine.latency
    step = work + moved + waits
    return {
        "devices": machine.devices,
        "precision": machine.precision,
        "batch_size": batch_size * machine.devices,
        "milliseconds_of_work": round(1000 * work, 3),
        "milliseconds_of_bytes": round(1000 * moved, 3),
        "milliseconds_of_latency": round(1000 * waits, 3),
        "examples_a_second": round(batch_size * machine.devices / step),
        "share_of_linear": round(work / step, 3),
        "sources": list(machine.sources),
    }
