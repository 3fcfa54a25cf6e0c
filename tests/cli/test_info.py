from __future__ import annotations

from dataclasses import replace

import mmencode
from mmencode.testing import fake_specs


def test_info_has_versions_devices_and_the_default_spaces_card(run_json):
    facts = run_json("info")
    assert facts["mmencode"] == mmencode.__version__
    assert "cpu" in facts["devices"]
    assert facts["auto"]["device"].partition(":")[0] == next(iter(facts["devices"])).partition(":")[0]
    assert facts["auto"]["dtype"].partition(":")[0] in ("float32", "bfloat16")
    assert set(facts["auto"]) == {"device", "dtype", "batch_size", "workers", "backend"}
    assert facts["default_space"] == {
        "name": "fake",
        "id": mmencode.load("fake").id,
        "modalities": ["audio", "image", "text"],
    }


def test_info_without_a_default_space_says_how_to_get_one(run, install):
    install()
    result = run("info")
    assert "default space\tnone" in result.stdout
    assert "pip install 'mmencode-offline[audio]'" in result.stderr


def test_info_tells_of_a_default_space_that_lacks_a_package(run_json, install):
    lacking = {"requires": ("no-such-package",), "install": "pip install ears", "aliases": ("default",)}
    install(fakes=tuple(replace(spec, **lacking) for spec in fake_specs()))
    assert run_json("info")["default_space"] is None


def test_info_lists_failed_plugins(run, install):
    install(broken=RuntimeError("boom"))
    assert "failed plugins\tbroken" in run("info").stdout
