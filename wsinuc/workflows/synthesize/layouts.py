"""Where the layouts of a joint synthesis come from, and which prompt goes with which.

Three sources: fields of an annotated data set (real layouts, as the paper has them), one layout
from a file for all samples, or new layouts from the point process that was fitted per tissue and
lies in the checkpoint. Without a prompt of the user's each sample gets that of the template for its
own tissue and classes.

A generator that was trained without points has no layout: its prompts are those that the crops of
its training had, as often as they had them. One that was trained without text has no prompt.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsinuc.datasets.base import Dataset, LabelledImage
from wsinuc.errors import ConfigError
from wsinuc.synthesis.layouts import NucleusLayout, layout_of
from wsinuc.synthesis.point_process import PointProcess
from wsinuc.synthesis.prompts import Prompt, Vocabulary, parse_prompt
from wsinuc.synthesis.tissues import known_tissue, stain_of, tissue_of
from wsinuc.workflows.synthesize.config import check_outlined, real_field, sequence_of

Layouts = Dataset | NucleusLayout | None
"""A data set, one layout, or None for random ones."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scene:
    """What one sample is to show."""

    layout: NucleusLayout
    prompt: Prompt | str
    tissue: str
    source: str

    @property
    def text(self) -> str:
        """The prompt as a sentence."""
        if isinstance(self.prompt, str):
            return self.prompt
        return self.prompt.text()


