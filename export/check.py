"""Checks an export: the rules of TensorFlow Serving, its warm-up requests, and its answers.

    tfrec-check served/1
    tfrec-check served/1 --run_dir=run --latency --json

Prints each rule with what was seen; exit code 1 says that one of them fails. A rule is skipped
where another one that it needs fails, or where there is nothing to look at. Answers are compared
with those of Python, from the weights inside the export or from the run that was exported.
"""

import json
import sys
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING

from absl import flags, logging

from tfrec_zoo.program import FLAGS, run_program

if TYPE_CHECKING:
    from tfrec_zoo.export.conformance import Export, Result, Rule
    from tfrec_zoo.export.latency import Latency

_MARKS = {"passed": "ok  ", "failed": "FAIL", "skipped": "skip"}


def define_flags() -> None:
    """Defines the flags of this program."""
    flags.DEFINE_string(
        "export",
        None,
        "The version's folder, or that of all versions to check the last; --export= may be left "
        "out where it is the first argument.",
        required=True,
    )
    flags.DEFINE_string("run_dir", None, "The run that was exported, to compare the answers with.")
    flags.DEFINE_string("ranker_run_dir", None, "Of a cascade, the run of the ranker, likewise.")
    flags.DEFINE_boolean(
        "latency",
        False,
        "Measure how long answers take, too, in two processes more. That takes some 3 s for each "
        "signature, and decides nothing.",
    )
    flags.DEFINE_boolean("json", False, "Print JSON in place of the table.")


def check() -> None:
    """Checks as the flags say, prints the results, and exits by them."""
    from tfrec_zoo.export.conformance import Export, run_rules

    export = Export(FLAGS.export, FLAGS.run_dir, FLAGS.ranker_run_dir)
    results = run_rules(export, choose_rules(export))
    latency = measure(export, results) if FLAGS.latency else None
    format_results = format_json if FLAGS.json else format_table
    sys.stdout.write(format_results(str(export.path), results, latency))
    if any(result.failed for result in results):
        sys.exit(1)


def choose_rules(export: "Export") -> "tuple[Rule, ...]":
    """Returns the rules for every export, and those for the model that this one is of.

    Raises:
        ValueError: there are none for its model.
    """
    from tfrec_zoo.export.cascade_rules import CASCADE_RULES
    from tfrec_zoo.export.dlrm_rules import DLRM_RULES
    from tfrec_zoo.export.gru4rec_rules import GRU4REC_RULES
    from tfrec_zoo.export.server_files import SERVER_RULES
    from tfrec_zoo.export.serving_rules import SERVING_RULES
    from tfrec_zoo.export.ssr_rules import SSR_RULES

    rules = {
        "gru4rec": GRU4REC_RULES,
        "ssr": SSR_RULES,
        "dlrm": DLRM_RULES,
        "cascade": CASCADE_RULES,
    }
    try:
        program = export.program
    except (AttributeError, OSError, ValueError):
        return SERVING_RULES + SERVER_RULES  # Among them that for the file that says it.
    if program not in rules:
        raise ValueError(
            f"{export.path} is of a model {program!r}, expected one of {', '.join(rules)}"
        )
    return SERVING_RULES + SERVER_RULES + rules[program]


def measure(export: "Export", results: "list[Result]") -> "Latency | None":
    """Returns the latencies; None, and says so, where the requests for it do not pass."""
    from tfrec_zoo.export.latency import measure_latency

    if not any(result.passed for result in results if result.rule == "warmup"):
        logging.info("latencies are not measured, since the rule warmup must hold first")
        return None
    return measure_latency(export)


def format_table(path: str, results: "list[Result]", latency: "Latency | None" = None) -> str:
    """Returns the results as a table for people, and below it that of the latencies."""
    width = max(len(result.rule) for result in results)
    lines = [
        f"{_MARKS[result.outcome]}  {result.rule:{width}}  {result.detail}" for result in results
    ]
    table = "\n".join([*lines, f"{path}: {_sum_up(results)}", ""])
    return table if latency is None else f"{table}\n{latency.format()}"


def format_json(path: str, results: "list[Result]", latency: "Latency | None" = None) -> str:
    """Returns the results as a JSON object.

    It has `export`, the version's path, `passed`, `rules` with the `rule`, `outcome`, `detail` and
    `seconds` of each, and `latency`, null where it is not measured.
    """
    summary = {
        "export": path,
        "passed": not any(result.failed for result in results),
        "rules": [asdict(result) for result in results],
        "latency": None if latency is None else latency.to_dict(),
    }
    return json.dumps(summary, indent=2) + "\n"


def _sum_up(results: "list[Result]") -> str:
    counts = Counter(result.outcome for result in results)
    skipped = f", {counts['skipped']} skipped" if counts["skipped"] else ""
    if counts["failed"]:
        return f"{counts['failed']} of {len(results)} rules fail{skipped}"
    return f"{counts['passed']} rules hold{skipped}"


def main() -> None:
    """Runs the program."""
    argv = list(sys.argv)
    if len(argv) > 1 and not argv[1].startswith("-"):
        argv[1] = f"--export={argv[1]}"
    run_program(check, define_flags, argv)


if __name__ == "__main__":
    main()
