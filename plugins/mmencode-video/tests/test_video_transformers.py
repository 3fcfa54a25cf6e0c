"""X-CLIP, V-JEPA 2 and VideoPrism compute what transformers computes on the same weights and videos."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from films import film
from mmencode_video.probes import frames
from safetensors.torch import load_file, save_file
from torch.nn.functional import normalize

import mmencode
from mmencode.errors import EncoderError, UnknownNameError, WeightsError

hf = pytest.importorskip("transformers", reason="transformers isn't installed")
import tiny_videos  # noqa: E402

VIDEOS = [frames(number)[:8:2] for number in range(3)]  # of four frames, so that all of them are chosen


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with a checkpoint of each family."""
    top = tmp_path_factory.mktemp("checkpoints")
    tiny_videos.xclip(top / "xclip")
    tiny_videos.vjepa2(top / "vjepa2")
    tiny_videos.vjepa2(top / "vjepa2-classifier", hf.VJEPA2ForVideoClassification)
    tiny_videos.videoprism(top / "videoprism")
    tiny_videos.videoprism_vision(top / "videoprism-vision")
    tiny_videos.videoprism_vision(top / "videoprism-classifier", hf.VideoPrismForVideoClassification)
    return top


def loaded(name, **options):
    return mmencode.load(name, device="cpu", dtype="float32", **options)


def differ(found, expected):
    rows = normalize(expected.float(), dim=-1).numpy()
    return float(np.abs(found.vectors - rows).max())


@torch.no_grad()
def test_xclip_is_that_of_transformers(saved):
    folder = saved / "xclip"
    model = hf.XCLIPModel.from_pretrained(folder).eval()
    images, tokenizer = (
        hf.CLIPImageProcessor.from_pretrained(folder),
        hf.AutoTokenizer.from_pretrained(folder),
    )
    pixels = torch.stack([images(images=[*video], return_tensors="pt")["pixel_values"] for video in VIDEOS])
    texts = tokenizer(tiny_videos.TEXTS, padding=True, truncation=True, max_length=24, return_tensors="pt")
    with loaded(f"video/xclip/{folder}") as space:
        assert space.modalities == ("text", "video")
        assert differ(space.encode("video", VIDEOS), model.get_video_features(pixels).pooler_output) < 1e-5
        with pytest.warns(UserWarning, match="longer than 24 tokens"):
            words = space.encode("text", tiny_videos.TEXTS)
        expected = model.get_text_features(texts["input_ids"], texts["attention_mask"]).pooler_output
        assert differ(words, expected) < 1e-5
        assert words.space == space.encode("video", VIDEOS[:1]).space
        assert [row.shape for row in space.encode_tokens("video", VIDEOS).values] == [(4, 24)] * 3
        assert space.tower("video").encoder.pooling != space.tower("text").encoder.pooling


@torch.no_grad()
@pytest.mark.parametrize("name", ["vjepa2", "vjepa2-classifier"])
def test_vjepa2_is_that_of_transformers(saved, name):
    folder = saved / name
    kind = hf.VJEPA2Model if name == "vjepa2" else hf.VJEPA2ForVideoClassification
    model = kind.from_pretrained(folder).eval()
    model = getattr(model, "vjepa2", model)
    processor = hf.AutoVideoProcessor.from_pretrained(folder)
    with loaded(f"video/vjepa2/{folder}") as space:
        found, tokens = space.encode("video", VIDEOS), space.encode_tokens("video", VIDEOS)
    for number, video in enumerate(VIDEOS):
        pixels = processor(torch.from_numpy(video).permute(0, 3, 1, 2), return_tensors="pt")
        hidden = model.get_vision_features(pixels["pixel_values_videos"])[0]
        assert differ(found[[number]], hidden.mean(dim=0, keepdim=True)) < 1e-5
        assert np.abs(tokens.values[number] - hidden.numpy()).max() < 1e-4
    with loaded(f"video/vjepa2/2:{folder}") as space:
        assert space.encode_tokens("video", VIDEOS[:1]).values[0].shape == (4, 48)


@torch.no_grad()
def test_videoprism_is_that_of_transformers(saved):
    folder = saved / "videoprism"
    model = hf.VideoPrismClipModel.from_pretrained(folder).eval()
    videos, tokenizer = (
        hf.AutoVideoProcessor.from_pretrained(folder),
        hf.AutoTokenizer.from_pretrained(folder),
    )
    processor = hf.VideoPrismProcessor(videos, tokenizer)
    given = [torch.from_numpy(video).permute(0, 3, 1, 2) for video in VIDEOS]
    size = {"height": 36, "width": 36}
    pixels = torch.cat(
        [
            processor(videos=video, size=size, do_sample_frames=False, return_tensors="pt")[
                "pixel_values_videos"
            ]
            for video in given
        ]
    )
    with loaded(f"video/videoprism/{folder}") as space, pytest.warns(UserWarning, match="longer than 64"):
        found, words = space.encode("video", VIDEOS), space.encode("text", tiny_videos.TEXTS)
    expected = model.get_video_features(pixels).pooler_output.flatten(1)
    assert differ(found, expected) < 1e-5
    texts = processor(text=tiny_videos.TEXTS, return_tensors="pt")
    assert texts["input_ids"].shape[1] == 64
    assert differ(words, model.get_text_features(**texts).pooler_output) < 1e-5


