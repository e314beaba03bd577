"""Slow, plain NumPy and SciPy in float64: the truth that tests compare with."""

import itertools
import math

import numpy as np
from scipy import optimize, signal, special, stats


def hard_rank(row):
    """0-based ranks of one row; equal scores are ranked in the order in which they stand."""
    ranks = []
    for i, score in enumerate(row):
        below = sum(other < score for other in row)
        tied_before = sum(other == score for other in row[:i])
        ranks.append(below + tied_before)
    return np.array(ranks)


def pooled(y):
    """Nearest non-increasing vector to `y`, and the block number of each of its entries."""
    result = optimize.isotonic_regression(np.asarray(y, np.float64), increasing=False)
    blocks = np.repeat(np.arange(len(result.blocks) - 1), np.diff(result.blocks))
    return result.x, blocks


def soft_rank(row, strength):
    """Projection of `row / strength` onto the permutahedron of `0 … n - 1`, by SciPy."""
    row = np.asarray(row, np.float64) / strength
    descending = np.argsort(-row, kind="stable")
    nearest, _ = pooled(row[descending] - np.arange(len(row) - 1, -1, -1))
    ranks = np.empty(len(row))
    ranks[descending] = row[descending] - nearest
    return ranks


def perturbed_rank(row, sigma):
    """Sum over pairs of the probability that the one is above the other."""
    ranks = np.zeros(len(row))
    for i in range(len(row)):
        for j in range(len(row)):
            if i != j:
                margin = 0.0 if row[i] == row[j] else float(row[i]) - float(row[j])
                ranks[i] += stats.norm.cdf(margin / (math.sqrt(2) * sigma))
    return ranks


def fenchel_young_loss(order, row, sigma):
    """Sum over the pairs of which `i` belongs after `j` of the smoothed hinge of their margin."""
    scale = math.sqrt(2) * sigma
    loss = 0.0
    for i in range(len(row)):
        for j in range(len(row)):
            if order[i] > order[j]:
                margin = float(row[i]) - float(row[j])
                loss += scale * stats.norm.pdf(margin / scale)
                loss -= margin * stats.norm.sf(margin / scale)
    return loss


def soft_rank_loss(order, row, strength):
    """Half the squared distance from the soft ranks to the order."""
    return 0.5 * sum((rank - place) ** 2 for rank, place in zip(soft_rank(row, strength), order))


