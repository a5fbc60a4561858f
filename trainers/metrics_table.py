"""Metrics of sessions as a table: a line for each model, baseline and group of events."""

from collections.abc import Iterable, Mapping
from typing import Any

_LABELS = {
    "baseline_popularity": "popularity baseline",
    "baseline_markov": "Markov baseline",
    "position": "after click",
    "popularity": "popularity bin",
}


def describe_test(name: str, metrics: Mapping[str, Any], catalogue_size: int) -> str:
    """Returns what the numbers are an average over: events, candidates, tie rule, unknown clicks.

    Args:
        name: of the test log.
        metrics: of `evaluate_sessions`.
        catalogue_size: the number of items in all.
    """
    num_candidates = metrics["num_candidates"]
    candidates = f"all {num_candidates:,} items"
    if num_candidates < catalogue_size:
        candidates = f"{num_candidates:,} candidates of {catalogue_size:,} items"
    return (
        f"{name}: {metrics['num_test_events']:,} next items of {metrics['num_test_sessions']:,} "
        f"sessions, ranked among {candidates}, ties {metrics['tie_rule']}; "
        f"{metrics['num_unknown_clicks']:,} clicks on unknown items left out"
    )


def format_table(results: Iterable[tuple[str, Mapping[str, Any]]], ks: Iterable[int]) -> str:
    """Returns the table of some models' metrics.

    Args:
        results: a name and the metrics of `evaluate_sessions` for each model.
        ks: the cut-offs to show.
    """
    names = [f"{metric}@{k}" for metric in ("recall", "mrr", "ndcg") for k in ks]
    lines = [["", "events", *names]]
    for name, metrics in results:
        lines.append(_format_line(name, metrics, "num_test_events", names))
        # What does not change with the model, or is about it, stands below it.
        for prefix, group in _split_groups(metrics).items():
            group = {"num_events": metrics["num_test_events"], **group}
            lines.append(_format_line("  " + _label(prefix), group, "num_events", names))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(_align(line, widths) for line in lines)


def is_of_group(name: str) -> bool:
    """Returns whether a metric is about a group of the events, or about a baseline."""
    return not _LABELS.keys().isdisjoint(name.split("/")[:-1])


def _split_groups(metrics: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Returns the metrics with a prefix: `position/3` -> their names without it -> value."""
    groups: dict[str, dict[str, Any]] = {}
    for key, value in metrics.items():
        prefix, _, name = key.rpartition("/")
        if prefix:
            groups.setdefault(prefix, {})[name] = value
    return groups


def _label(prefix: str) -> str:
    kind, _, group = prefix.partition("/")
    return f"{_LABELS[kind]} {group}".rstrip()


def _format_line(
    label: str, metrics: Mapping[str, Any], num_events: str, names: list[str]
) -> list[str]:
    return [label, f"{metrics[num_events]:,}", *(f"{metrics[name]:.4f}" for name in names)]


def _align(line: list[str], widths: list[int]) -> str:
    first, *others = (
        text.rjust(width) if column else text.ljust(width)
        for column, (text, width) in enumerate(zip(line, widths, strict=True))
    )
    return "  ".join([first, *others])
