"""One spelling of tissues for training and synthesis, whatever the data sets write."""

from __future__ import annotations

import pytest

from wsinuc.errors import ConfigError
from wsinuc.synthesis.prompts import Prompt, Vocabulary, parse_prompt
from wsinuc.synthesis.tissues import known_tissue, stain_of, tissue_of, tissue_word

NUINSSEG = ("human bladder", "human kidney", "mouse kidney", "mouse fat (white and brown) subscapula")


@pytest.mark.parametrize(
    ("attributes", "word"),
    [
        ({"organ": "bladder", "species": "human"}, "human bladder"),  # NuInsSeg's folder "human bladder"
        ({"organ": "fat (white and brown)_subscapula", "species": "mouse"}, NUINSSEG[3]),
        ({"organ": "breast", "patient": "01"}, "breast"),  # TNBC
        ({"tissue": "HeadNeck"}, "head and neck"),  # PanNuke
        ({"tissue": "Adrenal_gland", "organ": "other"}, "adrenal gland"),
        ({"tissue": "", "organ": "Breast "}, "breast"),
        ({"patient": "7", "species": "human"}, ""),
    ],
)
def test_attributes_of_published_sets_become_words(attributes: dict[str, str], word: str) -> None:
    assert tissue_of(attributes) == word
    assert tissue_word(word) == word
    if word:
        assert tissue_of({"site": word.upper()}, "site") == word


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("Human_Bladder", "human bladder"),
        ("bladder", "human bladder"),
        ("kidney", None),  # of people or of mice?
        ("human kidney", "human kidney"),
        ("mouse bladder", None),
        ("liver", None),
    ],
)
def test_a_name_means_a_known_tissue_or_none(asked: str, meant: str | None) -> None:
    assert known_tissue(asked, NUINSSEG) == meant
    words = Vocabulary(tissues=NUINSSEG, stains=("", "ihc stained"), classes=("nucleus",))
    for stain in words.stains:
        subject = f"{stain} {asked}".strip()
        sentence = f"high-quality histopathology {subject} tissue image with no nucleus."
        if meant is None:
            with pytest.raises(ConfigError, match="human bladder, human kidney, mouse kidney"):
                parse_prompt(sentence, words)
        else:
            assert parse_prompt(sentence, words) == Prompt(tissue=meant, stain=stain)
            assert words.checked(Prompt(tissue=asked, stain=stain)).tissue == meant


def test_the_species_may_be_said_where_the_training_did_not() -> None:
    assert known_tissue("human bladder", ["bladder"]) == "bladder"


def test_stains_but_h_and_e_are_named() -> None:
    assert [stain_of({"stain": stain}) for stain in ("H&E", "IHC  stained")] == ["", "ihc stained"]
    assert stain_of({}) == ""
