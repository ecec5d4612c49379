"""Which nuclei a classifier would like to know next: doubtful ones, spread over kinds, slides and places.

The most doubtful nuclei alone are often alike, and odd. So nuclei are drawn from the more doubtful half, each with a
probability in proportion to its doubt, and those are grouped by k-means in the space of their measurements and
places; of each group the nucleus nearest to its centre is asked for, which stands for many others.

F. Zhdanov, Diverse mini-batch Active Learning, arXiv:1901.05954, 2019.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans2

from wsinuc.errors import ConfigError
from wsinuc.exports.atomic import replacing
from wsinuc.exports.qupath.collection import collection_text
from wsinuc.exports.qupath.polygons import level0_polygons
from wsinuc.models.features.measured_classifier import ClassEstimate, bounded
from wsinuc.nuclei.columns import KEY, from_arrow
from wsinuc.urls import PathLike, to_path
from wsinuc.workflows.reclassify.learn import Learned
from wsinuc.workflows.reclassify.tables import ResultTable

DRAWN = 5000
"""Nuclei that are drawn and grouped."""
OF_PLACE = 0.1
"""What distance on the slide counts beside that of measurements: their share of the variance."""
APART = 1.5
"""Distance between slides beside that of places on a slide, whose standard deviation is 1 in each direction."""
MOST_QUESTIONS = 1000
_DIRECTIONS = 8
"""Dimensions in which slides lie apart."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A nucleus that it would help to know."""

    slide: int
    """Number of the result."""
    id: int
    uuid: str
    xy_um: tuple[float, float]
    """Centroid."""
    doubt: float
    """1 where the two likeliest classes are equally likely, 0 where one is certain."""
    guess: str
    """The likeliest classes with their probabilities, for people."""


@dataclass(frozen=True, slots=True)
class _Drawn:
    """Nuclei that were drawn, each once."""

    slides: NDArray[np.intp]
    ids: NDArray[np.int64]
    uuids: list[str]
    xy_um: Floats
    doubts: Floats
    features: Floats
    probabilities: Floats


def next_questions(
    tables: Sequence[ResultTable],
    learned: Learned,
    count: int = 20,
    *,
    seed: int = 0,
    doubts: Sequence[Floats] | None = None,
) -> list[Question]:
    """The nuclei to label next, ``count`` of them or as many as there are without a label.

    Parameters
    ----------
    doubts
        `doubts_of` the nuclei of each table, where they are known already; below 0 of those that are not to be asked
        for. None works them out, and asks for no nucleus that has a label.

    Returns
    -------
    list of Question
        Sorted by result and id; the same for the same labels and seed.

    Raises
    ------
    ConfigError
        ``count`` is less than 1 or more than 1000.
    """
    if not 1 <= count <= MOST_QUESTIONS:
        raise ConfigError(f"1 to {MOST_QUESTIONS} nuclei can be asked for at once, got {count}: 20 is usual")
    rng = np.random.default_rng(seed)
    if doubts is None:
        doubts = [np.concatenate(list(_doubts(k, table, learned))) for k, table in enumerate(tables)]
    rows, times = draw_doubtful(np.concatenate(doubts), count, rng)
    starts = np.cumsum([0, *(len(each) for each in doubts)])
    parts = [
        each
        for k, table in enumerate(tables)
        for each in _described(k, table, learned, rows[(rows >= starts[k]) & (rows < starts[k + 1])] - starts[k])
    ]
    drawn = _joined(parts)
    chosen = representatives(_places(drawn, learned), times, count, rng)
    return [_question(drawn, learned, row) for row in np.sort(chosen).tolist()]


def _doubts(slide: int, table: ResultTable, learned: Learned) -> Iterator[Floats]:
    """Doubts of the nuclei of each part of a table, -1 of those with a label."""
    known = learned.labelled.ids[learned.labelled.slides == slide]
    for part in table.parts():
        doubts = doubts_of(learned.classify(part))
        doubts[np.isin(part["id"].to_numpy(), known)] = -1.0
        yield doubts


def doubts_of(estimate: ClassEstimate) -> Floats:
    """How doubtful each nucleus is, float64 ``(n,)``: 1 minus the lead of the likeliest class over the second."""
    ordered = np.sort(estimate.probabilities.astype(np.float64), axis=1)
    return 1.0 - (ordered[:, -1] - ordered[:, -2])


