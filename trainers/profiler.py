"""A TensorBoard profile of some training steps, on request."""

import tensorflow as tf


class StepProfiler:
    """Profiles the blocks that hold the steps from a first to a last one."""

    def __init__(self, steps: tuple[int, ...], path: str) -> None:
        """Takes `(first, last)`, or `()` for no profile, and the folder to write to."""
        self._steps, self._path = steps, path
        self._is_running = False

    def before(self, first: int, last: int) -> None:
        """Starts, if the steps that are about to run hold the first one to profile."""
        if self._steps and not self._is_running and first <= self._steps[0] <= last:
            tf.profiler.experimental.start(self._path)
            self._is_running = True

    def after(self, step: int) -> None:
        """Stops, if the last step to profile is done."""
        if self._is_running and step >= self._steps[1]:
            self.stop()

    def stop(self) -> None:
        """Writes the profile, if one is under way."""
        if self._is_running:
            tf.profiler.experimental.stop()
            self._is_running = False
