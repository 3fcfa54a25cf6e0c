"""Perception Encoder's towers give what transformers gives, sounds of any length beside each other."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
import tiny_pe
import torch
import transformers as hf
from mmencode_transformers.pe_av import offers, towers

import mmencode
from mmencode.errors import InputError, UnknownModalityError, WeightsError
from mmencode.testing import EncoderConformance
from mmencode.testing.conformance.vectors import VectorChecks

ALL = ("audio", "audio+text", "audio+video", "text", "video", "video+text")


def sounds():
    rng = np.random.default_rng(0)
    return [
        rng.normal(0, 0.1, int(tiny_pe.RATE * seconds)).astype(np.float32)
        for seconds in (0.3, 0.3, 1.01, 0.0123)
    ]


def videos():
    rng = np.random.default_rng(1)
    return [rng.integers(0, 256, (count, 40, 52, 3), np.uint8) for count in (3, 3, 7, 1)]


TEXTS = tiny.TEXTS[:4]


@pytest.fixture(scope="session")
def pe(tmp_path_factory):
    """The folder of a checkpoint by its name."""
    made = {}

    def get(name):
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name)
            getattr(tiny_pe, name)(made[name])
        return made[name]

    return get


def reference(folder, place):
    """All that transformers computes of the items at one place, as unit vectors by their names."""
    kind = hf.AutoModel.from_pretrained(folder).eval()
    words = hf.AutoTokenizer.from_pretrained(folder)(TEXTS[place], return_tensors="pt")
    given = {"input_ids": words["input_ids"], "attention_mask": words["attention_mask"]}
    name = kind.config.model_type
    if name != "pe_video":
        extractor = hf.AutoFeatureExtractor.from_pretrained(folder)
        given |= extractor(sounds()[place], sampling_rate=tiny_pe.RATE, return_tensors="pt")
    if name != "pe_audio":
        clips = hf.AutoVideoProcessor.from_pretrained(folder)
        given |= clips(videos=[videos()[place]], return_tensors="pt")
    with torch.inference_mode():
        found = kind(**given)
    return {key: (value / value.norm()).numpy()[0] for key, value in found.items() if key.endswith("_embeds")}


def batches():
    heard = [(wave, tiny_pe.RATE) for wave in sounds()]
    return {
        "audio": heard,
        "video": videos(),
        "text": TEXTS,
        "audio+video": list(zip(heard, videos(), strict=True)),
        "audio+text": list(zip(heard, TEXTS, strict=True)),
        "video+text": list(zip(videos(), TEXTS, strict=True)),
    }


NAMES = {
    "pe_audio": {"audio": "audio_embeds", "text": "text_audio_embeds"},
    "pe_video": {"video": "video_embeds", "text": "text_video_embeds"},
    "pe_audio_video": {
        "audio": "audio_embeds",
        "video": "video_embeds",
        "audio+video": "audio_video_embeds",
        "text": "text_audio_video_embeds",
        "audio+text": "audio_plus_text_embeds",
        "video+text": "video_plus_text_embeds",
    },
}


@pytest.mark.parametrize("name", NAMES)
def test_each_modality_equals_transformers(name, pe, load):
    space = load(f"transformers/pe-av/{pe(name)}")
    assert space.modalities == tuple(sorted(NAMES[name]))
    expected = [reference(pe(name), place) for place in range(len(TEXTS))]
    for modality, embeds in NAMES[name].items():
        found = space.encode(modality, batches()[modality]).vectors
        np.testing.assert_allclose(found, [each[embeds] for each in expected], atol=1e-5, err_msg=modality)


@pytest.mark.parametrize("word", ["audio", "video"])
def test_the_text_head_for_one_medium_is_named(word, pe, load):
    space = load(f"transformers/pe-av/{word}:{pe('pe_audio_video')}")
    assert space.modalities == tuple(sorted(("text", word)))
    expected = [reference(pe("pe_audio_video"), place)[f"text_{word}_embeds"] for place in range(len(TEXTS))]
    np.testing.assert_allclose(space.encode("text", TEXTS).vectors, expected, atol=1e-5)
    assert space.id != load(f"transformers/pe-av/{pe('pe_audio_video')}").id


def test_an_absent_part_leaves_the_other_alone(pe, load):
    space = load(f"transformers/pe-av/{pe('pe_audio_video')}")
    sound, video = (sounds()[0], tiny_pe.RATE), videos()[2]
    found = space.encode("audio+video", [(sound, None), (sound, video), (None, video)]).vectors
    np.testing.assert_allclose(found[0], space.encode("audio", [sound]).vectors[0], atol=1e-6)
    np.testing.assert_allclose(found[2], space.encode("video", [video]).vectors[0], atol=1e-6)
    np.testing.assert_allclose(found[1], space.encode("audio+video", [(sound, video)]).vectors[0], atol=1e-6)


def test_weights_are_in_memory_once(pe):
    folder = pe("pe_audio_video")
    made = towers(str(folder), ALL)
    assert offers(str(folder)) == ALL
    sizes = {part.data_ptr(): part.nbytes for encoder in made.values() for part in encoder.parameters()}
    model = hf.AutoModel.from_pretrained(folder)
    unused = [
        part for name, part in model.named_parameters() if "logit_" in name or "text_audio_head" in name
    ]
    unused += list(model.video_model.text_video_head.parameters())
    assert sum(sizes.values()) == sum(part.nbytes for part in model.parameters()) - sum(
        p.nbytes for p in unused
    )


def test_sounds_alone_load_no_tower_for_videos(pe, load):
    space = load(f"transformers/pe-av/{pe('pe_audio_video')}", modalities=("audio",))
    assert set(space.tower("audio").encoder.networks) == {"audio"}
    assert space.id == load(f"transformers/pe-av/{pe('pe_audio_video')}").id


def test_recordings_beyond_the_positions_are_refused_alone(pe, load):
    space = load(f"transformers/pe-av/{pe('pe_audio')}")
    long = np.zeros(4000 * tiny_pe.HOP + 1, np.float32)
    found = space.encode("audio", [(sounds()[0], tiny_pe.RATE), (long, tiny_pe.RATE)], on_error="skip")
    assert found.positions.tolist() == [0]
    assert "has 4001 frames" in str(found.errors[0])
    assert isinstance(found.errors[0], InputError)


def test_what_a_checkpoint_lacks_is_named(pe, checkpoint, load):
    with pytest.raises(UnknownModalityError, match="has nothing for 'video'"):
        load(f"transformers/pe-av/{pe('pe_audio')}").encode("video", videos())
    with pytest.raises(WeightsError, match=r"is a bert; transformers/pe-av/ takes pe_audio"):
        load(f"transformers/pe-av/{checkpoint('bert')}")
    with pytest.raises(WeightsError, match="has no towers for video"):
        load(f"transformers/pe-av/video:{pe('pe_audio')}").encode("text", TEXTS)


class Pe:
    """A tiny checkpoint, which is made when the class is first used."""

    __test__ = False
    key = ""
    kind = ""

    @pytest.fixture(autouse=True, scope="class")
    def declare(self, request, pe):
        request.cls.spec = mmencode.registry()[f"transformers/pe-av-{self.key}/{pe(self.kind)}"]


class TestPeAudio(Pe, VectorChecks):
    __test__ = True
    key, kind = "audio", "pe_audio"


@pytest.mark.slow
class TestPeAudioInEveryWay(Pe, EncoderConformance):
    __test__ = True
    key, kind = "audio", "pe_audio_video"


@pytest.mark.slow
class TestPeText(Pe, VectorChecks):
    __test__ = True
    key, kind = "text", "pe_audio_video"


@pytest.mark.slow
class TestPeAudioText(Pe, EncoderConformance):
    __test__ = True
    key, kind = "audio-text", "pe_audio_video"
