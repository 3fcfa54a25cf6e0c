"""Pooled frames are in the image tower's own space, and the space gains videos without changing its id."""

from __future__ import annotations

import numpy as np
import pytest
from films import film, greys
from mmencode_video import join_video
from mmencode_video.probes import encode_frames, frames, probes
from PIL import Image

import mmencode
from mmencode.errors import InputError, SpaceMismatchError, UnknownModalityError, UnknownNameError

FILM = frames(3)


def means(space, pictures):
    rows = space.encode("image", [Image.fromarray(picture) for picture in pictures]).vectors
    mean = rows.mean(axis=0)
    return mean / np.linalg.norm(mean)


def test_a_video_is_the_mean_of_its_frames_in_the_same_space(space_with_videos, tower):
    space = space_with_videos
    with mmencode.load(tower, device="cpu", dtype="float32") as plain:
        assert space.id == plain.id
        assert space.modalities == ("image", "video")
        chosen = [FILM[(2 * step + 1) * len(FILM) // 16] for step in range(8)]
        expected = means(plain, chosen)
    items = [FILM, (FILM, 8.0), encode_frames(FILM, "mov", "png"), [*FILM]]
    found = space.encode("video", items)
    assert np.abs(found.vectors - expected).max() < 1e-5
    assert found.space == space.id
    still = np.repeat(FILM[:1], 5, axis=0)
    picture = space.encode("image", [Image.fromarray(FILM[0])])
    assert mmencode.similarity(space.encode("video", [still]), picture)[0, 0] == pytest.approx(1, abs=1e-5)


def test_pictures_and_videos_share_one_network_and_a_video_has_the_vector_that_it_has_alone(
    space_with_videos, tower
):
    video, image = (space_with_videos.tower(modality) for modality in ("video", "image"))
    assert video.encoder.image is image.encoder
    held = {id(each): each for part in (image, video) for each in part.encoder.parameters()}
    assert len(held) == len([*image.encoder.parameters()])
    with mmencode.load(f"video/mean/{tower}", device="cpu", dtype="float32") as alone:
        assert alone.card.towers[0].identity.weights == video.card.identity.weights
        expected = alone.encode("video", probes()).vectors
    np.testing.assert_array_equal(space_with_videos.encode("video", probes()).vectors, expected)


def test_the_report_of_the_joiner_says_how_it_was_measured(space_with_videos):
    (joiner,) = space_with_videos.card.joiners
    assert (joiner.modality, joiner.report["method"]) == ("video", "identity")
    assert joiner.report["forward"]["at"]["1"] > 0.8
    assert joiner.identity.preprocessing.startswith("the frames in the middle of 8 equal parts; ")
    assert joiner.identity.architecture.startswith("frames of timm test_vit")


def test_frames_vectors_are_its_tokens(space_with_videos, tower):
    tokens = space_with_videos.encode_tokens("video", [FILM[:2], FILM])
    assert [row.shape for row in tokens.values] == [(8, 64), (8, 64)]
    with mmencode.load(tower, device="cpu", dtype="float32") as plain:
        first = plain.encode("image", [Image.fromarray(FILM[0])]).vectors[0]
    assert np.abs(np.asarray(tokens.values[0][0]) - first).max() < 1e-5


@pytest.mark.parametrize(
    ("policy", "chosen"), [("4:", [2, 7, 11, 16]), ("2fps:", [0, 5, 10, 15]), ("0.5fps:", [0])]
)
def test_the_policy_is_part_of_the_name_and_of_the_identity(tower, policy, chosen):
    pictures = np.random.default_rng(0).integers(0, 255, (19, 40, 40, 3), np.uint8)
    with mmencode.load(f"video/mean/{policy}{tower}", device="cpu", dtype="float32") as space:
        found = space.encode("video", [(pictures, 10)]).vectors[0]
        with mmencode.load(tower, device="cpu", dtype="float32") as plain:
            assert np.abs(found - means(plain, pictures[chosen])).max() < 1e-5
        word = "fps" in policy
        said = space.card.towers[0].identity.preprocessing
        assert said.startswith(
            f"{policy[:-4]} frames of each second" if word else "the frames in the middle of 4"
        )
        ids = {space.id.rpartition("@")[2]}
    with mmencode.load(f"video/mean/{tower}", device="cpu", dtype="float32") as space:
        ids.add(space.id.rpartition("@")[2])
    assert len(ids) == 2


def test_videos_of_different_lengths_share_a_batch_and_change_no_vector(tower):
    items = [(FILM, 8.0), (np.repeat(FILM, 5, axis=0), 8.0), (FILM[:1], 8.0), (FILM[::-1].copy(), 4.0)]
    with mmencode.load(f"video/mean/2fps:{tower}", device="cpu", dtype="float32") as space:
        together = space.encode("video", items).vectors
        alone = np.concatenate([space.encode("video", [item]).vectors for item in items])
    assert np.abs(together - alone).max() < 1e-5


def test_attention_counts_a_frame_unlike_the_others_less(tower):
    film_with_title = np.concatenate([np.zeros_like(FILM[:1]), FILM[:7]])
    vectors = {}
    for pooling in ("mean", "attention"):
        with mmencode.load(f"video/{pooling}/{tower}", device="cpu", dtype="float32") as space:
            titled, plain = space.encode("video", [film_with_title, FILM[:7]]).vectors
            vectors[pooling] = float(titled @ plain)
            rows = np.asarray(space.encode_tokens("video", [film_with_title]).values[0], np.float64)
            if pooling == "attention":
                mean = rows.mean(axis=0)
                weights = np.exp(10 * rows @ mean / np.linalg.norm(mean))
                expected = (weights / weights.sum()) @ rows
                assert np.abs(titled - expected / np.linalg.norm(expected)).max() < 1e-5
    assert vectors["attention"] > vectors["mean"]


def test_a_saved_space_that_videos_joined_is_loaded_with_the_same_vectors(space_with_videos, tmp_path):
    space_with_videos.save(tmp_path / "saved")
    with mmencode.load(tmp_path / "saved", device="cpu", dtype="float32", trust="names") as again:
        assert again.tower("video").encoder.image is again.tower("image").encoder
        assert again.id == space_with_videos.id
        assert again.verify().same
        assert sorted(again.verify().angles) == ["image", "video"]
        expected = space_with_videos.encode("video", probes()).vectors
        assert np.array_equal(again.encode("video", probes()).vectors, expected)


def test_a_space_out_of_a_folder_is_joined_by_the_folders_name(tower, tmp_path):
    folder = tmp_path / "pictures"
    with mmencode.load(tower, device="cpu", dtype="float32") as plain:
        plain.save(folder)
    with (
        mmencode.load(folder, device="cpu", dtype="float32") as saved,
        join_video(saved, name=str(folder), count=4) as space,
    ):
        assert space.id == saved.id
        assert space.card.joiners[0].name == f"video/mean/4:{folder}"


def test_pairs_of_the_callers_measure_the_encoder(space_with_videos):
    pairs = [(frames(number), Image.fromarray(frames(number)[4])) for number in range(40)]
    with join_video(space_with_videos, pairs=pairs, to="image") as space:
        assert space.card.joiners[0].report["pairs"] == 40


def test_what_can_not_join_is_named(space_with_videos, tower):
    from mmencode.testing import fake_specs

    texts = mmencode.Space("words", [spec for spec in fake_specs("words") if spec.modality == "text"])
    with texts, pytest.raises(UnknownModalityError, match="has no images"):
        join_video(texts)
    fake = mmencode.Space("fake", fake_specs())
    with fake, pytest.raises((SpaceMismatchError, mmencode.errors.FitError)):
        join_video(fake, name=tower)
    with pytest.raises(TypeError, match="not both"):
        join_video(space_with_videos, count=2, rate=2.0)
    for name in (f"video/mean/0:{tower}", f"video/mean/0fps:{tower}"):
        with pytest.raises(UnknownNameError, match="chooses no frames"):
            mmencode.load(name, device="cpu").encode("video", [FILM])
    with pytest.raises(UnknownNameError):
        mmencode.load("video/mean/no/such/space", device="cpu").encode("video", [FILM])
    with (
        mmencode.load(f"video/mean/2fps:{tower}", device="cpu") as space,
        pytest.raises(InputError, match="nobody says how fast"),
    ):
        space.encode("video", [FILM])


def test_no_more_frames_are_held_than_one(tower, monkeypatch):
    from mmencode_video.pooled import mean

    encoder = mean(tower)
    item = film(greys(30), "mov", "png")
    from films import LIMITS
    from mmencode_video.items import read

    video = read(item, LIMITS)
    seen = []
    monkeypatch.setattr(type(video), "sample", lambda *given, **named: pytest.fail("all were held"))
    plain = encoder.image.preprocess
    monkeypatch.setattr(
        encoder.image, "preprocess", lambda picture: seen.append(picture.size) or plain(picture)
    )
    tensors = encoder.preprocess(video)
    assert seen == [(64, 48)] * 8
    assert int(tensors["count"]) == 8
