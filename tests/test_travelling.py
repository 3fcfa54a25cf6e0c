"""Spaces, classifiers and indexes get into another process, or say why they don't."""

from __future__ import annotations

import copy
import functools
import io
import json
import os
import pickle
import subprocess
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from composing import SOUND, TEXT, WIDE, anchored, on_cpu

import mmencode
from mmencode import Index, Limits, Projection, Runtime, Space, compose
from mmencode.encoder import identify
from mmencode.errors import ClosedError, EncoderError, IdentityError, StoreError, UnknownNameError
from mmencode.spaces.loading import shared
from mmencode.testing import FakeText, fake_specs, sample_items

IMAGES = sample_items("image", 3)

# What a process does that was started anew, as by "spawn": it finds what was sent, and answers.
ARRIVE = """
import json, pickle, sys
sys.path[:] = json.loads(sys.stdin.buffer.readline())
import warnings; warnings.simplefilter("error", RuntimeWarning)
what = pickle.load(sys.stdin.buffer)
answer = {ANSWER}
print(json.dumps(answer))
"""


def in_another_process(answer, sent):
    """What a fresh process answers, given what was sent."""
    done = subprocess.run(
        [sys.executable, "-c", ARRIVE.replace("{ANSWER}", answer)],
        input=json.dumps(sys.path).encode() + b"\n" + pickle.dumps(sent),
        capture_output=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout.splitlines()[-1])


def again(value):
    return pickle.loads(pickle.dumps(value))


@pytest.fixture
def installed(install):
    install(words=(TEXT, SOUND), pictures=(WIDE,), fakes=fake_specs())


@pytest.fixture(scope="module")
def sent(tmp_path_factory):
    """Several things, and what became of them in one process that was started anew."""
    pytest.importorskip("mmencode_offline")
    pytest.importorskip("lancedb")
    default = mmencode.load("default", device="cpu", dtype="float32", batch_size=7, workers=1, fast=True)
    whole = Space("fake", fake_specs(), runtime=Runtime("cpu", "bfloat16"), limits=Limits(characters=9))
    index = Index.create(tmp_path_factory.mktemp("sent") / "index", whole)
    index.add("text", ["a dog", "a cat"])
    things = {
        "default": default,
        "whole": whole,
        "classifier": whole.classifier(["dog", "cat"], ["a {label}", "one {label}"]),
        "index": index,
        "runtime": Runtime("cpu"),
    }
    content = pickle.dumps(default)
    return things, content, in_another_process(ANSWERS, things)


ANSWERS = """{
    **{name: [space.id, space.encode("text", ["a", "b"]).vectors.tolist(), repr(space.runtime), space.fast,
              space.limits.characters] for name, space in what.items() if name in ("default", "whole")},
    "classifier": [what["classifier"].classify("text", ["a dog"]).best, list(what["classifier"].labels)],
    "index": [len(what["index"]), what["index"].search("text", ["a cat"], k=1)[0][0].key],
    "runtime": [repr(what["runtime"]), what["runtime"]._process == __import__("os").getpid()],
}"""


@pytest.mark.parametrize("name", ["default", "whole"])
def test_space_arrives_in_another_process(sent, name):
    things, _, answers = sent
    space, (id, vectors, runtime, fast, characters) = things[name], answers[name]
    assert (id, runtime, fast) == (space.id, repr(space.runtime), space.fast)
    assert characters == space.limits.characters
    np.testing.assert_allclose(vectors, space.encode("text", ["a", "b"]), atol=1e-5)


def test_default_space_travels_by_its_name_alone(sent):
    things, content, _ = sent
    assert len(content) < 1500
    assert things["default"].name.encode() in content
    assert not set(things["default"]._members.loaded) - {"text"}  # for its identities are declared


def test_classifier_arrives_in_another_process(sent):
    things, _, answers = sent
    assert answers["classifier"] == [things["classifier"].classify("text", ["a dog"]).best, ["dog", "cat"]]


def test_index_arrives_in_another_process(sent):
    assert sent[2]["index"] == [2, "a cat"]


