"""What a synthesis is asked for: refused before anything is written, and the same in layout, prompt and manifest."""

from __future__ import annotations

import dataclasses
import gc
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import wsinuc
from helpers.files.datasets import write_set
from helpers.files.generators import write_cosyn, write_nudiff
from wsinuc.datasets import open_dataset
from wsinuc.errors import ConfigError, DataError
from wsinuc.models.checkpoints.checkpoint import load_checkpoint
from wsinuc.models.diffusion.samplers import SamplerConfig
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.synthesis.point_process import PointProcess
from wsinuc.workflows.data.training_set import NUCLEUS
from wsinuc.workflows.synthesize.config import SynthesisConfig
from wsinuc.workflows.synthesize.cosyn import CoSynMaker, CoSynRecipe
from wsinuc.workflows.synthesize.folder import SyntheticSample, writing
from wsinuc.workflows.synthesize.layouts import LayoutSource
from wsinuc.workflows.synthesize.nudiff import NudiffRecipe
from wsinuc.workflows.synthesize.run import synthesize_recipe

TEXT = "high-quality histopathology {} tissue image including nuclei types of {}."


@pytest.fixture(scope="module")
def joint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cosyn(tmp_path_factory.mktemp("joint") / "cosyn.safetensors")


@pytest.fixture(scope="module")
def learned(joint: Path) -> dict[str, Any]:
    """What the generator knows: breast and colon, round and long nuclei."""
    return load_checkpoint(joint, "cosyn").config


def source(model: Mapping[str, Any], **asked: Any) -> LayoutSource:
    usual: dict[str, Any] = {"layouts": None, "name": "random", "prompts": (), "tissues": (), "size": 32, "seed": 0}
    return LayoutSource(model=model, **(usual | asked))


def with_words(model: dict[str, Any], **words: list[str]) -> dict[str, Any]:
    return model | {"text": model["text"] | words}


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (SynthesisConfig(sampler=SamplerConfig("dpm++", 2, restart=1000)), "timesteps 1 to 999, got 1000"),
        (SynthesisConfig(sampler=SamplerConfig("ddim", 1001)), "not in 1001"),
        (SynthesisConfig(size=33, sampler=SamplerConfig("dpm++", 2)), "multiple of 2 px .* got 33: --size 32"),
    ],
)
def test_what_no_network_can_do_is_refused_before_a_folder_is_made(
    config: SynthesisConfig, said: str, joint: Path, tmp_path: Path
) -> None:
    """Or the folder would hold these settings, and refuse the ones that are right."""
    with pytest.raises(ConfigError, match=said):
        synthesize_recipe(CoSynRecipe(model=joint, layouts=None, config=config), tmp_path / "set", 1)
    assert not (tmp_path / "set").exists()


def test_a_restart_that_there_is_not_is_refused_before_images_are_walked_to_their_end(tmp_path: Path) -> None:
    structure, image = write_nudiff(tmp_path)
    config = SynthesisConfig(sampler=SamplerConfig("dpm++", 2, restart=1000))
    recipe = NudiffRecipe(structure_model=structure, image_model=image, structures=None, config=config)
    with pytest.raises(ConfigError, match="timesteps 1 to 999, got 1000"):
        recipe.open()


def test_a_raw_structure_says_nucleus_or_not_as_in_training(tmp_path: Path) -> None:
    """And H and V as they were generated."""
    structure, image = write_nudiff(tmp_path)
    few = SynthesisConfig(sampler=SamplerConfig("dpm++", 2))
    recipe = NudiffRecipe(structure_model=structure, image_model=image, structures=None, config=few, condition="raw")
    ((condition, _),) = recipe.open()._generated(range(1))
    assert set(np.unique(condition[0])) == {0, 1}
    assert len(np.unique(condition[1:])) > 100


