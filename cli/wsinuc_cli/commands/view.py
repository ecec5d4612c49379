"""``wsinuc view``."""

from __future__ import annotations

import os
import socket
import webbrowser
from pathlib import Path

import click

from wsinuc_cli.help.sections import SectionedCommand
from wsinuc_cli.terminal import echo, echo_text

FILE = click.Path(path_type=Path)


@click.command(cls=SectionedCommand)
@click.argument("paths", metavar="RESULT|FOLDER|SLIDE...", nargs=-1, required=True, type=FILE)
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
def view(
    paths: tuple[Path, ...], slide: Path | None, regions: Path | None, port: int, host: str, no_browser: bool
) -> None:
    """Show a result over its slide in the browser; label its nuclei and correct their outlines.

    Give a result (slide.wsinuc), a folder of results, or a slide; results of one slide can be compared. What is shown
    is never changed: labels go to slide.labels.geojson beside the result, training windows to slide.regions.geojson,
    and learned classes, when you press Apply, to a result in the folder classified. Ctrl-C ends it.

    \b
    wsinuc view slide.wsinuc
    wsinuc view fast/slide.wsinuc accurate/slide.wsinuc
    wsinuc view results --no-browser --port 8050      then: ssh -L 8050:localhost:8050 server
    """
    from wsinuc.workflows.view.library import find_sources
    from wsinuc.workflows.view.server import LOOPBACK, start_server

    server = start_server(find_sources(*paths, slide=slide, regions=regions), host=host, port=port)
    if host != LOOPBACK:
        echo(f"warning: listening at {host}: whoever has the address can look and label", err=True)
    echo_text(f"{server.url}\nCtrl-C ends it.")
    # Over ssh a browser would open on the other computer, perhaps in its terminal.
    if "SSH_CONNECTION" in os.environ and "DISPLAY" not in os.environ:
        echo(f"On your own computer: ssh -L {server.port}:localhost:{server.port} {socket.gethostname()}")
    elif not no_browser and not webbrowser.open(server.url):
        echo("There is no browser here: open the address in one.")
    try:
        server.run()
    except KeyboardInterrupt:
        # There is nothing to continue, which is what other commands say here.
        echo("ended", err=True)
