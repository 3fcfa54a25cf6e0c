"""The plugin of the `llm` command: collections of texts, images and sounds, and of one space."""

from __future__ import annotations

import io
import json
import sqlite3
import subprocess
import sys
from contextlib import closing

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("llm", reason="llm: .ci/run hosts installs it")
pytest.importorskip("mmencode_offline", reason="the tests run on the default space")

import llm
from click.testing import CliRunner
from llm.cli import cli

import mmencode
from mmencode.errors import InputError, SpaceMismatchError

pytestmark = pytest.mark.hosts


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("LLM_USER_PATH", str(tmp_path / "llm"))


@pytest.fixture(scope="module")
def space():
    with mmencode.load("default") as loaded:
        yield loaded


@pytest.fixture
def run():
    def invoke(*arguments, code=0, input=None):
        done = CliRunner().invoke(cli, [*map(str, arguments)], input=input)
        assert done.exit_code == code, (done.output, done.exception)
        return done.output

    return invoke


@pytest.fixture
def registered(run):
    return run("mmencode", "register", "default")


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, colour in {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}.items():
        Image.fromarray(np.full((40, 60, 3), colour, np.uint8)).save(folder / f"{name}.png")
    return folder


def test_a_text_has_the_vector_of_the_library(registered, run, space):
    assert registered.strip() == f"mmencode/{space.id} (mmencode/default, mmencode/{space.name})"
    found = json.loads(run("embed", "-m", "mmencode/default", "-c", "a cat"))
    assert np.allclose(found, space.encode("text", ["a cat"]).vectors[0], atol=1e-6)


def test_an_image_is_binary_content(registered, run, space, pictures):
    found = json.loads(run("embed", "-m", "mmencode/default", "--binary", "-i", pictures / "red.png"))
    assert np.allclose(found, space.encode("image", [pictures / "red.png"]).vectors[0], atol=1e-6)


def test_a_folder_of_images_is_found_by_words_and_by_an_image(registered, run, pictures, space):
    run("embed-multi", "pictures", "--files", pictures, "*.png", "--binary", "-m", "mmencode/default")
    by_words = [
        json.loads(line)["id"] for line in run("similar", "pictures", "-c", "a red square").splitlines()
    ]
    assert sorted(by_words) == ["blue.png", "green.png", "red.png"]
    by_image = run("similar", "pictures", "--binary", "-i", pictures / "green.png", "-n", 1)
    assert json.loads(by_image)["id"] == "green.png"
    expected = mmencode.similarity(
        space.encode("text", ["a red square"]), space.encode("image", sorted(pictures.glob("*.png")))
    )[0]
    assert by_words == [["blue.png", "green.png", "red.png"][place] for place in np.argsort(-expected)]


def test_texts_of_a_table_are_found(registered, run, tmp_path):
    (tmp_path / "texts.csv").write_text("id,text\n1,heavy rain in May\n2,a violin concerto\n")
    run("embed-multi", "texts", tmp_path / "texts.csv", "-m", "mmencode/default", "--store")
    assert json.loads(run("similar", "texts", "-c", "music", "-n", 1))["content"] == "a violin concerto"


def test_sounds_are_registered_by_their_modality(run, space):
    import soundfile

    written = io.BytesIO()
    soundfile.write(written, np.sin(np.arange(16_000) / 7), 16_000, format="WAV")
    assert run("mmencode", "register", "default", "--binary", "audio").startswith(
        f"mmencode/{space.id}/audio "
    )
    model = llm.get_embedding_model("mmencode/default/audio")
    expected = space.encode("audio", [written.getvalue()]).vectors[0]
    assert np.allclose(model.embed(written.getvalue()), expected, atol=1e-6)


def test_a_collection_keeps_the_fingerprint_and_a_new_process_finds_in_it(registered, run, space, tmp_path):
    run("embed", "texts", "1", "-m", "mmencode/default", "-c", "heavy rain in May")
    run("embed", "texts", "2", "-m", "mmencode/default", "-c", "a violin concerto")
    with closing(sqlite3.connect(tmp_path / "llm" / "embeddings.db")) as database:
        assert database.execute("select model from collections").fetchall() == [(f"mmencode/{space.id}",)]
    done = subprocess.run(
        [sys.executable, "-m", "llm", "similar", "texts", "-c", "music", "-n", "1"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert json.loads(done.stdout)["id"] == "2", done.stderr


def test_a_collection_of_a_space_that_is_another_one_now_is_refused(registered, run, space, tmp_path):
    path = tmp_path / "llm" / "mmencode.json"
    path.write_text(path.read_text().replace(space.id, "offline@0123456789abcdef"))
    old = llm.get_embedding_model("mmencode/offline@0123456789abcdef")
    with pytest.raises(SpaceMismatchError) as caught:
        old.embed("a cat")
    assert space.id in str(caught.value)
    assert "offline@0123456789abcdef" in str(caught.value)
    run("mmencode", "register", "default")  # the collection of the older one stays that one's
    assert llm.get_embedding_model("mmencode/default").model_id == f"mmencode/{space.id}"
    assert llm.get_embedding_model("mmencode/offline@0123456789abcdef").model_id != f"mmencode/{space.id}"
    assert len(run("mmencode", "list").splitlines()) == 2


def test_a_saved_space_is_registered_by_its_folder(run, space, tmp_path, monkeypatch):
    space.save(tmp_path / "saved")
    monkeypatch.chdir(tmp_path)
    run("mmencode", "register", "saved")
    monkeypatch.chdir("/")
    assert len(llm.get_embedding_model(f"mmencode/{space.name}").embed("a cat")) == space.dim


def test_texts_and_images_of_one_batch_keep_their_order(registered, pictures, space):
    items = ["a cat", (pictures / "red.png").read_bytes(), "rain"]
    found = list(llm.get_embedding_model("mmencode/default").embed_multi(items))
    assert np.allclose(found[0::2], space.encode("text", ["a cat", "rain"]).vectors, atol=1e-6)
    assert np.allclose(found[1], space.encode("image", [items[1]]).vectors[0], atol=1e-6)


def test_content_that_cannot_be_encoded_is_named_by_its_place(registered, pictures):
    items = [(pictures / "red.png").read_bytes(), b"no picture"]
    with pytest.raises(InputError) as caught:
        list(llm.get_embedding_model("mmencode/default").embed_multi(items))
    assert caught.value.index == 1


def test_an_unknown_space_and_an_unknown_modality_are_errors_without_a_traceback(run):
    assert "no space is called 'nothing'" in run("mmencode", "register", "nothing", code=1)
    assert "smell" in run("mmencode", "register", "default", "--binary", "smell", code=1)


def test_a_damaged_list_is_told_and_hurts_no_other_command(registered, tmp_path):
    (tmp_path / "llm" / "mmencode.json").write_text("{")
    done = CliRunner().invoke(cli, ["embed-models", "list"])
    assert done.exit_code == 0
    assert "mmencode.json can't be read" in done.output


def test_to_list_models_imports_no_torch(registered):
    code = (
        "import sys, llm; models = llm.get_embedding_models(); "
        "print([model.model_id for model in models], 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300
    )
    assert "mmencode/offline@" in done.stdout
    assert done.stdout.strip().endswith("False")
