"""What the columns of a step are to its events: the bridge from the batch to the losses."""

import tensorflow as tf

from tfrec_zoo.losses.ranking import LOG_ZERO, Candidates


def shared_candidates(
    target_column: tf.Tensor,
    in_batch_counts: tf.Tensor,
    negative_counts: tf.Tensor,
    in_batch_corrections: tf.Tensor,
    negative_corrections: tf.Tensor,
    *,
    has_in_batch_negatives: bool = True,
    remove_accidental_hits: bool = False,
) -> Candidates:
    """Makes candidates of columns that all R events of a step share.

    Args:
        target_column: int32 [R], the column of each event's own target.
        in_batch_counts: float [C], how many targets of the step a column stands for.
        negative_counts: float [C], how often a column was drawn.
        in_batch_corrections: float [C], the correction of an occurrence as a target: -logq * log q,
            q = count (GRU4Rec's, raw counts: constants cancel in the softmax).
        negative_corrections: float [C], that of an occurrence as a draw: -logq * log count^alpha.
        has_in_batch_negatives: whether other events' targets are negatives.
        remove_accidental_hits: whether occurrences equal to the own target are left out.
    """
    num_columns = tf.shape(in_batch_counts)[0]
    is_target = tf.equal(tf.range(num_columns)[:, None], target_column[None])
    own = tf.cast(is_target, tf.float32)
    target_correction = tf.gather(in_batch_corrections, target_column)
    shared_in_batch = in_batch_counts if has_in_batch_negatives else tf.zeros_like(in_batch_counts)
    counts = shared_in_batch + negative_counts
    weights = shared_in_batch * tf.exp(in_batch_corrections)
    weights += negative_counts * tf.exp(negative_corrections)
    corrections = shared_in_batch * in_batch_corrections + negative_counts * negative_corrections
    log_weights = log_or_zero(weights)[:, None]
    other_corrections = tf.reduce_sum(corrections)
    if remove_accidental_hits:
        log_weights = tf.where(is_target, target_correction[None], log_weights)
        other_corrections -= tf.gather(corrections, target_column)
        counts = tf.where(is_target, 0.0, counts[:, None])
    elif has_in_batch_negatives:
        other_corrections -= target_correction
        counts = counts[:, None] - own
    else:
        with_own = log_or_zero(weights + tf.exp(in_batch_corrections))[:, None]
        log_weights = tf.where(is_target, with_own, log_weights)
        counts = tf.broadcast_to(counts[:, None], tf.shape(own))
    other_corrections = tf.broadcast_to(other_corrections, tf.shape(target_correction))
    return Candidates(is_target, counts, log_weights, target_correction, other_corrections)


def catalogue_candidates(target_rows: tf.Tensor, num_rows: int) -> Candidates:
    """Makes candidates of all items; columns are rows of the item table, row 0 is no item.

    Args:
        target_rows: int32 [R].
        num_rows: V + 1.
    """
    is_target = tf.equal(tf.range(num_rows)[:, None], target_rows[None])
    is_item = tf.cast(tf.range(num_rows) > 0, tf.float32)[:, None]
    no_correction = tf.zeros_like(target_rows, tf.float32)
    counts = is_item - tf.cast(is_target, tf.float32)
    return Candidates(is_target, counts, log_or_zero(is_item), no_correction, no_correction)


def own_candidates(
    target_rows: tf.Tensor, negative_rows: tf.Tensor, *, remove_accidental_hits: bool = False
) -> Candidates:
    """Makes candidates of events that each have negatives of their own; candidate 0 is the target.

    Args:
        target_rows: int32 [R].
        negative_rows: int32 [N, R].
        remove_accidental_hits: whether negatives equal to the target are left out.
    """
    kept = tf.ones_like(negative_rows, tf.float32)
    if remove_accidental_hits:
        kept = tf.cast(tf.not_equal(negative_rows, target_rows[None]), tf.float32)
    counts = tf.pad(kept, [[1, 0], [0, 0]])
    is_target = tf.broadcast_to(tf.range(tf.shape(counts)[0])[:, None] == 0, tf.shape(counts))
    log_weights = log_or_zero(tf.pad(kept, [[1, 0], [0, 0]], constant_values=1.0))
    no_correction = tf.zeros_like(target_rows, tf.float32)
    return Candidates(is_target, counts, log_weights, no_correction, no_correction)


def log_or_zero(weights: tf.Tensor) -> tf.Tensor:
    """Returns `log(weights)`, `LOG_ZERO` where a weight is 0."""
    return tf.where(weights > 0, tf.math.log(tf.maximum(weights, 1e-37)), LOG_ZERO)
