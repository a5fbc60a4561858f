"""The cross layers of DCN-v2 (Wang et al. 2021)."""

import tensorflow as tf
import tf_keras


class CrossLayers(tf_keras.layers.Layer):
    """`x_{l+1} = x_0 * (W_l x_l + b_l) + x_l`, with W_l = U_l V_l where a rank is given.

    As `tensorflow_recommenders.layers.dcn.Cross`, which under a policy of mixed precision makes its
    matrices' layers with the policy's variable type, so that their products stay float32.
    """

    def __init__(
        self, width: int, num_layers: int, rank: int = 0, precision: str = "float32", seed: int = 0
    ) -> None:
        """Makes the weights.

        Args:
            width: of the vectors, d.
            num_layers: how many.
            rank: of the matrices, below d / 2; 0: full.
            precision: see `MLP`.
            seed: of the initial weights.

        Raises:
            ValueError: the rank is no saving.
        """
        super().__init__(name="cross", dtype="float32")
        if rank * 2 > width:
            raise ValueError(
                f"cross_rank must be at most half of the width of the interactions, {width}, got "
                f"{rank}: lower it, or set 0 for full matrices"
            )
        policy = tf_keras.mixed_precision.Policy(precision)
        self.layers = []
        for index in range(num_layers):
            initializer = tf_keras.initializers.GlorotUniform(seed + index)
            layers = [
                tf_keras.layers.Dense(
                    width, kernel_initializer=initializer, dtype=policy, name=f"cross_{index}"
                )
            ]
            if rank:
                projection = tf_keras.layers.Dense(
                    rank,
                    use_bias=False,
                    kernel_initializer=tf_keras.initializers.GlorotUniform(seed + index + 1000),
                    dtype=policy,
                    name=f"projection_{index}",
                )
                layers.insert(0, projection)
            for layer, fan_in in zip(layers, [width, rank], strict=False):
                layer.build([None, fan_in])
            self.layers.append(layers)
        self.built = True

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Returns float32 [B, d] of vectors float32 [B, d]."""
        values = inputs
        for layers in self.layers:
            product = values
            for layer in layers:
                product = layer(product)
            values = inputs * tf.cast(product, tf.float32) + values
        return values
