"""What `wsinuc.classify` returns: classes that were learned from a few nuclei, and what can be done with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wsinuc import arguments
from wsinuc.errors import DataError
from wsinuc.nuclei.reclassified import depends_on_classes
from wsinuc.regular import make_folder
from wsinuc.results.image import SegmentedImage
from wsinuc.results.read import Result, read
from wsinuc.urls import PathLike, PlaceLike, to_path, to_place
from wsinuc.workflows.classify.cross_validate import ClassScores
from wsinuc.workflows.reclassify.ask import Question, next_questions, write_questions
from wsinuc.workflows.reclassify.gather import LabelCounts
from wsinuc.workflows.reclassify.held_out import HeldOut
from wsinuc.workflows.reclassify.learn import Learned
from wsinuc.workflows.reclassify.tables import ResultTable, open_table
from wsinuc.workflows.reclassify.write import WriteConfig, write_classified


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class LearnedClasses:
    """Classes of nuclei, learned from a few of them; made by `wsinuc.classify`.

    Nothing is written until it is asked for.

    Examples
    --------
    >>> import tempfile
    >>> import wsinuc
    >>> out = tempfile.mkdtemp() + "/field.wsinuc"
    >>> config = wsinuc.SegmentConfig(mpp=0.499, model="student", report=False)
    >>> summary = wsinuc.segment_slide("examples/data/field.png", out, config)
    >>> rows = wsinuc.read(out).nuclei().select(["uuid", "area_um2"]).to_pylist()
    >>> labels = {row["uuid"]: "large" if row["area_um2"] > 30 else "small" for row in rows[:12]}
    >>> learned = wsinuc.classify(out, labels, folds=2, permutations=0)
    >>> isinstance(learned, wsinuc.LearnedClasses), sorted(learned.names), learned.labels.nuclei
    (True, ['large', 'small'], 12)
    >>> result = learned.write(out, out.replace("field.wsinuc", "classified/field.wsinuc"))
    >>> sum(result.counts.values()) == len(result) == summary.nuclei
    True
    >>> len(learned.ask(3))
    3
    """

    learned: Learned
    """The classifier, and the labelled nuclei that it has learned from."""
    tables: tuple[ResultTable, ...]
    """The results that it has learned from."""
    about: Mapping[str, Any]
    """Where the classes come from, as results and models record it."""

    def __repr__(self) -> str:
        scored = "not scored"
        if self.held_out is not None:
            scored = f"balanced accuracy {self.held_out.scores.balanced_accuracy:.3f} on {self.held_out.apart} held out"
        return f"<wsinuc.LearnedClasses {', '.join(self.names)}: {self.labels.nuclei:,} labelled nuclei, {scored}>"

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes."""
        return tuple(each.name for each in self.learned.classes)

    @property
    def labels(self) -> LabelCounts:
        """What became of the labels: how many nuclei they name, which are of none."""
        return self.learned.labelled.counts

    @property
    def scores(self) -> ClassScores | None:
        """How well classes are told apart where the classifier has seen no label; None without folds."""
        if self.held_out is None:
            return None
        return self.held_out.scores

    @property
    def held_out(self) -> HeldOut | None:
        """The same, with what was held out together and what chance would reach."""
        return self.learned.held_out

    def write(
        self,
        result: PlaceLike,
        out: PathLike,
        *,
        overwrite: bool = False,
        report: bool = True,
        slide: PlaceLike | None = None,
    ) -> Result:
        """Write a result with these classes: one that was learned from, or another with the same measurements.

        Parameters
        ----------
        result
            A finished result, which stays as it is.
        out
            Folder of the new result (``slide.wsinuc``), whose parents are made.
        overwrite
            Replace the result that is there; ``out`` may be ``result`` itself.
        report
            Write ``report.html`` as well, where the slide is at hand.
        slide
            The slide, when it has moved since.

        Returns
        -------
        Result
            The new one; what is missing in it, and why, is among the notes of its ``summary``.

        Raises
        ------
        DataError
            It lacks measurements that the classes are told apart by, or they were made with other stain vectors.
        DamageError, OutputError
            The result is none or damaged, or the new one may not be written there.
        """
        table = open_table(result)
        self._check(table.measurements, str(table.folder))
        self._check_stains(table)
        folder = to_path(out)
        make_folder(folder.parent)
        where = None if slide is None else to_place(slide)
        writing = WriteConfig(overwrite=overwrite, report=report, slide=where)
        written = write_classified(table, self.learned, folder, writing, about=self.about)
        return read(written.folder, slide=where)

    def apply(self, image: SegmentedImage) -> SegmentedImage:
        """A segmented image with these classes; it has to be measured as the results are (``measure``, ``stains``).

        Raises
        ------
        ConfigError
            It is no segmented image.
        DataError
            It lacks measurements that the classes are told apart by.
        """
        arguments.instance(image, SegmentedImage, "an image that wsinuc.segment_image has segmented")
        nuclei = image.nuclei
        self._check(tuple(nuclei.measurements), "the image")
        estimate = self.learned.classifier(nuclei.measurements)
        kept = {name: values for name, values in nuclei.measurements.items() if not depends_on_classes(name)}
        named = replace(
            nuclei,
            class_names=self.names,
            class_colors=tuple(each.color for each in self.learned.classes),
            classes=estimate.indices,
            class_probabilities=estimate.probabilities,
            measurements=kept,
        )
        return replace(image, nuclei=named)

    def save_model(self, out: PathLike, *, model: PathLike | None = None) -> Path:
        """Write a model that segments as the results were segmented and gives these classes.

        Parameters
        ----------
        out
            File of the checkpoint (``.safetensors``), in a folder that exists.
        model
            The model that segmented the results, when its file has moved.

        Returns
        -------
        Path
            The file, for `wsinuc.load_segmenter` and ``SegmentConfig(model=...)``.

        Raises
        ------
        CheckpointError
            The model is not where it was, or another one.
        DataError
            The results were segmented by different models, or measured with stain vectors fitted to each slide.
        OutputError
            The file cannot be written.
        """
        # Takes PyTorch, which everything else here does without.
        from wsinuc.workflows.reclassify.export import export_model

        path = to_path(out)
        export_model(self.tables, self.learned, path, model=model, about=self.about)
        return path

    def ask(self, count: int = 20, *, out: PathLike | None = None, seed: int = 0) -> list[Question]:
        """The nuclei that it would help most to label next.

        Parameters
        ----------
        count
            How many, 1 to 1000.
        out
            Folder, made where it is missing, for ``slide.ask.geojson`` of each result, to be opened in QuPath; None
            writes nothing.
        seed
            Of what is drawn at random.

        Returns
        -------
        list of Question
            With ``slide`` (number of the result), ``id``, ``uuid``, ``xy_um``, ``doubt`` and the likeliest classes.

        Raises
        ------
        ConfigError
            ``count`` is too small or too large.
        OutputError
            A file cannot be written.
        """
        questions = next_questions(self.tables, self.learned, arguments.whole_number("count", count), seed=seed)
        if out is not None:
            folder = to_path(out)
            make_folder(folder)
            for number, table in enumerate(self.tables):
                own = [question for question in questions if question.slide == number]
                write_questions(table, own, folder / f"{table.stem}.ask.geojson")
        return questions

    def _check_stains(self, table: ResultTable) -> None:
        """Raise DataError where optical densities are of other stain vectors than those that were learned from."""
        own = _stains(table)
        known = sorted({_stains(each) for each in self.tables})
        if own not in known:
            raise DataError(
                f"{table.folder} was measured with the stain vectors {own}, and what was learned from with "
                f"{', '.join(known)}: segment it with the same stains="
            )

    def _check(self, measurements: tuple[str, ...], what: str) -> None:
        """Raise DataError where nuclei were measured too little for the classifier."""
        missing = [name for name in self.learned.classifier.columns.names if name not in measurements]
        if missing:
            raise DataError(
                f"{what} lacks measurements that these classes are told apart by ({missing[0]} and "
                f"{len(missing) - 1} more): segment it with the measure= of the results that were learned from"
            )


def _stains(table: ResultTable) -> str:
    """Which stain vectors a result was measured with."""
    return str(table.summary["settings"].get("stains"))
