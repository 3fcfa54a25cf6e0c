"""Plugins that do what no plugin should: each is set aside or fenced in, and the others work."""

from __future__ import annotations

import gc
import locale
import logging
import os
import random
import signal
import socket
import sys
import threading
import warnings

import pytest
from distributions import HEADER, hook, spec

from mmencode.errors import PluginError, SpecError

GOOD = hook(spec("birds/x"))
PANIC = "class PanicException(BaseException): pass\n"


@pytest.mark.parametrize("where", ["import", "hook", "generator"])
@pytest.mark.parametrize(
    ("before", "raised", "cause"),
    [
        (PANIC, "PanicException('index out of bounds')", "it raised PanicException: index out of bounds"),
        ("import pytest", "pytest.skip.Exception('not here')", "it raised Skipped: not here"),
        ("import asyncio", "asyncio.CancelledError()", "it raised CancelledError"),
        ("", "GeneratorExit()", "it raised GeneratorExit"),
        ("", "BaseException('bare')", "it raised BaseException: bare"),
        ("", "SystemExit(3)", "it called sys.exit(3)"),
        ("", "SystemExit()", "it called sys.exit()"),
        ("", "SystemExit('bye \\x1b[31m')", r"it called sys.exit(bye \x1b[31m)"),
    ],
)
def test_base_exceptions_set_the_plugin_aside_wherever_they_are_raised(
    site, found, where, before, raised, cause
):
    line = f"raise {raised}"
    source = {
        "import": f"{before}\n{line}\n",
        "hook": f"{HEADER}{before}\n@hookimpl\ndef mmencode_encoders():\n    {line}\n",
        "generator": f"{before}\n{hook(spec('birds/x'))}    {line}\n",
    }[where]
    site.add("mmencode-birds", source)
    plugin = found()["mmencode-birds"]
    assert plugin.cause == f"PluginError: {cause}"
    assert plugin.specs == ()


@pytest.mark.parametrize("source", ["raise KeyboardInterrupt", hook(before="raise KeyboardInterrupt")])
def test_the_users_interrupt_goes_through(site, found, source):
    site.add("mmencode-birds", source)
    with pytest.raises(KeyboardInterrupt):
        found()


MUTE = """
class Mute(Exception):
    def __str__(self):
        raise SystemExit('no words')
    __repr__ = __str__
"""


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        (f"{MUTE}raise Mute()", "Mute: (its message can't be read: SystemExit)"),
        ("raise ValueError('red \\x1b[31m\\x07\\nnext')", r"ValueError: red \x1b[31m\x07 next"),
        ("raise type('\\x1b[31mRed', (Exception,), {})('x')", r"\x1b[31mRed: x"),
        (
            "from mmencode.errors import SpecError\nraise SpecError('a\\x1b[2J', culprit='b\\nc')",
            r"SpecError: a\x1b[2J; where:  b; c".replace("  ", " "),
        ),
        (
            f"from mmencode.errors import SpecError\n{MUTE.replace('Exception', 'SpecError')}raise Mute('x')",
            "Mute: ",
        ),
        ("def f(): f()\nf()", "RecursionError: maximum recursion depth exceeded"),
        ("raise MemoryError", "MemoryError"),
    ],
)
def test_a_cause_is_one_short_line_whatever_the_exception_is(site, found, source, cause):
    site.add("mmencode-birds", source)
    assert found()["mmencode-birds"].cause.startswith(cause)


@pytest.mark.parametrize("error", ["ValueError", "mmencode.errors.SpecError"])
def test_a_cause_of_many_megabytes_is_cut(site, found, error):
    site.add("mmencode-birds", f"import mmencode\nraise {error}('x' * 50_000_000)")
    assert len(found()["mmencode-birds"].cause) < 1100


