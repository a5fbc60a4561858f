"""A TensorFlow model zoo for recommenders.

Letters of dimensions, the same in every docstring (``int32 [B, T]``):

    B  batch: examples, sessions or lanes of one step
    T  time steps of a session
    N  negatives of a step
    V  items of the catalogue (a table has V + 1 rows: row 0 is padding and unknown)
    D  embedding width
    H  hidden units of a recurrent layer
    F  sparse features of an example
    K  cut-off: the length of a recommendation list

The zoo and TensorFlow Recommenders are built on `tf_keras` (Keras 2). TensorFlow decides once a
process which Keras `tf.keras` is, so importing this package asks for Keras 2, and refuses to go on
where Keras 3 has already been loaded. TensorFlow itself is not imported here.
"""

import os
import sys

__version__ = "0.1.0"


def _select_keras() -> None:
    """Asks TensorFlow for Keras 2, or raises ImportError where `tf.keras` is Keras 3 already."""
    tensorflow = sys.modules.get("tensorflow")
    # TensorFlow loads its Keras late: until then `tf.keras` is a loader without a name of its own.
    keras = vars(tensorflow).get("keras") if tensorflow else None
    keras_name = vars(keras).get("__name__") if keras else None
    if keras_name and not keras_name.startswith("tf_keras"):
        raise ImportError(
            "tfrec_zoo needs Keras 2 (tf_keras) but tf.keras is already loaded as Keras 3: import "
            "tfrec_zoo before anything that uses tf.keras, or set TF_USE_LEGACY_KERAS=1."
        )
    os.environ["TF_USE_LEGACY_KERAS"] = "1"


_select_keras()