def test_runtime_is_chosen_anew_where_it_arrives(sent):
    things, _, answers = sent
    assert answers["runtime"] == [repr(things["runtime"]), True]
    chosen = again(Runtime("cpu,cpu", "bfloat16", batch_size=3, workers=2, compile=True))
    assert (
        repr(chosen) == "Runtime(device='cpu,cpu', dtype='bfloat16', batch_size=3, workers=2, compile=True)"
    )
    assert chosen.exact


def test_space_that_was_loaded_by_name_is_loaded_by_that_name(installed, install):
    content = pickle.dumps(mmencode.load("fake", device="cpu"))
    assert pickle.loads(content).id == mmencode.load("fake").id
    install(other=())
    with pytest.raises(UnknownNameError, match="no space is called 'fake'"):
        pickle.loads(content)


@pytest.mark.parametrize("known", [False, True], ids=["found on loading", "declared"])
def test_another_space_of_that_name_is_refused_on_arrival(install, known):
    own, other = (
        replace(TEXT, identity=identify(kind()) if known else None, target=f"{__name__}:{kind.__name__}")
        for kind in (FakeText, Other)
    )
    install(words=(own,))
    space = mmencode.load("words", device="cpu")
    content, name = pickle.dumps(space), space.id
    install(words=(other,))
    with pytest.raises(
        IdentityError, match=rf"space 'words' is another one in this process: {name} was sent"
    ):
        pickle.loads(content)


class Other(FakeText):
    tokenizer = "other letters"