def test_what_a_failed_plugin_held_is_let_go(site, found):
    source = "def f():\n    held = bytearray(10_000_000)\n    raise ValueError('boom')\nf()\n"
    site.add("mmencode-birds", source)
    plugin = found()["mmencode-birds"]
    gc.collect()
    assert not any(type(one) is bytearray and len(one) == 10_000_000 for one in gc.get_objects())
    trace = plugin.error.__traceback__
    while trace.tb_next:
        trace = trace.tb_next
    assert "held" not in trace.tb_frame.f_locals


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        (
            "while True: yield 3",
            "SpecError: mmencode_encoders gave 3; remedy: yield EncoderSpec objects only",
        ),
        (
            "n = 0\n    while True:\n        n += 1\n        yield {spec}",
            "SpecError: it declares more than 10000",
        ),
        ("yield from ({spec} for _ in range(10_000_000))", "SpecError: it declares more than 10000 encoders"),
        ("return 'a string'", "SpecError: mmencode_encoders gave 'a'"),
        ("return {{'a': 1}}", "SpecError: mmencode_encoders gave 'a'"),
        ("return [None]", "SpecError: mmencode_encoders gave None"),
        ("return 3", "TypeError: "),
        (
            "return [type('Sub', (EncoderSpec,), {{}})(name='a', modality='text', target='a:b', dim=1)]",
            "SpecError: ",
        ),
        ("return [object.__new__(EncoderSpec)]", "AttributeError: "),
        (
            "s = {spec}\n    object.__setattr__(s, 'target', '../x')\n    return [s]",
            "SpecError: EncoderSpec.target",
        ),
        (
            "s = {spec}\n    object.__setattr__(s, 'variant', 'x')\n    return [s]",
            "SpecError: EncoderSpec.variant",
        ),
        ("return [{spec}, {spec}]", "SpecError: encoder birds is declared twice"),
        (
            "from dataclasses import replace as r\n    s = {spec}\n"
            "    return [r(s, name=name, aliases=('x',)) for name in ('a', 'b')]",
            "SpecError: alias x is declared for the spaces a and b",
        ),
        (
            "from dataclasses import replace as r\n    s = {spec}\n"
            "    return [r(s, aliases=('b',)), r(s, name='b')]",
            "SpecError: alias b is declared for the spaces b and birds",
        ),
    ],
)
def test_what_is_no_list_of_specs_is_refused_without_taking_for_ever(site, found, body, cause):
    numbered = spec("birds").replace("'birds'", "'birds' + str(n)") if "n += 1" in body else spec("birds")
    site.add(
        "mmencode-birds", f"{HEADER}@hookimpl\ndef mmencode_encoders():\n    {body.format(spec=numbered)}\n"
    )
    assert found()["mmencode-birds"].cause.startswith(cause)


MEAN = "class Mean:\n    def __repr__(self):\n        raise SystemExit\n"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ("requires=('not a req !!',)", r"EncoderSpec.requires is \('not a req !!',\)"),
        ("requires=('x; python_version <<< 3',)", "EncoderSpec.requires is"),
        ("modality='Image'", "EncoderSpec.modality is 'Image'.*digits and _: 'image'"),
        ("modality='TEXT'", "'text'"),
        ("modality='\\uff49mage'", "'image'"),
        ("modality='\u0456mage'", "EncoderSpec.modality is"),
        ("modality='two words'", "EncoderSpec.modality is"),
        ("description=Mean()", "EncoderSpec.description is <Mean whose repr raises SystemExit>"),
        ("name=Mean()", "EncoderSpec.name is <Mean whose repr raises SystemExit>"),
        ("description='x' * 50_000_000", "EncoderSpec.description is .*at most 4096 characters"),
        ("name='x' * 201", "EncoderSpec.name is"),
        ("dim=10**5000", "EncoderSpec.dim is"),
        ("identity=Identity(weights=5)", "Identity.weights is 5"),
        ("aliases=('two words',)", "EncoderSpec.aliases is"),
        ("aliases=('x/*',)", "EncoderSpec.aliases is"),
    ],
)
def test_a_field_that_is_nonsense_is_an_error_of_that_plugin_alone(site, found, fields, words):
    given = {"name": "'birds'", "modality": "'text'", "target": "'a:b'", "dim": "3"}
    given |= dict([fields.split("=", 1)])
    one = "EncoderSpec(" + ", ".join(f"{name}={value}" for name, value in given.items()) + ")"
    site.add("mmencode-birds", MEAN + hook(one))
    plugin = found()["mmencode-birds"]
    assert isinstance(plugin.error, SpecError), plugin.cause
    with pytest.raises(SpecError, match=f"(?s){words}"):
        raise plugin.error
    assert len(plugin.cause) < 1100


