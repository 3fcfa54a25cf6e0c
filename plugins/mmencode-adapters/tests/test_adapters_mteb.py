"""A space in MTEB, judged by its mock run: each modality, with what ran of it, and a search on an Index."""

from __future__ import annotations

import io

import numpy as np
import pytest

pytest.importorskip("mmencode_adapters", reason="mmencode-adapters: .ci/run hosts installs it")
pytest.importorskip("mmencode_offline", reason="the tests encode in the default space")
pytest.importorskip("mteb", reason="mteb: .ci/run hosts installs it")
import soundfile
from datasets import Audio, Dataset
from mmencode_adapters.mteb import IndexSearch, SpaceEncoder, encode_rows
from mteb.mocks import ALL_MOCK_TASK_TEST_GRID
from mteb.mocks.mock_run import is_dependency_error, mock_run
from mteb.models.models_protocols import EncoderProtocol, SearchProtocol
from mteb.results.task_result import TaskError
from mteb.types import PromptType
from PIL import Image
from skimage import data
from torch.utils.data import DataLoader

import mmencode
from mmencode.errors import InputError

pytestmark = [pytest.mark.hosts, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def space():
    with mmencode.load("default") as loaded:
        yield loaded


@pytest.fixture(scope="module")
def space_with_videos(space):
    joining = pytest.importorskip("mmencode_video", reason="videos need mmencode-video")
    return joining.join_video(space)


@pytest.fixture(scope="module")
def run(space_with_videos):
    """MTEB's mock run over every modality that the space has."""
    return mock_run(SpaceEncoder(space_with_videos))


def lacking(run):
    """The modalities of each task that didn't run for want of a package, and what MTEB says of it."""
    modalities = {task.metadata.name: task.metadata.modalities for task in ALL_MOCK_TASK_TEST_GRID}
    return [
        (modalities[name], status.exception.splitlines()[-1])
        for name, status in run.items()
        if isinstance(status, TaskError) and is_dependency_error(status)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("modality", ["text", "image", "audio", "video"])
def test_each_modality_passes_the_mock_run(run, modality):
    status, failures = next((row[0], row[2]) for row in run.modality_summary() if row[1] == modality)
    absent = [why for modalities, why in lacking(run) if "audio" in modalities]
    assert [why for modalities, why in lacking(run) if "audio" not in modalities] == []
    if modality == "audio" and absent:
        # The mock recordings are written by torchcodec before any model is asked for a vector.
        assert status == "skipped"
        assert all("torchcodec" in why for why in absent)
        pytest.skip(f"MTEB writes its mock recordings with torchcodec, which needs FFmpeg: {absent[0]}")
    assert failures == ""
    assert status.startswith("✓")


@pytest.mark.slow
def test_no_task_of_the_mock_run_failed(run):
    failed = {name: status.exception for name, status in run.items() if isinstance(status, TaskError)}
    assert {name for name, why in failed.items() if "torchcodec" not in why} == set()


@pytest.mark.slow
def test_a_search_on_an_index_passes_the_mock_run_of_texts_and_pictures(space):
    search = IndexSearch(space)
    assert isinstance(search, SearchProtocol)
    assert not isinstance(search, EncoderProtocol)
    found = mock_run(search)
    search.close()
    passed = {row[1]: row[0] for row in found.modality_summary()}
    assert passed["text"].startswith("✓")
    assert passed["image"].startswith("✓")
    failed = {name: status.exception for name, status in found.items() if isinstance(status, TaskError)}
    assert {name for name, why in failed.items() if "torchcodec" not in why} == set()


def loader_of(**columns):
    return DataLoader(Dataset.from_dict(columns), batch_size=2)


def test_vectors_are_those_of_the_space_on_the_side_that_the_task_says(space):
    texts = ["a cat", "a cup of coffee", "a rocket launch"]
    model = SpaceEncoder(space)
    assert isinstance(model, EncoderProtocol)
    for side in (None, PromptType.query, PromptType.document):
        found = model.encode(loader_of(text=texts), prompt_type=side)
        role = "" if side is None else side.value
        np.testing.assert_allclose(found, space.encode("text", texts, role=role).vectors, atol=1e-6)
    assert model.similarity(found, found).shape == (3, 3)
    assert np.allclose(model.similarity_pairwise(found, found), 1)


def test_a_blank_text_gets_zeros_and_moves_no_other_row(space):
    found = SpaceEncoder(space).encode(loader_of(text=["a cat", " ", "a dog", ""]))
    np.testing.assert_allclose(found[[0, 2]], space.encode("text", ["a cat", "a dog"]).vectors, atol=1e-6)
    assert not found[[1, 3]].any()


def wav(pitch):
    file = io.BytesIO()
    soundfile.write(file, 0.3 * np.sin(np.arange(16000) * pitch), 16000, format="WAV")
    return file.getvalue()


def test_recordings_are_read_by_mmencode_without_torchcodec(space):
    sounds = [wav(0.1), wav(0.3)]
    rows = Dataset.from_dict({"audio": [{"bytes": sound, "path": None} for sound in sounds]})
    found = encode_rows(space, rows.cast_column("audio", Audio()), "")
    np.testing.assert_allclose(found, space.encode("audio", sounds).vectors, atol=1e-6)


def test_a_picture_with_its_text_is_the_mean_of_both(space):
    pictures = [Image.fromarray(data.chelsea()), Image.fromarray(data.coffee())]
    rows = Dataset.from_dict({"image": pictures, "text": ["a cat", "coffee"]})
    both = space.encode("image", pictures).vectors + space.encode("text", ["a cat", "coffee"]).vectors
    found = encode_rows(space, rows, "")
    np.testing.assert_allclose(found, both / np.linalg.norm(both, axis=1, keepdims=True), atol=1e-5)


def test_a_recording_that_cannot_be_read_is_named(space):
    rows = Dataset.from_dict(
        {"audio": [{"bytes": wav(0.1), "path": None}, {"bytes": b"noise", "path": None}]}
    )
    with pytest.raises(InputError) as caught:
        encode_rows(space, rows.cast_column("audio", Audio()), "")
    assert caught.value.index == 1


def test_results_are_kept_by_the_fingerprint_of_the_space(space):
    meta = SpaceEncoder("default").mteb_model_meta
    assert (meta.name, meta.revision) == ("mmencode/offline", space.id.rpartition("@")[2])
    assert meta.modalities == ["text", "image", "audio"]
