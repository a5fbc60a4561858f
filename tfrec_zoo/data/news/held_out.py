"""What a retrieval model is measured on."""

from dataclasses import dataclass

import numpy as np

from tfrec_zoo.data.news.histories import Histories
from tfrec_zoo.data.news.impressions import Impressions


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Examples that were not trained on, in the rows of a catalogue.

    Attributes:
        max_history: clicks of a history; the most recent ones are kept.
        histories: the targets to be found; None: only impressions are ranked.
        seen_rows: bool [V + 1], the rows that occur in the training sessions.
        candidate_rows: int32 [n], the items that compete for the targets; None: all.
        impressions: what was shown, to be put in order; None: there are none.
    """

    max_history: int
    histories: Histories | None
    seen_rows: np.ndarray
    candidate_rows: np.ndarray | None = None
    impressions: Impressions | None = None
