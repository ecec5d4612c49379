"""Will wsinuc work on this machine, and how fast? Each check is tried, whatever became of the others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from wsinuc.errors import WsinucError
from wsinuc.urls import PathLike, to_path
from wsinuc.workflows.doctor.findings import Check, Finding, fail
from wsinuc.workflows.doctor.libraries import check_codecs, check_readers, check_versions, check_weights
from wsinuc.workflows.doctor.machine import check_device, check_memory, check_open_files, check_output, check_threads
from wsinuc.workflows.doctor.trial_block import try_slide, try_synthetic


def examine(slide: PathLike | None = None, *, out: PathLike = ".", device: str = "auto") -> Iterator[Finding]:
    """Findings, one after another as they are made.

    Parameters
    ----------
    slide
        A slide to try; None makes one.
    out
        The folder where results are to go; need not exist yet.
    device
        Where the network is to run.
    """
    file = None if slide is None else to_path(slide)
    folder = to_path(out)
    checks: dict[str, Check] = {
        "versions": check_versions,
        "readers": check_readers,
        "codecs": check_codecs,
        "weights": check_weights,
        "threads": check_threads,
        "memory": check_memory,
        "open files": check_open_files,
        "output": lambda: check_output(folder),
        "device": lambda: check_device(device),
        "trial": lambda: try_slide(file, device, folder) if file else try_synthetic(device, folder),
    }
    for name, check in checks.items():
        yield from run_check(name, check)


def run_check(name: str, check: Check) -> Iterator[Finding]:
    """What a check finds; what it raises is a finding, too."""
    try:
        outcome = check()
        yield from [outcome] if isinstance(outcome, Finding) else outcome
    except Exception as error:
        text = " ".join(str(error).split())
        if isinstance(error, WsinucError):
            yield fail(name, text, "do what the message says, and run wsinuc doctor again")
        else:
            yield fail(name, f"unexpected {type(error).__name__}: {text}", "please report this")


def exit_code(findings: Iterable[Finding]) -> int:
    """1 when something does not work, else 0: warnings are no errors."""
    return int(any(finding.level == "fail" for finding in findings))
