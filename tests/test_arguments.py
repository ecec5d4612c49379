"""Whatever is passed to a public name, what it raises is an error of wsinuc."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import wsinuc
from helpers.oracle import OracleSegmenter
from wsinuc.config import SegmentConfig
from wsinuc.urls import Url, to_path, to_place

ODD = (None, 3, b"x", [], "", object(), {"a": 1}, "\0", 1.5, float("nan"))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dataset")
    labels = np.zeros((32, 32), np.uint16)
    labels[5:15, 5:15] = 1
    for name, pixels in (("images", np.full((32, 32, 3), 200, np.uint8)), ("labels", labels)):
        (folder / name).mkdir()
        Image.fromarray(pixels).save(folder / name / "a.png")
    return folder


CALLS: dict[str, tuple[Callable[..., object], tuple[object, ...]]] = {
    # What is called with an odd value, and which of them are no mistakes.
    "open_slide": (lambda odd, at: wsinuc.open_slide(odd), ()),
    "open_slide mpp": (lambda odd, at: wsinuc.open_slide(at.slide, mpp=odd), (None, 1.5)),
    "segment_slide": (lambda odd, at: wsinuc.segment_slide(odd, at.new, at.config), ()),
    "segment_slide out": (lambda odd, at: wsinuc.plan_segment(at.slide, odd, at.config, OracleSegmenter()), ()),
    "segment_slide config": (lambda odd, at: wsinuc.segment_slide(at.slide, at.new, odd), ()),
    "segment_slide segmenter": (lambda odd, at: wsinuc.segment_slide(at.slide, at.new, segmenter=odd), (None,)),
    "segment_cohort": (lambda odd, at: wsinuc.segment_cohort(odd, at.new), ({"a": 1},)),
    "segment_cohort out": (lambda odd, at: wsinuc.segment_cohort([at.slide], odd, at.config), ()),
    "SegmentConfig mpp": (lambda odd, at: SegmentConfig(mpp=odd), (None, 1.5)),
    "SegmentConfig workers": (lambda odd, at: SegmentConfig(workers=odd), (3,)),
    "SegmentConfig measure": (lambda odd, at: SegmentConfig(measure=odd), ()),
    "SegmentConfig roi": (lambda odd, at: SegmentConfig(roi=odd), (None, "", "\0")),
    "load_segmenter": (lambda odd, at: wsinuc.load_segmenter(odd, device="cpu"), ()),
    "load_segmenter device": (lambda odd, at: wsinuc.load_segmenter("student", device=odd), ()),
    "read": (lambda odd, at: wsinuc.read(odd), ()),
    "read_nuclei": (lambda odd, at: wsinuc.read_nuclei(odd), ()),
    "iter_nuclei": (lambda odd, at: next(wsinuc.iter_nuclei(odd)), ()),
    "verify": (lambda odd, at: wsinuc.verify(odd), ()),
    "export": (lambda odd, at: wsinuc.export(odd, "csv"), ()),
    "export to": (lambda odd, at: wsinuc.export(at.result, odd), ()),
    "export out": (lambda odd, at: wsinuc.export(at.result, "csv", odd), (None,)),
    "measure_regions": (lambda odd, at: wsinuc.measure_regions(odd, {}), ()),
    "measure_regions regions": (lambda odd, at: wsinuc.measure_regions(at.result, odd), ()),
    "measure_regions region": (lambda odd, at: wsinuc.measure_regions(at.result, {"a": odd}), ()),
    "measure_regions bands": (lambda odd, at: wsinuc.measure_regions(at.result, {}, bands_um=odd), ()),
    "map_nuclei": (lambda odd, at: wsinuc.map_nuclei(odd), ()),
    "map_nuclei of": (lambda odd, at: wsinuc.map_nuclei(at.result, of=odd), ()),
    "map_nuclei um": (lambda odd, at: wsinuc.map_nuclei(at.result, um=odd), (3, 1.5)),
    "write_map": (lambda odd, at: wsinuc.write_map(odd, at.new), ()),
    "check_geojson": (lambda odd, at: wsinuc.check_geojson(odd), ()),
    "write_geojson": (lambda odd, at: wsinuc.write_geojson([], odd, run_id="x"), ()),
    "write_geojson nuclei": (lambda odd, at: wsinuc.write_geojson(odd, f"{at.new}.geojson", run_id="x"), ([],)),
    "open_dataset": (lambda odd, at: wsinuc.open_dataset(odd), ()),
    "open_dataset mpp": (lambda odd, at: wsinuc.open_dataset(at.dataset, mpp=odd), (1.5,)),
    "open_dataset layout": (lambda odd, at: wsinuc.open_dataset(at.dataset, mpp=0.5, layout=odd), ()),
    "evaluate": (lambda odd, at: wsinuc.evaluate(odd, OracleSegmenter()), ()),
    "evaluate predict": (lambda odd, at: wsinuc.evaluate(wsinuc.open_dataset(at.dataset, mpp=0.5), odd), ()),
    "score": (lambda odd, at: wsinuc.score(odd, odd), ()),
    "train": (lambda odd, at: wsinuc.train(odd, f"{at.new}.safetensors"), ()),
    "train out": (lambda odd, at: wsinuc.train(wsinuc.open_dataset(at.dataset, mpp=0.5), odd), ()),
    "train images": (lambda odd, at: wsinuc.train([odd], f"{at.new}.safetensors"), ()),
    "adapt": (lambda odd, at: wsinuc.adapt(odd, at.dataset, f"{at.new}.safetensors"), ()),
    "adapt windows": (lambda odd, at: wsinuc.adapt("student", odd, f"{at.new}.safetensors"), ()),
    "adapt out": (lambda odd, at: wsinuc.adapt("student", at.dataset, odd), ()),
    "adapt config": (lambda odd, at: wsinuc.adapt("student", at.dataset, f"{at.new}.safetensors", odd), (None,)),
    "adapt rest": (lambda odd, at: wsinuc.adapt("student", at.images, f"{at.new}.safetensors", rest=odd), ([],)),
    "distill": (lambda odd, at: wsinuc.distill(odd, at.slide, f"{at.new}.safetensors"), ()),
    "distill tissue": (lambda odd, at: wsinuc.distill("student", odd, f"{at.new}.safetensors", device="cpu"), ()),
    "distill config": (lambda odd, at: wsinuc.distill("student", at.slide, f"{at.new}.safetensors", odd), (None,)),
    "pretrain": (lambda odd, at: wsinuc.pretrain(odd, f"{at.new}.safetensors", device="cpu"), ()),
    "pretrain out": (lambda odd, at: wsinuc.pretrain(at.slide, odd), ()),
    "pretrain config": (lambda odd, at: wsinuc.pretrain(at.slide, f"{at.new}.safetensors", odd), (None,)),
    "pretrain device": (lambda odd, at: wsinuc.pretrain(at.slide, f"{at.new}.safetensors", device=odd), ()),
    "synthesize": (lambda odd, at: wsinuc.synthesize(odd, at.new, 1), ()),
    "synthesize out": (lambda odd, at: wsinuc.synthesize("no.safetensors", odd, 1), ()),
    "synthesize count": (lambda odd, at: wsinuc.synthesize("no.safetensors", at.new, odd), ()),
    "synthesize config": (lambda odd, at: wsinuc.synthesize("no.safetensors", at.new, 1, odd), ()),
    "classify": (lambda odd, at: wsinuc.classify(odd, {"a": "b"}), ()),
    "classify labels": (lambda odd, at: wsinuc.classify(at.result, odd), ()),
    "classify folds": (lambda odd, at: wsinuc.classify(at.result, {"a": "b"}, folds=odd), ()),
    "Dataset.where": (lambda odd, at: wsinuc.open_dataset(at.dataset, mpp=0.5).where({"name": odd}), ({"a": 1},)),
    "Dataset.split": (lambda odd, at: wsinuc.open_dataset(at.dataset, mpp=0.5).split({"a": odd}), ()),
    "open_dataset annotations": (lambda odd, at: wsinuc.open_dataset(at.slide, annotations=odd), (None,)),
    "Box": (lambda odd, at: wsinuc.Box(odd, 0, 1, 1), ()),
    "Slide.read": (lambda odd, at: at.opened.read(odd), ()),
    "Slide.read level": (lambda odd, at: at.opened.read(wsinuc.Box(0, 0, 4, 4), odd), ()),
    "Slide.at": (lambda odd, at: at.opened.at(odd), (3, 1.5)),
    "Slide.thumbnail": (lambda odd, at: at.opened.thumbnail(odd), (3,)),
    "Result.overlay": (lambda odd, at: wsinuc.read(at.result).overlay(odd), ()),
}


class Place:
    """What the calls above need."""

    def __init__(self, slide: Path, result: Path, dataset: Path, folder: Path) -> None:
        self.slide = slide
        self.result = result
        self.dataset = dataset
        self.new = folder / "new.wsinuc"
        self.config = SegmentConfig(mpp=0.5, tissue="none")
        self.opened = wsinuc.open_slide(slide, mpp=0.5)
        self.images = list(wsinuc.open_dataset(dataset, mpp=0.5))


@pytest.mark.parametrize("name", CALLS)
def test_odd_arguments_raise_errors_of_ours(
    name: str, slide: Path, reference: Path, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    call, good = CALLS[name]
    place = Place(slide, reference, dataset, tmp_path)
    with place.opened:
        for odd in ODD:
            if any(odd is each or odd == each for each in good):
                continue
            with pytest.raises(wsinuc.WsinucError):
                call(odd, place)


class Named:
    """A path-like object that is no ``pathlib.Path``."""

    def __fspath__(self) -> str:
        return "/data/a.svs"


def test_places_come_in_every_form() -> None:
    assert to_place("/data/a.svs") == to_place(Named()) == to_place(Path("/data/a.svs")) == Path("/data/a.svs")
    assert to_place(Url("s3://bucket/a.svs")) == to_place("s3://bucket/a.svs")
    with pytest.raises(wsinuc.WsinucError, match="a file or folder of this computer is expected"):
        to_path("s3://bucket/a.svs")


def test_results_say_in_a_line_what_they_are(slide: Path, reference: Path, dataset: Path, tmp_path: Path) -> None:
    result = wsinuc.read(reference)
    config = SegmentConfig(mpp=0.5, tissue="none")
    annotated = wsinuc.open_dataset(dataset, mpp=0.5)
    lines = {
        "plan": repr(wsinuc.plan_segment(slide, tmp_path / "new.wsinuc", config, OracleSegmenter())),
        "map": repr(wsinuc.map_nuclei(result, um=60)),
        "nuclei": repr(next(result.iter_nuclei())),
        "evaluation": repr(wsinuc.evaluate(annotated, lambda image: image.labels)),
        "data set": repr(annotated),
        "image": repr(annotated[0]),
    }
    assert all(line.startswith("<wsinuc") and line.endswith(">") and len(line) < 200 for line in lines.values()), lines
    assert lines["evaluation"] == "<wsinuc evaluation of 1 image: AJI 1.000, Dice 1.000, PQ 1.000>"
    assert lines["image"] == "<wsinuc.LabelledImage a: 32 x 32 px of 0.5 um, labels up to 1>"
    assert f"{len(result):,} nuclei>" in lines["map"]


def test_a_result_is_taken_for_its_path(reference: Path, tmp_path: Path) -> None:
    result = wsinuc.read(reference)
    assert os.fspath(result) == str(reference)
    assert wsinuc.verify(result).state == "whole"
    assert sum(len(part) for part in wsinuc.iter_nuclei(result)) == len(result)
    assert wsinuc.export(result, to="csv", out=tmp_path / "a.csv").is_file()
    assert wsinuc.map_nuclei(result).nuclei == len(result)


def test_settings_take_paths_and_numpy_numbers(tmp_path: Path) -> None:
    config = SegmentConfig(
        roi="roi.geojson",
        tissue=tmp_path / "mask.png",
        model=tmp_path / "m.safetensors",
        also="csv",
        mpp=np.float32(0.5),  # type: ignore[arg-type]
        workers=np.int64(3),
    )
    assert config.roi == Path("roi.geojson")
    assert config.tissue == str(tmp_path / "mask.png")
    assert config.model == str(tmp_path / "m.safetensors")
    assert config.also == ("csv",)
    assert (type(config.mpp), type(config.workers)) == (float, int)
