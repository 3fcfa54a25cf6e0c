"""Ask each plugin in a process of its own, so that none can hang, end or crash this one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO, Any

from .._atomic import file_aside, read_whole
from ..errors import PluginError
from ..errors.causes import describe_error, printable, quote
from .barring import Choice, read_choice
from .discovery import Plugin, ask
from .installed import PluginEntry, find_entries
from .modality import ModalitySpec
from .spec import EncoderSpec, Identity

HEAVIEST = 300  # MiB that importing a plugin may take without a note
_LARGEST = 2**24  # bytes of an answer
_PROGRAM = (
    "import sys; folder, *sys.path[:] = sys.argv[1:]; "
    "from mmencode.plugins.isolated import answer; answer(folder)"
)


def discover_isolated(seconds: float) -> Iterator[Plugin]:
    """Ask each plugin in a process of its own, one after the other, and import no plugin in this one.

    A process that takes longer than `seconds` is killed, with all that it started.
    """
    choice = read_choice()
    for entry in find_entries():
        yield _ask_apart(entry, choice, seconds)


def answer(folder: str) -> None:
    """Ask the entry in the folder's question.json, write answer.json there, and end this process at once."""
    question = json.loads(Path(folder, "question.json").read_text("utf-8"))
    before = _mebibytes()
    plugin = ask(PluginEntry(**question))
    taken = _mebibytes() - before
    notes = [*plugin.notes, *([f"takes {taken:.0f} MiB"] if taken > HEAVIEST else [])]
    content = {
        "specs": [asdict(spec) for spec in plugin.specs],
        "modalities": [asdict(spec) for spec in plugin.modalities],
        "cause": plugin.cause,
        "seconds": plugin.seconds,
        "notes": notes,
    }
    with file_aside(Path(folder, "answer.json")) as aside:
        aside.write_text(json.dumps(content), "utf-8")
    os._exit(0)  # threads that the plugin started may never end


def _ask_apart(entry: PluginEntry, choice: Choice, seconds: float) -> Plugin:
    """Ask one entry in another process, unless its code must not or need not run."""
    if entry.error is not None or choice.bars(entry.distribution):
        return ask(entry, choice)
    plugin = Plugin(
        distribution=entry.distribution, version=entry.version, entry_point=printable(entry.value, 200)
    )
    with tempfile.TemporaryDirectory(prefix="mmencode-plugin-", ignore_cleanup_errors=True) as folder:
        question = {name: getattr(entry, name) for name in _QUESTION}
        Path(folder, "question.json").write_text(json.dumps(question), "utf-8")
        start = time.perf_counter()
        code, said = _run(folder, seconds)
        taken = time.perf_counter() - start
        try:
            return replace(plugin, **_read(Path(folder, "answer.json")))
        except FileNotFoundError:
            error = PluginError(
                _explain_end(code, seconds, said), remedy=f"bar it: MMENCODE_PLUGINS=-{plugin.name}"
            )
            return replace(plugin, error=error, cause="", seconds=taken)
        except Exception as cause:
            error = PluginError(f"its process wrote no valid answer: {describe_error(cause)}")
            return replace(plugin, error=error, cause="", seconds=taken)


_QUESTION = [name for name in PluginEntry._fields if name != "error"]


def _read(path: Path) -> dict[str, Any]:
    """Read the fields of the Plugin that another process wrote; raises for an invalid answer."""
    found = json.loads(read_whole(path, _LARGEST))
    specs = [
        EncoderSpec(**{**_as_tuples(spec), "identity": spec["identity"] and Identity(**spec["identity"])})
        for spec in found["specs"]
    ]
    modalities = [ModalitySpec(**_as_tuples(spec)) for spec in found["modalities"]]
    cause = str(found["cause"])
    return {
        "specs": tuple(specs),
        "modalities": tuple(modalities),
        "error": PluginError(cause) if cause else None,
        "cause": printable(cause, 1000),
        "seconds": float(found["seconds"]),
        "notes": tuple(printable(str(note)) for note in found["notes"]),
    }


def _run(folder: str, seconds: float) -> tuple[int | None, str]:
    """Run a process for the folder's question; its exit code, None after a timeout, and its last line."""
    path = [entry for entry in sys.path if isinstance(entry, str) and "\0" not in entry]
    process = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, folder, *path],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    said: list[bytes] = [b""]
    reader = threading.Thread(target=_drain, args=(process.stdout, said), daemon=True)
    reader.start()
    try:
        code: int | None = process.wait(seconds)
    except subprocess.TimeoutExpired:
        code = None
    finally:
        with suppress(OSError, AttributeError):
            os.killpg(process.pid, signal.SIGKILL)  # with the processes that it started
        process.kill()
        process.wait()
        reader.join(1)
    lines = said[0].decode("utf-8", "replace").strip().splitlines()
    return code, lines[-1] if lines else ""


def _drain(stream: IO[bytes], said: list[bytes]) -> None:
    """Read all that a process prints, and keep the end of it."""
    with stream:
        while part := stream.read1(2**16):  # type: ignore[attr-defined]
            said[0] = (said[0] + part)[-1000:]


def _explain_end(code: int | None, seconds: float, said: str) -> str:
    """Say how a process ended that wrote no answer."""
    last = f"; its last line was {quote(said, 200)}" if said else ""
    if code is None:
        return f"it doesn't end within {seconds:g} s{last}"
    if code < 0:
        with suppress(ValueError):
            return f"it crashes: {signal.Signals(-code).name}{last}"
    return f"it ends the process, with the exit code {code}{last}"


def _mebibytes() -> float:
    """The peak memory of this process in MiB; on Linux `getrusage` would include its parent's."""
    with suppress(OSError, StopIteration), open("/proc/self/status", encoding="ascii") as status:
        return int(next(line for line in status if line.startswith("VmHWM")).split()[1]) / 2**10
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _as_tuples(spec: dict[str, Any]) -> dict[str, Any]:
    """The fields of a spec with tuples in the place of JSON's lists, which no field has."""
    return {name: _as_tuple(value) for name, value in spec.items()}


def _as_tuple(value: Any) -> Any:
    return tuple(map(_as_tuple, value)) if isinstance(value, list) else value
