"""Every error that wsinuc raises on purpose.

One root, ``WsinucError``, so that a caller can catch all of them; each child is also the builtin
that it stands for, so that code which knows nothing of wsinuc can still catch it. A message says,
as far as it helps: what was expected, what came, the likely cause, what to do. The command line
prints the message alone, on one line, and exits with 1.

Messages quote names and values from files, and what other libraries say of them, which may be of
any length and hold line breaks or escape sequences. ``str`` of an error is one line of at most
``LETTERS`` letters all the same; ``args`` has all.
"""

from wsinuc.shown import shown

LETTERS = 599
"""Longest message."""
_GAP = " ... "
_TAIL = 200
"""Letters kept of the end of a message that is too long: what to do stands there."""


class WsinucError(Exception):
    """Root of all errors that wsinuc raises on purpose; the message is one line that says what to do.

    Examples
    --------
    >>> import wsinuc
    >>> try:
    ...     wsinuc.open_slide("no_such_slide.svs")
    ... except wsinuc.WsinucError as error:
    ...     print(error)
    no_such_slide.svs: no such file
    """

    def __str__(self) -> str:
        """The message, on one line that can be shown."""
        text = super().__str__()
        # Cut before each letter is looked at: a message may quote a megabyte.
        if len(text) > LETTERS:
            text = text[:LETTERS] + text[-_TAIL:]
        line = shown(text)
        if len(line) <= LETTERS:
            return line
        return line[: LETTERS - _TAIL - len(_GAP)] + _GAP + line[-_TAIL:]


class ConfigError(WsinucError, ValueError):
    """A setting is outside its range, or two settings contradict each other."""


class SlideError(WsinucError, OSError):
    """A slide is missing, is no slide, or too much of it cannot be decoded."""


class ReadError(SlideError):
    """One region of an open slide cannot be decoded (others may be fine)."""


class MppError(WsinucError, ValueError):
    """The resolution (um per pixel) is unknown or absurd."""


class OutputError(WsinucError, OSError):
    """The output exists, cannot be written, is locked by another run, or does not fit the request."""


class DamageError(OutputError):
    """Files of a result are missing, changed or foreign: they are not those that its summary lists."""


class RemoteError(WsinucError, OSError):
    """A file on an object store or web server is missing, forbidden or out of reach; says nothing of its content."""


class LockedError(OutputError):
    """Another run is at work in the same place."""


class CheckpointError(WsinucError, ValueError):
    """A weights file is not what it should be: wrong kind, truncated, or a pickle."""


class DeviceError(WsinucError, RuntimeError):
    """The device asked for does not exist on this machine."""


class DataError(WsinucError, ValueError):
    """A data set, mask, ROI or GeoJSON file does not have the form that was expected."""


class TrainingError(WsinucError, ArithmeticError):
    """A training went wrong on the way: its loss or its gradient is no number any more."""


class DeviceMemoryError(WsinucError, MemoryError):
    """The device has too little memory for what was asked of it."""

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        """MemoryError makes its own kind alone where other processes pickle tracebacks, too."""
        return type(self), self.args


class SynthesisError(WsinucError, ArithmeticError):
    """Sampling went wrong on the way: an image became no number any more."""


class ClusterError(WsinucError, RuntimeError):
    """Workers or their scheduler are missing, died, or see other files than this process."""
