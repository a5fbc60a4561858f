"""Worker: TF-IDF over categories and titles, the mean of a history against each item, by cosine.

    python news_tfidf.py data.npz scores.npz

Words and pairs of words, sublinear, out of all texts; needs NumPy, SciPy and scikit-learn alone.
Reads `texts` [V + 1], `history_rows` and `history_offsets` of E examples and `candidate_rows` [C],
and writes `scores` float32 [E, C].
"""

import sys

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import normalize


def main(source: str, target: str) -> None:
    """Scores all candidates for all examples."""
    data = np.load(source, allow_pickle=True)
    items = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True).fit_transform(data["texts"])
    rows, offsets = data["history_rows"], data["history_offsets"]
    # Sums rather than means: a vector's length does not matter to its cosine.
    is_read = csr_matrix(
        (np.ones(len(rows)), rows, offsets), shape=(len(offsets) - 1, items.shape[0])
    )
    histories = normalize(is_read @ items)
    scores = (histories @ items[data["candidate_rows"]].T).toarray()
    np.savez(target, scores=scores.astype(np.float32))


if __name__ == "__main__":
    main(*sys.argv[1:])
