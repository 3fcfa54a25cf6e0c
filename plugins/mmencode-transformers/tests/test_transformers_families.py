"""A checkpoint of another family is called what it is, and the remedy is the name under which it is taken."""

from __future__ import annotations

import json

import pytest
import transformers as hf
from mmencode_transformers import mmencode_encoders
from mmencode_transformers.architectures import ELSEWHERE, OPTIONS, TAKEN
from mmencode_transformers.clap import towers as clap
from mmencode_transformers.clip import towers as clip
from mmencode_transformers.image import build as image
from mmencode_transformers.late import towers as late
from mmencode_transformers.omni import towers as omni
from mmencode_transformers.pe_av import towers as pe_av
from mmencode_transformers.speech import build as speech
from mmencode_transformers.text import build as text

from mmencode.errors import WeightsError

BUILDERS = {
    "transformers/clap/": clap,
    "transformers/clip/": clip,
    "transformers/image/": lambda folder: image(f"cls:{folder}"),
    "transformers/late/": late,
    "transformers/omni/": omni,
    "transformers/pe-av/": pe_av,
    "transformers/speech/": lambda folder: speech(f"mean:{folder}"),
    "transformers/text/": lambda folder: text(f"mean:{folder}"),
}
HOMES = {kind: family for family, kinds in TAKEN.items() for kind in kinds}
ABROAD = {kind: family for family, kinds in ELSEWHERE.items() for kind in kinds}


@pytest.fixture
def folder(tmp_path):
    """A folder with nothing but the config.json of an architecture, which its refusal needs no more than."""

    def make(kind):
        settings = hf.CONFIG_MAPPING[kind]().to_dict()
        settings.pop("auto_map", None)
        (tmp_path / "config.json").write_text(json.dumps({**settings, "model_type": kind}, default=str))
        return tmp_path

    return make


def refused(family, folder):
    with pytest.raises(WeightsError) as caught:
        BUILDERS[family](str(folder))
    return caught.value


@pytest.mark.parametrize("kind", HOMES)
def test_remedy_is_the_family_that_takes_the_architecture(kind, folder):
    home = HOMES[kind]
    for family in BUILDERS.keys() - {home}:
        error = refused(family, folder(kind))
        assert f"is a {kind};" in error.fact, family
        assert error.remedy == f"name it {home}{OPTIONS.get(home, '')}{folder(kind)}", family


@pytest.mark.parametrize("kind", ["bert", "llama", "t5", "gpt2"])
def test_model_of_text_is_sent_to_the_family_of_texts(kind, folder):
    for family in BUILDERS.keys() - {"transformers/text/"}:
        error = refused(family, folder(kind))
        assert f"is a {kind};" in error.fact
        assert error.remedy == f"name it transformers/text/<cls, mean, max or last>:{folder(kind)}"


@pytest.mark.parametrize("kind", ABROAD)
def test_model_of_videos_is_sent_to_the_plugin_that_takes_it(kind, folder):
    error = refused("transformers/clip/", folder(kind))
    assert f"is a {kind};" in error.fact
    assert error.remedy.startswith(f"name it {ABROAD[kind]}<its folder>")
    assert "mmencode-video" in error.remedy


@pytest.mark.parametrize("kind", ["blip", "owlvit", "flava", "sam", "detr"])
def test_architecture_that_nothing_takes_is_told_so(kind, folder):
    for family in ("transformers/text/", "transformers/clip/"):
        error = refused(family, folder(kind))
        assert f"is a {kind};" in error.fact
        assert error.remedy.startswith(f"no family of this plugin takes a {kind}")


def test_families_of_the_table_are_declared_and_their_architectures_exist():
    spaces = {f"{spec.space_name.removesuffix('*')}" for spec in mmencode_encoders()}
    assert spaces >= TAKEN.keys() | OPTIONS.keys()
    assert HOMES.keys() | ABROAD.keys() <= set(hf.CONFIG_MAPPING)
    assert len(HOMES) == sum(map(len, TAKEN.values()))
