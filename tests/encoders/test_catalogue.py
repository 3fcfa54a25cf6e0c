"""What the catalogues list is what the installed libraries publish."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

import pytest
import timm
import torch
from packaging.version import Version

import mmencode
from mmencode.encoders.catalogue import __main__ as catalogue
from mmencode.encoders.timm import TimmEncoder
from mmencode.errors import EncoderError

FAMILIES = {"openclip-image/*": 196, "openclip-text/*": 196, "timm/*": 1826, "torchaudio/*": 30}


@pytest.mark.parametrize("library", catalogue.LIBRARIES)
def test_every_name_is_one_of_the_librarys_and_only_newer_libraries_have_more(library):
    gone, new = catalogue.compare(library)
    installed = Version(version(catalogue.LIBRARIES[library].distribution))
    written_from = Version(catalogue.version_in_catalogue(library))
    assert not gone or installed < written_from
    assert not new or installed > written_from


@pytest.mark.parametrize("library", ["openclip", "torchaudio"])
def test_every_dim_is_the_librarys(library, tmp_path):
    catalogue.write(library, tmp_path)
    known = dict(
        line.split("\t") for line in (catalogue.FOLDER / f"{library}.tsv").read_text().splitlines()[1:]
    )
    fresh = dict(line.split("\t") for line in (tmp_path / f"{library}.tsv").read_text().splitlines()[1:])
    assert {name: fresh.get(name, dim) for name, dim in known.items()} == known


@pytest.mark.parametrize("architecture", ["test_vit", "test_convnext", "resnet18", "mobilenetv3_small_100"])
def test_dim_of_timms_members_is_the_width_of_their_encoder(architecture):
    encoder = TimmEncoder(timm.create_model(architecture))
    members = mmencode.registry()["timm/*"].members()
    assert {m.dim for m in members if m.variant.split(".")[0] == architecture} == {encoder.width}


def test_member_of_timm_without_a_dim_gives_no_features():
    members = mmencode.registry()["timm/*"].members()
    without = {member.variant.split(".")[0] for member in members if member.dim is None}
    assert "qwen3_vit_88m_enc" in without
    if not timm.is_model("qwen3_vit_88m_enc"):
        pytest.skip(f"timm {timm.__version__} is older than the model")
    with torch.device("meta"):
        model = timm.create_model("qwen3_vit_88m_enc")
    with pytest.raises(EncoderError, match="qwen3_vit_88m_enc gives tokens and no features"):
        TimmEncoder(model)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_built_in_family_lists_members_that_the_registry_resolves(family):
    registry = mmencode.registry()
    members = registry[family].members()
    assert len(members) == len({member.name for member in members}) >= FAMILIES[family]
    for member in members:
        found = registry[member.name]
        assert (found.name, found.space, found.variant) == (member.name, member.space, member.variant)


def test_both_towers_of_openclip_have_the_same_members():
    registry = mmencode.registry()
    image, text = (registry[f"openclip-{modality}/*"].members() for modality in ("image", "text"))
    assert [(one.space, one.dim) for one in image] == [(one.space, one.dim) for one in text]


def test_importing_mmencode_and_its_help_read_no_catalogue():
    code = """
import sys
sys.addaudithook(lambda event, values: event == "open" and str(values[0]).endswith(".tsv") and sys.exit(3))
import mmencode
from mmencode.cli import app
list(mmencode.registry())
for arguments in (["--help"], ["list"]):
    app(arguments, standalone_mode=False)
print("not read")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300
    )
    assert done.stdout.endswith("not read\n")


def test_check_says_what_differs(tmp_path, monkeypatch, capsys):
    catalogue.write("torchaudio", tmp_path)
    file = tmp_path / "torchaudio.tsv"
    monkeypatch.setattr(catalogue, "FOLDER", tmp_path)
    assert catalogue.main(["torchaudio", "--check"]) == 0
    file.write_text(file.read_text().replace("WAVLM_LARGE", "WAVLM_HUGE"))
    assert catalogue.main(["torchaudio", "--check"]) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[-2:] == ["  - WAVLM_HUGE", "  + WAVLM_LARGE"]
    with pytest.raises(SystemExit):
        catalogue.main(["nonsense"])