def test_strings_of_a_type_of_their_own_become_plain_ones(site, found):
    source = "class Odd(str):\n    def __eq__(self, other): raise RuntimeError\n    __hash__ = None\n"
    one = (
        "EncoderSpec(name=Odd('birds'), modality=Odd('text'), target=Odd('a:b'), dim=3, aliases=(Odd('x'),))"
    )
    site.add("mmencode-birds", source + hook(one))
    (found_spec,) = found()["mmencode-birds"].specs
    assert {type(value) for value in (found_spec.name, found_spec.target, *found_spec.aliases)} == {str}
    assert hash(found_spec)


def test_two_entry_points_that_declare_one_encoder_are_a_fault_of_the_second(site, registry):
    site.add("mmencode-birds", GOOD, entry_points="[mmencode]\na = mmencode_birds\nb = mmencode_birds\n")
    known = registry()
    assert known["birds/x"].name == "birds/x"
    (failed,) = known.failed
    assert (
        "encoder birds/x is declared twice, here and by another entry point of mmencode-birds" in failed.cause
    )


@pytest.mark.parametrize("where", ["import", "hook"])
def test_a_plugin_that_asks_for_all_plugins_while_it_is_asked_is_set_aside(site, found, where):
    call = "__import__('mmencode').registry.__wrapped__()"
    site.add("mmencode-birds", call if where == "import" else hook(before=call))
    assert "asks for the registry" in found()["mmencode-birds"].cause


PRINTS = {
    "print": "print('hello')",
    "write": "import sys; sys.stdout.write('hello\\n')",
    "bytes": "import sys; sys.stdout.buffer.write(b'hello\\n')",
    "kept": "import sys; kept = sys.stdout; kept.write('hello\\n')",
}


@pytest.mark.parametrize("line", PRINTS.values(), ids=PRINTS)
@pytest.mark.parametrize("where", ["import", "hook"])
def test_what_a_plugin_prints_goes_to_standard_error_and_is_remembered(site, found, capfd, where, line):
    site.add("mmencode-birds", f"{line}\n{GOOD}" if where == "import" else hook(spec("birds/x"), before=line))
    plugin = found()["mmencode-birds"]
    assert capfd.readouterr() == ("", "hello\n")
    assert plugin.error is None
    assert plugin.notes == ("prints 'hello'",)


def test_a_stream_that_a_plugin_kept_is_the_real_one_afterwards(site, found, capsys):
    site.add("mmencode-birds", f"import sys; kept = sys.stdout\n{GOOD}")
    assert found()["mmencode-birds"].error is None
    sys.modules["mmencode_birds"].kept.write("later\n")
    assert capsys.readouterr().out == "later\n"


def test_what_other_threads_print_meanwhile_goes_where_it_should(site, found, capsys):
    source = "import threading\nthread = threading.Thread(target=print, args=('from a thread',))\n"
    site.add("mmencode-birds", f"{source}thread.start(); thread.join()\n{GOOD}")
    found()
    assert capsys.readouterr().out == "from a thread\n"


