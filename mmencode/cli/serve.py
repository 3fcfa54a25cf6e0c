"""Implement `mmencode serve`, which answers requests for vectors over HTTP."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from socket import socket
from typing import TYPE_CHECKING, Annotated

import typer

from ..engine.memory import keep_few_operations
from ..errors import MmencodeError
from ..plugins.packages import import_package
from . import output
from .options import (
    Backend,
    Backends,
    Device,
    Instruction,
    Limit,
    LoadChoice,
    Modalities,
    Trusted,
    open_space,
)

if TYPE_CHECKING:
    from ..serving.options import ServerOptions
    from ..serving.page_routes import Page
    from ..spaces.space import Space

_NEED = "a server needs FastAPI, uvicorn and prometheus-client", "pip install 'mmencode[serve]'"
_LONGEST = 2**16  # bytes of a file of keys
KEY = "MMENCODE_KEY"


def serve(
    spaces: Annotated[
        list[str] | None,
        typer.Argument(
            help="The names of spaces, or the paths of their folders. The first is the one that requests "
            "without a model mean; if omitted, the default space.",
            metavar="SPACE...",
        ),
    ] = None,
    host: Annotated[
        str,
        typer.Option(
            help="The address to listen on. Others than this machine's own need a key.", metavar="ADDRESS"
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(help="The port to listen on; 0 takes a free one.", min=0, max=65535, metavar="PORT")
    ] = 8000,
    key: Annotated[
        list[str] | None,
        typer.Option(
            help="Answer only requests with this key. Other users of the machine can see it in the list of "
            "processes, so that --key-file is safer. Repeatable.",
            metavar="KEY",
        ),
    ] = None,
    key_file: Annotated[
        Path | None,
        typer.Option(
            help=f"Read keys from this file, one on each line. Without it, the environment's {KEY} may hold "
            "one.",
            exists=True,
            dir_okay=False,
            metavar="FILE",
        ),
    ] = None,
    allow_url: Annotated[
        list[str] | None,
        typer.Option(
            help="Fetch items from URLs of this host, such as images.example.org or *.example.org. Without "
            "it no URL is fetched. Repeatable.",
            metavar="HOST",
        ),
    ] = None,
    allow_network: Annotated[
        list[str] | None,
        typer.Option(
            help="Let hosts of --allow-url have addresses in this private network, such as 10.1.0.0/16. "
            "Repeatable.",
            metavar="NETWORK",
        ),
    ] = None,
    max_body: Annotated[
        int, typer.Option(help="The most bytes that one request may have.", min=1, metavar="BYTES")
    ] = 2**26,
    max_items: Annotated[
        int, typer.Option(help="The most items that one request may have.", min=1, metavar="NUMBER")
    ] = 2048,
    wait: Annotated[
        float,
        typer.Option(help="The seconds after which a request is given up.", min=0.1, metavar="SECONDS"),
    ] = 60.0,
    ui: Annotated[
        bool,
        typer.Option(
            "--ui",
            help="Serve a page, too, to drop pictures, sounds, videos and texts into.",
        ),
    ] = False,
    index: Annotated[
        Path | None,
        typer.Option(
            help="The index that the page searches, of the first space. If no space is named, its own is "
            "served.",
            exists=True,
            file_okay=False,
            metavar="INDEX",
        ),
    ] = None,
    device: Device = "auto",
    backend: Backend = Backends.torch,
    limit: Limit = None,
    trust: Trusted = False,
    instruction: Instruction = "",
    modalities: Modalities = None,
) -> None:
    """Answer requests for vectors over HTTP.

    The protocol is that of OpenAI's embeddings, for texts, images and audio; docs/serving.md shows it and the
    others. The page /metrics has figures for Prometheus, /health and /ready the state. SIGTERM or Ctrl-C ends
    the server once it has finished what is in work.

    \b
    Example: mmencode serve
    Example: mmencode serve default photos-space/ --host 0.0.0.0 --key-file keys.txt
    Example: mmencode serve --ui --index photos.index
    """
    if index is not None and not ui:
        raise typer.BadParameter("it is for the page: pass --ui, too", param_hint="--index")
    for name in ("fastapi", "uvicorn", "prometheus_client"):
        import_package(name, *_NEED)
    keep_few_operations()
    from ..serving.app import make_app
    from ..serving.options import require_safe_host
    from ..serving.running import Running, bind, leave_hanging_threads, spare_what_is_loaded, url_of
    from ..serving.service import Service, Services, ServingLimits

    options = _options(
        keys=_read_keys(key, key_file),
        body=max_body,
        items=max_items,
        wait=wait,
        urls=allow_url or (),
        networks=allow_network or (),
    )
    require_safe_host(host, options.keys)
    choice = LoadChoice(
        device=device,
        backend=backend,
        limit=limit,
        trust=trust,
        instruction=instruction,
        modalities=modalities,
    )
    named = spaces or (None if index is None else str(index),)
    opened = [open_space(name, choice) for name in named]
    if len({space.name for space in opened}) < len(opened):
        raise typer.BadParameter("two of them have one name", param_hint="SPACE...")
    services = Services({space.name: Service(space, limits=ServingLimits(wait=wait)) for space in opened})
    failures: list[BaseException] = []

    def give_up(cause: BaseException) -> None:
        failures.append(cause)
        running.stop()

    with _bind(bind, host, port) as bound:
        page = _make_page(index, opened[0]) if ui else None
        app = make_app(
            services, options=options, on_failure=give_up, on_ready=spare_what_is_loaded, page=page
        )
        running = Running(app, bound, grace=wait)
        running.run(lambda: output.say(f"{url_of(bound)}  {', '.join(services.names)}"))
    for space in opened:
        space.close()
    if failures:
        raise failures[0]
    leave_hanging_threads()


def _options(
    *,
    keys: tuple[str, ...],
    body: int,
    items: int,
    wait: float,
    urls: Sequence[str],
    networks: Sequence[str],
) -> ServerOptions:
    """Make the settings of the server; wrong usage for a key, a host or a network that is none."""
    from ..inputs.fetching import Fetcher
    from ..serving.options import ServerOptions

    if networks and not urls:
        raise typer.BadParameter("it needs --allow-url, too", param_hint="--allow-network")
    try:
        Fetcher(urls, networks=networks)
    except ValueError as cause:
        raise typer.BadParameter(str(cause), param_hint="--allow-url or --allow-network") from cause
    try:
        return ServerOptions(
            keys=keys,
            body=body,
            items=items,
            wait=wait,
            allow_urls=tuple(urls),
            allow_networks=tuple(networks),
        )
    except ValueError as cause:
        raise typer.BadParameter(str(cause), param_hint="--key or --key-file") from cause


def _make_page(path: Path | None, space: Space) -> Page:
    """Open the index for the page; SpaceMismatchError where it isn't of the space."""
    from ..index import Index
    from ..serving.page_routes import Page
    from ..serving.shelf import Shelf

    return Page(None if path is None else Shelf(Index.open(path, space=space), space.limits))


def _read_keys(given: Sequence[str] | None, file: Path | None) -> tuple[str, ...]:
    """Gather keys from options, or else from the file, or else from the environment."""
    keys = list(given or ())
    if file is not None:
        if os.name == "posix" and file.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH):
            output.note(f"all users of this machine can read {file}: chmod 600 keeps its keys secret")
        content = file.read_bytes()[: _LONGEST + 1]
        if len(content) > _LONGEST:
            raise typer.BadParameter(f"it has more than {_LONGEST} bytes", param_hint="--key-file")
        found = [line.strip() for line in content.decode("utf-8", "replace").splitlines()]
        keys += [line for line in found if line and not line.startswith("#")]
        if not keys:
            raise typer.BadParameter(f"there is no key in {file}", param_hint="--key-file")
    if not keys and (word := os.environ.get(KEY)):
        keys.append(word)
    return tuple(keys)


def _bind(bind: Callable[[str, int], socket], host: str, port: int) -> socket:
    """Bind the socket; MmencodeError, which names the address, where that fails."""
    try:
        return bind(host, port)
    except OSError as cause:
        raise MmencodeError(
            f"{host} port {port} can't be listened on: {cause.strerror or cause}",
            remedy="choose another one: --port 0 takes a free one",
        ) from cause
