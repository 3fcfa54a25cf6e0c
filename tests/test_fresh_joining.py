"""A plugin in a fresh environment joins the default space; an intruder beside it hurts nobody.

It brings films, a side of queries for texts, and pictures with words as the weighted sum of their vectors.
"""

from __future__ import annotations

import json
import subprocess

import fresh
import pytest

pytestmark = pytest.mark.slow
ENCODER = """
import numpy
from PIL import Image
from torch.nn.functional import normalize
import mmencode

class Film(mmencode.Encoder):
    width, pooling, preprocessing = 384, "mean of the frames' unit vectors", "three frames, at even distances"

    def __init__(self):
        super().__init__()
        tower = mmencode.load("default", device="cpu").tower("image")
        self.image, self.projection = tower.encoder, tower.projection

    def preprocess(self, film):
        chosen = film[numpy.linspace(0, len(film) - 1, 3).astype(int)]
        return self.image.collate([self.image.preprocess(Image.fromarray(frame)) for frame in chosen])

    def forward(self, tensors):
        frames = {name: tensor.flatten(0, 1) for name, tensor in tensors.items()}
        vectors = normalize(self.projection(self.image(frames)), dim=-1)
        return vectors.unflatten(0, (-1, 3)).mean(dim=1)

class Asked(mmencode.Encoder):
    width, preprocessing, tokenizer = 384, "what is asked for, as a text", "that of the default space"

    def __init__(self):
        super().__init__()
        tower = mmencode.load("default", device="cpu").tower("text")
        self.text, self.projection = tower.encoder, tower.projection

    def preprocess(self, question):
        return self.text.preprocess(question.removeprefix("neither a cup nor a rocket but "))

    def collate(self, items):
        return self.text.collate(items)

    def forward(self, tensors):
        return self.projection(self.text(tensors))
"""
FILMS = """
import numpy
from skimage import data

PHOTOS = {"a cat": data.chelsea(), "a cup of coffee": data.coffee(), "a rocket": data.rocket()}

def pan(photo, start):
    return numpy.stack([photo[start + x : start + x + 200, x : x + 250] for x in range(0, 40, 8)])

FILMS = [(pan(photo, 5 * step), caption) for caption, photo in PHOTOS.items() for step in range(8)]
"""
PREPARE = """
import json, sys
from dataclasses import asdict
import mmencode
from mmencode.encoder import identify
from pans import FILMS, PHOTOS
from films.encoder import Asked, Film

space = mmencode.load("default", device="cpu")
with mmencode.Index.create("index", space) as index:
    index.add("text", list(PHOTOS))
    index.add("image", list(PHOTOS.values()), keys=[f"photo of {name}" for name in PHOTOS])
spec = mmencode.EncoderSpec(name="films/mean", modality="video", target="films.encoder:Film", dim=384)
lead = mmencode.align(spec, space, FILMS, folds=3, method=mmencode.IdentityProjection())
mmencode.save_projection(lead, "films/lead.safetensors")
spec = mmencode.EncoderSpec(
    name="films/asked", modality="text", role="query", target="films.encoder:Asked", dim=384
)
nouns = "a cat", "two dogs", "the sea", "a car", "my house", "rain"
places = "at home", "by night", "in a park", "long ago"
words = [f"{noun} {place}" for noun in nouns for place in places]
asked = mmencode.align(
    spec, space, [(f"neither a cup nor a rocket but {text}", text) for text in words], folds=3,
    method=mmencode.IdentityProjection(),
)
mmencode.save_projection(asked, "films/asked.safetensors")
print(json.dumps([space.id, asdict(identify(Film(), lead)), asdict(identify(Asked(), asked))]))
"""
DECLARE = """
from mmencode import EncoderSpec, Identity, hookimpl

@hookimpl
def mmencode_encoders():
    yield EncoderSpec(
        name="films/mean", modality="video", target="films.encoder:Film", dim=384, joins="offline",
        projection="films:lead.safetensors", identity=Identity(**{identity}),
    )
    yield EncoderSpec(
        name="films/asked", modality="text", role="query", target="films.encoder:Asked", dim=384,
        joins="offline", projection="films:asked.safetensors", identity=Identity(**{asked}),
    )
    yield EncoderSpec(
        name="films/posters", modality="image+text", target="", joins="offline", weights=(1.0, 2.0)
    )
"""
INTRUDE = """
from mmencode import EncoderSpec, Identity, hookimpl

def fail():
    raise RuntimeError("never called")

@hookimpl
def mmencode_encoders():
    declared = {"target": "intruder:fail", "dim": 384, "identity": Identity()}
    yield EncoderSpec(name="intruder/text", modality="text", space="offline", **declared)
    yield EncoderSpec(name="intruder/image", modality="image", joins="offline",
                      projection="intruder:no.safetensors", **declared)
    yield EncoderSpec(name="intruder/touch", modality="touch", joins="offline",
                      projection="intruder:no.safetensors", **declared)
"""
CHECK = """
import itertools, json
import mmencode
from PIL import Image
from pans import FILMS, PHOTOS
from mmencode.errors import MmencodeError

encoded = []
stream = mmencode.Space.stream

def watch(self, modality, *arguments, **options):
    encoded.append(modality)
    return stream(self, modality, *arguments, **options)

mmencode.Space.stream = watch
space = mmencode.load("default", device="cpu")
faults = {}
try:
    space.encode("touch", ["x"])
except MmencodeError as error:
    faults["touch"] = type(error).__name__
with mmencode.Index.open("index", device="cpu") as index:
    before = index.rows("modality <> 'video'").embeddings.vectors.tobytes()
    added = index.add("video", [film for film, _ in FILMS], keys=[f"film {n}" for n in range(len(FILMS))])
    question = "neither a cup nor a rocket but a cat"
    asked = index.search("text", [question], k=1, among="image")[0][0].key
    hits = {name: index.search("text", [name], k=8, among="video")[0] for _, name in FILMS}
    same = index.rows("modality <> 'video'").embeddings.vectors.tobytes() == before
with open("posters.jsonl", "w") as table:
    texts = ("a small dog", "the blue sea", "a fast car")
    for number, (name, words) in enumerate(itertools.product(PHOTOS, texts)):
        Image.fromarray(PHOTOS[name]).save(f"{name}.png")
        row = {"image": f"{name}.png", "text": words, "key": f"{name} and {words}", "number": number}
        print(json.dumps(row), file=table)
Image.fromarray(PHOTOS["a rocket"][20:, 20:]).save("rocket, closer.png")
with mmencode.load("default", device="cpu", modalities=("text",)) as alone:
    plain = alone.encode("text", ["a cat"])
    near = {
        role: float(mmencode.similarity(alone.encode("text", [question], role=role), plain)[0, 0])
        for role in ("query", "document")
    }
print(json.dumps({
    "asked": asked, "near": [round(near["query"], 4), near["document"] < 0.9],
    "id": space.id, "modalities": space.modalities, "encoded": encoded, "added": added.added, "same": same,
    "found": {
        name: sorted({FILMS[int(hit.key.split()[1])][1] for hit in found}) for name, found in hits.items()
    },
    "intruder": sorted(lost.spec.name for lost in mmencode.registry().set_aside),
    "left_out": sorted(left.spec.name for left in mmencode.registry().left_out),
    "faults": faults, "joiners": [tower.name for tower in space.card.joiners],
}))
"""
CLI = ("-c", "import sys; sys.argv += ['--json']; from mmencode.cli import main; main()")


