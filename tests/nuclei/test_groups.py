"""Groups of measurements of single nuclei: each agrees with its reference, and none depends on what else was read."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy import ndimage
from skimage.color import separate_stains
from skimage.measure import regionprops

from helpers.oracle import OracleSegmenter, plane, scores_of
from wsinuc.config import SegmentConfig, measured_groups
from wsinuc.errors import ConfigError
from wsinuc.grid import Box
from wsinuc.labels import trace_outlines
from wsinuc.nuclei import Frame, Nuclei
from wsinuc.nuclei.densities import RIM_UM, RING_UM
from wsinuc.nuclei.ellipse import POINTS, fourier_energies
from wsinuc.nuclei.groups import PixelGroups
from wsinuc.nuclei.measure import measure
from wsinuc.nuclei.measured_names import FIXED, OF_BLOCKS, QUANTILES, STAINS, columns_of
from wsinuc.nuclei.stains import FIXED as VECTORS
from wsinuc.nuclei.stains import QUPATH, RUIFROK, StainVectors, fit_stains, optical_density

MPP = 0.5
CORNER = (5000, 7000)
ALL = PixelGroups(tuple(sorted(OF_BLOCKS)), QUPATH)


class Field:
    """A field of nuclei in noisy colours, at `CORNER` of the view."""

    def __init__(self) -> None:
        self.pixels = plane((240, 260))
        self.scores = scores_of(self.pixels)
        self.labels = OracleSegmenter().separate(self.scores)
        noise = np.random.default_rng(0).integers(-40, 40, self.pixels.shape)
        inside = self.labels[..., None] > 0
        colours = np.where(inside, [120, 70, 150], [235, 190, 215])
        self.pixels = np.clip(colours + noise, 0, 255).astype(np.uint8)

    def measured(self, groups: PixelGroups = ALL, top: int = 0, left: int = 0) -> Nuclei:
        """Everything of what lies below and to the right of (top, left)."""
        y, x = CORNER
        box = Box(y + top, x + left, y + self.labels.shape[0], x + self.labels.shape[1])
        labels = np.ascontiguousarray(self.labels[top:, left:])
        scores = np.ascontiguousarray(self.scores[:, top:, left:])
        nuclei = measure(labels, scores, box, Frame(MPP, (1.0, 1.0)), OracleSegmenter().classes)
        return groups.added(nuclei, labels, scores[0], self.pixels[top:, left:], box)


@pytest.fixture(scope="module")
def field() -> Field:
    return Field()


@pytest.fixture(scope="module")
def nuclei(field: Field) -> Nuclei:
    return field.measured()


def test_columns_are_those_that_are_announced(nuclei: Nuclei) -> None:
    assert tuple(nuclei.measurements) == ALL.columns == columns_of(OF_BLOCKS)
    assert {values.dtype for values in nuclei.measurements.values()} == {np.dtype(np.float32)}


def test_shape_is_that_of_scikit_image(field: Field, nuclei: Nuclei) -> None:
    regions = regionprops(field.labels)
    assert [region.label for region in regions] == nuclei.ids.tolist()
    expected = {
        "major_axis_um": [MPP * region.axis_major_length for region in regions],
        "minor_axis_um": [MPP * region.axis_minor_length for region in regions],
        "eccentricity": [region.eccentricity for region in regions],
        "orientation_deg": [np.degrees(region.orientation) for region in regions],
        "extent": [region.extent for region in regions],
        "equivalent_diameter_um": [MPP * region.equivalent_diameter_area for region in regions],
        "box_y0_px": [CORNER[0] + region.bbox[0] for region in regions],
        "box_x0_px": [CORNER[1] + region.bbox[1] for region in regions],
        "box_y1_px": [CORNER[0] + region.bbox[2] for region in regions],
        "box_x1_px": [CORNER[1] + region.bbox[3] for region in regions],
    }
    for name, values in expected.items():
        np.testing.assert_allclose(nuclei.measurements[name], values, rtol=1e-5, atol=1e-4, err_msg=name)


def test_the_hull_is_that_of_solidity(nuclei: Nuclei) -> None:
    measured = nuclei.measurements
    areas = (nuclei.areas_px - 0.5) * MPP**2
    # Both polygons are half a pixel smaller than what they enclose.
    hulls = measured["convex_area_um2"] - 0.5 * MPP**2
    np.testing.assert_allclose(areas / hulls, measured["solidity"], rtol=1e-5)


def test_convexity_is_1_of_a_square_and_less_of_a_horseshoe() -> None:
    labels = np.zeros((40, 80), np.int32)
    labels[5:25, 5:25] = 1
    labels[5:35, 40:70] = 2
    labels[5:25, 50:60] = 0
    box = Box.of_shape(labels.shape)
    flat = measure(labels, np.zeros((2, 40, 80), np.uint8), box, Frame(MPP, (1.0, 1.0)), ())
    convexity = PixelGroups(("shape",)).added(flat, labels, labels, None, box).measurements["convexity"]
    assert convexity[0] == 1
    # Its outline has two sides of 20 px more than its hull, a square of 30 px.
    assert convexity[1] == pytest.approx(120 / 160, abs=0.03)


def disc(radius: float, stretch: float = 1.0) -> np.ndarray:
    y, x = np.mgrid[-60:61, -60:61]
    return (np.hypot(y / stretch, x) <= radius).astype(np.int32)


def energies(labels: np.ndarray) -> np.ndarray:
    _, outlines, offsets = trace_outlines(labels)
    return fourier_energies(outlines, offsets)[0]


def test_fourier_descriptors_by_their_definition() -> None:
    """As HistomicsTK defines them: arc length, direction, energy by octaves; along the outline, less a circle's."""
    _, outlines, _ = trace_outlines(disc(20, 2.0))
    corners = np.concatenate([outlines, outlines[:1]])
    steps = [np.linspace(a, b, abs(b - a).sum(), endpoint=False) for a, b in pairwise(corners)]
    vertices = np.concatenate(steps)
    middles = (vertices + np.roll(vertices, -1, axis=0)) / 2
    closed = np.concatenate([middles, middles[:1]])
    along = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(closed, axis=0).T))])
    places = np.linspace(0, along[-1], POINTS + 1)
    y, x = (np.interp(places, along, closed[:, axis]) for axis in (0, 1))
    direction = np.unwrap(np.arctan2(np.diff(y), np.diff(x)))
    departure = direction - direction[0] - 2 * np.pi * np.arange(POINTS) / POINTS
    power = 2 * np.abs(np.fft.fft(departure)) ** 2 / POINTS**2
    expected = [power[2**k : 2 ** (k + 1)].sum() for k in range(6)]
    np.testing.assert_allclose(energies(disc(20, 2.0)), expected, rtol=1e-9, atol=1e-12)