@dataclass(frozen=True, kw_only=True, eq=False)
class LayoutSource:
    """Scenes of samples by their numbers, for the model that has this ``model`` config."""

    model: Mapping[str, Any]
    """A checkpoint's config, of kind ``cosyn``."""
    layouts: Layouts
    name: str
    """What the manifest calls layouts that are not of a data set."""
    prompts: Sequence[str]
    """Sample k has the prompt k modulo their number; none: that of its tissue and classes."""
    tissues: Sequence[str]
    """Likewise; none: the data set's, those of the prompts, or all that the model knows."""
    size: int
    seed: int

    def __post_init__(self) -> None:
        self._check_what_was_learned()
        known = self.known_tissues
        for tissue in self.tissues:
            if known and known_tissue(tissue, known) is None:
                raise ConfigError(f"the model knows no tissue {tissue!r}; it knows {_listed(known)}")
        if self.layouts is None and self.places_nuclei and not self.model["layouts"]:
            raise ConfigError("the checkpoint holds no fitted layouts: give a layout with --layout FILE or a data set")
        if isinstance(self.layouts, Dataset):
            check_outlined(self.layouts)
            self._class_numbers(self.layouts)
        if isinstance(self.layouts, NucleusLayout):
            self._check(self.layouts)
        for prompt in self.prompts:
            parts = self.parsed(prompt)
            if parts and self.tissues and parts.tissue not in {self._known(name) for name in self.tissues}:
                raise ConfigError(
                    f"the prompt speaks of {parts.tissue!r}, --tissue of {_listed(self.tissues)}: give one"
                )
        if self.layouts is None and self.places_nuclei:
            self._check_random()
        if isinstance(self.layouts, Dataset) and self.reads_text and not self.prompts:
            self._check_rows(self.layouts)

    @property
    def places_nuclei(self) -> bool:
        """Whether the model was trained with points, and so takes layouts."""
        return "points" not in self.model.get("without", ())

    @property
    def reads_text(self) -> bool:
        """Whether the model was trained with text, and so takes prompts."""
        return "text" not in self.model.get("without", ())

    @property
    def _takes_no_tissue(self) -> bool:
        """Whether prompts may leave the tissue out: of a free text encoder, or where images of the training did."""
        words = self.model["text"].get("tissues", ())
        return not words or "" in words

    @property
    def known_tissues(self) -> tuple[str, ...]:
        """Tissues that the model was trained on; empty names are left out."""
        # Older checkpoints name them as keys of the layouts alone.
        named = self.model.get("tissues") or self.model["layouts"]
        return tuple(sorted(tissue for tissue in named if tissue))

    @property
    def class_names(self) -> tuple[str, ...]:
        """Classes that the model was trained on."""
        return tuple(c["name"] for c in self.model["classes"])

    @property
    def described(self) -> str:
        """What decides the layouts, in a line: the data set's images, or the points of a file."""
        if isinstance(self.layouts, Dataset):
            return described(self.layouts)
        if not self.places_nuclei:
            return "none"
        if self.layouts is None:
            return "random"
        return f"{self.name} {_digest(np.c_[self.layouts.points, self.layouts.classes].astype('<f8').tobytes())}"

    def parsed(self, prompt: str) -> Prompt | None:
        """What a prompt of the template says; None for any other sentence, which only a free text
        encoder understands."""
        words = self._vocabulary or Vocabulary(tissues=self.known_tissues, classes=self.class_names)
        try:
            return parse_prompt(prompt, words)
        except ConfigError:
            return None

    @property
    def _vocabulary(self) -> Vocabulary | None:
        """The only words that the model knows; None where it takes free text, or none."""
        text = self.model["text"]
        if text["kind"] in ("template", "trained"):
            return Vocabulary(**{key: tuple(text[key]) for key in ("tissues", "stains", "classes")})
        return None

    def scene(self, index: int) -> Scene:
        """What sample ``index`` is to show."""
        # A generator of its own for each sample: sample 17 is the same in any batch and after any stop.
        rng = np.random.default_rng(sequence_of(self.seed, index, "layout"))
        prompt, parts, tissue = self._asked(index)
        if not self.places_nuclei:
            return self._without_points(prompt, tissue, rng)
        stain = ""
        source = self.name
        if isinstance(self.layouts, Dataset):
            image = self.layouts[int(rng.integers(len(self.layouts)))]
            layout = self._real(image, self._class_numbers(self.layouts), rng)
            source = image.name
            own, stain = self._of_row(image.attributes)
            tissue = tissue or own
        elif self.layouts is not None:
            layout = self.layouts
        else:
            tissue = tissue or self._tissue_in_turn(index)
            layout = self._random(tissue, parts, rng)
        # With a single tissue there is nothing to ask for.
        if not tissue and len(self.known_tissues) == 1:
            tissue = self.known_tissues[0]
        usual: Prompt | str = ""
        if self.reads_text and not prompt:
            classes = tuple(self.class_names[c - 1] for c in np.unique(layout.classes).tolist())
            usual = Prompt(tissue=tissue, stain=self._stain(source, tissue, stain), classes=classes)
        return Scene(layout=layout, prompt=prompt or usual, tissue=tissue, source=source)

    def _asked(self, index: int) -> tuple[str, Prompt | None, str]:
        """Prompt of a sample, what it says, and the tissue that is asked for: the prompt's, else one of ``tissues``."""
        prompt = self._turn(self.prompts, index)
        parts = self.parsed(prompt) if prompt else None
        # The prompt first: turns of the two lists need not fall together.
        tissue = parts.tissue if parts else ""
        return prompt, parts, tissue or self._known(self._turn(self.tissues, index))

    def _tissue_in_turn(self, index: int) -> str:
        """Whose random layout a sample has that asks for none."""
        # Sorted, so that the turns do not depend on the order in the file.
        return self._turn(sorted(self.model["layouts"]), index)

    def _of_row(self, attributes: Mapping[str, str]) -> tuple[str, str]:
        """Tissue and stain of an image by its attributes, in the model's spelling where it knows them."""
        return self._known(tissue_of(attributes, self.model.get("tissue_column") or "")), stain_of(attributes)

    def _stain(self, source: str, tissue: str, stain: str) -> str:
        """The stain that the template's prompt names: the layout's, or the only one that the model has seen.

        Raises
        ------
        ConfigError
            The model does not know this tissue or this stain, or knows several and the layout names none.
        """
        if not tissue and not self._takes_no_tissue:
            raise ConfigError(
                f"{source} names no tissue, and the model knows several: give --tissue, one of "
                f"{_listed(self.known_tissues)}"
            )
        vocabulary = self._vocabulary
        if vocabulary is None:
            return stain
        if not stain and "" not in vocabulary.known_stains:
            if len(vocabulary.stains) > 1:
                raise ConfigError(
                    f"{source} names no stain, and the model knows several: {_listed(vocabulary.stains)}; name one "
                    "with --prompt"
                )
            stain = vocabulary.stains[0]
        try:
            vocabulary.checked(Prompt(tissue=tissue, stain=stain))
        except ConfigError as error:
            raise ConfigError(f"{source}: {error}") from None
        return stain

    def _without_points(self, prompt: str, tissue: str, rng: np.random.Generator) -> Scene:
        """A scene of a model that places no nuclei, with a prompt of its training where none is given."""
        nothing = NucleusLayout(
            shape=(self.size, self.size), points=np.zeros((0, 2)), classes=np.zeros(0, dtype=np.int32)
        )
        usual: Prompt | str = ""
        if self.reads_text and not prompt:
            usual = self._common_prompt(tissue, rng)
            tissue = usual.tissue
        return Scene(layout=nothing, prompt=prompt or usual, tissue=tissue, source="none")

    def _common_prompt(self, tissue: str, rng: np.random.Generator) -> Prompt:
        """A prompt of the training, as often as crops of this tissue (of any, where it is empty) had it."""
        common = [each for each in self.model.get("prompts", ()) if tissue in ("", each["tissue"])]
        # A tissue so rare that no crop that was looked at showed it.
        if not common:
            stain = self._stain("this generator", tissue, "")
            return Prompt(tissue=tissue, stain=stain, classes=self.class_names)
        counts = np.array([each["count"] for each in common], np.float64)
        drawn = common[int(rng.choice(len(common), p=counts / counts.sum()))]
        return Prompt(tissue=drawn["tissue"], stain=drawn["stain"], classes=tuple(drawn["classes"]))

    def _known(self, tissue: str) -> str:
        """A tissue in the model's own spelling, where it knows it."""
        return known_tissue(tissue, self.known_tissues) or tissue

    def _check_what_was_learned(self) -> None:
        """Raise ConfigError for a request that needs what the model was trained without."""
        if not self.places_nuclei and self.layouts is not None:
            raise ConfigError("this generator was trained without points and places no nuclei: leave --layout out")
        if not self.reads_text and self.prompts:
            raise ConfigError("this generator was trained without text and reads no prompt: leave --prompt out")
        if not self.reads_text and not self.places_nuclei and self.tissues:
            raise ConfigError(
                "this generator was trained without points and text, so no tissue can be asked for: leave --tissue out"
            )

    def _random(self, tissue: str, prompt: Prompt | None, rng: np.random.Generator) -> NucleusLayout:
        """A new layout of a tissue, with the classes that the prompt names if it names any."""
        process = PointProcess.from_json(self._fitted(tissue))
        return process.simulate((self.size, self.size), rng, mpp=float(self.model["mpp"]), only=self._only(prompt))

    def _fitted(self, tissue: str) -> dict[str, Any]:
        """The point process of a tissue, as JSON has it; raises ConfigError where none was fitted."""
        fitted = self.model["layouts"]
        named = known_tissue(tissue, tuple(fitted))
        if named is None and not any(fitted):
            raise ConfigError(f"no image of the model's training named its tissue, so there is none of {tissue!r}")
        if named is None:
            raise ConfigError(
                f"the model has no layouts of tissue {tissue!r}, only of {_listed(sorted(filter(None, fitted)))}: no "
                "image of it showed a nucleus; give a layout with --layout"
            )
        process: dict[str, Any] = fitted[named]
        return process

    def _only(self, prompt: Prompt | None) -> list[int] | None:
        """The classes that a prompt asks for; None leaves that to the layout."""
        if prompt is None or not prompt.classes:
            return None
        return [self.class_names.index(name) + 1 for name in prompt.classes]

    def _check_random(self) -> None:
        """Raise ConfigError for a tissue or a class that no random layout can have, before anything is made."""
        turns = len(self.tissues) or len(self.model["layouts"])
        for index in range(math.lcm(len(self.prompts) or 1, turns)):
            _, parts, tissue = self._asked(index)
            tissue = tissue or self._tissue_in_turn(index)
            fitted = self._fitted(tissue)
            only = self._only(parts)
            if parts is None or only is None:
                continue
            try:
                PointProcess.from_json(fitted).shown(only)
            except ConfigError as error:
                raise ConfigError(
                    f"the layouts of {tissue or 'this tissue'} that the model was fitted to do not show all of "
                    f"{_listed(parts.classes)} ({error}): give a layout with --layout, or another prompt"
                ) from None

    def _check_rows(self, dataset: Dataset) -> None:
        """Raise ConfigError for an image whose tissue or stain the model does not know, before anything is made."""
        asked = [self._known(tissue) for tissue in self.tissues]
        seen = set()
        for row in dataset.rows:
            own, stain = self._of_row(row)
            if not own and len(self.known_tissues) == 1:
                own = self.known_tissues[0]
            for tissue in asked or [own]:
                if (tissue, stain) not in seen:
                    self._stain(row["name"], tissue, stain)
                seen.add((tissue, stain))

    def _real(self, image: LabelledImage, numbers: NDArray[np.int32], rng: np.random.Generator) -> NucleusLayout:
        """The layout of a random field of an annotated image; nuclei of unknown class are left out."""
        field = real_field(image, rng, mpp=float(self.model["mpp"]), size=self.size)
        kinds = (np.arange(field.labels.max(initial=0) + 1) > 0).astype(np.int32)
        if field.classes is None:
            classes = kinds
        else:
            classes = numbers[field.classes]
        return layout_of(np.where(classes[field.labels] > 0, field.labels, 0), classes)

    def _class_numbers(self, dataset: Dataset) -> NDArray[np.int32]:
        """(classes + 1,) the model's number of each class of a data set."""
        names = [c.name for c in dataset.classes]
        # Which of several classes a nucleus without one would be, nobody can say.
        if not names and len(self.class_names) > 1:
            raise ConfigError(
                f"{dataset.path} has no classes, but the model places nuclei of the classes {_listed(self.class_names)}"
            )
        # A model of one class takes nuclei of any class for that one.
        if len(self.class_names) == 1:
            return (np.arange(len(names) + 1) > 0).astype(np.int32)
        missing = [name for name in names if name not in self.class_names]
        if missing:
            raise ConfigError(
                f"the model knows no class {missing[0]!r} of {dataset.path}; it knows {_listed(self.class_names)}"
            )
        return np.array([0, *(self.class_names.index(name) + 1 for name in names)], np.int32)

    def _check(self, layout: NucleusLayout) -> None:
        if layout.shape != (self.size, self.size):
            raise ConfigError(
                f"the layout's canvas is {layout.shape} (h, w), but images of {self.size} px are to be made"
            )
        if layout.classes.max(initial=0) > len(self.class_names):
            raise ConfigError(
                f"the layout has class {layout.classes.max()}; the model knows {_listed(self.class_names)}"
            )

    @staticmethod
    def _turn(items: Sequence[str], index: int) -> str:
        if items:
            return items[index % len(items)]
        return ""


def described(dataset: Dataset) -> str:
    """A data set in a line: its folder's name, and a hash of which images and patches of it are meant."""
    places = [f"{name} {box}" for name, box in zip(dataset.names, dataset.boxes, strict=True)]
    return (
        f"{dataset.path.name}: {len(dataset)} images {_digest(chr(10).join(places).encode('utf-8', 'surrogatepass'))}"
    )


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