THREAD = "starts a thread, and no command ends before it does"
CHANGES = {
    "the working directory": ("os.chdir('/')", os.getcwd),
    "signal handlers": (
        "signal.signal(signal.SIGINT, lambda *_: None)",
        lambda: signal.getsignal(signal.SIGINT),
    ),
    "the alarm": ("signal.alarm(100)", lambda: signal.getitimer(signal.ITIMER_REAL)),
    "the locale": ("locale.setlocale(locale.LC_ALL, 'C')", lambda: locale.setlocale(locale.LC_ALL)),
    "the hooks for errors": ("sys.excepthook = print", lambda: sys.excepthook),
    "how things are logged": (
        "logging.basicConfig(level=1)",
        lambda: (logging.root.level, logging.root.handlers[:]),
    ),
    "which warnings are shown": ("warnings.simplefilter('error')", lambda: list(warnings.filters)),
    "the state of random": ("random.seed(0)", random.getstate),
    "the limit of recursion": ("sys.setrecursionlimit(5000)", sys.getrecursionlimit),
    "the default timeout of sockets": ("socket.setdefaulttimeout(3)", socket.getdefaulttimeout),
    "the collection of garbage": ("gc.disable()", gc.isenabled),
    "the standard streams": ("sys.stdout = sys.stderr = None", lambda: (sys.stdout, sys.stderr, sys.stdin)),
    "torch's defaults": ("import torch; torch.set_default_dtype(torch.float64)", lambda: None),
}
IMPORTS = "import gc, locale, logging, os, random, signal, socket, sys, warnings\n"


@pytest.mark.parametrize("words", CHANGES)
def test_what_a_plugin_changes_of_the_process_is_undone_and_said(site, found, words, monkeypatch):
    line, read = CHANGES[words]
    monkeypatch.setattr(logging.root, "handlers", [])
    monkeypatch.setattr(random, "seed", random.seed)
    locale.setlocale(locale.LC_CTYPE, "C.UTF-8")
    site.add("mmencode-birds", f"{IMPORTS}{line}\n{GOOD}")
    before = read()
    plugin = found()["mmencode-birds"]
    assert read() == before
    assert plugin.error is None
    assert f"changes {words}, which was undone" in plugin.notes
    if "torch" in words:
        import torch

        assert torch.get_default_dtype() == torch.float32


def test_what_a_plugin_changes_is_undone_also_when_it_fails(site, found):
    before = os.getcwd()
    site.add("mmencode-birds", "import os\nos.chdir('/')\nraise RuntimeError('boom')\n")
    assert found()["mmencode-birds"].cause == "RuntimeError: boom"
    assert os.getcwd() == before


