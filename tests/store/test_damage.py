"""Any one fault in any file of a result: refused or harmless, never silently wrong. In full: benchmarks/damage.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from helpers.damaged import HARMLESS, OTHER, REFUSED, WRONG, Case, Finished, Outcome, Unfinished, flip, harm, make_case

FLIPS = 16
OF_EACH_KIND = 1


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return make_case(tmp_path_factory.mktemp("case"))


def judged(asked: Finished | Unfinished, seed: int) -> list[tuple[str, Path, Outcome]]:
    rng = np.random.default_rng(seed)
    outcomes = []
    for kind in ["flip"] * FLIPS + [kind for kind in OTHER for _ in range(OF_EACH_KIND)]:
        path = flip(rng, asked.folder) if kind == "flip" else harm(rng, asked.folder, kind, asked.foreign)
        outcomes.append((kind, path, asked.judge(path)))
        asked.restore()
    return outcomes


def test_faults_in_a_finished_result(case: Case) -> None:
    outcomes = judged(Finished(case), seed=1)
    assert not [outcome for outcome in outcomes if outcome[2].verdict == WRONG]
    for kind, path, outcome in outcomes:
        if kind in ("flip", "deleted", "emptied") and path.name != "summary.json":
            assert (outcome.verdict, outcome.error) == (REFUSED, "DamageError"), path


def test_faults_in_an_unfinished_result(case: Case) -> None:
    asked = Unfinished(case)
    outcomes = judged(asked, seed=2)
    assert not [outcome for outcome in outcomes if outcome[2].verdict == WRONG]
    asked.resumes = True
    shard = asked.folder / ".run" / "blocks" / "000001.parquet"
    shard.write_bytes(shard.read_bytes()[:-1] + b"\0")
    assert asked.judge(shard).verdict != WRONG


def test_the_judges_see_what_is_wrong(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers that check nothing are found out, so that "none was silently wrong" means something."""
    finished = Finished(case)
    part = next(path for path in finished.content if path.name.startswith("part-"))
    part.unlink()
    monkeypatch.setattr("wsinuc.store.manifest._findings", lambda made, there: iter(()))
    monkeypatch.setattr("wsinuc.store.parts.read_nuclei", lambda path, sha256: finished_part(finished))
    assert finished.judge(part).verdict == WRONG
    monkeypatch.undo()
    finished.restore()
    assert finished.judge(part).verdict == HARMLESS


def finished_part(finished: Finished) -> object:
    from wsinuc.nuclei import read_nuclei

    return read_nuclei(next(path for path in finished.content if path.suffix == ".parquet" and path.is_file()))
