"""Whose a modality is: a newcomer is set aside by what it claims of others, and those don't notice."""

from __future__ import annotations

from itertools import permutations

import pytest
from distributions import spec

from mmencode import ModalitySpec
from mmencode.errors import NameClashError, PluginError, SpecError
from mmencode.plugins.core_modalities import CORE
from mmencode.plugins.modalities import find_modality, walked_modalities

IMPORTS = "from mmencode import EncoderSpec, ModalitySpec, hookimpl\n"


def declare(name="molecule", **values):
    return ModalitySpec(**{"name": name, "reader": "molecules.items:read", "endings": (".smi",), **values})


def source(*specs):
    lines = "".join(f"    yield ModalitySpec({one})\n" for one in specs)
    return f"{IMPORTS}@hookimpl\ndef mmencode_modalities():\n{lines}"


def test_the_distribution_with_its_name_owns_a_modality_in_any_order(make_registry):
    claims = {
        "aaa": (declare(description="aaa"),),
        "molecule": (declare(description="molecule"),),
        "mmencode-molecule": (declare(description="ours"),),
    }
    for order in permutations(claims):
        found = make_registry(**{name: claims[name] for name in order}).modalities
        assert found.owned["molecule"] == ("mmencode-molecule", claims["mmencode-molecule"][0])
        assert {(lost.distribution, lost.owner) for lost in found.set_aside} == {
            ("aaa", "mmencode-molecule"),
            ("molecule", "mmencode-molecule"),
        }
        assert found.contested == {}


def test_two_claims_of_equal_right_are_contested_and_name_both(install):
    other = declare("crystal", endings=(".cif",))
    install(**{"lab-one": (declare(), other), "lab-two": (declare(),)})
    with pytest.raises(NameClashError, match="modality 'molecule' is declared by lab-one and lab-two"):
        find_modality("molecule")
    assert find_modality("crystal") == other
    assert find_modality("text") is CORE["text"]
    assert walked_modalities() == ("image", "audio", "crystal")


@pytest.mark.parametrize("name", ["text", "image", "audio"])
@pytest.mark.parametrize("newcomer", ["aaa", "mmencode-image", "image", "text", "audio"])
def test_nobody_redefines_what_is_mmencodes_own(install, name, newcomer):
    good = declare()
    install(**{newcomer: (declare(name, endings=(".xyz",)), good)})
    assert find_modality(name) is CORE[name]
    assert find_modality("molecule") == good
    from mmencode import registry

    (lost,) = registry().modalities.set_aside
    assert lost.error.fact == f"modality {name!r} of {newcomer} is set aside: it belongs to mmencode"
    assert newcomer in lost.error.culprit


def test_nobody_stands_in_for_an_owner_that_failed(install):
    install(**{"mmencode-molecule": PluginError("boom"), "aaa": (declare(),)})
    from mmencode import registry

    assert find_modality("molecule") is None
    (lost,) = registry().modalities.set_aside
    assert "belongs to mmencode-molecule, which failed to load" in lost.error.fact


def test_an_ending_of_cores_is_set_aside_alone(install):
    install(lab=(declare(endings=(".smi", ".png", ".heic"), optional=((".m4a", "json", "json"),)),))
    from mmencode import registry

    found = find_modality("molecule")
    assert found is not None
    assert (found.endings, found.optional) == ((".smi",), ())
    lost = registry().modalities.set_aside
    assert [one.ending for one in lost] == [".png", ".heic", ".m4a"]
    assert "the ending '.png' of modality 'molecule' of lab is set aside: it belongs to mmencode" in str(
        lost[0].error
    )


def test_a_modality_of_one_distribution_is_declared_once(site, found):
    site.add("twice", source("name='molecule', reader='a:b'", "name='molecule', reader='c:d'"))
    assert "modality molecule is declared twice" in found()["twice"].cause


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("name='Bad', reader='a:b'", "ModalitySpec.name is 'Bad'"),
        ("name='molecule', reader='a:b', endings='.smi'", "ModalitySpec.endings is '.smi'"),
    ],
)
def test_a_malformed_modality_sets_its_plugin_aside(site, found, line, said):
    site.add("bad", source(line))
    plugins = found()
    assert said in plugins["bad"].cause
    assert isinstance(plugins["bad"].error, SpecError)


def test_what_is_no_modality_spec_sets_its_plugin_aside(site, found):
    site.add("odd", f"{IMPORTS}@hookimpl\ndef mmencode_modalities():\n    yield 7\n")
    assert "mmencode_modalities gave 7" in found()["odd"].cause


def test_a_plugin_may_declare_modalities_alone(site, registry):
    site.add("lab", source("name='molecule', reader='a:b', endings=('.smi',)"))
    assert registry().modalities.owned["molecule"][0] == "lab"
    assert registry().modality("molecule").endings == (".smi",)


def test_the_doctor_says_what_is_set_aside_contested_and_missing(site):
    site.add("one", source("name='molecule', reader='json:loads'", "name='image', reader='json:loads'"))
    site.add("two", source("name='molecule', reader='json:loads'"))
    site.add("gone", source("name='crystal', reader='nowhere.at_all:read', preview='json:nothing'"))
    site.add("ours", f"{IMPORTS}@hookimpl\ndef mmencode_encoders():\n    yield {spec('ours')}\n")
    for options in ((), ("--isolated",)):
        states = site.states(*options)
        assert "modality 'image' of one is set aside: it belongs to mmencode" in states["one"]
        assert "'modality molecule' is declared by two, too" in states["one"]
        assert "reader 'nowhere.at_all:read': there is no module nowhere" in states["gone"]
        assert "preview 'json:nothing': module json has no nothing" in states["gone"]
        assert states["ours"] == "ok"
        assert states["mmencode"] == "ok"


def test_declarations_of_modalities_survive_isolation(site):
    from mmencode.plugins.isolated import discover_isolated

    line = "name='molecule', reader='a:b', limits=(('atoms', 5),), optional=(('.cdx', 'a', 'b'),)"
    site.add("lab", source(line))
    (lab,) = [plugin for plugin in discover_isolated(30) if plugin.distribution == "lab"]
    assert lab.modalities == (eval(f"ModalitySpec({line})"),)