@torch.no_grad()
@pytest.mark.parametrize("name", ["videoprism-vision", "videoprism-classifier"])
def test_videoprism_without_texts_is_that_of_transformers(saved, name):
    folder = saved / name
    model = hf.VideoPrismVisionModel.from_pretrained(folder).eval()
    processor = hf.AutoVideoProcessor.from_pretrained(folder)
    given = [torch.from_numpy(video).permute(0, 3, 1, 2) for video in VIDEOS]
    pixels = torch.cat([processor(video, return_tensors="pt")["pixel_values_videos"] for video in given])
    with loaded(f"video/videoprism-vision/{folder}") as space:
        found = space.encode("video", VIDEOS)
    assert differ(found, model(pixels).last_hidden_state.mean(dim=1)) < 1e-5


def test_one_tower_alone_is_built_and_is_the_same(saved):
    for family in ("xclip", "videoprism"):
        with (
            loaded(f"video/{family}/{saved / family}") as whole,
            loaded(f"video/{family}/{saved / family}", modalities=("text",)) as words,
        ):
            assert words.id == whole.id
            assert np.array_equal(
                words.encode("text", ["a dog"]).vectors, whole.encode("text", ["a dog"]).vectors
            )


def test_longer_videos_are_sampled_and_files_are_the_same_as_arrays(saved):
    long = np.repeat(VIDEOS[0], 5, axis=0)
    with loaded(f"video/xclip/{saved / 'xclip'}") as space:
        found = space.encode("video", [VIDEOS[0], long, film(long, "mov", "png")]).vectors
    assert np.abs(found - found[0]).max() < 1e-6


def test_a_folder_that_moves_is_the_same_space(saved, tmp_path):
    shutil.copytree(saved / "vjepa2", tmp_path / "moved")
    with (
        loaded(f"video/vjepa2/{saved / 'vjepa2'}") as one,
        loaded(f"video/vjepa2/{tmp_path / 'moved'}") as two,
    ):
        assert one.id.rpartition("@")[2] == two.id.rpartition("@")[2]


def altered(saved, tmp_path, family="xclip", file="config.json", **changes):
    folder = tmp_path / "altered"
    shutil.copytree(saved / family, folder)
    path = folder / file
    settings = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**settings, **changes}))
    return folder


def fails(family, folder, said):
    with pytest.raises((EncoderError, WeightsError, UnknownNameError)) as caught:
        loaded(f"video/{family}/{folder}").encode("video", VIDEOS[:1])
    assert said in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("file", "changes", "said"),
    [
        ("config.json", {"auto_map": {"AutoModel": "evil.Model"}}, "auto_map"),
        ("config.json", {"quantization_config": {"quant_method": "bitsandbytes"}}, "quantization_config"),
        ("config.json", {"attn_implementation": "somebody/kernel"}, "attn_implementation"),
        ("config.json", {"model_type": "clip"}, "takes a 'xclip'"),
        ("config.json", {"projection_dim": 2**20}, "far larger model"),
        ("config.json", {"projection_dim": 25}, "24"),
        ("config.json", {"projection_dim": "wide"}, "config"),
        ("preprocessor_config.json", {"size": {"shortest_edge": 10**6}}, "1000000"),
        ("preprocessor_config.json", {"auto_map": {"AutoImageProcessor": "evil.P"}}, "auto_map"),
    ],
)
def test_settings_that_no_checkpoint_has_are_refused(saved, tmp_path, file, changes, said):
    fails("xclip", altered(saved, tmp_path, file=file, **changes), said)


def test_files_that_are_missing_or_lack_tensors_are_named(saved, tmp_path):
    folder = altered(saved, tmp_path)
    weights = load_file(folder / "model.safetensors")
    gone = "mit.position_embedding"
    save_file(
        {name: tensor for name, tensor in weights.items() if name != gone}, folder / "model.safetensors"
    )
    fails("xclip", folder, gone)
    (folder / "model.safetensors").unlink()
    fails("xclip", folder, "has no model.safetensors")
    fails("xclip", tmp_path / "nowhere", "there is no folder")
    fails("xclip", "somebody/checkpoint", "is no folder")
    fails("vjepa2", f"3:{saved / 'vjepa2'}", "multiple of 2")
    fails("vjepa2", f"2fps:{saved / 'vjepa2'}", "multiple of 2")


def test_a_missing_tokenizer_is_named(saved, tmp_path):
    folder = altered(saved, tmp_path)
    (folder / "tokenizer.json").unlink()
    with (
        loaded(f"video/xclip/{folder}") as space,
        pytest.raises((EncoderError, WeightsError), match="the tokenizer of"),
    ):
        space.encode("text", ["a dog"])