def test_fourier_descriptors_tell_forms_apart() -> None:
    assert energies(disc(25))[:3].max() < 0.001
    assert energies(disc(20, 2.0))[1] > 0.05
    np.testing.assert_allclose(energies(disc(20, 2.0).T)[:4], energies(disc(20, 2.0))[:4], atol=0.01)


def od_by_qupath(pixels: np.ndarray, vectors: StainVectors) -> np.ndarray:
    """Colour deconvolution as QuPath has it: OD = max(0, -log10(max(v, 1) / 255)), the third stain the residual."""
    stains = np.array([vectors.haematoxylin, vectors.eosin])
    stains = stains / np.linalg.norm(stains, axis=1, keepdims=True)
    residual = np.cross(*stains)
    matrix = np.stack([*stains, residual / np.linalg.norm(residual)])
    density = np.maximum(0, -np.log10(np.maximum(pixels.astype(float), 1) / 255))
    return (density @ np.linalg.inv(matrix))[..., :2]


@pytest.mark.parametrize("name", sorted(VECTORS))
def test_densities_are_those_of_qupath(field: Field, name: str) -> None:
    vectors = VECTORS[name]
    nuclei = field.measured(PixelGroups(("stain",), vectors))
    density = od_by_qupath(field.pixels, vectors)
    for k, stain in enumerate(STAINS):
        for i in (0, 7, 20):
            values = density[..., k][field.labels == nuclei.ids[i]]
            measured = {key: nuclei.measurements[f"{stain}_nucleus_{key}_od"][i] for key in ("mean", "std")}
            assert measured["mean"] == pytest.approx(values.mean(), abs=6e-4)
            assert measured["std"] == pytest.approx(values.std(), abs=6e-4)
            for quantile in QUANTILES:
                expected = np.percentile(values, quantile, method="inverted_cdf")
                got = nuclei.measurements[f"{stain}_nucleus_p{quantile}_od"][i]
                assert got == pytest.approx(expected, abs=6e-4)


def test_unmixing_is_that_of_scikit_image(field: Field) -> None:
    """It cuts at 0 and counts in units of a millionth of the light, so 6 of them are one of log10."""
    stains = np.array([RUIFROK.haematoxylin, RUIFROK.eosin])
    stains = stains / np.linalg.norm(stains, axis=1, keepdims=True)
    residual = np.cross(*stains)
    inverse = np.linalg.inv(np.stack([*stains, residual / np.linalg.norm(residual)]))
    ours = od_by_qupath(field.pixels, RUIFROK)
    theirs = 6 * separate_stains(np.maximum(field.pixels, 1), inverse)[..., :2]
    np.testing.assert_allclose(np.maximum(ours, 0), theirs, atol=1e-6)


