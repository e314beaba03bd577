"""Differentiable ranking of scores `(batch, num_patches)`: ranks are 0-based, the top is n - 1."""
