"""The guide to tfrec-check names the rules and the keys that there are."""

import json
import re

import pytest

from tfrec_zoo.export.cascade_rules import CASCADE_RULES
from tfrec_zoo.export.check import format_json
from tfrec_zoo.export.conformance import Result
from tfrec_zoo.export.dlrm_rules import DLRM_RULES
from tfrec_zoo.export.gru4rec_rules import GRU4REC_RULES
from tfrec_zoo.export.latency import Latency, SignatureLatency
from tfrec_zoo.export.server_files import SERVER_RULES
from tfrec_zoo.export.serving_rules import SERVING_RULES
from tfrec_zoo.export.ssr_rules import SSR_RULES

MODEL_RULES = (*GRU4REC_RULES, *SSR_RULES, *DLRM_RULES, *CASCADE_RULES)


@pytest.fixture(scope="module")
def guide(repository):
    return (repository / "docs" / "checking.md").read_text(encoding="utf-8")


def find_rules(section):
    """Returns the names in the first column of a section's table."""
    lines = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return [name for line in lines for name in re.findall(r"`(\w+)`", line)]


def list_keys(values):
    """Returns the keys of JSON values, those of what is inside behind a dot."""
    if isinstance(values, list):
        return set().union(*map(list_keys, values))
    if not isinstance(values, dict):
        return set()
    return set(values).union(
        *({f"{key}.{inner}" for inner in list_keys(value)} for key, value in values.items())
    )


def test_the_rules_of_the_guide_are_those_that_are_checked(guide):
    sections = guide.split("\n## ")
    found = {section.splitlines()[0]: find_rules(section) for section in sections[1:]}
    assert found["The rules for every model"] == [rule.name for rule in SERVING_RULES]
    assert found["The rules for the server's files"] == [rule.name for rule in SERVER_RULES]
    names = found["The rules for each model"]
    assert len(names) == len(set(names))
    assert set(names) == {rule.name for rule in MODEL_RULES}


def test_the_keys_of_the_guide_are_those_of_the_program(guide):
    (shown,) = re.findall(r"^```json\n(.*?)^```\n", guide, re.DOTALL | re.MULTILINE)
    times = {size: {50: 1.0, 90: 2.0, 99: 3.0} for size in (1, 64)}
    signature = SignatureLatency("recommend", 9.0, 4.0, times, {1: 200, 64: 200})
    result = Result("version_folder", "passed", "version 2", 0.0001)
    printed = json.loads(format_json("served/2", [result], Latency(0.2, 0.3, [signature])))
    assert list_keys(json.loads(shown)) == list_keys(printed)
    assert "latency.signatures.batch_64.p99_ms" in list_keys(printed)
