"""Sums over the blocks of pooled scores."""

from keras import ops

from keras_s2l._compiled import alive, computed_once

SHORT = 32  # Rows up to this are summed pair by pair: no scatter.


def block_sums(blocks, *summands):
    """The sum over its block, for each entry of each of the summands `(batch, n)`.

    Args:
        blocks: int32 `(batch, n)`, entries of one block have the same number, below n.
        summands: Tensors of that shape.
    """
    n = blocks.shape[1]
    if n is None or n > SHORT:
        batch, n = ops.shape(blocks)
        numbers = ops.reshape(blocks + n * ops.arange(batch, dtype="int32")[:, None], (-1,))

        def total(x):
            sums = ops.segment_sum(ops.reshape(x, (-1,)), numbers, num_segments=batch * n)
            return ops.reshape(ops.take(sums, numbers, axis=0), (batch, n))

        return [total(x) for x in summands]
    fence = alive(summands[0])
    blocks, *summands = (computed_once(x, fence) for x in (blocks, *summands))
    totals = [ops.zeros_like(x) for x in summands]
    for place in range(n):
        same = blocks == blocks[:, place : place + 1]
        for i, x in enumerate(summands):
            totals[i] = totals[i] + ops.where(same, x[:, place : place + 1], 0.0)
    return totals
