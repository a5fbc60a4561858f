"""Optimizers that touch only the rows of a step, and learning-rate schedules."""
