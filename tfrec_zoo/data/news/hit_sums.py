"""Recall and MRR of lists by known probabilities, expected and realised."""

import numpy as np


class HitSums:
    """The gains of lists so far: what is to be expected of them, and what they got."""

    def __init__(self, ks: tuple[int, ...], is_unseen: np.ndarray | None) -> None:
        """Begins at 0.

        Args:
            ks: cut-offs.
            is_unseen: bool [V], the items that are also looked at alone; None for none.
        """
        self._ks, self._is_unseen = ks, is_unseen
        groups = [""] if is_unseen is None else ["", "unseen_"]
        self._names = [f"{kind}@{k}" for k in ks for kind in ("recall", "mrr")]
        self._expected = {group: dict.fromkeys(self._names, 0.0) for group in groups}
        self._realised = {group: dict.fromkeys(self._names, 0.0) for group in groups}
        self._mass = dict.fromkeys(groups, 0.0)
        self._targets = dict.fromkeys(groups, 0)

    def add(self, probabilities: np.ndarray, targets: np.ndarray, alive: np.ndarray) -> None:
        """Takes in lists, the candidates by falling probability.

        Args:
            probabilities: float64 [n, A], of the candidates.
            targets: int [n], which of the A was clicked.
            alive: int [A], the candidates' numbers.
        """
        order = np.argsort(-probabilities, axis=1, kind="stable")
        ranked = np.take_along_axis(probabilities, order, axis=1)
        is_hit = order == targets[:, None]
        ranks = 1.0 + np.arange(ranked.shape[1])
        for group in self._expected:
            is_counted = np.ones(ranked.shape, bool)
            if group:
                is_counted = self._is_unseen[alive[order]]
            mass, hits = ranked * is_counted, is_hit & is_counted
            self._mass[group] += mass.sum()
            self._targets[group] += int(hits.sum())
            for k in self._ks:
                gains = {"recall": ranks <= k, "mrr": np.where(ranks <= k, 1 / ranks, 0)}
                for kind, gain in gains.items():
                    self._expected[group][f"{kind}@{k}"] += (mass @ gain).sum()
                    self._realised[group][f"{kind}@{k}"] += (hits @ gain).sum()

    def averages(self) -> dict[str, float]:
        """Returns the metrics by their names."""
        found = {}
        for group, expected in self._expected.items():
            mass, num_targets = max(self._mass[group], 1e-300), max(self._targets[group], 1)
            for name in self._names:
                found[f"{group}{name}"] = float(expected[name] / mass)
                realised = self._realised[group][name] / num_targets
                found[f"realised_{group}{name}"] = float(realised)
            found[f"num_{group}targets"] = self._targets[group]
        return found
