"""Words of texts, by one rule that training and serving share.

A text becomes lower case, character by character (Unicode's simple mapping: no language is known,
and none is asked for), and every run of characters that are neither letters nor digits separates:
RE2's `[^\\p{L}\\p{N}]+`. Nothing is normalised, stemmed or left out.

`tfrec_zoo.export.tokens` is the same rule in TensorFlow's operations. The two libraries have
different versions of Unicode: they disagree on letters that newer ones have added, which
`tests/export/tokens_test.py` lists.
"""

import pyarrow as pa
import pyarrow.compute as pc

SEPARATORS = r"[^\p{L}\p{N}]+"


def split_tokens(texts: pa.Array) -> pa.Array:
    """Returns the words of each text, lists of strings [n].

    Where a text begins or ends with a separator its list has an empty string there. Of a missing
    text the list is missing.

    Args:
        texts: strings [n].
    """
    return pc.split_pattern(pc.replace_substring_regex(pc.utf8_lower(texts), SEPARATORS, " "), " ")
