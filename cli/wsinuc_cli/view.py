"""``wsinuc view``."""

from __future__ import annotations

import webbrowser
from pathlib import Path

import click

from wsinuc_cli.sections import SectionedCommand
from wsinuc_cli.terminal import echo, echo_text

FILE = click.Path(path_type=Path)


@click.command(cls=SectionedCommand)
@click.argument("path", metavar="RESULT|FOLDER|SLIDE", type=FILE)
@click.option("--slide", type=FILE, metavar="FILE", help="The slide, when it has moved since RESULT was made.")
@click.option("--regions", type=FILE, metavar="FILE", help="GeoJSON of regions to show over the slide, with counts.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, metavar="N", help="Port to listen at.  [default: a free one]"
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    metavar="ADDRESS",
    help="Address to listen at. Any other than the default lets other computers in: whoever has the printed address, "
    "which travels unencrypted, can see the slides and label nuclei.",
)
@click.option("--no-browser", is_flag=True, help="Print the address, and open no browser.")
def view(path: Path, slide: Path | None, regions: Path | None, port: int, host: str, no_browser: bool) -> None:
    """Show a result over its slide in the browser; label its nuclei and correct their outlines.

    Give a result (slide.wsinuc), a folder of results, or a slide. What is shown is never changed: labels go to
    slide.labels.geojson beside the result, training windows to slide.regions.geojson, and learned classes, when you
    press Apply, to a result in the folder classified. Ctrl-C ends it.

    \b
    wsinuc view slide.wsinuc
    wsinuc view results --no-browser --port 8050      then: ssh -L 8050:localhost:8050 server
    """
    from wsinuc.workflows.view.library import find_sources
    from wsinuc.workflows.view.server import LOOPBACK, start_server

    server = start_server(find_sources(path, slide=slide, regions=regions), host=host, port=port)
    if host != LOOPBACK:
        echo(f"warning: listening at {host}: whoever has the address can look and label", err=True)
    echo_text(f"{server.url}\nCtrl-C ends it.")
    if not no_browser:
        webbrowser.open(server.url)
    try:
        server.run()
    except KeyboardInterrupt:
        # There is nothing to continue, which is what other commands say here.
        echo("ended", err=True)
