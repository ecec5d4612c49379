"""Tables of slides: what is read from them, and that each mistake is named with its line."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsinuc.config import SegmentConfig
from wsinuc.errors import ConfigError, DataError
from wsinuc.workflows.cohort import slide_list
from wsinuc.workflows.cohort.slide_list import SlideJob, check_distinct, check_name, list_slides, read_slide_table


def table(tmp_path: Path, text: str, encoding: str = "utf-8") -> Path:
    path = tmp_path / "slides.csv"
    path.write_bytes(text.encode(encoding))
    return path


def test_rows_become_jobs_with_paths_from_the_table_on(tmp_path: Path) -> None:
    path = table(
        tmp_path,
        "slide,mpp,model,roi,tissue,name\n"
        "deep/a.svs,0.25,mine.safetensors,a.geojson,none,Case 1\n"
        "\n"
        '"b, second.tif",,default,,mask.png,\n'
        "/elsewhere/c.svs\n",
    )
    first, second, third = read_slide_table(path)
    assert first == SlideJob(
        slide=tmp_path / "deep/a.svs",
        mpp=0.25,
        model=str(tmp_path / "mine.safetensors"),
        roi=tmp_path / "a.geojson",
        tissue="none",
        name="Case 1",
    )
    assert first.folder(Path("out")) == Path("out/Case 1.wsinuc")
    assert second == SlideJob(slide=tmp_path / "b, second.tif", model="default", tissue=str(tmp_path / "mask.png"))
    assert third.slide == Path("/elsewhere/c.svs")
    assert second.stem == "b, second"


def test_settings_of_a_row_go_before_those_of_the_command() -> None:
    common = SegmentConfig(mpp=0.5, tissue="none", block=256)
    assert SlideJob(slide=Path("a.svs")).config(common) == common
    own = SlideJob(slide=Path("a.svs"), mpp=0.25, tissue="auto", threshold=0.4).config(common)
    assert (own.mpp, own.tissue, own.block, own.threshold, own.min_area_um2) == (0.25, "auto", 256, 0.4, None)


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Slide; MPP\r\na.svs;0.25\r\n", "utf-8"),
        ("\ufeffslide,mpp\na.svs,0.25\n", "utf-8"),
        ("mpp,slide\n0.25, a.svs \n", "utf-8"),
    ],
)
def test_what_spreadsheets_make_of_it_is_read(tmp_path: Path, text: str, encoding: str) -> None:
    (job,) = read_slide_table(table(tmp_path, text, encoding))
    assert job == SlideJob(slide=tmp_path / "a.svs", mpp=0.25)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column slide"),
        (
            "file,mpp\na,1\n",
            r"no column slide.*known are slide, mpp, model, roi, tissue, threshold, min_area",
        ),
        ("slide,magnification\na,40\n", r"'magnification'; known are slide, mpp"),
        ("slide,slide\na,b\n", "twice"),
        ("slide\n", "lists no slides"),
        ("slide,mpp\na.svs,0.25,3\n", "line 2: 3 values for 2 columns"),
        ('slide;mpp\na.svs;"0,25"\n', r"line 2: mpp is no number: '0,25'.*decimal point"),
        ("slide,mpp\na.svs,0.25\nb.svs,250\n", "line 3: mpp must lie between"),
        ("slide,mpp\na.svs,nan\n", "line 2: mpp"),
        ("slide,threshold\na.svs,half\n", "line 2: threshold is no number: 'half'; expected a probability"),
        ("slide,threshold\na.svs,1.5\n", "line 2: threshold must be a probability"),
        ("slide,min_area_um2\na.svs,-1\n", "line 2: the least area of a nucleus must lie"),
        ("slide,mpp\n,0.25\n", "line 2: no slide"),
        ("slide,name\na.svs,../b\n", "line 2: '../b' cannot be the name"),
        ('slide\n"a.svs\n', "no proper CSV"),
        ("slide\na\0.svs\n", "no UTF-8 text"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_slide_table(table(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_no_text_too_much_text_and_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="CSV UTF-8"):
        read_slide_table(table(tmp_path, "slide\nMünchen.svs\n", "latin-1"))
    with pytest.raises(DataError, match="no such file"):
        read_slide_table(tmp_path / "none.csv")
    monkeypatch.setattr(slide_list, "MAX_BYTES", 20)
    with pytest.raises(DataError, match="holds more than"):
        read_slide_table(table(tmp_path, "slide\n" + "a.svs\n" * 10))


@given(name=st.text(max_size=300))
def test_a_result_never_escapes_its_folder(name: str) -> None:
    try:
        job = SlideJob(slide=Path("a.svs"), name=name)
    except ConfigError:
        return
    folder = job.folder(Path("/out"))
    assert folder.parent == Path("/out")
    assert folder.name == f"{name}.wsinuc"
    assert not folder.name.startswith(".")


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b", "a\\b", "C:x", "a\n", " a", "ä" * 91])
def test_names_that_no_folder_may_have(name: str) -> None:
    with pytest.raises(ConfigError, match="name of a result"):
        check_name(name)


def test_slides_that_would_share_a_result_are_refused(tmp_path: Path) -> None:
    for other in ("b/x.png", "b/X.svs"):
        with pytest.raises(ConfigError, match=r"a/x\.svs and b/[xX].*out/x\.wsinuc.*table"):
            check_distinct([SlideJob(slide=Path("a/x.svs")), SlideJob(slide=Path(other))], Path("out"))
    check_distinct([SlideJob(slide=Path("a/x.svs")), SlideJob(slide=Path("b/x.svs"), name="y")])
    # The same letters, composed and not: one name on the disks of macOS.
    names = [unicodedata.normalize(form, "É1") for form in ("NFC", "NFD")]
    with pytest.raises(ConfigError, match="would both be written"):
        check_distinct([SlideJob(slide=Path("a.svs"), name=names[0]), SlideJob(slide=Path("b.svs"), name=names[1])])


def test_slides_and_tables_mix_in_the_order_given(tmp_path: Path) -> None:
    path = table(tmp_path, "slide\nb.svs\nc.svs\n")
    jobs = list_slides([Path("z.svs"), path, Path("a.svs")])
    assert [job.slide.name for job in jobs] == ["z.svs", "b.svs", "c.svs", "a.svs"]
