"""Which nuclei a classifier would like to know next: doubtful ones, spread over kinds, slides and places.

The most doubtful nuclei alone are often alike, and one label would do for all of them. So of those whose two likeliest
classes are nearly equally likely some are drawn that lie far apart: in their measurements, and on the slides (seeding
of k-means++).

D. Arthur, S. Vassilvitskii, k-means++: The Advantages of Careful Seeding, SODA 2007.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from wsinuc.errors import ConfigError
from wsinuc.exports.atomic import replacing
from wsinuc.exports.qupath.polygons import level0_polygons
from wsinuc.models.features.measured_classifier import ClassEstimate, bounded
from wsinuc.nuclei.columns import KEY, from_arrow
from wsinuc.workflows.reclassify.learn import Learned
from wsinuc.workflows.reclassify.tables import ResultTable

DOUBTFUL = 0.05
"""Share of the nuclei that count as doubtful."""
PER_QUESTION = 10
"""Doubtful nuclei for each that is asked, at least."""
MOST_DOUBTFUL = 20_000
"""Doubtful nuclei that are compared with each other."""
OF_PLACE = 0.25
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
class _Doubtful:
    """Doubtful nuclei of one part."""

    slides: NDArray[np.intp]
    ids: NDArray[np.int64]
    uuids: list[str]
    xy_um: Floats
    doubts: Floats
    features: Floats
    probabilities: Floats


def next_questions(
    tables: Sequence[ResultTable], learned: Learned, count: int = 20, *, seed: int = 0
) -> list[Question]:
    """The nuclei to label next, ``count`` of them or as many as there are without a label.

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
    total = sum(table.nuclei for table in tables)
    share = max(DOUBTFUL, PER_QUESTION * count / max(total, 1))
    doubtful = _joined([each for k, table in enumerate(tables) for each in _doubtful(k, table, learned, share)])
    order = np.argsort(-doubtful.doubts, kind="stable")
    kept = order[: min(MOST_DOUBTFUL, max(PER_QUESTION * count, round(DOUBTFUL * total)))]
    chosen = kept[spread_out(_places(doubtful, learned)[kept], count, np.random.default_rng(seed))]
    chosen = chosen[np.lexsort((doubtful.ids[chosen], doubtful.slides[chosen]))]
    return [_question(doubtful, learned, row) for row in chosen.tolist()]


def _doubtful(slide: int, table: ResultTable, learned: Learned, share: float) -> Iterator[_Doubtful]:
    """The most doubtful nuclei of each part of a table, those with a label left out."""
    known = learned.labelled.ids[learned.labelled.slides == slide]
    names = learned.classifier.columns.names
    for part in table.parts():
        features = learned.classifier.columns.matrix({name: part[name].to_numpy() for name in names})
        estimate = learned.classifier.of_features(features)
        doubts = doubts_of(estimate)
        ids = part["id"].to_numpy()
        doubts[np.isin(ids, known)] = -1.0
        # More than the share: a part may hold more doubt than others.
        count = min(len(ids), max(PER_QUESTION, round(2 * share * len(ids))))
        rows = np.sort(np.argsort(-doubts, kind="stable")[:count])
        rows = rows[doubts[rows] >= 0]
        xy = np.column_stack([part["x_um"].to_numpy(), part["y_um"].to_numpy()])
        yield _Doubtful(
            slides=np.full(len(rows), slide, np.intp),
            ids=ids[rows],
            uuids=part["uuid"].take(pa.array(rows)).to_pylist(),
            xy_um=xy[rows],
            doubts=doubts[rows],
            features=features[rows],
            probabilities=estimate.probabilities[rows].astype(np.float64),
        )


def doubts_of(estimate: ClassEstimate) -> Floats:
    """How doubtful each nucleus is, float64 ``(n,)``: 1 minus the lead of the likeliest class over the second."""
    ordered = np.sort(estimate.probabilities.astype(np.float64), axis=1)
    return 1.0 - (ordered[:, -1] - ordered[:, -2])


def _joined(parts: Sequence[_Doubtful]) -> _Doubtful:
    return _Doubtful(
        slides=np.concatenate([each.slides for each in parts]),
        ids=np.concatenate([each.ids for each in parts]),
        uuids=[uuid for each in parts for uuid in each.uuids],
        xy_um=np.concatenate([each.xy_um for each in parts]),
        doubts=np.concatenate([each.doubts for each in parts]),
        features=np.concatenate([each.features for each in parts]),
        probabilities=np.concatenate([each.probabilities for each in parts]),
    )


def _places(doubtful: _Doubtful, learned: Learned) -> Floats:
    """Where nuclei lie among their kinds and on the slides, as one space, float64 ``(n, d + 10)``."""
    regressions = learned.classifier.regressions
    features = bounded(doubtful.features, regressions.mean, regressions.scale)
    kinds = (features - regressions.mean) / regressions.scale / np.sqrt(max(1, features.shape[1]))
    places = np.zeros((len(kinds), 2 + _DIRECTIONS))
    for slide in np.unique(doubtful.slides):
        own = doubtful.slides == slide
        xy = doubtful.xy_um[own]
        places[own, :2] = (xy - xy.mean(axis=0)) / max(1.0, float(xy.std()))
        # Any two slides are about equally far apart, however many there are.
        direction = np.random.default_rng(int(slide)).normal(size=_DIRECTIONS)
        places[own, 2:] = APART * direction / np.linalg.norm(direction)
    return np.column_stack([kinds, np.sqrt(OF_PLACE / 2) * places])


def spread_out(places: Floats, count: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Rows of ``places`` ``(n, d)`` that lie far apart: the first, and each next by its squared distance to those."""
    if len(places) <= count:
        return np.arange(len(places))
    chosen = [0]
    distances = ((places - places[0]) ** 2).sum(axis=1)
    while len(chosen) < count:
        total = distances.sum()
        if total <= 0:
            rest = np.setdiff1d(np.arange(len(places)), chosen)
            return np.array([*chosen, *rest[: count - len(chosen)]], np.intp)
        row = int(rng.choice(len(places), p=distances / total))
        chosen.append(row)
        distances = np.minimum(distances, ((places - places[row]) ** 2).sum(axis=1))
    return np.array(chosen, np.intp)


def _question(doubtful: _Doubtful, learned: Learned, row: int) -> Question:
    probabilities = doubtful.probabilities[row]
    likeliest = np.argsort(-probabilities, kind="stable")[:2]
    guess = " or ".join(f"{learned.classes[k].name} ({probabilities[k]:.0%})" for k in likeliest.tolist())
    x, y = doubtful.xy_um[row].tolist()
    return Question(
        slide=int(doubtful.slides[row]),
        id=int(doubtful.ids[row]),
        uuid=doubtful.uuids[row],
        xy_um=(x, y),
        doubt=float(doubtful.doubts[row]),
        guess=guess,
    )


def write_questions(table: ResultTable, questions: Sequence[Question], path: Path) -> None:
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
    with replacing(path) as stream:
        lines = b",\n".join(orjson.dumps(feature, option=orjson.OPT_SERIALIZE_NUMPY) for feature in features)
        stream.write(b'{"type":"FeatureCollection","features":[\n' + lines + b"\n]}\n")


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
