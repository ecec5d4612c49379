"""Commands and options that have moved: what was written in the old way still works, with a warning.

Kept for one version; `translated` goes when 0.3.0 is made.
"""

from __future__ import annotations

from collections.abc import Sequence

MODES = {"--points": "classify", "--joining": "join"}
"""Option of ``wsinuc train`` -> the command that it has become."""


def translated(words: Sequence[str]) -> tuple[list[str], str | None]:
    """A command line in today's words, and what to tell the user; None where it is in today's words already.

    Examples
    --------
    >>> translated(["train", "NuCLS", "--points", "-o", "m.safetensors"])[0]
    ['classify', 'NuCLS', '-o', 'm.safetensors']
    >>> translated(["evaluate", "--real", "a", "--synthetic=b"])[0]
    ['compare', 'a', 'b']
    >>> translated(["evaluate", "--data", "tnbc"])[0]
    ['evaluate', 'tnbc']
    """
    words = list(words)
    command = words[0] if words else ""
    if command == "train":
        return _translated_train(words)
    if command == "evaluate":
        return _translated_evaluate(words)
    return words, None


def _translated_train(words: list[str]) -> tuple[list[str], str | None]:
    modes = [mode for mode in MODES if mode in words]
    if len(modes) != 1:
        return words, None
    rest = [word for word in words[1:] if word != modes[0]]
    command = MODES[modes[0]]
    return [command, *rest], f"wsinuc train {modes[0]} is now wsinuc {command}; the old way ends with version 0.3.0"


def _translated_evaluate(words: list[str]) -> tuple[list[str], str | None]:
    real, rest = _without_option(words[1:], "--real")
    synthetic, rest = _without_option(rest, "--synthetic")
    if real is not None and synthetic is not None:
        warning = "wsinuc evaluate --real REAL --synthetic SYNTHETIC is now wsinuc compare REAL SYNTHETIC"
        return ["compare", real, synthetic, *rest], f"{warning}; the old way ends with version 0.3.0"
    data, rest = _without_option(words[1:], "--data")
    if data is not None:
        warning = "wsinuc evaluate --data DATA is now wsinuc evaluate DATA; the old way ends with version 0.3.0"
        return ["evaluate", data, *rest], warning
    return words, None


def _without_option(words: Sequence[str], option: str) -> tuple[str | None, list[str]]:
    """The value of an option, or None, and the words without it."""
    rest: list[str] = []
    value = None
    following = iter(words)
    for word in following:
        name, equals, text = word.partition("=")
        if name != option:
            rest.append(word)
        elif equals:
            value = text
        else:
            value = next(following, None)
    return value, rest
