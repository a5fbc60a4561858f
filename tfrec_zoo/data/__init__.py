"""Logs in, tensors out: session logs, vocabulary rows, batches, negatives, planted data."""
