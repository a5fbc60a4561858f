"""Ranks, ranking metrics and baselines in plain NumPy."""
