"""Backends compute the vectors that torch computes; what differs, fails or is absent is refused by name."""

from __future__ import annotations

import json
import os
import pickle
import sys

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

import mmencode
from mmencode import Encoder, EncoderSpec, Runtime, Space
from mmencode.engine.backends.keeping import DIGESTS, MODEL, exports_folder
from mmencode.engine.backends.proving import Exported
from mmencode.errors import DeviceError, EncoderError, MissingPackageError, SpaceMismatchError
from mmencode.testing.fakes import fake_multi_specs

pytest.importorskip("onnxruntime", reason="a backend: pip install 'mmencode[onnx]'")
pytest.importorskip("onnx", reason="what backends are given: pip install 'mmencode[onnx]'")
BACKENDS = ["onnxruntime", "openvino"]
TEXTS = ["a dog", "thunder", "two boats " * 30, "The meeting was moved to 14:00.", "a"] * 7


@pytest.fixture(scope="module", autouse=True)
def kept(tmp_path_factory):
    """A folder of caches for this file's tests, so that each network is exported once."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("caches")
        patch.setenv("XDG_CACHE_HOME", str(folder))
        patch.setenv("LOCALAPPDATA", str(folder))
        yield folder


@pytest.fixture(params=BACKENDS)
def backend(request):
    pytest.importorskip(request.param, reason=f"a backend: pip install 'mmencode[{request.param}]'")
    return request.param


def photographs(count: int = 5) -> list[np.ndarray]:
    draw = np.random.default_rng(0)
    return [draw.integers(0, 255, (90 + 9 * row, 120, 3), np.uint8) for row in range(count)]


class Rows(Encoder):
    """An encoder of texts by a row for each character, which is what a test makes of these rows."""

    width = 8
    preprocessing = "characters"

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(256, 8)
        self.product = nn.Linear(8, 8)

    def preprocess(self, item):
        return {"ids": torch.tensor(list(item.encode()))}

    def collate(self, items):
        return {"ids": nn.utils.rnn.pad_sequence([item["ids"] for item in items], batch_first=True)}

    def forward(self, tensors):
        ids = tensors["ids"]
        return (self.product(self.table(ids)) * (ids > 0)[..., None]).sum(dim=1)


class ByCount(Rows):
    """What a graph of it computes depends on the batch that it was traced on."""

    def forward(self, tensors):
        return super().forward(tensors) + 0.3 * len(tensors["ids"])


class ByLength(Rows):
    """A graph of it has no code for texts longer than those that it was traced on."""

    def forward(self, tensors):
        return super().forward(tensors) + (0.3 if tensors["ids"].shape[1] > 200 else 0)


class Unexportable(Rows):
    def forward(self, tensors):
        return torch.linalg.lstsq(self.product.weight, super().forward(tensors).T).solution.T


def rows_space(kind: str, **options) -> Space:
    spec = EncoderSpec(name=f"test/{kind}", modality="text", target=f"test_backends:{kind}", dim=8)
    return Space("test", [spec], runtime=Runtime("cpu", "float32", workers=1, **options))


def test_default_space_has_the_vectors_and_the_id_that_it_has_by_torch(backend):
    pytest.importorskip("mmencode_offline", reason="the default space: pip install mmencode-offline")
    plain = mmencode.load("default", device="cpu", dtype="float32")
    space = mmencode.load("default", backend=backend, workers=2)
    for modality, items in (("text", TEXTS), ("image", photographs())):
        expected = plain.encode(modality, items)
        found = space.encode(modality, items)
        assert isinstance(space.tower(modality).forward, Exported)
        np.testing.assert_allclose(found, expected, atol=1e-4)
        assert (found.space, found.towers) == (expected.space, expected.towers)
        np.testing.assert_allclose(space.encode(modality, items[:1]), expected[:1], atol=1e-4)
    assert space.id == plain.id
    assert pickle.loads(pickle.dumps(space)).runtime.backend == backend
    with pytest.raises(EncoderError, match=r"offline/yamnet.*audio") as refused:  # pieces by their counts
        space.encode("audio", [mmencode.Waveform(np.ones(16000, np.float32), 16000)])
    assert "modalities=" in refused.value.remedy


@pytest.mark.parametrize("architecture", ["test_vit", "test_resnet"])
def test_timms_networks_have_the_vectors_that_they_have_by_torch(architecture, backend, tmp_path):
    torch.manual_seed(0)
    path = tmp_path / f"{architecture}.safetensors"
    save_file(timm.create_model(architecture).state_dict(), path)
    name = f"timm/{architecture}/{path}"
    plain = mmencode.load(name, device="cpu", dtype="float32")
    with mmencode.load(name, backend=backend) as space:
        found = space.encode("image", photographs())
        np.testing.assert_allclose(found, plain.encode("image", photographs()), atol=1e-4)
        assert space.id == plain.id


def test_both_towers_of_a_clip_have_the_vectors_that_they_have_by_torch(backend, tmp_path):
    import open_clip

    torch.manual_seed(0)
    config = {
        "embed_dim": 32,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "head_width": 32, "patch_size": 16},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 1},
    }
    (tmp_path / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": config, "preprocess_cfg": {"size": 32}})
    )
    save_file(open_clip.CLIP(**config).state_dict(), tmp_path / "open_clip_model.safetensors")
    name = f"openclip/local-dir:{tmp_path}"
    plain = mmencode.load(name, device="cpu", dtype="float32")
    space = mmencode.load(name, backend=backend)
    short = [text[:200] for text in TEXTS]
    for modality, items in (("text", short), ("image", photographs())):
        np.testing.assert_allclose(
            space.encode(modality, items), plain.encode(modality, items), atol=1e-4, err_msg=modality
        )


def test_graph_that_computes_something_else_is_refused_with_the_angle(backend):
    with pytest.raises(EncoderError, match=r"test/ByCount.* up to [\d.]+ degrees from torch's") as refused:
        rows_space("ByCount", backend=backend).encode("text", ["a dog"])
    assert "without a backend" in refused.value.remedy


def test_graph_that_differs_only_beyond_what_was_compared_is_refused_there(backend):
    space = rows_space("ByLength", backend=backend)
    plain = rows_space("ByLength")
    np.testing.assert_allclose(space.encode("text", TEXTS[:2]), plain.encode("text", TEXTS[:2]), atol=1e-4)
    with pytest.raises(EncoderError, match=r"test/ByLength.*degrees from torch"):
        space.encode("text", ["a dog", "long " * 90])


def test_encoder_without_a_graph_is_refused_by_its_name():
    with pytest.raises(EncoderError, match=r"test/Unexportable.*can't be exported to ONNX"):
        rows_space("Unexportable", backend="onnxruntime").encode("text", ["a dog"])


def test_many_vectors_are_refused_by_the_encoders_name():
    with (
        Space("many", fake_multi_specs(), runtime=Runtime("cpu", backend="onnxruntime")) as space,
        pytest.raises(EncoderError, match=r"many vectors.*only torch computes"),
    ):
        space.encode_multi("text", ["a dog"])


@pytest.mark.parametrize("absent", ["onnxruntime", "onnx", "openvino"])
def test_backend_that_is_not_installed_says_what_installs_it(absent, monkeypatch):
    monkeypatch.setitem(sys.modules, absent, None)
    name, extra = ("openvino", "openvino") if absent == "openvino" else ("onnxruntime", "onnx")
    with pytest.raises(MissingPackageError, match=f"needs {absent}, which isn't installed") as refused:
        mmencode.load("fake", backend=name)
    assert refused.value.remedy == f"pip install 'mmencode[{extra}]'"


def test_what_a_backend_cannot_do_is_refused_before_anything_is_loaded(monkeypatch):
    with pytest.raises(ValueError, match="one of torch, onnxruntime, openvino"):
        Runtime(backend="tensorrt")
    for options in ({"dtype": "bfloat16"}, {"compile": True}):
        with pytest.raises(ValueError, match=r"leave .* out"):
            Runtime("cpu", backend="onnxruntime", **options)
    monkeypatch.setattr("mmencode.engine.runtime.devices", lambda: {"mps": "", "cpu": ""})
    with pytest.raises(DeviceError, match="computes on the CPU, and not on device 'mps'"):
        Runtime("mps", backend="onnxruntime")
    assert str(Runtime(backend="onnxruntime").device) == "cpu"


def export_once() -> tuple[np.ndarray, os.PathLike[str]]:
    """The vectors of a space, with the folder in which its graph is kept."""
    before = set(exports_folder().iterdir()) if exports_folder().exists() else set()
    vectors = rows_space("Rows", backend="onnxruntime").encode("text", TEXTS).vectors
    (folder,) = set(exports_folder().iterdir()) - before
    return vectors, folder


@pytest.mark.parametrize("damage", ["cut", "changed", "gone", "digests"])
def test_damaged_graph_is_made_anew_with_a_warning(damage, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    vectors, folder = export_once()
    model, whole = folder / MODEL, (folder / MODEL).read_bytes()
    if damage == "cut":
        model.write_bytes(whole[:100])
    elif damage == "changed":
        model.write_bytes(whole[:-9] + bytes(9))
    elif damage == "gone":
        model.unlink()
    else:
        (folder / DIGESTS).write_text("[")
    with pytest.warns(RuntimeWarning, match="is damaged, so it is made anew"):
        found = rows_space("Rows", backend="onnxruntime").encode("text", TEXTS)
    np.testing.assert_allclose(found, vectors, atol=1e-6)
    np.testing.assert_allclose(
        rows_space("Rows", backend="onnxruntime").encode("text", TEXTS), vectors, atol=1e-6
    )


def test_kept_graph_of_other_code_is_made_anew(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    vectors, folder = export_once()
    monkeypatch.setattr(Rows, "forward", lambda self, tensors: self.table(tensors["ids"]).sum(dim=1))
    other = rows_space("Rows", backend="onnxruntime").encode("text", TEXTS)
    np.testing.assert_allclose(other, rows_space("Rows").encode("text", TEXTS), atol=1e-4)
    assert np.abs(other.vectors - vectors).max() > 0.1
    assert [path.name for path in exports_folder().iterdir()] == [folder.name]


def test_graph_is_made_for_this_process_where_it_cannot_be_kept(tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    space = rows_space("Rows", backend="onnxruntime")
    with pytest.warns(RuntimeWarning, match="can't be kept"):
        found = space.encode("text", TEXTS)
    np.testing.assert_allclose(found, rows_space("Rows").encode("text", TEXTS), atol=1e-4)


def test_threads_follow_torchs(backend):
    space = rows_space("Rows", backend=backend)
    before, expected = torch.get_num_threads(), space.encode("text", TEXTS).vectors
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            np.testing.assert_allclose(space.encode("text", TEXTS), expected, atol=1e-6)
            *_, (_, threads) = space.tower("text").forward._sessions._open
            assert threads == count
    finally:
        torch.set_num_threads(before)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_forked_process_computes_the_same_or_says_that_it_cannot(backend):
    space = rows_space("Rows", backend=backend)
    expected = space.encode("text", TEXTS).vectors
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        import signal
        import warnings

        signal.alarm(60)
        warnings.simplefilter("ignore")
        try:
            found = str(float(np.abs(space.encode("text", TEXTS).vectors - expected).max()))
        except BaseException as error:
            found = str(error)
        os.write(writing, found.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        said = answer.read()
    if backend == "openvino":
        assert 'start processes by "spawn"' in said
    else:
        assert float(said) < 1e-5
    assert os.waitpid(child, 0)[1] == 0


def test_space_travels_with_its_backend():
    space = rows_space("Rows", backend="onnxruntime", batch_size=3)
    again = pickle.loads(pickle.dumps(space))
    assert (again.runtime.backend, again.runtime.batch_size, again.id) == ("onnxruntime", 3, space.id)
    np.testing.assert_allclose(again.encode("text", TEXTS), space.encode("text", TEXTS), atol=1e-6)


@pytest.fixture(scope="module")
def int8():
    """The default space in int8, its vectors, and what it says."""
    pytest.importorskip("mmencode_offline", reason="the default space: pip install mmencode-offline")
    space = mmencode.load("default", dtype="int8", modalities=("text",))
    with pytest.warns(UserWarning, match="offline/minilm.* in int8.*cosine of 0.9") as said:
        vectors = space.encode("text", TEXTS)
    return space, vectors, str(said[0].message)


def test_space_in_int8_is_another_one_whose_card_says_how_near_it_is(int8, tmp_path):
    space, vectors, said = int8
    plain = mmencode.load("default", device="cpu", dtype="float32", modalities=("text",))
    exact = plain.encode("text", TEXTS)
    least = float((vectors.vectors * exact.vectors).sum(axis=1).min())
    assert 0.97 < least < 0.9999
    assert space.id != plain.id
    assert space.card.tower("text").precision.startswith("int8")
    assert f"{space.card.tower('text').fidelity:.4f}" in said
    assert "int8" in str(space.card)
    with pytest.raises(SpaceMismatchError):
        mmencode.similarity(vectors, exact)


def test_vector_in_int8_depends_on_its_item_alone(int8):
    space, vectors, _ = int8
    np.testing.assert_array_equal(space.encode("text", TEXTS[2:3]).vectors, vectors.vectors[2:3])


def test_network_without_attention_is_refused_in_int8():
    pytest.importorskip("mmencode_offline", reason="the default space: pip install mmencode-offline")
    with pytest.raises(EncoderError, match=r"offline/efficientnet-lite0.* is no transformer") as refused:
        mmencode.load("default", dtype="int8").encode("image", photographs(1))
    assert "float32" in refused.value.remedy


@pytest.mark.filterwarnings("ignore:encoder .* computes in int8")
def test_saved_space_in_int8_is_loaded_so_and_not_otherwise(int8, tmp_path):
    space, vectors, _ = int8
    space.save(tmp_path / "saved")
    again = mmencode.load(tmp_path / "saved", modalities=("text",))
    assert again.id == space.id
    assert again.card.tower("text").fidelity == space.card.tower("text").fidelity
    np.testing.assert_array_equal(again.encode("text", TEXTS[:2]).vectors, vectors.vectors[:2])
    assert pickle.loads(pickle.dumps(again)).id == space.id
    with pytest.raises(SpaceMismatchError, match="saved in int8"):
        mmencode.load(tmp_path / "saved", dtype="float32")


@pytest.mark.filterwarnings("ignore:encoder .* computes in int8")
def test_saved_space_in_float32_becomes_another_one_in_int8_and_an_index_refuses(int8, tmp_path):
    pytest.importorskip("lancedb")
    space, vectors, _ = int8
    plain = mmencode.load("default", device="cpu", dtype="float32", modalities=("text",))
    plain.save(tmp_path / "saved")
    rounded = mmencode.load(tmp_path / "saved", dtype="int8", modalities=("text",))
    assert rounded.id == space.id
    index = mmencode.Index.create(tmp_path / "index", plain)
    index.add("text", ["a dog"])
    with pytest.raises(SpaceMismatchError):
        index.search_embeddings(vectors[:1])
    with pytest.raises(SpaceMismatchError, match="another"):
        mmencode.Index.open(tmp_path / "index", dtype="int8").search("text", ["a dog"])
    with mmencode.Index.create(tmp_path / "rounded", space) as other:
        other.add("text", ["a dog", "thunder"])
    with mmencode.Index.open(tmp_path / "rounded") as other:
        assert other.space.id == space.id
        assert other.search("text", ["a dog"], k=1)[0][0].score > 0.9999


def test_int8_is_no_dtype_of_a_runtime():
    with pytest.raises(ValueError, match='load\\(name, dtype="int8"\\)'):
        Runtime("cpu", "int8")