def draw_doubtful(doubts: Floats, count: int, rng: np.random.Generator) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows that are drawn from the more doubtful half, sorted, and how often; all of them where there are few.

    Parameters
    ----------
    doubts
        (n,) how doubtful each row is; below 0 where it is not to be drawn.
    count
        How many are to be chosen of those that are drawn.
    """
    open_rows = np.flatnonzero(doubts >= 0)
    if len(open_rows) <= 2 * count:
        return open_rows, np.ones(len(open_rows), np.intp)
    weights = np.where(doubts >= np.median(doubts[open_rows]), doubts, 0.0)
    # A classifier without any doubt gives no weights to draw by.
    weights[open_rows] += 1e-9
    weights[doubts < 0] = 0.0
    rows, times = np.unique(rng.choice(len(doubts), DRAWN, p=weights / weights.sum()), return_counts=True)
    if len(rows) < count:
        rows = np.union1d(rows, open_rows[np.argsort(-doubts[open_rows], kind="stable")[:count]])
        times = np.ones(len(rows), np.intp)
    return rows, times


def _described(slide: int, table: ResultTable, learned: Learned, rows: NDArray[np.intp]) -> Iterator[_Drawn]:
    """What is known of some rows of a table."""
    names = learned.classifier.columns.names
    start = 0
    for part in table.parts():
        own = part.take(pa.array(rows[(rows >= start) & (rows < start + part.num_rows)] - start))
        start += part.num_rows
        features = learned.classifier.columns.matrix({name: own[name].to_numpy() for name in names})
        estimate = learned.classifier.of_features(features)
        yield _Drawn(
            slides=np.full(own.num_rows, slide, np.intp),
            ids=own["id"].to_numpy(),
            uuids=own["uuid"].to_pylist(),
            xy_um=np.column_stack([own["x_um"].to_numpy(), own["y_um"].to_numpy()]),
            doubts=doubts_of(estimate),
            features=features,
            probabilities=estimate.probabilities.astype(np.float64),
        )


def _joined(parts: Sequence[_Drawn]) -> _Drawn:
    return _Drawn(
        slides=np.concatenate([each.slides for each in parts]),
        ids=np.concatenate([each.ids for each in parts]),
        uuids=[uuid for each in parts for uuid in each.uuids],
        xy_um=np.concatenate([each.xy_um for each in parts]),
        doubts=np.concatenate([each.doubts for each in parts]),
        features=np.concatenate([each.features for each in parts]),
        probabilities=np.concatenate([each.probabilities for each in parts]),
    )


def _places(drawn: _Drawn, learned: Learned) -> Floats:
    """Where nuclei lie among their kinds and on the slides, as one space, float64 ``(n, d + 10)``."""
    regressions = learned.classifier.regressions
    features = bounded(drawn.features, regressions.mean, regressions.scale)
    kinds = (features - regressions.mean) / regressions.scale / np.sqrt(max(1, features.shape[1]))
    places = np.zeros((len(kinds), 2 + _DIRECTIONS))
    for slide in np.unique(drawn.slides):
        own = drawn.slides == slide
        xy = drawn.xy_um[own]
        places[own, :2] = (xy - xy.mean(axis=0)) / max(1.0, float(xy.std()))
        # Any two slides are about equally far apart, however many there are.
        direction = np.random.default_rng(int(slide)).normal(size=_DIRECTIONS)
        places[own, 2:] = APART * direction / np.linalg.norm(direction)
    return np.column_stack([kinds, np.sqrt(OF_PLACE / 2) * places])


def representatives(places: Floats, times: NDArray[np.intp], count: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Rows of ``places`` ``(n, d)``, each of which counts ``times``, that are nearest to the centres of as many groups.

    Examples
    --------
    >>> places = np.array([[0.0], [0.1], [0.2], [9.0], [9.1], [9.2]])
    >>> sorted(representatives(places, np.ones(6, int), 2, np.random.default_rng(0)).tolist())
    [1, 4]
    """
    if len(places) <= count:
        return np.arange(len(places))
    with warnings.catch_warnings():
        # An empty group does no harm: its centre is where it began.
        warnings.simplefilter("ignore", UserWarning)
        centres, _ = kmeans2(np.repeat(places, times, axis=0), count, iter=20, minit="++", rng=rng)
    left = np.ones(len(places), bool)
    chosen: list[int] = []
    for centre in centres:
        distances = ((places - centre) ** 2).sum(axis=1)
        nearest = int(np.where(left, distances, np.inf).argmin())
        left[nearest] = False
        chosen.append(nearest)
    return np.array(chosen, np.intp)


def _question(drawn: _Drawn, learned: Learned, row: int) -> Question:
    probabilities = drawn.probabilities[row]
    likeliest = np.argsort(-probabilities, kind="stable")[:2]
    guess = " or ".join(f"{learned.classes[k].name} ({probabilities[k]:.0%})" for k in likeliest.tolist())
    x, y = drawn.xy_um[row].tolist()
    return Question(
        slide=int(drawn.slides[row]),
        id=int(drawn.ids[row]),
        uuid=drawn.uuids[row],
        xy_um=(x, y),
        doubt=float(drawn.doubts[row]),
        guess=guess,
    )


def write_questions(table: ResultTable, questions: Sequence[Question], path: PathLike) -> None:
    """Write the nuclei of one result that are asked for as GeoJSON: detections without a class, to be given one.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    wanted = {question.id: question for question in questions}
    features: list[dict[str, Any]] = []
    for part in table.parts():
        rows = np.flatnonzero(np.isin(part["id"].to_numpy(), list(wanted)))
        if len(rows):
            features += _features(table, part.take(pa.array(rows)), wanted)
    with replacing(to_path(path)) as stream:
        stream.write(collection_text(features))


def _features(table: ResultTable, part: pa.Table, wanted: dict[int, Question]) -> Iterator[dict[str, Any]]:
    nuclei = from_arrow(part, json.loads(part.schema.metadata[KEY]))
    polygons = level0_polygons(nuclei, 0, len(nuclei), table.origin_xy[::-1], "smooth")
    for row in np.flatnonzero(polygons.keep).tolist():
        question = wanted[int(nuclei.ids[row])]
        yield {
            "type": "Feature",
            "id": question.uuid,
            "geometry": {"type": "Polygon", "coordinates": polygons.rings(row)},
            "properties": {
                "objectType": "detection",
                "name": question.guess,
                "measurements": {"Doubt": round(question.doubt, 4)},
            },
        }
