"""Make the shipped model `accurate` again: the diffusion model and the student in three sizes, as one.

    python examples/join_models.py DIFFUSION STUDENT OUT.safetensors DATA

DIFFUSION and STUDENT are names of files in wsinuc/weights, without ending, or paths. OUT names them and their hashes; it has no
weights of its own. `teach_joining.py` and `finish_model.py` complete it.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import cast

from train_fast import colours

from wsinuc.models.checkpoint import load_checkpoint, save_checkpoint
from wsinuc.segmenters import load_segmenter, member_path
from wsinuc.segmenters.joint import JointConfig, Member, joint_checkpoint
from wsinuc.segmenters.tiled import TiledSegmenter

SIZES = ("3/4", "1", "5/4")
"""In which the student sees the tissue: fractions whose grid repeats with the tiles."""
CORE, MARGIN = 448, 224
"""Pixels kept of a tile, what the diffusion model keeps; and those around it, enough at every size."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("diffusion")
    parser.add_argument("student")
    parser.add_argument("out", type=Path)
    parser.add_argument("data", type=Path)
    arguments = parser.parse_args()
    files = [load_checkpoint(member_path(name), "segmenter") for name in (arguments.diffusion, arguments.student)]
    like = cast(TiledSegmenter, load_segmenter(str(member_path(arguments.diffusion)), device="cpu"))
    config = JointConfig(
        members=(
            Member(model=arguments.diffusion, sha256=files[0].sha256, weight=float(len(SIZES))),
            Member(model=arguments.student, sha256=files[1].sha256, sizes=SIZES),
        ),
        watershed=like.config.watershed,
        separation=like.config.separation,
        classes=like.classes,
        tile=CORE + 2 * MARGIN,
        margin=MARGIN,
        mpp_range=like.mpp_range,
        joining=like.config.joining,
        colours=colours(arguments.data),
    )
    origin = {"data": files[0].provenance["data"], "licence": "Apache-2.0"}
    save_checkpoint(joint_checkpoint(config, origin), arguments.out)


if __name__ == "__main__":
    main()
