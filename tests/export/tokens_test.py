"""Words of texts: the reader's rule, the graph's, and one written down character by character."""

import gzip
import os
import subprocess
import sys
import unicodedata

import pyarrow as pa
import pytest
import tensorflow as tf

from tfrec_zoo.data.tables.tokens import split_tokens
from tfrec_zoo.export import tokens

# Where the Unicode of the two libraries differs: 670 letters of version 14 or later, 622 of them
# rare Chinese ones, the others of scripts in which no newspaper is printed. A text with U+0000 is
# no text for Arrow's expressions.
YOUNGER = [
    (0x2C2F, 0x2C2F),
    (0xA7C0, 0xA7DD),
    (0xA7E2, 0xA7E2),
    (0xAB6C, 0xAB6D),
    (0x10570, 0x10595),
    (0x2EBF0, 0x2EE5D),
]
TEXTS = {
    "": [],
    " -- ": [],
    "50 Worst Habits": ["50", "worst", "habits"],
    "  Trump's Aid-Freeze, in 'Ukraine'!": ["trump", "s", "aid", "freeze", "in", "ukraine"],
    "a\tb\nc\u00a0d\u2028e_f": ["a", "b", "c", "d", "e", "f"],
    "Ärzte ÉTÉ naïve": ["ärzte", "été", "naïve"],
    "e\u0301te\u0301": ["e", "te"],
    "ΟΔΟΣ Σίσυφος": ["οδοσ", "σίσυφος"],
    "İstanbul ISPARTA ışık": ["istanbul", "isparta", "ışık"],
    "STRASSE Straße ẞ": ["strasse", "straße", "ß"],
    "Москва 東京 서울 नमस्ते": ["москва", "東京", "서울", "नमस", "त"],
    "x² ½ Ⅷ ٣": ["x²", "½", "ⅷ", "٣"],
    "😀smile😀 C++ #1": ["smile", "c", "1"],
}


def split_in_python(text):
    letters = []
    for letter in text:
        lower = {"İ": "i"}.get(letter, letter.lower())
        is_word = unicodedata.category(letter)[0] in "LN"
        letters.append(lower if is_word else " ")
    return "".join(letters).split(" ")


def drop_empty(lists):
    return [[word for word in words or [] if word] for words in lists]


def split_by_arrow(texts):
    return drop_empty(split_tokens(pa.array(texts, pa.string())).to_pylist())


def split_by_tensorflow(texts):
    rows = tokens.split_tokens(tf.constant(texts)).to_list()
    return drop_empty([[word.decode() for word in words] for words in rows])


@pytest.mark.parametrize("split", [split_by_arrow, split_by_tensorflow])
def test_texts_are_cut_into_lower_case_words(split):
    assert split(list(TEXTS)) == list(TEXTS.values())


def test_a_missing_text_has_no_words():
    assert split_by_arrow([None, "a"]) == [[], ["a"]]


def test_both_agree_on_every_character_but_those_of_newer_versions():
    codes = [code for code in range(1, 0x110000) if not 0xD800 <= code < 0xE000]
    texts = [f"a{chr(code)}b" for code in codes]
    differing = [
        code
        for code, one, other in zip(
            codes, split_by_arrow(texts), split_by_tensorflow(texts), strict=True
        )
        if one != other
    ]
    is_known = [any(low <= code <= high for low, high in YOUNGER) for code in differing]
    assert all(is_known), [
        hex(c) for c, known in zip(differing, is_known, strict=True) if not known
    ]
    assert len(differing) < 700


def test_words_are_those_of_unicode():
    # Up to here Python, too, knows every character; what one letter becomes several is not lower
    # case of the simple mapping.
    codes = [c for c in range(0x20, 0x2C00) if unicodedata.category(chr(c)) != "Cn"]
    texts = [f"a{chr(code)}b" for code in codes]
    assert split_by_arrow(texts) == drop_empty(split_in_python(text) for text in texts)


def test_both_agree_on_real_titles(shared_data):
    with gzip.open(shared_data / "news" / "mind_items.tsv.gz", "rt", encoding="utf-8") as file:
        titles = [line.rstrip("\n").split("\t")[2] for line in file][1:]
    words = split_by_arrow(titles)
    assert words == split_by_tensorflow(titles)
    assert words == drop_empty(split_in_python(title) for title in titles)


@pytest.mark.parametrize("locale", ["tr_TR.UTF-8", "lt_LT.UTF-8"])
def test_the_language_of_the_machine_does_not_matter(locale):
    text = "DIYARBAKIR İÇİN Ì Í Ĩ J\u0307"
    code = (
        "import sys, tensorflow as tf; from tfrec_zoo.export.tokens import split_tokens; "
        "sys.stdout.buffer.write(b'|'.join(split_tokens(tf.constant([sys.argv[1]])).values.numpy()))"
    )
    environment = {**os.environ, "LC_ALL": locale, "LANG": locale, "PYTHONUTF8": "1"}
    run = subprocess.run(
        [sys.executable, "-c", code, text], capture_output=True, check=True, env=environment
    )
    found = [word for word in run.stdout.decode().split("|") if word]
    assert found == ["diyarbakir", "için", "ì", "í", "ĩ", "j"]
