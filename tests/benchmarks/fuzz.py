"""Damaged files into every parser of files from outside: is each read, or refused in one line, in time and memory?

    PYTHONPATH=.:cli:tests python tests/benchmarks/fuzz.py [--seconds 600] [--seed 0] [--only PARSER] [--out findings]

Good files are damaged at random (bytes, numbers, JSON values; where a file ends with a hash or is
compressed, mostly what is inside) and read through the door that a user has. Each parser has a
process of its own and an equal share of the time. A finding is an exception that is no WsinucError,
a message of several lines or over 600 letters, a call over 5 s, more than 512 MiB of memory, or the
end of the process. It is printed with its seed, and the bytes are kept in ``--out``: ``--only
PARSER --seed SEED --calls 1`` repeats it. Exits with 1 when there is one.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import resource
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from contextlib import suppress
from pathlib import Path

import numpy as np

from helpers.fuzz.judge import Stuck, judge
from helpers.fuzz.table import PARSERS
from wsinuc.errors import WsinucError

STUCK_S = 30
"""A call that takes so long is ended."""
CEILING = 6 * 2**30
"""Bytes of address space beyond what the process has when it starts."""


def main() -> None:
    """Try all parsers, or one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600.0, help="for all parsers together")
    parser.add_argument("--seed", type=int, default=0, help="of the first call; the next one has the next")
    parser.add_argument("--calls", type=int, default=10**9, help="at most, per parser")
    parser.add_argument("--only", choices=PARSERS)
    parser.add_argument("--out", type=Path, default=Path("findings"), help="folder for files with a finding")
    options = parser.parse_args()
    if options.only:
        sys.exit(try_one(options.only, options.seconds, options.seed, options.calls, options.out))
    share = options.seconds / len(PARSERS)
    bad = 0
    for name in PARSERS:
        command = [sys.executable, __file__, "--only", name, "--seconds", str(share), "--seed", str(options.seed)]
        code = subprocess.run(
            [*command, "--calls", str(options.calls), "--out", str(options.out)], check=False
        ).returncode
        if code not in (0, 1):
            print(f"{name}: the process ended with {code}; its last file is {last_file(options.out, name)}", flush=True)
        bad += code != 0
    sys.exit(bool(bad))


def try_one(name: str, seconds: float, seed: int, calls: int, out: Path) -> int:
    """Damage and read for so long; prints a row of the table, returns 1 when there is a finding."""
    logging.disable()
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGALRM, _stuck)
    out.mkdir(parents=True, exist_ok=True)
    outcomes: Counter[str] = Counter()
    kinds: set[str] = set()
    slowest = 0.0
    with tempfile.TemporaryDirectory() as folder:
        made = PARSERS[name](Path(folder))
        with suppress(WsinucError):
            made.read(made.seeds[0])  # what is loaded once is no call's time or memory
        _limit_memory()
        end = time.monotonic() + seconds
        while time.monotonic() < end and sum(outcomes.values()) < calls:
            data = made.damage(np.random.default_rng(seed), made.seeds)
            last_file(out, name).write_bytes(data)
            signal.alarm(STUCK_S)
            finding, outcome, took = judge(made.read, data)
            signal.alarm(0)
            outcomes[outcome] += 1
            slowest = max(slowest, took)
            kind = finding.partition(": ")[0]
            if finding and kind not in kinds:
                kinds.add(kind)
                kept = out / f"{_plain(name)}-{seed}-{hashlib.sha256(data).hexdigest()[:8]}"
                kept.write_bytes(data)
                print(f"FINDING {name}, seed {seed}, {kept}: {finding}", flush=True)
            seed += 1
    last_file(out, name).unlink()
    calls = sum(outcomes.values())
    print(f"| {name} | {calls:,} | {outcomes['read']:,} | {outcomes['refused']:,} | {slowest:.2f} |", flush=True)
    return bool(kinds)


def last_file(out: Path, name: str) -> Path:
    """Where the bytes of the call in work lie, should it end the process."""
    return out / f"{_plain(name)}-last"


def _limit_memory() -> None:
    """More than that is a MemoryError instead of a machine that swaps."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmSize"))
        size = 1024 * int(line.split()[1]) + CEILING
        resource.setrlimit(resource.RLIMIT_AS, (size, size))


def _plain(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name)


def _stuck(number: int, frame: object) -> None:
    raise Stuck


if __name__ == "__main__":
    main()
