"""Make the shipped models `fast` and `accurate` again, of networks that are trained.

    python examples/join_models.py fast OUT.safetensors DATA --student student --former student-tnbc
    python examples/join_models.py accurate OUT.safetensors DATA --student student --diffusion diffusion

Members are names of files in wsinuc/weights, without ending, or paths. OUT names them and their
hashes, and how a slide is fitted to them: its colours, and whether it is enlarged. It has no
weights of its own. `teach_joining.py` and `finish_model.py` complete it.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import cast

from train_fast import SEEN, colours

from wsinuc.models.checkpoints.checkpoint import save_checkpoint
from wsinuc.models.checkpoints.file_header import file_sha256
from wsinuc.segmenters import load_segmenter, member_path
from wsinuc.segmenters.joint import JointConfig, Member, joint_checkpoint
from wsinuc.segmenters.tiled import TiledSegmenter

SMALL_UM2 = 20.0
"""Mean area; annotated nuclei of TNBC, patients 09 to 11 left out, have 24.6 um2."""
TILES = {"fast": (1024, 176), "accurate": (512, 224)}
"""Pixels kept of a tile, and those around it, enough in every size. Small tiles suit images and
biopsies, large ones slides."""
BLUR = 5
"""Taps of the filter before the squares of 2 x 2 px of the student, which was trained without:
fewer nuclei depend on where the slide begins."""
SEPARATION = {
    "fast": {"min_area_um2": 5.0, "smoothing_um": 0.6, "marker_threshold": 0.25},
    "accurate": {"min_area_um2": 4.0},
}
"""What differs from the first member's: what is sure enough in `accurate` is not in `fast`."""
FRAGMENT_HEIGHT = {"fast": 0.05, "accurate": 0.03}
"""From which rise a peak is a fragment. A higher one, and more smoothing, leave less to where the slide begins."""


def members(name: str, student: str, other: str) -> tuple[Member, ...]:
    """Of one of the shipped models; the last one, the quickest, also tells whether nuclei are small.

    In `fast` two students see a tile once each, moved against each other: they differ more than two
    views of one student do, at the same cost.
    """
    one = Member(
        model=student,
        sha256=file_sha256(member_path(student)),
        sizes=("1",),
        enlarged=("3/2",),
        turned=False,
        blur=BLUR,
    )
    if name == "fast":
        former = replace(one, model=other, sha256=file_sha256(member_path(other)))
        return (former, replace(one, weight=2.0, first_view=1))
    three = replace(one, sizes=("3/4", "1", "5/4"), enlarged=("3/2", "7/4", "2"), turned=True)
    diffusion = Member(model=other, sha256=file_sha256(member_path(other)), sizes=("1",), weight=3.0, enlarged=("3/2",))
    return (diffusion, three)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=list(TILES))
    parser.add_argument("out", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--student", required=True)
    other = parser.add_mutually_exclusive_group(required=True)
    other.add_argument("--former", dest="other", help="of fast: the student before 31 organs")
    other.add_argument("--diffusion", dest="other", help="of accurate")
    arguments = parser.parse_args()
    chosen = members(arguments.name, arguments.student, arguments.other)
    like = cast(TiledSegmenter, load_segmenter(str(member_path(chosen[0].model)), device="cpu"))
    core, margin = TILES[arguments.name]
    config = JointConfig(
        members=chosen,
        watershed=replace(like.config.watershed, **SEPARATION[arguments.name]),
        separation=like.config.separation,
        classes=like.classes,
        tile=core + 2 * margin,
        margin=margin,
        mpp_range=like.mpp_range,
        joining=replace(like.config.joining, fragment_height=FRAGMENT_HEIGHT[arguments.name]),
        colours=colours(arguments.data),
        small_um2=SMALL_UM2,
    )
    save_checkpoint(joint_checkpoint(config, {"data": SEEN, "licence": "Apache-2.0"}), arguments.out)


if __name__ == "__main__":
    main()