def patches(inputs, num_patches, axis, remainder):
    """Slices of `inputs` along the numbered `axis`, stacked behind the batch."""
    size = inputs.shape[axis]
    length = -(-size // num_patches) if remainder == "pad" else size // num_patches
    slices = []
    for patch in range(num_patches):
        shape = list(inputs.shape)
        shape[axis] = length
        part = np.zeros(shape, inputs.dtype)
        for place in range(length):
            if patch * length + place < size:
                here = [slice(None)] * inputs.ndim
                there = list(here)
                here[axis], there[axis] = place, patch * length + place
                part[tuple(here)] = inputs[tuple(there)]
        slices.append(part)
    return np.stack(slices, axis=1)


def grid_patches(inputs, grid, axes, gap=0, jitter=0):
    """Blocks of `inputs`, those along the last of the numbered `axes` first."""
    blocks = []
    for cell in itertools.product(*map(range, grid)):
        block = inputs
        for place, count, axis in zip(cell, grid, axes):
            step = (inputs.shape[axis] + gap) // count
            begin = place * step + jitter // 2
            block = block.take(range(begin, begin + step - gap - jitter), axis=axis)
        blocks.append(block)
    return np.stack(blocks, axis=1)


def shuffled(patches, order):
    """`shuffled[b, i] == patches[b, order[b, i]]`."""
    result = np.empty_like(patches)
    for b in range(patches.shape[0]):
        for i in range(patches.shape[1]):
            result[b, i] = patches[b, order[b, i]]
    return result


def magnitudes(waveform, window, stride, fft_length):
    """Magnitudes `(time, fft_length // 2 + 1)` of the Hann-windowed frames of one waveform."""
    hann = signal.get_window("hann", window)
    starts = range(0, len(waveform) - window + 1, stride)
    frames = [np.asarray(waveform[s : s + window], np.float64) * hann for s in starts]
    return np.abs([np.fft.rfft(frame, fft_length) for frame in frames])


def mel_matrix(num_mel_bins, fft_length, sample_rate, min_hertz, max_hertz):
    """HTK's triangles, `(fft_length // 2 + 1, num_mel_bins)`: straight lines in mel, not in hertz.

    As in HTK the constant bin belongs to no triangle.
    """

    def mel(hertz):
        return 2595.0 * math.log10(1.0 + hertz / 700.0)

    edges = np.linspace(mel(min_hertz), mel(max_hertz), num_mel_bins + 2)
    matrix = np.zeros((fft_length // 2 + 1, num_mel_bins))
    for k in range(1, fft_length // 2 + 1):
        here = mel(k * sample_rate / fft_length)
        for m in range(num_mel_bins):
            low, centre, high = edges[m : m + 3]
            rising, falling = (here - low) / (centre - low), (high - here) / (high - centre)
            matrix[k, m] = max(0.0, min(rising, falling))
    return matrix


def windows(waveform, window):
    """The fewest evenly spread windows that cover `waveform`, padded with silence to one window."""
    waveform = np.concatenate([waveform, np.zeros(max(window - len(waveform), 0))])
    count = math.ceil(len(waveform) / window)
    starts = np.linspace(0, len(waveform) - window, count)
    return np.stack([waveform[int(s) : int(s) + window] for s in starts])


def of_present(value, order, row, fewest):
    """`value(order, row)` of the slots whose rank is not -1, cut out of the row.

    `None` if they are fewer than `fewest`; 0 if one of the scores is NaN, or the value is.
    """
    present = [slot for slot, rank in enumerate(order) if rank != -1]
    order, row = np.array([order[i] for i in present]), np.array([row[i] for i in present])
    if len(present) < fewest:
        return None
    if np.isnan(row).any():
        return 0.0
    with np.errstate(invalid="ignore"):
        worth = float(value(order, row))
    return 0.0 if math.isnan(worth) else worth


def patch_accuracy(order, row):
    return of_present(
        lambda o, r: np.mean([a == b for a, b in zip(o, hard_rank(r))]), order, row, 1
    )


def exact_order_accuracy(order, row):
    return of_present(lambda o, r: list(o) == list(hard_rank(r)), order, row, 1)


def kendall_tau(order, row):
    return of_present(lambda o, r: stats.kendalltau(o, r).statistic, order, row, 2)


def spearman_rho(order, row):
    return of_present(lambda o, r: stats.spearmanr(o, r).statistic, order, row, 2)


def is_order(row):
    """Whether the numbers other than -1 are `0 … m - 1`, each once."""
    return sorted(rank for rank in row if rank != -1) == list(range(sum(r != -1 for r in row)))


def pooled_ranks(row, strength, regularization="l2"):
    """Soft ranks of one row by pooling adjacent violators, and the slots of each of its blocks.

    All is taken relative to the first score of a block: it holds for infinite scores, and for any
    strength.
    """
    row = np.asarray(row, np.float64)
    descending = np.argsort(-row, kind="stable")
    scores, places = row[descending], np.arange(len(row), 0, -1.0)  # 1-based, the top one first.

    def fall(i, j):
        return 0.0 if scores[i] == scores[j] else (scores[i] - scores[j]) / strength

    def level(start, stop):
        """Of the block, over that of its first score."""
        heights = np.array([-fall(start, k) for k in range(start, stop)])
        if regularization == "l2":
            return heights.mean() - places[start:stop].mean()
        return math.log(np.exp(heights).sum()) - math.log(places[start:stop].sum())

    blocks = []
    for k in range(len(row)):
        block = (k, k + 1, level(k, k + 1))
        while blocks and fall(blocks[-1][0], block[0]) + blocks[-1][2] <= block[2]:
            start, stop = blocks.pop()[0], block[1]
            block = (start, stop, level(start, stop))
        blocks.append(block)
    ranks = np.empty(len(row))
    for start, stop, height in blocks:
        for k in range(start, stop):
            over = -fall(start, k) - height
            ranks[descending[k]] = (over if regularization == "l2" else math.exp(over)) - 1
    return ranks, [descending[start:stop] for start, stop, _ in blocks]


def soft_rank_jacobian(row, strength, regularization="l2"):
    """`(n, n)`: within a block the identity less the mean, weighted by the ranks for "kl"."""
    ranks, blocks = pooled_ranks(row, strength, regularization)
    jacobian = np.zeros((len(row), len(row)))
    for block in blocks:
        r = np.ones(len(block)) if regularization == "l2" else ranks[block] + 1
        jacobian[np.ix_(block, block)] = (np.diag(r) - np.outer(r, r) / r.sum()) / strength
    return jacobian


def soft_sort(row, strength, regularization="l2", direction="ascending"):
    """`(n, …, 1) / strength`, less its isotonic optimization against the sorted row."""
    if direction == "ascending":
        return -soft_sort(-np.asarray(row), strength, regularization, "descending")
    scores = -np.sort(-np.asarray(row, np.float64))
    targets = np.arange(len(row), 0, -1.0) / strength
    if regularization == "l2":
        return targets - pooled(targets - scores)[0]

    def level(start, stop):
        return np.logaddexp.reduce(targets[start:stop]) - np.logaddexp.reduce(scores[start:stop])

    blocks = []
    for k in range(len(row)):
        block = (k, k + 1)
        while blocks and level(*blocks[-1]) <= level(*block):
            block = (blocks.pop()[0], block[1])
        blocks.append(block)
    return targets - np.concatenate([np.full(b - a, level(a, b)) for a, b in blocks])


def perturbed_rank_gumbel(row, sigma):
    """Sum over pairs of the probability that the one is above the other, under Gumbel noise."""

    def above(i, j):
        return 0.5 if row[i] == row[j] else special.expit((row[i] - row[j]) / sigma)

    slots = range(len(row))
    return np.array([sum(above(i, j) for j in slots if j != i) for i in slots])


def ranknet_loss(order, row, sigma):
    """Burges' cross-entropy of the pairs of which `i` belongs after `j`."""
    pairs = [(i, j) for i in range(len(row)) for j in range(len(row)) if order[i] > order[j]]
    return -sigma * sum(special.log_expit((row[i] - row[j]) / sigma) for i, j in pairs)
