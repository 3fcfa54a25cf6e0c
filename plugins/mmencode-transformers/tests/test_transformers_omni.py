"""Omni checkpoints give what sentence-transformers gives, from one network for all modalities."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import tiny
import tiny_omni
import torch
import transformers as hf
from mmencode_transformers.omni import towers
from mmencode_transformers.omni_layout import offers
from PIL import Image

import mmencode
from mmencode.errors import InputError, InstructionError, UnknownModalityError, WeightsError

NAMES = ("gemma", "chatting", "qwen3", "qwen2")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:a text is longer")]


def items(modality):
    """Items of mixed sizes as mmencode takes them, and as sentence-transformers does."""
    rng = np.random.default_rng(0)
    if modality == "text":
        return tiny.TEXTS, tiny.TEXTS
    if modality == "image":
        sizes = [(40, 64), (58, 50), (33, 91)]
        images = [Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)) for size in sizes]
        return images, images
    if modality == "video":
        videos = [rng.integers(0, 256, (count, 32, 48, 3), np.uint8) for count in (4, 9, 30)]
        return videos, videos
    waves = [
        rng.normal(0, 0.1, int(tiny_omni.RATE * seconds)).astype(np.float32) for seconds in (0.4, 1.3, 2)
    ]
    theirs = [{"array": wave, "sampling_rate": tiny_omni.RATE} for wave in waves]
    return [(wave, tiny_omni.RATE) for wave in waves], theirs


@pytest.fixture(scope="session")
def plain(tmp_path_factory):
    """The folder of a checkpoint as transformers saves it, by its name."""
    made = {}

    def get(name):
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name)
            getattr(tiny_omni, name)(made[name])
        return made[name]

    return get


@pytest.fixture(scope="session")
def saved(plain, tmp_path_factory):
    """A model of sentence-transformers by its name, and the folder where it is saved."""
    made = {}

    def get(name):
        if name not in made:
            folder = tmp_path_factory.mktemp(f"{name}-sentences")
            made[name] = tiny_omni.sentences(name, plain(name), folder), folder
        return made[name]

    return get


@pytest.mark.parametrize("modality", ["text", "image", "audio", "video"])
@pytest.mark.parametrize("name", NAMES)
def test_each_modality_equals_sentence_transformers(name, modality, saved, load):
    model, folder = saved(name)
    space = load(f"transformers/omni/{folder}")
    if modality not in space.modalities:
        assert (name, modality) in {("qwen3", "audio"), ("qwen2", "audio")}
        return
    mine, theirs = items(modality)
    expected = np.stack([model.encode_document([item])[0] for item in theirs])
    np.testing.assert_allclose(space.encode(modality, mine).vectors, expected, atol=1e-5)
    if (name, modality) != ("gemma", "image"):  # which sentence-transformers can't batch
        np.testing.assert_allclose(model.encode_document(theirs), expected, atol=1e-5)


@pytest.mark.parametrize("composite", ["image+text", "audio+text", "video+text"])
@pytest.mark.parametrize("name", ["chatting", "qwen3", "qwen2"])
def test_fused_items_equal_sentence_transformers(name, composite, saved, load):
    model, folder = saved(name)
    space = load(f"transformers/omni/{folder}")
    if composite not in space.modalities:
        assert composite == "audio+text"
        return
    medium, texts = composite.partition("+")[0], tiny.TEXTS[:3]
    mine, theirs = items(medium)
    expected = model.encode_document(
        [{medium: one, "text": text} for one, text in zip(theirs, texts, strict=True)]
    )
    found = space.encode(composite, list(zip(mine, texts, strict=True)))
    np.testing.assert_allclose(found.vectors, expected, atol=1e-5)
    np.testing.assert_allclose(
        space.encode(composite, [(mine[0], None), (None, texts[0])]).vectors,
        [space.encode(medium, mine[:1]).vectors[0], space.encode("text", texts[:1]).vectors[0]],
        atol=1e-5,
    )


@pytest.mark.parametrize("name", ["chatting", "qwen3", "qwen2"])
def test_interleaved_items_equal_sentence_transformers(name, saved, load):
    model, folder = saved(name)
    (first, second, _), texts = items("image")[0], tiny.TEXTS
    batch = [
        [("text", texts[0]), ("image", first), ("text", texts[1]), ("image", second)],
        [("image", second)],
        [("text", texts[2]), ("video", items("video")[0][0])],
    ]
    turns = [
        [{"role": "user", "content": [{"type": kind, kind: part} for kind, part in item]}] for item in batch
    ]
    expected = np.stack([model.encode_document([turn])[0] for turn in turns])
    space = load(f"transformers/omni/{folder}")
    np.testing.assert_allclose(space.encode("interleaved", batch).vectors, expected, atol=1e-5)
    with pytest.raises(
        InputError, match="there is no 'audio' in its items" if name != "chatting" else "part 0"
    ):
        space.encode("interleaved", [[("audio", "no such file.wav")]])


def test_a_checkpoint_without_a_chat_takes_no_fused_items(saved, load):
    with pytest.raises(UnknownModalityError, match="has nothing for 'image\\+text'"):
        load(f"transformers/omni/{saved('gemma')[1]}").encode("image+text", [(Image.new("RGB", (8, 8)), "a")])


@pytest.mark.parametrize("name", ["gemma", "chatting"])
def test_a_checkpoint_of_transformers_is_pooled_by_the_mean(name, plain, load, tmp_path):
    model = tiny_omni.sentences(name, plain(name), tmp_path / "saved")
    space = load(f"transformers/omni/{plain(name)}")
    for modality in ("text", "image", "audio"):
        mine, theirs = items(modality)
        expected = np.stack([model.encode([item])[0] for item in theirs])
        np.testing.assert_allclose(space.encode(modality, mine).vectors, expected, atol=1e-5)


SYSTEMS = {"qwen3": "Represent the user's input.", "qwen2": "You are a helpful assistant."}


def published(folder, name, parts):
    """The vector of an item as the published scripts of Qwen3-VL-Embedding and GME make it."""
    model, processor = hf.AutoModel.from_pretrained(folder), hf.AutoProcessor.from_pretrained(folder)
    turns = [
        {"role": "system", "content": [{"type": "text", "text": SYSTEMS[name]}]},
        {"role": "user", "content": [{"type": kind, kind: value} for kind, value in parts]},
    ]
    text = processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    text += "<|endoftext|>" if name == "qwen2" else ""
    images = [value for kind, value in parts if kind == "image"] or None
    tensors = processor(text=[text], images=images, return_tensors="pt")
    with torch.inference_mode():
        vector = model(**tensors).last_hidden_state[0, -1]
    return (vector / vector.norm()).numpy()


@pytest.mark.parametrize("modality", ["text", "image"])
@pytest.mark.parametrize("name", ["qwen3", "qwen2"])
def test_qwens_without_modules_are_embedded_as_published(name, modality, plain, load):
    batch, _ = items(modality)
    found = load(f"transformers/omni/{plain(name)}").encode(modality, batch)
    expected = [published(plain(name), name, [(modality, item)]) for item in batch]
    np.testing.assert_allclose(found.vectors, expected, atol=1e-5)


def test_gme_is_refused_without_its_code_as_well(plain, load, tmp_path):
    folder = tmp_path / "gme"
    shutil.copytree(plain("qwen2"), folder)
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**settings, "architectures": ["GmeQwen2VL"]}))
    with pytest.raises(WeightsError, match="numbers the patches of an image one by one"):
        load(f"transformers/omni/{folder}")


@pytest.mark.parametrize("modality", ["text", "image"])
@pytest.mark.parametrize("name", ["gemma", "chatting", "qwen3"])
def test_queries_equal_sentence_transformers(name, modality, saved, load):
    model, folder = saved(name)
    batch, _ = items(modality)
    expected = np.stack([model.encode_query([item])[0] for item in batch])
    space = load(f"transformers/omni/{folder}")
    found = space.encode(modality, batch, role="query").vectors
    np.testing.assert_allclose(found, expected, atol=1e-5)
    if (name, modality) != ("gemma", "image"):  # whose images have no prompt
        assert np.abs(space.encode(modality, batch).vectors - found).max() > 1e-3


def test_an_instruction_is_the_systems_turn_before_queries(saved, load):
    model, folder = saved("qwen3")
    plain = load(f"transformers/omni/{folder}")
    space = load(f"transformers/omni/{folder}", instruction="find boats")
    expected = model.encode(tiny.TEXTS, prompt="find boats.")
    np.testing.assert_allclose(space.encode("text", tiny.TEXTS, role="query").vectors, expected, atol=1e-5)
    np.testing.assert_array_equal(space.encode("text", tiny.TEXTS), plain.encode("text", tiny.TEXTS))
    assert space.id == plain.id
    with pytest.raises(InstructionError, match="has no place for an instruction"):
        load(f"transformers/omni/{saved('gemma')[1]}", instruction="find boats").encode(
            "text", ["a"], role="query"
        )


def test_long_texts_are_cut_as_sentence_transformers_cuts_them(plain, load, tmp_path):
    """The words that end a chat are put back, so that the last token is the same as ever."""
    model = tiny_omni.sentences("qwen3", plain("qwen3"), tmp_path / "saved", max_seq_length=24)
    texts = ["harbour " * 60, "kite " * 40, "a dog"]
    expected = model.encode_document(texts)
    found = load(f"transformers/omni/{tmp_path}/saved").encode("text", texts)
    np.testing.assert_allclose(found.vectors, expected, atol=1e-5)


def test_arguments_of_processor_and_template_are_the_checkpoints(plain, load, tmp_path):
    given = {
        "chat_template": {"add_generation_prompt": True},
        "image": {"size": {"shortest_edge": 64, "longest_edge": 900}},
    }
    model = tiny_omni.sentences("qwen3", plain("qwen3"), tmp_path / "saved", processing_kwargs=given)
    space = load(f"transformers/omni/{tmp_path}/saved")
    other = tiny_omni.sentences("qwen3", plain("qwen3"), tmp_path / "other")
    for modality in ("text", "image"):
        batch, _ = items(modality)
        expected = model.encode_document(batch)
        np.testing.assert_allclose(space.encode(modality, batch).vectors, expected, atol=1e-5)
        assert np.abs(other.encode_document(batch) - expected).max() > 1e-3


def test_routes_go_to_their_own_networks(checkpoint, plain, load, tmp_path):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Router, Transformer

    words, sights = Transformer(str(checkpoint("bert"))), Transformer(str(plain("qwen3")))
    routes = {"words": [words, Pooling(32, "cls")], "sights": [sights, Pooling(32, "lasttoken")]}
    rules = {(None, "text"): "words", (None, "image"): "sights"}
    model = SentenceTransformer(modules=[Router(routes, route_mappings=rules), Normalize()], device="cpu")
    model.save(str(tmp_path / "routed"))
    space = load(f"transformers/omni/{tmp_path}/routed")
    for modality in ("text", "image"):
        batch, _ = items(modality)
        expected = model.encode(batch)
        np.testing.assert_allclose(space.encode(modality, batch).vectors, expected, atol=1e-5)


@pytest.mark.parametrize("name", ["clip", "siglip"])
def test_towers_that_a_model_pools_itself_equal_sentence_transformers(name, checkpoint, load, tmp_path):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Transformer

    folder = shutil.copytree(checkpoint(name), tmp_path / "both")
    words, pixels = hf.AutoTokenizer.from_pretrained(folder), hf.AutoImageProcessor.from_pretrained(folder)
    kind = hf.CLIPProcessor if name == "clip" else hf.SiglipProcessor
    kind(pixels, words).save_pretrained(folder)
    model = SentenceTransformer(modules=[Transformer(str(folder)), Normalize()], device="cpu")
    model.save(str(tmp_path / "saved"))
    space = load(f"transformers/omni/{tmp_path}/saved")
    assert space.modalities == ("image", "text")
    for modality in space.modalities:
        batch, _ = items(modality)
        expected = np.stack([model.encode([item])[0] for item in batch])
        np.testing.assert_allclose(space.encode(modality, batch).vectors, expected, atol=1e-5)


def sizes(encoder):
    return {part.data_ptr(): part.nbytes for part in encoder.parameters()}


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_in_memory_once(name, saved):
    model, folder = saved(name)
    each = [sizes(encoder) for encoder in towers(str(folder), offers(str(folder))).values()]
    together = {place: size for one in each for place, size in one.items()}
    assert sum(together.values()) == sum(part.nbytes for part in model[0].model.parameters())
    assert sum(sum(one.values()) for one in each) > 2 * sum(together.values())


def test_encoders_of_a_space_share_their_network(saved, load):
    space = load(f"transformers/omni/{saved('gemma')[1]}")
    text, image = (space.tower(modality).encoder.network for modality in ("text", "image"))
    assert text.language_model is image.language_model
    assert (text.vision_tower, image.audio_tower) == (None, None)


def test_a_part_that_is_not_asked_for_is_not_kept(saved, load):
    _, folder = saved("gemma")
    whole = load(f"transformers/omni/{folder}")
    alone = load(f"transformers/omni/{folder}", modalities=("text",))
    assert alone.id == whole.id
    np.testing.assert_array_equal(alone.encode("text", tiny.TEXTS), whole.encode("text", tiny.TEXTS))
    network = alone.tower("text").encoder.network
    assert (network.vision_tower, network.audio_tower) == (None, None)
    assert network.language_model is not None


def test_a_checkpoint_without_a_tower_has_no_such_modality(plain, load):
    space = load(f"transformers/omni/{plain('silent')}")
    assert space.modalities == ("image", "text", "video")
    with pytest.raises(UnknownModalityError, match="has nothing for 'audio'"):
        space.encode("audio", items("audio")[0])


def test_prompts_and_templates_are_part_of_the_identity(saved, load, tmp_path):
    _, folder = saved("chatting")
    ids = {load(f"transformers/omni/{folder}").id}
    for file, change in {
        "config_sentence_transformers.json": lambda text: text.replace("describe this", "what is this"),
        "chat_template.jinja": lambda text: text.replace("|>user", "|>you").replace("message.role", "'you'"),
    }.items():
        other = shutil.copytree(folder, tmp_path / file)
        text = (other / file).read_text()
        assert change(text) != text
        (other / file).write_text(change(text))
        ids.add(load(f"transformers/omni/{other}").id)
    assert len(ids) == 3


@pytest.mark.parametrize("mark", ["<|image_pad|>", "<|video_pad|>"])
def test_a_text_with_a_mark_of_a_medium_is_refused_alone(mark, saved, load):
    space = load(f"transformers/omni/{saved('qwen3')[1]}")
    found = space.encode("text", ["a dog", f"a {mark} dog", "a car"], on_error="skip")
    assert found.positions.tolist() == [0, 2]
    assert "stands for" in str(found.errors[0])
    np.testing.assert_allclose(found.vectors, space.encode("text", ["a dog", "a car"]).vectors, atol=1e-6)


def test_a_medium_longer_than_the_context_is_refused(plain, load, tmp_path):
    tiny_omni.sentences("qwen3", plain("qwen3"), tmp_path / "saved", max_seq_length=64)
    space = load(f"transformers/omni/{tmp_path}/saved")
    large, small = Image.new("RGB", (300, 300)), Image.new("RGB", (16, 16), "red")
    with pytest.raises(InputError, match=r"takes \d+ tokens, and the checkpoint 64"):
        space.encode("image", [large])
    found = space.encode("image", [small, large, small], on_error="skip")
    assert found.positions.tolist() == [0, 2]


def test_a_recording_beyond_the_window_is_cut_with_a_warning(saved, load):
    model, folder = saved("chatting")
    wave = np.random.default_rng(0).normal(0, 0.1, 31 * tiny_omni.RATE).astype(np.float32)
    expected = model.encode_document([{"array": wave, "sampling_rate": tiny_omni.RATE}])
    space = load(f"transformers/omni/{folder}")
    assert space.card.tower("audio").identity.windows == "the first 480000 samples"
    with pytest.warns(UserWarning, match="longer than 480000 samples"):
        found = space.encode("audio", [(wave, tiny_omni.RATE)])
    np.testing.assert_allclose(found.vectors, expected, atol=1e-5)


@pytest.mark.parametrize("value", [np.zeros((4, 8, 8), np.uint8), np.zeros((0, 8, 8, 3), np.uint8), 7])
def test_what_is_no_video_is_named(value, saved, load):
    if mmencode.registry().modality("video") is not None:
        pytest.skip("a plugin reads videos here, and says so itself")
    space = load(f"transformers/omni/{saved('qwen3')[1]}")
    with pytest.raises(InputError, match="the video is"):
        space.encode("video", [value])


class Clip:
    """A video as a plugin reads it: frames with the seconds at which they are shown."""

    def __init__(self, frames, rate):
        self.pixels, self.rate, self.count = frames, rate, len(frames)
        self.seconds = None if rate is None else len(frames) / rate

    def sample(self, *, count=None, rate=None):
        steps = (
            np.arange(0, self.seconds, 1 / rate) * self.rate
            if rate
            else np.linspace(0, self.count - 1, count)
        )
        chosen = steps.astype(int)
        return SimpleNamespace(pixels=self.pixels[chosen], times=chosen / (self.rate or np.nan))


@pytest.mark.parametrize(("name", "frames"), [("chatting", 3), ("qwen3", 6), ("qwen2", 6)])
def test_a_video_with_times_is_sampled_at_the_rate_of_the_processor(name, frames, saved):
    """As transformers samples the same frames, told how fast they follow each other."""
    model, folder = saved(name)
    pixels = np.random.default_rng(0).integers(0, 256, (30, 32, 48, 3), np.uint8)
    encoder = towers(str(folder), ("video",))["video"].eval()
    steps = np.arange(0, 3, 1 if name == "chatting" else 0.5) * 10
    shown = pixels[steps.astype(int)]
    assert len(shown) == frames
    facts = {
        "fps": 10.0,
        "duration": 3.0,
        "total_num_frames": 30,
        "frames_indices": steps.astype(int).tolist(),
    }
    theirs = {"array": shown, "video_metadata": facts}
    unsampled = {"video": {"do_sample_frames": False}}
    expected = model.encode_document([theirs], processing_kwargs=unsampled)[0]
    with torch.inference_mode():
        found = encoder(encoder.collate([encoder.preprocess(Clip(pixels, 10.0))]))[0].numpy()
    np.testing.assert_allclose(found / np.linalg.norm(found), expected, atol=1e-5)


def test_a_video_without_times_is_an_array_of_frames(saved):
    encoder = towers(str(saved("qwen3")[1]), ("video",))["video"]
    frames = items("video")[0][1]
    one, other = encoder.preprocess(Clip(frames, None)), encoder.preprocess(frames)
    assert all(torch.equal(one[key], other[key]) for key in one.keys() | other.keys())


def broken(folder, tmp_path, file, change):
    other = shutil.copytree(folder, tmp_path / "broken")
    content = change(json.loads((other / file).read_text()))
    (other / file).write_text(json.dumps(content))
    return other


@pytest.mark.parametrize(
    ("file", "change", "match"),
    [
        (
            "modules.json",
            lambda found: [{**found[0], "type": "own.Code"}, *found[1:]],
            "code of the checkpoint",
        ),
        ("config.json", lambda found: found | {"auto_map": {"AutoModel": "x.Y"}}, "brings its own code"),
        (
            "sentence_bert_config.json",
            lambda found: found | {"transformer_task": "fill-mask"},
            "transformer_task",
        ),
        (
            "sentence_bert_config.json",
            lambda found: found | {"modality_config": {"text": {"method": "save_pretrained"}}},
            "modality_config",
        ),
        (
            "sentence_bert_config.json",
            lambda found: found | {"processing_kwargs": {"common": {"x": 1}}},
            "common",
        ),
        (
            "sentence_bert_config.json",
            lambda found: found | {"processing_kwargs": {"image": {"size": {"longest_edge": 10**12}}}},
            "is the most",
        ),
        (
            "processor_config.json",
            lambda found: found | {"image_processor": found["image_processor"] | {"patch_size": 10**12}},
            "is the most",
        ),
    ],
)
def test_what_is_refused_is_named(file, change, match, saved, tmp_path):
    folder = broken(saved("chatting")[1], tmp_path, file, change)
    with pytest.raises(WeightsError, match=match):
        mmencode.load(f"transformers/omni/{folder}", device="cpu").encode("text", ["a dog"])


@pytest.mark.parametrize(
    "file", ["tokenizer.json", "processor_config.json", "chat_template.jinja", "model.safetensors"]
)
def test_a_file_that_is_missing_is_named_with_a_remedy(file, saved, tmp_path):
    folder = shutil.copytree(saved("chatting")[1], tmp_path / "lacking")
    (folder / file).unlink()
    with pytest.raises(WeightsError) as found:
        mmencode.load(f"transformers/omni/{folder}", device="cpu").encode("text", ["a dog"])
    assert file.partition(".")[0] in str(found.value)
    assert found.value.remedy


def test_another_architecture_is_named(checkpoint, load):
    with pytest.raises(WeightsError, match=r"is a bert; transformers/omni/ takes") as found:
        load(f"transformers/omni/{checkpoint('bert')}")
    assert "transformers/text/" in found.value.remedy
