"""The pictures of failures on the cards of the models: images of TNBC and NuInsSeg (both CC BY 4.0) with the mistakes.

    wsinuc evaluate DATA/tnbc --mpp 0.25 --where patient=09,10,11 --model fast -o evaluation
    python examples/figures/failures.py DATA/tnbc evaluation docs/images/failures.png tnbc_10_4 tnbc_10_1

Each image stands beside itself with the nuclei that the model missed (green), those that it
invented or drew wrongly (magenta), and those that it found (yellow).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from wsinuc.exports.pictures.comparison import BOTH, PREDICTION, TRUTH, Comparison, write_mistakes

COLORS = 200
"""Of the palette: a third of the bytes of full colours, and hardly a difference to the eye."""
WIDTH = 1320


def comparison_of(data: Path, evaluation: Path, name: str) -> Comparison:
    """One image with its annotation and what the model found there."""
    (image,) = (data / "images").glob(f"{name}.*")
    truth = Image.open(data / "labels" / f"{name}.png")
    predicted = Image.open(evaluation / "predictions" / f"{name}.png")
    return Comparison(
        caption=name,
        image=np.asarray(Image.open(image).convert("RGB")),
        truth=np.asarray(truth).astype(np.int32),
        predicted=np.asarray(predicted).astype(np.int32),
    )


def with_palette(picture: Image.Image) -> Image.Image:
    """The picture in few colours, the outlines' own among them: thin lines have too few pixels to be chosen."""
    colors = picture.quantize(COLORS).getpalette() or []
    palette = Image.new("P", (1, 1))
    palette.putpalette([*colors[: 3 * COLORS], *TRUTH, *PREDICTION, *BOTH])
    return picture.quantize(palette=palette, dither=Image.Dither.NONE)


def write_failures(data: Path, shown: list[tuple[Path, str]], path: Path) -> None:
    """Write one page of images, each given by an evaluation and a name."""
    rows = [comparison_of(data, evaluation, name) for evaluation, name in shown]
    with TemporaryDirectory() as folder:
        page = Path(folder) / "page.png"
        write_mistakes(rows, len(rows), page)
        picture = Image.open(page)
        height = round(picture.height * WIDTH / picture.width)
        small = picture.resize((WIDTH, height), Image.Resampling.LANCZOS)
        with_palette(small).save(path, optimize=True)


def main() -> None:
    """Read the arguments and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with images/ and labels/")
    parser.add_argument("evaluation", type=Path, help="what wsinuc evaluate wrote for it")
    parser.add_argument("picture", type=Path)
    parser.add_argument("names", nargs="+", help="images to show")
    arguments = parser.parse_args()
    write_failures(arguments.data, [(arguments.evaluation, name) for name in arguments.names], arguments.picture)


if __name__ == "__main__":
    main()
