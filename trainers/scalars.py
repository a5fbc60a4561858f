"""TensorBoard scalars without the tensorboard package, which `tf.summary.scalar` would import."""

import tensorflow as tf

# What TensorBoard's scalar dashboard looks for.
_METADATA = tf.compat.v1.SummaryMetadata(
    plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars")
)


def write_scalar(tag: str, value: float, step: int) -> None:
    """Writes `value` to the default summary writer, if there is one."""
    tf.summary.write(tag, tf.constant(value, tf.float32), step=step, metadata=_METADATA)