def test_saved_space_travels_by_its_folder(installed, tmp_path, monkeypatch):
    with on_cpu(TEXT, SOUND) as words:
        compose("mine", {"text": words, "image": ("wide", anchored(words))}).save(tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    space = mmencode.load("mine", device="cpu")
    content = pickle.dumps(space)
    assert len(content) < 1500
    monkeypatch.chdir(os.path.dirname(tmp_path))  # a relative path means another place there
    found = pickle.loads(content)
    assert found.id == space.id
    assert found.card.probes == space.card.probes
    np.testing.assert_array_equal(found.encode("image", IMAGES), space.encode("image", IMAGES))
    (tmp_path / "mine").rename(tmp_path / "elsewhere")
    with pytest.raises(mmencode.errors.WeightsError, match="there is no card of a space"):
        pickle.loads(content)


@pytest.mark.parametrize("send", [again, copy.copy, copy.deepcopy])
def test_composed_space_travels_with_its_projections(installed, send):
    with on_cpu(TEXT, SOUND) as words:
        space = compose("mine", {"text": words, "image": ("wide", anchored(words))}, runtime=Runtime("cpu"))
    expected = space.encode("image", IMAGES)
    found = send(space)
    assert (found.id, found.modalities) == (space.id, space.modalities)
    np.testing.assert_array_equal(found.encode("image", IMAGES), expected)
    found.close()
    np.testing.assert_array_equal(space.encode("image", IMAGES), expected)


def test_projection_that_cannot_be_pickled_is_said_before_anything_is_sent():
    class Local(Projection):
        def forward(self, features):
            return features

    space = Space("fake", fake_specs()[:1], projections={"text": Local()})
    with pytest.raises(EncoderError, match=r"the projection of text can't be sent(.|\n)*define its class"):
        pickle.dumps(space)


def test_copy_shares_the_encoders_that_are_loaded(space):
    space.encode("text", ["a"])
    for other in (copy.copy(space), copy.deepcopy(space)):
        assert other.tower("text") is space.tower("text")
        assert other._members is not space._members
    assert copy.deepcopy({"a": [space, space]})["a"][0].id == space.id


def test_space_may_be_a_part_of_a_data_set_that_is_copied(space):
    data = {"space": space, "items": ["a", "b"]}
    other = copy.deepcopy(data)
    np.testing.assert_array_equal(
        other["space"].encode("text", other["items"]), space.encode("text", ["a", "b"])
    )


def test_closed_space_does_not_travel(space):
    space.close()
    with pytest.raises(ClosedError, match="load it again"):
        pickle.dumps(space)
    with pytest.raises(ClosedError):
        copy.copy(space).encode("text", ["a"])


class Texts(torch.utils.data.Dataset):
    def __init__(self, space):
        self.space = space

    def __len__(self):
        return 4

    def __getitem__(self, place):
        return torch.as_tensor(self.space.encode("text", [str(place)]))


@pytest.mark.filterwarnings("ignore:this process was forked")
@pytest.mark.parametrize("way", [pytest.param("spawn", marks=pytest.mark.slow), "fork"])
def test_space_works_in_the_workers_of_a_loader(way):
    if way == "fork" and not hasattr(os, "fork"):
        pytest.skip("this system doesn't fork")
    with Space("fake", fake_specs(), runtime=Runtime("cpu", workers=1)) as space:
        loader = torch.utils.data.DataLoader(
            Texts(space), batch_size=2, num_workers=1, multiprocessing_context=way
        )
        found = torch.cat([batch[:, 0] for batch in loader])
        np.testing.assert_allclose(found, space.encode("text", ["0", "1", "2", "3"]), atol=1e-6)


# Classifiers.


def test_classifier_takes_the_vectors_of_its_labels_along(space, monkeypatch):
    classifier = space.classifier(["dog", "cat"], null=["a thing"])
    content = pickle.dumps(classifier)
    expected = classifier.classify("image", IMAGES)
    monkeypatch.setattr(FakeText, "preprocess", lambda *_: pytest.fail("a label was encoded again"))
    found = pickle.loads(content)
    assert found.labels == ("dog", "cat")
    np.testing.assert_allclose(found.classify("image", IMAGES).scores, expected.scores, atol=1e-6)
    for modality in ("image", "audio", "text"):
        np.testing.assert_array_equal(found.label_embeddings(modality), classifier.label_embeddings(modality))


@pytest.mark.parametrize("send", [again, copy.copy, copy.deepcopy])
def test_classifier_of_examples_and_of_files_travels(space, send):
    files = []
    for image in IMAGES[:2]:
        image.save(file := io.BytesIO(), "PNG")
        files.append(file)
    for file in files:
        file.seek(0)
    labels = {"one": [files[0]], "two": [io.BufferedReader(files[1])]}
    classifier = space.classifier(labels, by="image").with_examples(
        "text", ["a", "b"], ["one", "two"], "mean"
    )
    first = classifier.classify("image", IMAGES).scores
    found = send(classifier)
    np.testing.assert_allclose(found.classify("image", IMAGES).scores, first, atol=1e-6)
    np.testing.assert_allclose(
        found.classify("text", ["a"]).scores, classifier.classify("text", ["a"]).scores, atol=1e-6
    )


# Indexes.


@pytest.fixture
def index(tmp_path, space):
    pytest.importorskip("lancedb")
    with Index.create(tmp_path / "index", space) as made:
        made.add("text", ["a dog", "a cat"])
        yield made


@pytest.mark.parametrize("send", [again, copy.copy, copy.deepcopy])
def test_index_travels_by_its_folder(index, send):
    with send(index) as found:
        assert len(found) == 2
        assert found.search("text", ["a dog"], k=1)[0][0].key == "a dog"


def test_index_that_was_replaced_meanwhile_is_refused(index, tmp_path, space):
    content = pickle.dumps(index)
    (tmp_path / "index").rename(tmp_path / "old")
    Index.create(tmp_path / "index", space).close()
    with pytest.raises(StoreError, match=r"was replaced by another one since it was sent"):
        pickle.loads(content)
    (tmp_path / "index").rename(tmp_path / "older")
    other = Space(
        "other", [replace(spec, space="other") for spec in fake_specs()[:1]], runtime=Runtime("cpu")
    )
    Index.create(tmp_path / "index", other).close()
    with pytest.raises((IdentityError, mmencode.errors.SpaceMismatchError)):
        pickle.loads(content)


def test_closed_index_does_not_travel(index):
    index.close()
    with pytest.raises(ClosedError, match="open it again"):
        pickle.dumps(index)


def test_shared_spaces_are_loaded_once_however_many_threads_ask(installed, monkeypatch):
    real = mmencode.spaces.loading.load
    calls = []

    def slowly(name):
        calls.append(name)
        time.sleep(0.05)
        return real(name)

    own = mmencode.spaces.loading.Shared()
    monkeypatch.setattr(own, "_load", functools.cache(slowly))
    found = []
    threads = [threading.Thread(target=lambda: found.append(own("fake"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert calls == ["fake"]
    assert len({id(space) for space in found}) == 1
    assert shared("fake") is shared("fake")
