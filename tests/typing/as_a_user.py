"""What a type checker says of a program that uses wsinuc; ``make lint`` checks it, and nothing runs it.

Every name has a type of its own: an ``Any`` that reaches a user is an error here (``disallow_any_expr``).
"""

from __future__ import annotations

from pathlib import Path
from typing import assert_type

import numpy as np
from numpy.typing import NDArray

import wsinuc


def arrays(pixels: NDArray[np.uint8], segmenter: wsinuc.Segmenter) -> NDArray[np.int32]:
    """An image in memory."""
    segmented = wsinuc.segment_image(pixels, mpp=0.25, segmenter=segmenter)
    assert_type(segmented, wsinuc.SegmentedImage)
    assert_type(segmented.overlay(), NDArray[np.uint8])
    assert_type(segmented.nuclei.centroids, NDArray[np.float64])
    assert_type(segmented.counts, dict[str, int])
    assert_type(len(segmented) / segmented.mm2, float)
    return segmented.labels


def slides(path: Path, out: str) -> wsinuc.Summary:
    """A slide, and pixels of it."""
    with wsinuc.open_slide(path) as slide:
        assert_type(slide, wsinuc.Slide)
        assert_type(slide.read(wsinuc.Box(0, 0, 10, 10)), NDArray[np.uint8])
        assert_type(slide.at(0.5).read(wsinuc.Box(0, 0, 10, 10)), NDArray[np.uint8])
        assert_type(slide.mpp, float)
    assert_type(wsinuc.plan_segment(path, out).tissue_mm2, float)
    wsinuc.SegmentConfig(roi="region.geojson", work="scratch", model=path, tissue=path, also=["csv"])
    return wsinuc.segment_slide(path, out, wsinuc.SegmentConfig(model="fast", threshold=0.5, min_area_um2=10))


def results(folder: Path) -> float:
    """A result and what is made of it."""
    result = wsinuc.read(folder)
    assert_type(result, wsinuc.Result)
    assert_type(result.overlay(wsinuc.Box(0, 0, 10, 10)), NDArray[np.uint8])
    for part in wsinuc.iter_nuclei(result):
        assert_type(part, wsinuc.Nuclei)
        assert_type(part.measurements["area_um2"], NDArray[np.float32])
    assert_type(wsinuc.export(result, to="csv"), Path)
    assert_type(wsinuc.verify(result).state, str)
    assert_type(wsinuc.export(result, to="geojson", where=["probability>=0.6"]), Path)
    density = wsinuc.map_nuclei(result, where="probability>=0.6")
    assert_type(density.values, NDArray[np.float32])
    wsinuc.write_map(density, folder / "density.png")
    assert_type(wsinuc.read_nuclei(folder / "part.parquet"), wsinuc.Nuclei)
    wsinuc.write_geojson(result.iter_nuclei(), folder / "nuclei.geojson", run_id="mine")
    assert_type(wsinuc.check_geojson(folder / "nuclei.geojson").ok, bool)
    regions = wsinuc.measure_regions(result, folder / "regions.geojson")
    return sum(region.nuclei_per_mm2 for region in regions)


def cohorts(slides: list[Path], out: Path) -> list[str]:
    """Many slides."""
    cohort = wsinuc.segment_cohort(slides, out)
    return [failed.name for failed in cohort.failed]


def models(folder: Path, out: Path) -> dict[str, float]:
    """Annotated images."""
    dataset = wsinuc.open_dataset(folder, mpp=0.25)
    try:
        wsinuc.train(dataset, out, wsinuc.NetworkTrainConfig.quick("unet"))
    except wsinuc.WsinucError as error:
        print(error)
        wsinuc.train(dataset, out, wsinuc.DdpmTrainConfig(folds=0))
    wsinuc.train(folder, out)
    segmenter = wsinuc.load_segmenter(out, threshold=0.5)
    assert_type(segmenter, wsinuc.Segmenter)
    assert_type(wsinuc.shipped_models(), tuple[str, ...])
    assert_type(wsinuc.score(dataset[0].labels, dataset[1].labels).aji, float)
    return wsinuc.evaluate(dataset, segmenter).means


def classes(results: list[wsinuc.Result], labels: Path) -> list[wsinuc.Result]:
    """A few labels."""
    learned = wsinuc.classify(results, [labels, "more.csv"])
    assert_type(learned, wsinuc.LearnedClasses)
    assert_type(learned.names, tuple[str, ...])
    assert_type(wsinuc.classify("slide.wsinuc", {"uuid": "Tumor"}, folds=0).labels.nuclei, int)
    assert_type(learned.save_model("mine.safetensors"), Path)
    assert_type([question.uuid for question in learned.ask(20, out="asked")], list[str])
    if learned.scores is not None:
        assert_type(learned.scores.balanced_accuracy, float)
    return [learned.write(result, Path("classified") / result.folder.name, overwrite=True) for result in results]


def trainings(slide: Path, drawn: str) -> list[float | None]:
    """A few windows, and unlabelled tissue."""
    windows = wsinuc.open_dataset(slide, annotations=drawn).where({"region": ["a", "b"]})
    assert_type(windows, wsinuc.Dataset)
    assert_type(windows.split({"train": 0.8, "test": 0.2})["test"], wsinuc.Dataset)
    config = wsinuc.AdaptConfig(folds=3).lasting(10)
    outcome = wsinuc.adapt("fast", windows, "adapted.safetensors", config, rest=[slide, windows], on_event=print)
    assert_type(outcome.written, bool)
    with wsinuc.open_slide(slide) as opened:
        small = wsinuc.DistillConfig(base=8)
        agreement = wsinuc.distill(["fast", "mine.safetensors"], opened, slide.with_suffix(".safetensors"), small)
    return [outcome.gain, outcome.gain_error, agreement.dice]


def generators(folder: Path) -> wsinuc.Dataset:
    """Images that nobody has stained."""
    wsinuc.pretrain([Path("a.svs"), folder], "denoiser.safetensors", wsinuc.PretrainConfig.preset("cpu").lasting(10))
    wsinuc.pretrain(folder, "structures.safetensors", wsinuc.GeneratorConfig.preset("nudiff-structure", "cpu"))
    wsinuc.pretrain(folder, "words.safetensors", wsinuc.TextTrainConfig.preset("cpu"))
    joint = wsinuc.pretrain(folder, folder / "joint.safetensors", wsinuc.CoSynTrainConfig.preset("cpu"))
    assert_type(joint.loss, float)
    config = wsinuc.SynthesisConfig(seed=3)
    return wsinuc.synthesize(joint.path, "synthetic", 8, config, tissues=["colon", "breast"])
