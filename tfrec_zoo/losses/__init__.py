"""Losses: pure functions, one value a row."""
