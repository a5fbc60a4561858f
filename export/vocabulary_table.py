"""Vocabularies as lookup tables of the graph that is served."""

import os
import uuid

import tensorflow as tf


def make_vocabulary_table(
    path: str | os.PathLike, num_rows: int, unknown_row: int = 0
) -> tf.lookup.StaticHashTable:
    """Returns the table id -> row of a vocabulary, int64, where "" has row 0.

    Args:
        path: where `Vocabulary.save` has written it; the file becomes an asset of its name.
        num_rows: of the vocabulary.
        unknown_row: of ids that it lacks.
    """
    initializer = _VocabularyInitializer(path, num_rows)
    return tf.lookup.StaticHashTable(initializer, default_value=unknown_row)


class _VocabularyInitializer(tf.lookup.TextFileInitializer):
    """Fills a table with id -> row from a vocabulary file, whose line number is the row."""

    def __init__(self, path: str | os.PathLike, num_rows: int) -> None:
        super().__init__(
            os.fspath(path),
            key_dtype=tf.string,
            key_index=0,
            value_dtype=tf.int64,
            value_index=tf.lookup.TextFileIndex.LINE_NUMBER,
            vocab_size=num_rows,
        )
        # TensorFlow's own name is made of the path: it would leave this machine inside the graph,
        # and a process that loads two exports written through one path would look up in the first.
        self._unique_name = f"vocabulary_{uuid.uuid4().hex}"

    @property
    def _shared_name(self) -> str:
        return self._unique_name
