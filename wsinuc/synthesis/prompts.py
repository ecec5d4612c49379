"""The sentence that describes an image to a joint synthesis: tissue, stain, and which classes of nuclei it shows.

Method C (Min, Oh, Jeong 2024) was trained with captions of one template, so a caption says no more
than a `Prompt` holds. `Prompt.text` writes the template; `parse_prompt` reads it back and refuses
every other sentence, because a network that knows a few words would answer any other one with an
image that has nothing to do with it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from wsinuc.errors import ConfigError
from wsinuc.synthesis.tissues import known_tissue

TEMPLATE = (
    "high-quality histopathology [STAIN] TISSUE tissue image "
    "including nuclei types of A, B, and C. (or: with no nucleus.)"
)
"""The published template, for messages and help."""

_SENTENCE = re.compile(
    r"high[- ]quality histopathology (?P<subject>.*?) ?tissue image "
    r"(?:with no nucleus|including nuclei types of (?P<classes>.+?))\.?",
    re.IGNORECASE,
)
_SEPARATOR = r"(?:,? and |, ?)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What a prompt of the published template says (Min, Oh, Jeong 2024).

    Examples
    --------
    >>> Prompt(tissue="colon", classes=("plasma", "lymphocyte")).text()
    'high-quality histopathology colon tissue image including nuclei types of plasma and lymphocyte.'
    """

    tissue: str
    """``colon``; as the data set writes it, lower case; empty where the tissue is not known."""
    stain: str = ""
    """``IHC stained``; empty for H&E, which the template does not name."""
    classes: tuple[str, ...] = ()
    """Classes of the nuclei that are present."""

    def text(self) -> str:
        """The sentence of the template, classes in their order here."""
        subject = " ".join(
            word for word in ("histopathology", _subject(self.stain, self.tissue), "tissue image") if word
        )
        if self.classes:
            nuclei = f"including nuclei types of {_listed(self.classes)}"
        else:
            nuclei = "with no nucleus"
        return f"high-quality {subject} {nuclei}."


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """The words that a network was trained with; case does not matter.

    Raises
    ------
    ConfigError
        A word stands there twice or is blank, or two sentences would read the same.
    """

    tissues: tuple[str, ...] = ()
    """Tissues by name; none at all where the data do not say. An empty name among others: some images do not say."""
    stains: tuple[str, ...] = ()
    """Stains by name; none at all where all is H&E. An empty name among others: H&E as well."""
    classes: tuple[str, ...] = ()
    """Classes of nuclei in the data set's order."""

    def __post_init__(self) -> None:
        for kind, words in (("tissue", self.tissues), ("stain", self.stains), ("class", self.classes)):
            for word, times in Counter(word.casefold() for word in words).items():
                if times > 1 or word != " ".join(word.split()) or (kind == "class" and not word):
                    raise ConfigError(
                        f"a {kind} must be named once, without blanks around or doubled blanks, got {word!r}"
                    )
        # Two pairs read the same where one key stands for both.
        if len(self.subjects) < len(self.known_tissues) * len(self.known_stains):
            raise ConfigError(f"stains and tissues cannot be told apart when written one after another: {self.words}")
        known = {name.casefold() for name in self.classes}
        for name in self.classes:
            parts = re.split(_SEPARATOR, name.casefold())
            if len(parts) > 1 and known.issuperset(parts):
                raise ConfigError(f"the class {name!r} reads like a list of others; rename it")

    @property
    def known_tissues(self) -> tuple[str, ...]:
        """What `Prompt.tissue` may be: the tissues, or the empty name alone where there are none."""
        return self.tissues or ("",)

    @property
    def known_stains(self) -> tuple[str, ...]:
        """What `Prompt.stain` may be: the stains, or the empty name alone where there are none."""
        return self.stains or ("",)

    def checked(self, prompt: Prompt) -> Prompt:
        """The same prompt in this vocabulary's spelling and order of classes; raises ConfigError for unknown words."""
        if len({name.casefold() for name in prompt.classes}) < len(prompt.classes):
            raise ConfigError(f"a class is named twice in: {_listed(prompt.classes)}")
        classes = [_find(name, self.classes, "class of nuclei", self) for name in prompt.classes]
        # A data set may write a tissue otherwise than prompts do.
        tissue = known_tissue(prompt.tissue, self.known_tissues) or prompt.tissue
        return Prompt(
            tissue=_find(tissue, self.known_tissues, "tissue", self),
            stain=_find(prompt.stain, self.known_stains, "stain", self),
            classes=tuple(sorted(classes, key=self.classes.index)),
        )

    @property
    def subjects(self) -> dict[str, tuple[str, str]]:
        """Every ``stain tissue`` that a sentence can be about, in lower case, and which (stain, tissue) it means."""
        return {
            _subject(stain, tissue).casefold(): (stain, tissue)
            for stain in self.known_stains
            for tissue in self.known_tissues
        }

    def subject(self, text: str) -> tuple[str, str] | None:
        """The (stain, tissue) that the words before "tissue image" mean; None where they are not known."""
        named = text.casefold()
        if named in self.subjects:
            return self.subjects[named]
        # A data set's own spelling of a tissue, behind any of the stains.
        for stain in sorted(self.known_stains, key=len, reverse=True):
            if not named.startswith(stain.casefold()):
                continue
            tissue = known_tissue(named[len(stain) :], self.known_tissues)
            if tissue is not None:
                return stain, tissue
        return None

    @property
    def words(self) -> str:
        """All words in one line, for messages."""
        return (
            f"tissues: {_named(self.known_tissues, 'none (leave it out)')}; "
            f"stains: {_named(self.known_stains, 'H&E (leave it out)')}; classes: {', '.join(self.classes) or 'none'}"
        )


