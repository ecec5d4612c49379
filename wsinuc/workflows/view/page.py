"""The page of a result: a Bokeh document of the slide, inside a template that has everything around it."""

from __future__ import annotations

from pathlib import Path

from bokeh.core.templates import get_env
from bokeh.document import Document
from bokeh.models import (
    ColumnDataSource,
    ImageURL,
    LassoSelectTool,
    PanTool,
    Patches,
    Plot,
    Range1d,
    TapTool,
    TileRenderer,
    WheelZoomTool,
    WMTSTileSource,
)

from wsinuc.errors import ConfigError
from wsinuc.workflows.view.library import Library
from wsinuc.workflows.view.tiles.pyramid import CLOSER, TILE, Pyramid

FILES = Path(__file__).parent / "files"
CLOSEST_PX = 24.0
"""Screen pixels that a pixel of the slide may become."""
ACCENT = "#1769e0"
IGNORED = "#4b5157"
"""Of areas that count in no training."""
NOTHING = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
"""A transparent pixel."""


def build_page(document: Document, library: Library) -> None:
    """Fill a session's document with the slide that its address names."""
    # The page says itself when the server is away.
    document.config.notify_connection_status = False
    names = document.session_context.request.arguments.get("r", [b""])
    key = names[-1].decode("ascii", "replace")
    template = (FILES / "view.html").read_text(encoding="utf-8")
    try:
        opened = library.open(key)
    except ConfigError:
        document.template = get_env().from_string((FILES / "unknown.html").read_text(encoding="utf-8"))
        document.add_root(Plot(name="slide"))
        return
    document.title = opened.source.name
    document.template = get_env().from_string(template)
    document.template_variables.update(
        settings={
            "key": key,
            "finest": opened.pyramid.finest,
            "shape": opened.pyramid.shape,
            "isCohort": library.is_folder,
        }
    )
    document.add_root(slide_plot(opened.pyramid, key))


def slide_plot(pyramid: Pyramid, key: str) -> Plot:
    """The slide: x to the right and minus y up, in level-0 pixels."""
    height, width = pyramid.shape
    side = TILE * 2**pyramid.finest
    limits = {"min_interval": TILE / CLOSEST_PX, "max_interval": 4.0 * side}
    plot = Plot(
        name="slide",
        x_range=Range1d(0, width, **limits),
        y_range=Range1d(-height, 0, **limits),
        sizing_mode="stretch_both",
        toolbar_location=None,
        min_border=0,
        outline_line_color=None,
        background_fill_color=None,
        border_fill_color=None,
        lod_threshold=None,
        output_backend="canvas",
    )
    plot.renderers.extend(
        [
            TileRenderer(name="slide-tiles", tile_source=_tiles(f"tiles/slide/{key}", pyramid, 0)),
            # The page gives the address once somebody asks for a map: Bokeh fetches tiles of layers that are off, too.
            TileRenderer(name="map-tiles", tile_source=_tiles(None, pyramid, 0), smoothing=False),
            TileRenderer(name="nuclei-tiles", tile_source=_tiles(f"tiles/nuclei/{key}", pyramid, CLOSER)),
        ]
    )
    _add_overlays(plot)
    pan = PanTool(name="pan")
    wheel = WheelZoomTool(name="wheel", zoom_on_axis=False, speed=1 / 500)
    lasso = LassoSelectTool(name="lasso", renderers=[], continuous=False)
    plot.add_tools(pan, wheel, lasso, TapTool(renderers=[]))
    plot.toolbar.active_drag = pan
    plot.toolbar.active_scroll = wheel
    return plot


def _tiles(address: str | None, pyramid: Pyramid, closer: int) -> WMTSTileSource:
    """Addresses of tiles, relative to the page, whose own address has the token; None for empty ones."""
    side = TILE * 2**pyramid.finest
    return WMTSTileSource(
        url=NOTHING if address is None else address + "/{Z}/{X}/{Y}{STYLE}",
        extra_url_vars={"STYLE": ""},
        tile_size=TILE,
        min_zoom=0,
        max_zoom=pyramid.finest + closer,
        initial_resolution=side / TILE,
        x_origin_offset=0,
        y_origin_offset=side,
        wrap_around=False,
    )


def _add_overlays(plot: Plot) -> None:
    """What is drawn in the browser: few things, over the tiles."""
    for name in ("left-out", "tissue"):
        plot.add_glyph(
            ColumnDataSource({"url": [], "x": [], "y": [], "w": [], "h": []}, name=name),
            ImageURL(url="url", x="x", y="y", w="w", h="h", anchor="top_left"),
        )
    plot.add_glyph(
        ColumnDataSource({"xs": [], "ys": []}, name="regions"),
        Patches(xs="xs", ys="ys", fill_color=None, line_color=ACCENT, line_width=2, line_dash=[6, 4]),
    )
    plot.add_glyph(
        ColumnDataSource({"xs": [], "ys": [], "colors": []}, name="labels"),
        Patches(xs="xs", ys="ys", fill_color="colors", fill_alpha=0.45, line_color="colors", line_width=2.5),
    )
    _add_windows(plot)
    plot.add_glyph(
        ColumnDataSource({"xs": [], "ys": []}, name="selected"),
        Patches(xs="xs", ys="ys", fill_color=None, line_color="white", line_width=5, line_alpha=0.9),
    )
    plot.add_glyph(
        ColumnDataSource({"xs": [], "ys": []}, name="selected-line"),
        Patches(xs="xs", ys="ys", fill_color=None, line_color=ACCENT, line_width=2.5),
    )


def _add_windows(plot: Plot) -> None:
    """Training windows with what is ignored in them and their outlines, a light line under the selected ones."""
    plot.add_glyph(
        ColumnDataSource({"xs": [], "ys": []}, name="ignored"),
        Patches(
            xs="xs",
            ys="ys",
            fill_color="white",
            fill_alpha=0.35,
            hatch_pattern="/",
            hatch_color=IGNORED,
            hatch_alpha=0.8,
            line_color=IGNORED,
            line_width=2,
        ),
    )
    plot.add_glyph(
        ColumnDataSource({"xs": [], "ys": []}, name="windows"),
        Patches(xs="xs", ys="ys", fill_color=None, line_color=ACCENT, line_width=2.5),
    )
    plot.add_glyph(
        ColumnDataSource({"xs": [], "ys": [], "colors": []}, name="window-outlines"),
        Patches(xs="xs", ys="ys", fill_color=None, line_color="colors", line_width=1.8),
    )
    plot.add_glyph(
        ColumnDataSource({"xs": [], "ys": []}, name="window-selected"),
        Patches(xs="xs", ys="ys", fill_color=ACCENT, fill_alpha=0.25, line_color=ACCENT, line_width=3),
    )
