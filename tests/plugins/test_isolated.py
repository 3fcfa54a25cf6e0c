"""`mmencode plugins --isolated` finds what hangs, ends or crashes a process, and lives on."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path

import pytest
from distributions import HEADER, hook, spec

from mmencode.plugins.isolated import discover_isolated

ENDS = {
    "exits": (
        "import os, sys; print('so long', flush=True); os._exit(3)",
        "it ends the process, with the exit code 3",
    ),
    "succeeds": ("import os; os._exit(0)", "it ends the process, with the exit code 0"),
    "crashes": ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "it crashes: SIGSEGV"),
    "kills": ("import os, signal; os.killpg(0, signal.SIGKILL)", "it crashes: SIGKILL"),
    "raises": ("raise RuntimeError('boom')", "RuntimeError: boom"),
    "interrupts": ("raise KeyboardInterrupt", "it crashes: SIGINT"),
}
HANG = "import time\nprint('waiting', flush=True)\ntime.sleep(1000)\n"


@pytest.fixture
def isolated(site):
    """What came of the site's distributions alone, each asked in its own process."""

    def ask(seconds=30.0):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MMENCODE_PLUGINS", "*birds*,-mmencode")
            return {p.distribution: p for p in discover_isolated(seconds) if not p.barred}

    return ask


@pytest.mark.parametrize(("source", "cause"), ENDS.values(), ids=ENDS)
def test_a_plugin_that_ends_its_process_is_found(site, isolated, source, cause):
    site.add("birds", source)
    plugin = isolated()["birds"]
    assert cause in plugin.cause
    assert plugin.specs == ()
    if "ends" in cause or "crashes" in cause:
        assert "bar it: MMENCODE_PLUGINS=-birds" in plugin.cause
    if "so long" in source:
        assert "its last line was 'so long'" in plugin.cause


def test_a_plugin_that_never_ends_is_killed_with_what_it_started(site, isolated):
    nest = site.folder / "nestling"
    child = (
        "import subprocess, sys\nnestling = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=-1)\n"
    )
    site.add("birds", f"{child}open({str(nest)!r}, 'w').write(str(nestling.pid))\n{HANG}")
    start = time.monotonic()
    plugin = isolated(seconds=5)["birds"]
    assert plugin.cause.startswith("PluginError: it doesn't end within 5 s; its last line was 'waiting'")
    assert time.monotonic() - start < 60
    command = Path("/proc", nest.read_text(), "cmdline")
    assert not command.exists() or command.read_bytes() == b""  # gone, or not yet buried


def test_a_good_plugin_is_as_if_it_were_asked_here_and_is_not_imported_here(site, isolated, found):
    fields = {"aliases": ("tits",), "requires": ("numpy>=1",), "licence": "MIT", "space": "birds"}
    identity = spec("birds/x", **fields)[:-1] + ", identity=Identity(weights='sha256:1'))"
    site.add("birds", f"print('hello')\n{hook(identity, spec('birds/*', 'image', dim=None))}")
    plugin = isolated()["birds"]
    assert "birds" not in sys.modules
    assert plugin.specs == found()["birds"].specs
    assert (plugin.error, plugin.cause, plugin.notes) == (None, "", ("prints 'hello'",))
    assert plugin.seconds > 0


def test_what_a_plugin_takes_and_leaves_running_is_said(site, isolated):
    source = "import soundfile, threading, time\nwaste = b'x' * (400 << 20)\n"
    source += "threading.Thread(target=time.sleep, args=(900,)).start()\n"
    site.add("birds", source + hook(spec("birds/x")))
    notes = isolated()["birds"].notes
    assert re.match("slow: imports (numpy, )?soundfile", notes[0])  # the former by soundfile from 0.14 on
    assert "starts a thread, and no command ends before it does" in notes
    assert notes[-1].startswith("takes 4")


def test_a_flood_of_print_is_not_kept(site, isolated):
    site.add("birds", "for _ in range(30): print('x' * 1_000_000)\nimport os; os._exit(1)")
    assert len(isolated()["birds"].cause) < 1000


def test_an_answer_that_is_nonsense_is_an_error(site, isolated):
    forge = "import os, sys; open(sys.argv[1] + '/answer.json', 'w').write({!r}); os._exit(0)"
    site.add("birds", forge.format('{"specs": 3}'))
    site.add("blackbirds", forge.format("[" * 100_000))
    for plugin in isolated().values():
        assert "wrote no valid answer" in plugin.cause


def test_odd_files_and_misspelt_groups_are_said_here_too(site, isolated):
    site.add("birds", metadata=None)
    site.add("blackbirds", "raise SystemExit", group="mmencodes")
    plugins = isolated()
    assert "METADATA is missing" in plugins["birds"].cause
    assert "isn't read" in plugins["blackbirds"].notes[0]


def test_the_doctor_finds_what_stops_every_command_and_how_to_bar_it(site):
    site.add("birds", HANG)
    site.add("blackbirds", hook(spec("offline/minilm")))
    others = "-mmencode-transformers,-mmencode-diffusers,-mmencode-documents,-mmencode-scratch"
    states = site.states("--isolated", "--seconds", "5", MMENCODE_PLUGINS=others)
    assert states["mmencode-offline"] == states["mmencode"] == "ok"
    assert "it doesn't end within 5 s" in states["birds"]
    assert "remedy: bar it: MMENCODE_PLUGINS=-birds" in states["birds"]
    assert "'offline/minilm' of blackbirds is set aside" in states["blackbirds"]
    assert states["mmencode-scratch"] == "barred by MMENCODE_PLUGINS"
    assert "birds\t" not in site.command("list", MMENCODE_PLUGINS="-birds,-blackbirds").stdout


def test_the_hook_that_never_ends_is_found_like_the_import(site, isolated):
    site.add("birds", f"{HEADER}@hookimpl\ndef mmencode_encoders():\n    while True: pass\n")
    assert "it doesn't end within 3 s" in isolated(seconds=3)["birds"].cause
