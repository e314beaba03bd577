"""Draws that follow from a name alone: whatever else there is, they stay the same."""

import hashlib


def drawn(name):
    """A number in [0, 1) that looks random, and is always the same for a name."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") / 2**32
