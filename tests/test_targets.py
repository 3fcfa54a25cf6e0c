"""A target that fails is the fault of the plugin that names it, and the error says which that is."""

from __future__ import annotations

import errno
from dataclasses import replace

import pytest

import mmencode
from mmencode.errors import EncoderError, WeightsError
from mmencode.plugins.spec import EncoderSpec
from mmencode.plugins.targets import build
from mmencode.testing import FakeText

RAISES = f"{__name__}:Raises"
SPEC = EncoderSpec(name="zoo/words", modality="text", target=f"{RAISES}.nothing", dim=8)
FAMILY = EncoderSpec(name="zoo/*", modality="text", target=f"{RAISES}.member")


class Panic(BaseException):
    """What Rust raises, for one."""


class Mute(Exception):
    def __str__(self):
        raise RuntimeError("no words")


def raising(error):
    def build(*variant):
        raise error

    return build


class Raises:
    value = raising(ValueError("bad \x1b[31mvalue"))
    panic = raising(Panic("index out of bounds"))
    exit = raising(SystemExit(3))
    mute = raising(Mute())
    missing = raising(ModuleNotFoundError("No module named 'birds'"))
    file = raising(FileNotFoundError(errno.ENOENT, "No such file or directory"))
    memory = raising(MemoryError())
    disk = raising(OSError(errno.ENOSPC, "No space left on device"))
    weights = raising(WeightsError("they are torn"))
    interrupt = raising(KeyboardInterrupt())

    @staticmethod
    def member(variant):
        raise ValueError(variant)

    @staticmethod
    def wrong():
        return 3


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (f"{RAISES}.value", r"ValueError: bad \x1b[31mvalue"),
        (f"{RAISES}.panic", "Panic: index out of bounds"),
        (f"{RAISES}.exit", "SystemExit: 3"),
        (f"{RAISES}.mute", "Mute: (its message can't be read: RuntimeError)"),
        (f"{RAISES}.missing", "ModuleNotFoundError: No module named 'birds'"),
        (f"{RAISES}.file", "FileNotFoundError: [Errno 2] No such file or directory"),
        (f"{RAISES}.nothing", "AttributeError: "),
        ("no_such_module:build", "ModuleNotFoundError: No module named 'no_such_module'"),
    ],
)
def test_whatever_a_target_raises_names_the_plugin_and_its_version(install, target, said):
    install(**{"mmencode-zoo": (replace(SPEC, target=target),)})
    with mmencode.load("zoo/words") as space, pytest.raises(EncoderError) as refused:
        space.encode("text", ["a"])
    fact = f"encoder 'zoo/words' can't be built: its target {target!r} raised {said}"
    assert refused.value.fact.startswith(fact)
    assert refused.value.culprit == "mmencode-zoo 1.0"
    assert refused.value.__cause__ is not None


def test_a_projections_target_is_the_plugins_too(install):
    spec = replace(SPEC, target="mmencode.testing:FakeText", projection=f"{RAISES}.value")
    install(**{"mmencode-zoo": (spec,)})
    with (
        mmencode.load("zoo/words") as space,
        pytest.raises(EncoderError, match=r"Raises.value' raised") as refused,
    ):
        space.encode("text", ["a"])
    assert refused.value.culprit == "mmencode-zoo 1.0"


def test_a_target_that_gives_no_encoder_names_the_plugin(install):
    install(**{"mmencode-zoo": (replace(SPEC, target=f"{RAISES}.wrong"),)})
    with mmencode.load("zoo/words") as space, pytest.raises(EncoderError, match="gave int") as refused:
        space.encode("text", ["a"])
    assert refused.value.culprit == "mmencode-zoo 1.0"


def test_a_member_of_a_family_is_the_familys_plugins(install):
    install(**{"mmencode-zoo": (FAMILY,)})
    with mmencode.load("zoo/any") as space, pytest.raises(EncoderError, match="ValueError: any") as refused:
        space.encode("text", ["a"])
    assert refused.value.culprit == "mmencode-zoo 1.0"


@pytest.mark.parametrize(
    ("name", "kind"),
    [("memory", MemoryError), ("disk", OSError), ("weights", WeightsError), ("interrupt", KeyboardInterrupt)],
)
def test_what_is_not_the_plugins_fault_stays_what_it_is(name, kind):
    with pytest.raises(kind) as refused:
        build(SPEC, f"{RAISES}.{name}")
    assert type(refused.value) is kind


def test_a_spec_of_ones_own_is_its_own_declaration(install):
    install(**{"mmencode-zoo": (replace(SPEC, target="mmencode.testing:FakeText"),)})
    with pytest.raises(EncoderError) as refused:
        build(SPEC, SPEC.target)
    assert refused.value.culprit == "the declaration of encoder 'zoo/words'"
    assert isinstance(build(mmencode.registry()["zoo/words"], "mmencode.testing:FakeText"), FakeText)