def test_variables_the_path_and_threads_are_said_and_left(site, found, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delenv("BIRDS_HOME", raising=False)
    source = """
import os, sys, threading
os.environ["BIRDS_HOME"] = "nest"
sys.path.append("/nest")
end = threading.Event()
threading.Thread(target=end.wait).start()
"""
    site.add("mmencode-birds", source + GOOD)
    plugin = found()["mmencode-birds"]
    sys.modules["mmencode_birds"].end.set()
    assert plugin.notes == (
        "sets BIRDS_HOME in the environment",
        "changes where modules are searched for",
        THREAD,
    )
    assert os.environ.pop("BIRDS_HOME") == "nest"


def test_a_plugin_that_asks_a_question_gets_no_answer(site, found):
    site.add("mmencode-birds", "input('which? ')")
    assert found()["mmencode-birds"].cause == "EOFError: EOF when reading a line"
    assert threading.current_thread() is threading.main_thread()


def test_a_quiet_plugin_has_no_notes_and_one_that_declares_nothing_has(site, found):
    site.add("mmencode-birds", GOOD)
    site.add("mmencode-none", hook())
    plugins = found()
    assert plugins["mmencode-birds"].notes == ()
    assert plugins["mmencode-none"].notes == ("declares nothing",)
    assert plugins["mmencode-none"].error is None


def test_a_plugin_that_imports_what_is_heavy_or_takes_its_time_is_slow(site, found, monkeypatch):
    monkeypatch.delitem(sys.modules, "soundfile", raising=False)
    site.add("mmencode-birds", f"import soundfile\n{GOOD}")
    monkeypatch.setattr("mmencode.plugins.discovery.SLOW", 0.1)
    site.add("mmencode-late", f"import time\ntime.sleep(0.2)\n{hook(spec('late'))}")
    plugins = found()
    assert plugins["mmencode-birds"].notes[0] == "slow: imports soundfile"
    assert plugins["mmencode-late"].notes[0].startswith("slow: took 0.")


@pytest.mark.parametrize(
    ("requires", "cause"),
    [
        ("mmencode>=99; extra == 'next'", ""),
        ("mmencode>=99; python_version < '3'", ""),
        ("mmencode[index]>=99; extra == 'next' and python_version > '3'", ""),
        ("mmencode[index]>=0.1", ""),
        ("another thing entirely !!", ""),
        ("mmencode-offline >= !!", ""),
        ("mmencode>=99; python_version > '3'", "PluginError: it was built for mmencode>=99"),
        ("MMencode [index] >=99", "PluginError: it was built for mmencode>=99"),
        (
            "mmencode >= !!",
            "PluginError: it requires 'mmencode >= !!', which can't be read: InvalidRequirement",
        ),
    ],
)
def test_only_what_is_required_here_without_an_extra_counts(site, found, requires, cause):
    site.add("mmencode-birds", GOOD, requires=(requires,))
    plugin = found()["mmencode-birds"]
    assert plugin.cause.startswith(cause)
    assert (plugin.error is None) == (cause == "")
    assert isinstance(plugin.error, PluginError | None)


@pytest.mark.parametrize(
    ("version", "taken"),
    [
        ("0.2.0.dev0", {">=0.2", ">=0.1", "==0.2.*", ">=0.2,<0.3", "~=0.2"}),
        ("0.2.0rc1", {">=0.2", ">=0.1", "==0.2.*", ">=0.2,<0.3", "~=0.2"}),
        ("0.1.0+local.7", {">=0.1", ">=0.1,<0.2"}),
        ("0.1.1.dev3+gabcdef", {">=0.1", ">=0.1,<0.2"}),
    ],
)
def test_a_pre_release_of_mmencode_counts_as_what_it_will_be(site, found, monkeypatch, version, taken):
    monkeypatch.setattr("mmencode.plugins.discovery.__version__", version)
    ranges = [">=0.2", ">=0.1", "==0.2.*", ">=0.2,<0.3", "~=0.2", ">=0.1,<0.2", "<0.2"]
    for number, asked in enumerate(ranges):
        site.add(f"mmencode-birds{number}", hook(spec(f"birds{number}/x")), requires=(f"mmencode{asked}",))
    plugins = found()
    fine = {asked for number, asked in enumerate(ranges) if plugins[f"mmencode-birds{number}"].error is None}
    assert fine == taken | ({"<0.2"} if version < "0.2" else set())


def test_json_is_json_whatever_is_written_to_standard_output(site):
    child = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'print(1)'])"
    lines = [
        "import atexit; atexit.register(print, 'bye')",
        "print('hello')",
        "import os; os.write(1, b'raw')",
        "import sys; print('x', file=sys.__stdout__)",
        child,
    ]
    site.add(
        "mmencode-birds",
        "\n".join([*lines, "import warnings, logging; warnings.warn('w'); logging.warning('l')", GOOD]),
    )
    states = site.states()
    assert states["mmencode-birds"].startswith("prints 'hello'")
    assert "birds/x" in site.command("list", "--json").stdout


def test_what_is_broken_shows_safely_in_the_terminal(site):
    site.add("mmencode-birds", "raise ValueError('\\x1b]0;owned\\x07')", version="1\x1b[31m")
    done = site.command("plugins")
    assert "\x1b" not in done.stdout + done.stderr
    assert r"ValueError: \x1b]0;owned\x07" in done.stdout
