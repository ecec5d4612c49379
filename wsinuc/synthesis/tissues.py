"""How prompts write what data sets call an organ: the same words in training, in ``--tissue`` and in ``--prompt``.

Data sets write ``Adrenal_gland``, ``HeadNeck`` and ``human bladder``. Prompts have lower case, blanks
between words, and the names that method C (Min, Oh, Jeong 2024) has for PanNuke's tissues. NuInsSeg
tells people from mice, and so do prompts; where an organ is of one of them only, its name alone
means it too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

COLUMNS = ("tissue", "organ")
"""Attributes of an image that name its tissue, the first that says something counts."""
SPECIES = ("human", "mouse")
"""Words before an organ that may be left out where they tell nothing apart."""
_SPELLINGS = {"headneck": "head and neck", "head neck": "head and neck", "adrenal": "adrenal gland"}
_PLAIN_STAINS = ("", "h&e", "he", "hematoxylin and eosin", "haematoxylin and eosin")


def tissue_word(name: str) -> str:
    """A name of a tissue as prompts write it.

    Examples
    --------
    >>> tissue_word("Bile-duct"), tissue_word("HeadNeck"), tissue_word("human  bladder")
    ('bile duct', 'head and neck', 'human bladder')
    """
    words = " ".join(re.sub(r"[_-]+", " ", name).lower().split())
    return _SPELLINGS.get(words, words)


def known_tissue(name: str, known: Sequence[str]) -> str | None:
    """The one of ``known`` that a name means, in its spelling there; None where it means none, or several.

    Examples
    --------
    >>> known_tissue("Bladder", ["human bladder", "human kidney", "mouse kidney"])
    'human bladder'
    >>> known_tissue("kidney", ["human bladder", "human kidney", "mouse kidney"])
    """
    word = tissue_word(name)
    exact = [each for each in known if tissue_word(each) == word]
    if exact:
        return exact[0]
    alike = [each for each in known if _differs_by_species(tissue_word(each), word)]
    if len(alike) == 1:
        return alike[0]
    return None


def tissue_of(attributes: Mapping[str, str], column: str = "") -> str:
    """The tissue of an image by its attributes, as prompts write it; empty where they do not say.

    Parameters
    ----------
    column
        Attribute that names it; empty takes the first of `COLUMNS` that says something, with the
        species before it where that is known.

    Examples
    --------
    >>> tissue_of({"organ": "bladder", "species": "human"})
    'human bladder'
    """
    if column:
        return tissue_word(attributes.get(column, ""))
    organ = next((attributes[name] for name in COLUMNS if attributes.get(name)), "")
    if not organ:
        return ""
    return tissue_word(f"{attributes.get('species', '')} {organ}")


def stain_of(attributes: Mapping[str, str]) -> str:
    """The stain of an image by its attributes, in lower case; empty for H&E, which prompts do not name."""
    stain = " ".join(attributes.get("stain", "").lower().split())
    if stain in _PLAIN_STAINS:
        return ""
    return stain


def _differs_by_species(one: str, other: str) -> bool:
    """Whether one of two names says a species, and apart from it they are the same."""
    return any(one == f"{species} {other}" or other == f"{species} {one}" for species in SPECIES)
