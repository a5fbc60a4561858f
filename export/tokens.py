"""Words of texts in the graph that is served: twin of `tfrec_zoo.data.tables.tokens`."""

import tensorflow as tf

from tfrec_zoo.data.tables.tokens import SEPARATORS

# TensorFlow's lower case goes by the context (the Greek sigma at the end of a word) and by the
# language that the machine is set to: in Turkish 'I' loses its dot, in Lithuanian three letters
# keep theirs. What would depend on either is lower case before.
_FIXED_LOWER_CASE = (("[Iİ]", "i"), ("Σ", "σ"), ("Ì", "ì"), ("Í", "í"), ("Ĩ", "ĩ"))


def split_tokens(texts: tf.Tensor) -> tf.RaggedTensor:
    """Returns the words of texts string [B]; ragged string [B, None].

    Where a text begins or ends with a separator it has an empty string there.
    """
    for pattern, letter in _FIXED_LOWER_CASE:
        texts = tf.strings.regex_replace(texts, pattern, letter)
    texts = tf.strings.lower(texts, encoding="utf-8")
    return tf.strings.split(tf.strings.regex_replace(texts, SEPARATORS, " "), " ")
