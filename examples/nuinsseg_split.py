"""Divide NuInsSeg into what models learn from and what measures them: `examples/nuinsseg_split.json`.

    python examples/nuinsseg_split.py ../shared/data/nuinsseg

The folder holds `images/`, `labels/` and `manifest.csv` with a column `organ`. The rule looks at names alone:

* `held_organs`: every image of the organs in `HELD_ORGANS`. They were chosen before any training, one for each kind of
  tissue: urothelium, nervous, tubular epithelium, germ cells, connective, lymphoid. An organ that is there in both
  species is held in both.
* `held_images`: of every other organ, in the order of the names, the fourth image and every sixth from there on.
* `train`: the rest.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from wsinuc.datasets import open_dataset
from wsinuc.datasets.sampling.split import Split

HELD_ORGANS = (
    "human bladder",
    "human cerebellum",
    "human kidney",
    "human testis",
    "human umbilical cord",
    "mouse kidney",
    "mouse thymus",
)
EVERY = 6
FIRST = 3
"""Position from 0 of the first held image of an organ: an organ of six images has one."""
SPLIT = Path(__file__).with_suffix(".json")


def divided(organs: Mapping[str, str]) -> dict[str, list[str]]:
    """Names of the images in each part, in order, from the organ of each image.

    Examples
    --------
    >>> divided({f"mouse_spleen_{i}": "mouse spleen" for i in range(1, 6)})["held_images"]
    ['mouse_spleen_4']
    """
    parts: dict[str, list[str]] = {"train": [], "held_images": [], "held_organs": []}
    seen: dict[str, int] = {}
    for name in sorted(organs):
        organ = organs[name]
        place = seen.get(organ, 0)
        seen[organ] = place + 1
        if organ in HELD_ORGANS:
            parts["held_organs"].append(name)
        elif place % EVERY == FIRST:
            parts["held_images"].append(name)
        else:
            parts["train"].append(name)
    return parts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("nuinsseg", type=Path)
    # Names and organs alone are read, so any resolution will do.
    dataset = open_dataset(parser.parse_args().nuinsseg, mpp=0.25)
    parts = divided({row["name"]: row["organ"] for row in dataset.rows})
    places = {part: tuple((name, None) for name in names) for part, names in parts.items()}
    Split(parts=places, dataset=dataset.layout.name, seed=0).save(SPLIT)
    print(", ".join(f"{part} {len(names)}" for part, names in parts.items()))


if __name__ == "__main__":
    main()