def parse_prompt(text: str, vocabulary: Vocabulary) -> Prompt:
    """What a sentence of the template says, in the vocabulary's spelling and order of classes.

    Case, runs of blanks, the hyphen, the last full stop and the order of the classes do not matter.

    Raises
    ------
    ConfigError
        Another sentence, or a word that is not in the vocabulary.

    Examples
    --------
    >>> words = Vocabulary(tissues=("colon",), classes=("plasma", "lymphocyte"))
    >>> parse_prompt("High quality histopathology colon tissue image with no nucleus", words)
    Prompt(tissue='colon', stain='', classes=())
    """
    sentence = _SENTENCE.fullmatch(" ".join(text.split()))
    if not sentence:
        raise ConfigError(f"a prompt must read like {TEMPLATE!r}, got {text!r}; known {vocabulary.words}")
    listed = sentence["classes"] or ""
    subject = vocabulary.subject(sentence["subject"])
    if subject is None:
        named = sentence["subject"].casefold()
        raise ConfigError(
            f"unknown tissue or stain {named!r} in a prompt of the form {TEMPLATE!r}; known {vocabulary.words}"
        )
    stain, tissue = subject
    if listed:
        classes = tuple(_split(listed, vocabulary.classes))
    else:
        classes = ()
    return vocabulary.checked(Prompt(tissue=tissue, stain=stain, classes=classes))


def _split(listed: str, known: Sequence[str]) -> list[str]:
    """The names in a list such as ``a, b, and c``; known names first, because a name may hold a comma or an ``and``."""
    # Longest first: a name may begin with another.
    names = sorted((re.escape(name) for name in known), key=len, reverse=True)
    item = re.compile(rf"({'|'.join(names) or '(?!)'}|.+?)(?:{_SEPARATOR}|$)", re.IGNORECASE)
    return [match[1] for match in item.finditer(listed)]


def _find(word: str, known: Sequence[str], kind: str, vocabulary: Vocabulary) -> str:
    """The known spelling of a word; raises ConfigError."""
    for name in known:
        if name.casefold() == word.casefold():
            return name
    raise ConfigError(f"unknown {kind} {word!r} in a prompt of the form {TEMPLATE!r}; known {vocabulary.words}")


def _subject(stain: str, tissue: str) -> str:
    return " ".join(word for word in (stain, tissue) if word)


def _listed(names: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b, and c``."""
    if len(names) < 3:
        return " and ".join(names)
    return f"{', '.join(names[:-1])}, and {names[-1]}"


def _named(words: Sequence[str], empty: str) -> str:
    return ", ".join(word or empty for word in words)