def test_networks_are_not_kept_beside_those_of_the_workers(
    joint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = []

    def generate(recipe: CoSynRecipe, work: list[range], *, workers: int, maker: CoSynMaker | None) -> Iterator[Any]:
        kept = weakref.ref(maker)
        del maker
        gc.collect()
        left.append(kept())
        yield []

    monkeypatch.setattr("wsinuc.workflows.synthesize.run.generate", generate)
    few = SynthesisConfig(sampler=SamplerConfig("dpm++", 2), workers=2)
    stop = iter([False, True])
    recipe = CoSynRecipe(model=joint, layouts=None, config=few)
    synthesize_recipe(recipe, tmp_path / "set", 2, should_stop=lambda: next(stop))
    assert left == [None]


def test_a_stain_that_is_the_only_one_need_not_be_asked_for(learned: dict[str, Any]) -> None:
    """A generator of one stain other than H&E could draw no random layout: its prompts have to name the stain."""
    scene = source(with_words(learned, stains=["ihc stained"])).scene(0)
    assert scene.text.startswith("high-quality histopathology ihc stained breast tissue image")
    with pytest.raises(ConfigError, match="names no stain, and the model knows several: ihc stained, pas; name one"):
        source(with_words(learned, stains=["ihc stained", "pas"])).scene(0)
    assert "histopathology breast" in source(with_words(learned, stains=["", "pas"])).scene(0).text


@pytest.mark.parametrize(
    ("column", "values", "said"),
    [
        ("organ", ["colon", "colon", "liver"], "i2: unknown tissue 'liver'"),
        ("organ", ["colon", "colon", ""], "i2 names no tissue"),
        ("stain", ["", "", "pas"], "i2: unknown stain 'pas'"),
    ],
)
def test_every_image_of_a_data_set_is_asked_for_its_words_first(
    column: str, values: list[str], said: str, learned: dict[str, Any], tmp_path: Path
) -> None:
    folder = write_set(tmp_path / "set", classes=("round", "long"))
    rows = [f"i{i},0.5,{value}" for i, value in enumerate(values)]
    (folder / "manifest.csv").write_text("\n".join([f"name,mpp,{column}", *rows]) + "\n")
    tissues = ("colon",) if column == "stain" else ()
    with pytest.raises(ConfigError, match=said):
        source(learned, layouts=open_dataset(folder), tissues=tissues)
    prompted = source(learned, layouts=open_dataset(folder), prompts=(TEXT.format("colon", "long"),))
    assert prompted.scene(0).tissue == "colon", "a prompt of the user's needs no word of the images"


def test_points_are_no_outlines(joint: Path, tmp_path: Path) -> None:
    """They were read as images without a nucleus, and whole sets of empty labels made of them."""
    for name in ("images", "points"):
        (tmp_path / "marked" / name).mkdir(parents=True)
    Image.new("RGB", (40, 40)).save(tmp_path / "marked" / "images" / "i0.png")
    (tmp_path / "marked" / "points" / "i0.csv").write_text("x,y,class\n4,4,round\n")
    marked = open_dataset(tmp_path / "marked", mpp=0.5)
    _, image = write_nudiff(tmp_path)
    few = SynthesisConfig(sampler=SamplerConfig("dpm++", 2))
    for recipe in (
        NudiffRecipe(structure_model=None, image_model=image, structures=marked, config=few),
        CoSynRecipe(model=joint, layouts=marked, config=few),
    ):
        with pytest.raises(DataError, match="marks nuclei with points"):
            recipe.open()


def test_python_refuses_a_condition_that_a_joint_generator_does_not_hear(joint: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="condition goes with images for structures"):
        wsinuc.synthesize(joint, tmp_path / "set", 1, condition="raw")


def test_the_prompt_says_of_which_tissue_an_image_is(learned: dict[str, Any]) -> None:
    prompts = (TEXT.format("colon", "round"), TEXT.format("breast", "long"))
    scenes = [source(learned, prompts=prompts, tissues=("breast", "colon")).scene(k) for k in range(2)]
    assert [scene.tissue for scene in scenes] == ["colon", "breast"]


def test_random_layouts_that_were_never_learned_are_refused_first(learned: dict[str, Any]) -> None:
    round_ones = PointProcess(
        mpp=0.5, sizes=np.full((1, 2), 32.0), counts=np.ones((1, 1), np.int32), potentials=np.zeros((1, 1, 24))
    )
    model = learned | {"layouts": {"breast": round_ones.to_json()}, "tissues": ["breast", "colon"]}
    with pytest.raises(ConfigError, match="no layouts of tissue 'colon', only of breast"):
        source(model, tissues=("breast", "colon"))
    with pytest.raises(ConfigError, match="named its tissue, so there is none of 'colon'"):
        source(model | {"layouts": {"": round_ones.to_json()}, "tissues": []}, tissues=("colon",))
    prompts = (TEXT.format("breast", "round"), TEXT.format("breast", "long"))
    with pytest.raises(ConfigError, match=r"layouts of breast .* do not show all of long"):
        source(model, prompts=prompts)
    assert source(model, prompts=prompts[:1]).scene(0).tissue == "breast"


def test_a_single_class_keeps_its_name_so_that_the_set_trains_with_the_real_one() -> None:
    """`train` refuses to mix sets of which one has a class and the other none."""
    for known, expected in ((NucleusClass("round", (9, 9, 200)),) * 2, (NUCLEUS, None)):
        maker = SimpleNamespace(model=SimpleNamespace(config={"classes": [dataclasses.asdict(known)]}))
        assert CoSynMaker.classes.fget(maker) == (() if expected is None else (expected,))  # type: ignore[attr-defined]


def test_class_names_with_quotation_marks_stay_what_they_are(tmp_path: Path) -> None:
    classes = (NucleusClass('"round", large', (9, 9, 200)), NucleusClass("long", (200, 9, 9)))
    shared = ("mpp", "seed", "method", "sampler", "steps", "guidance")
    settings = dict.fromkeys(shared, "0.5") | {"checkpoints": {}}
    labels = np.zeros((16, 16), np.int32)
    labels[2:6, 2:6] = 1
    made = SyntheticSample(
        index=0, image=np.zeros((16, 16, 3), np.uint8), labels=labels, classes=np.array([0, 1], np.int32)
    )
    with writing(tmp_path / "set", settings, classes) as target:
        target.add(made)
    found = open_dataset(tmp_path / "set")
    assert [c.name for c in found.classes] == [c.name for c in classes]
    assert found[0].classes is not None
    assert found[0].classes[1] == 1
