"""Asks an exported GRU4Rec with nothing but TensorFlow: no zoo, no Keras.

    python plain_query.py served/1 item-00042 item-00007

This is all that a service in Python needs; it is run as a file, so that nothing else is imported.
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf  # noqa: E402


def main(export: str, *session_items: str) -> None:
    """Prints the best five recommendations for a session as lines of item and score."""
    recommend = tf.saved_model.load(export).signatures["recommend"]
    answer = recommend(session_items=tf.constant([session_items or [""]]))
    items, scores = (answer[name][0, :5].numpy() for name in ("items", "scores"))
    for item, score in zip(items, scores, strict=True):
        print(f"{item.decode()}\t{score:.4f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