def project(folder, name, source):
    package = folder / name
    package.mkdir(exist_ok=True, parents=True)
    (package / "__init__.py").write_text(source)
    fresh.write_pyproject(folder, name, name)
    return folder


def said(done):
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_plugin_joins_the_default_space_and_an_index_made_before_gains_its_modality(tmp_path):
    wheels = fresh.build(tmp_path / "wheels", fresh.ROOT, fresh.ROOT / "plugins" / "mmencode-offline")
    python = fresh.install(tmp_path / "venv", *wheels)
    work = project(tmp_path / "work", "films", "")
    (work / "films" / "encoder.py").write_text(ENCODER)
    (work / "pans.py").write_text(FILMS)
    id, identity, asked = said(fresh.run(python, "-c", PREPARE, cwd=work))
    project(work, "films", DECLARE.replace("{identity}", repr(identity)).replace("{asked}", repr(asked)))
    more = fresh.build(tmp_path / "more", work, project(tmp_path / "bad", "intruder", INTRUDE))
    pip = [python, "-m", "pip", "install", "--quiet", "--no-deps", *more]
    subprocess.run(pip, check=True, env=fresh.environment(python), timeout=300)
    elsewhere = tmp_path / "elsewhere"  # where only the installed packages are found
    elsewhere.mkdir()
    (work / "index").rename(elsewhere / "index")
    (elsewhere / "pans.py").write_text(FILMS)
    found = said(fresh.run(python, "-c", CHECK, cwd=elsewhere))
    assert found == {
        "asked": "photo of a cat",
        "near": [1.0, True],
        "id": id,
        "modalities": ["audio", "image", "text", "video", "image+text"],
        "encoded": ["video"],
        "added": 24,
        "same": True,
        "found": {name: [name] for name in ("a cat", "a cup of coffee", "a rocket")},
        "intruder": ["intruder/text"],
        "left_out": ["intruder/image"],
        "faults": {"touch": "WeightsError"},
        "joiners": ["films/mean", "films/asked", "weighted sum", "weighted sum"],
    }
    assert id == "offline@dc905b1686deee4a"
    plugins = listed(fresh.run(python, *CLI, "plugins", cwd=elsewhere))
    states = {row["distribution"]: row["state"] for row in plugins}
    assert states["films"] == states["mmencode-offline"] == "ok"
    assert "intruder/image" in states["intruder"]
    posters = ("index", "add", "posters.index", "--modality", "image+text", "--list", "posters.jsonl")
    asked = ("search", "posters.index", "a puppy", "--image", "rocket, closer.png", "-k", "1")
    added, again, found = (
        listed(fresh.run(python, *CLI, *line, cwd=elsewhere)) for line in (posters, posters, asked)
    )
    assert (added["added"], added["failed"], again["added"], again["unchanged"]) == (9, [], 0, 9)
    assert added["space"] == id
    (match,) = found["matches"]
    assert (match["item"], match["metadata"]) == ("a rocket and a small dog", {"number": 6})


def listed(done):
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
