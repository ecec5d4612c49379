"""What a long piece of work tells its caller: a line for a log that also knows, as numbers, how far the work is."""

from __future__ import annotations

from typing import Self


class ProgressLine(str):
    """A line of text for people, with the numbers behind it for whoever draws a bar.

    Callers that print lines need not know about the numbers; the command line draws them.

    Attributes
    ----------
    stage
        Name of this part of the work, such as "features".
    unit
        What is counted, in the plural, such as "steps".
    done, total
        How many of them; ``done`` includes what an interrupted run did.
    loss
        Present loss of a training; None where there is none.

    Examples
    --------
    >>> line = ProgressLine("student: step 50  loss 0.1234", stage="student", unit="steps", done=50, total=200)
    >>> print(line, line.done / line.total)
    student: step 50  loss 0.1234 0.25
    """

    stage: str
    unit: str
    done: int
    total: int
    loss: float | None

    def __new__(cls, text: str, *, stage: str, unit: str, done: int, total: int, loss: float | None = None) -> Self:
        """A line with its numbers."""
        line = super().__new__(cls, text)
        line.stage = stage
        line.unit = unit
        line.done = done
        line.total = total
        line.loss = loss
        return line