def test_rim_and_ring_are_where_they_should_be(field: Field, nuclei: Nuclei) -> None:
    density = od_by_qupath(field.pixels, QUPATH)[..., 0]
    for i in np.flatnonzero(nuclei.measurements["box_y0_px"] > CORNER[0] + 10).tolist()[:12]:
        own = field.labels == nuclei.ids[i]
        to_outside = ndimage.distance_transform_edt(own)
        to_nucleus = ndimage.distance_transform_edt(~own)
        rim = own & (to_outside <= RIM_UM / MPP)
        ring = ~own & (to_nucleus <= RING_UM / MPP) & (field.scores[0] < 128)
        for part, where in (("rim", rim), ("ring", ring)):
            measured = nuclei.measurements[f"haematoxylin_{part}_mean_od"][i]
            assert measured == pytest.approx(density[where].mean(), abs=6e-4), part


def test_a_ring_without_pixels_is_not_a_number() -> None:
    labels = np.zeros((20, 20), np.int32)
    labels[8:12, 8:12] = 1
    scores = np.full((2, 20, 20), 255, np.uint8)  # nuclei all around
    box = Box.of_shape(labels.shape)
    nuclei = measure(labels, scores, box, Frame(MPP, (1.0, 1.0)), ())
    grey = np.full((20, 20, 3), 128, np.uint8)
    measured = PixelGroups(("stain",), QUPATH).added(nuclei, labels, scores[0], grey, box).measurements
    assert np.isnan(measured["eosin_ring_mean_od"]).all()
    assert np.isfinite(measured["eosin_rim_mean_od"]).all()


def test_where_the_array_begins_changes_no_byte(field: Field, nuclei: Nuclei) -> None:
    top, left = 61, 47
    part = field.measured(top=top, left=left)
    far = (nuclei.measurements["box_y0_px"] > CORNER[0] + top + 12) & (
        nuclei.measurements["box_x0_px"] > CORNER[1] + left + 12
    )
    whole = nuclei.select(far)
    assert len(whole) > 20
    part = part.select(np.isin(part.ids, whole.ids))
    for name, values in whole.measurements.items():
        assert part.measurements[name].tobytes() == values.tobytes(), name


def test_nothing_is_measured_of_no_nuclei() -> None:
    labels = np.zeros((8, 8), np.int32)
    scores = np.zeros((2, 8, 8), np.uint8)
    box = Box.of_shape(labels.shape)
    nuclei = measure(labels, scores, box, Frame(MPP, (1.0, 1.0)), ())
    measured = ALL.added(nuclei, labels, scores[0], np.zeros((8, 8, 3), np.uint8), box)
    assert tuple(measured.measurements) == ALL.columns


def test_stain_vectors_of_a_slide_are_found() -> None:
    """Pixels mixed of two known stains, with glass between them."""
    rng = np.random.default_rng(0)
    true = np.array([[0.55, 0.75, 0.36], [0.12, 0.90, 0.42]])
    true = true / np.linalg.norm(true, axis=1, keepdims=True)
    # Nuclei with little eosin, cytoplasm with little haematoxylin.
    nuclear = rng.uniform((0.5, 0), (1.2, 0.05), (9000, 2))
    amounts = np.concatenate([nuclear, rng.uniform((0, 0.3), (0.05, 0.9), (9000, 2))])
    pixels = np.concatenate([255 * 10 ** -(amounts @ true), np.full((9000, 3), 250.0)])
    fitted = fit_stains(pixels.round().astype(np.uint8).reshape(27, 1000, 3))
    assert fitted is not None
    assert fitted.name == "fitted"
    for vector, expected in zip((fitted.haematoxylin, fitted.eosin), true, strict=True):
        assert np.degrees(np.arccos(min(1.0, np.dot(vector, expected)))) < 3


def test_stain_vectors_are_not_fitted_to_glass() -> None:
    assert fit_stains(np.full((4, 64, 64, 3), 250, np.uint8)) is None


def test_stain_vectors_that_tell_nothing_apart_are_refused() -> None:
    with pytest.raises(ConfigError, match="do not tell two stains apart"):
        StainVectors("own", (0.65, 0.7, 0.29), (1.3 / 2, 1.4 / 2, 0.29))


def test_optical_density_of_white_is_0() -> None:
    assert optical_density(np.array([255], np.uint8)).tolist() == [0.0]


def test_groups_are_named_in_any_order() -> None:
    assert measured_groups("neighbours,shape") == ("shape", "neighbours")
    assert SegmentConfig(measure="all").groups == measured_groups("shape,stain,texture,neighbours")
    assert SegmentConfig(measure="none").groups == ()


@pytest.mark.parametrize(("name", "value"), [("measure", "shapes"), ("measure", ""), ("stains", "macenko")])
def test_unknown_groups_and_stains_are_refused(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match="give"):
        SegmentConfig(**{name: value})


def test_units_are_in_the_names() -> None:
    endings = {"um^2": "_um2", "um": "_um", "degrees": "_deg", "view px": "_px", "rad^2": "_rad2"}
    endings |= {"optical density": "_od", "bits": "_bits", "1/mm^2": "_per_mm2", "optical density/um": "_od_per_um"}
    for measurement in FIXED.values():
        if measurement.unit:
            assert measurement.name.endswith(endings[measurement.unit])
