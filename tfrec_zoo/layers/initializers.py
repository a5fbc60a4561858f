"""Initial weights of GRU4Rec: each block of a matrix scaled by itself."""

import math

import tensorflow as tf
import tf_keras


@tf_keras.saving.register_keras_serializable("tfrec_zoo")
class BlockInitializer(tf_keras.initializers.Initializer):
    """Fills a matrix `[rows, num_blocks * cols]`, each block as if it stood alone.

    Uniform in [-s, s] or normal with standard deviation s, where s is `scale` or, with scale 0,
    Glorot's sqrt(6 / (rows + cols)) of one block (GRU4Rec's original uses the same s for both).
    """

    def __init__(
        self,
        seed: tuple[int, int],
        num_blocks: int = 1,
        scale: float = 0.0,
        distribution: str = "uniform",
    ) -> None:
        """Takes the two numbers that the stateless random generator starts from."""
        self.seed = tuple(seed)
        self.num_blocks = num_blocks
        self.scale = scale
        self.distribution = distribution

    def __call__(self, shape: tuple[int, int], dtype: tf.DType = tf.float32, **kwargs) -> tf.Tensor:
        """Returns the initial matrix of `shape`."""
        rows, width = shape
        scale = self.scale or math.sqrt(6.0 / (rows + width // self.num_blocks))
        if self.distribution == "normal":
            return tf.random.stateless_normal(shape, self.seed, stddev=scale, dtype=dtype)
        return tf.random.stateless_uniform(shape, self.seed, -scale, scale, dtype=dtype)

    def get_config(self) -> dict:
        """Returns the constructor's arguments."""
        return {
            "seed": self.seed,
            "num_blocks": self.num_blocks,
            "scale": self.scale,
            "distribution": self.distribution,
        }


@tf_keras.saving.register_keras_serializable("tfrec_zoo")
class RowTableInitializer(BlockInitializer):
    """Fills a table: the padding row and the last columns, such as a bias, with 0.

    The rest is a matrix of V rows and `width - num_zero_columns` columns.
    """

    def __init__(self, seed: tuple[int, int], num_zero_columns: int = 0, **kwargs) -> None:
        """Takes how many columns at the end start at 0, and `BlockInitializer`'s arguments."""
        super().__init__(seed, **kwargs)
        self.num_zero_columns = num_zero_columns

    def __call__(self, shape: tuple[int, int], dtype: tf.DType = tf.float32, **kwargs) -> tf.Tensor:
        """Returns the initial table of `shape`, row 0 all zeros."""
        rows = super().__call__((shape[0] - 1, shape[1] - self.num_zero_columns), dtype)
        return tf.pad(rows, [[1, 0], [0, self.num_zero_columns]])

    def get_config(self) -> dict:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "num_zero_columns": self.num_zero_columns}
