"""Prompts of the published template: written, read back, and refused where the words are others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsinuc.errors import ConfigError
from wsinuc.synthesis.prompts import Prompt, Vocabulary, parse_prompt

WORDS = Vocabulary(
    tissues=("colon", "head and neck", "soft tissue", "bile duct", ""),
    stains=("", "IHC stained"),
    classes=("eosinophil", "plasma", "connective tissue", "non-neoplastic epithelial", "glands, ducts and buds"),
)
PROMPTS = st.builds(
    Prompt,
    tissue=st.sampled_from(WORDS.tissues),
    stain=st.sampled_from(WORDS.stains),
    classes=st.lists(st.sampled_from(WORDS.classes), unique=True).map(tuple),
)


def test_the_published_sentence():
    prompt = Prompt(tissue="colon", classes=("eosinophil", "plasma", "lymphocyte", "epithelial", "connective tissue"))
    assert prompt.text() == (
        "high-quality histopathology colon tissue image including nuclei types of "
        "eosinophil, plasma, lymphocyte, epithelial, and connective tissue."
    )


@pytest.mark.parametrize(
    ("classes", "end"),
    [
        ((), "with no nucleus."),
        (("a",), "including nuclei types of a."),
        (("a", "b"), "including nuclei types of a and b."),
        (("a", "b", "c"), "including nuclei types of a, b, and c."),
    ],
)
def test_lists_of_any_length(classes, end):
    text = Prompt(tissue="endometrial", stain="IHC stained", classes=classes).text()
    assert text == f"high-quality histopathology IHC stained endometrial tissue image {end}"


def test_tissue_that_is_not_known_is_left_out():
    assert Prompt(tissue="").text() == "high-quality histopathology tissue image with no nucleus."


@given(PROMPTS)
def test_what_is_written_is_read_back(prompt):
    found = parse_prompt(prompt.text(), WORDS)
    assert (found.tissue, found.stain, set(found.classes)) == (prompt.tissue, prompt.stain, set(prompt.classes))
    assert list(found.classes) == sorted(prompt.classes, key=WORDS.classes.index)
    assert parse_prompt(found.text(), WORDS) == found == WORDS.checked(prompt)


@given(PROMPTS, st.booleans(), st.booleans(), st.sampled_from([str.upper, str.lower, str.title, str]))
def test_case_hyphen_blanks_and_full_stop_do_not_matter(prompt, hyphen, stop, case):
    text = prompt.text() if stop else prompt.text().removesuffix(".")
    text = text if hyphen else text.replace("high-quality", "high quality ", 1)
    assert parse_prompt(f"  {case(text)}\n", WORDS) == parse_prompt(prompt.text(), WORDS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a lovely picture of nuclei", "must read like 'high-quality"),
        ("", "must read like"),
        ("high-quality histopathology colon tissue image", "must read like"),
        ("high-quality histopathology colon tissue image with no nucleus, please.", "must read like"),
        ("high-quality histopathology liver tissue image with no nucleus.", "unknown tissue or stain 'liver'"),
        ("high-quality histopathology PAS colon tissue image with no nucleus.", "unknown tissue or stain 'pas colon'"),
        (
            "high-quality histopathology colon tissue image including nuclei types of plasma and dragon.",
            "unknown class of nuclei 'dragon'",
        ),
        (
            "high-quality histopathology colon tissue image including nuclei types of plasma cells.",
            "unknown class of nuclei 'plasma cells'",
        ),
        (
            "high-quality histopathology colon tissue image including nuclei types of plasma and plasma.",
            "named twice",
        ),
    ],
)
def test_everything_else_is_refused_with_the_known_words(text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        parse_prompt(text, WORDS)
    if "twice" not in message:
        assert all(word in str(caught.value) for word in (*WORDS.tissues, "IHC stained", *WORDS.classes, "TISSUE"))
    assert "\n" not in str(caught.value)


@given(st.text(max_size=80))
def test_any_text_is_either_read_or_refused(text):
    with pytest.raises(ConfigError):
        parse_prompt(text, Vocabulary(classes=("plasma",)))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"classes": ("plasma", "Plasma")}, "named once"),
        ({"classes": ("",)}, "named once"),
        ({"tissues": (" colon",)}, "without blanks"),
        ({"stains": ("", "a"), "tissues": ("b", "a b")}, "cannot be told apart"),
        ({"classes": ("a", "b", "a and b")}, "reads like a list"),
    ],
)
def test_vocabularies_that_cannot_be_read_back_are_refused(words, message):
    with pytest.raises(ConfigError, match=message):
        Vocabulary(**words)


def test_without_tissues_and_stains_only_the_empty_names_are_known():
    words = Vocabulary(classes=("nucleus",))
    prompt = Prompt(tissue="", classes=("nucleus",))
    assert parse_prompt(prompt.text(), words) == words.checked(prompt) == prompt
    with pytest.raises(ConfigError, match="unknown tissue 'colon'"):
        words.checked(Prompt(tissue="colon"))
