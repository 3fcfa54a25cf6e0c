"""The pages as a browser shows them: nothing in the console, nothing asked for, and they do what they say."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
from PIL import Image

from mmencode import Embeddings
from mmencode.pages import GalleryItem, Preview, gallery_page, make_previews, map_page, survey
from mmencode.pages.previews import make_thumbnail

EVIL = "\"><script>document.title='run'</script><img src=x onerror=document.title='run'>"


@pytest.fixture
def shown(chromium, tmp_path):
    """Open a page of this content."""

    def do(content):
        path = tmp_path / "page.html"
        path.write_text(content, encoding="utf-8")
        chromium.open(path)
        return path

    return do


@pytest.fixture
def media(tmp_path):
    Image.new("RGB", (40, 30), "red").save(tmp_path / "red.png")
    soundfile.write(tmp_path / "tone.wav", np.sin(np.arange(8000) / 5), 8000)
    return [
        ("image", tmp_path / "red.png"),
        ("audio", tmp_path / "tone.wav"),
        ("image", tmp_path / "absent.png"),
    ]


@pytest.fixture
def plan(blobs, media):
    """A map of three groups and an outlier, the first of whose rows has a picture."""
    keys = [EVIL, *blobs.keys[1:]]
    rows = Embeddings(blobs.vectors, space="fake@1", modality="image", keys=keys)
    return map_page(survey(rows, by=["modality"]), title="map", thumbnails={120: make_thumbnail(media[0][1])})


DRAWN = """(() => {
    const copy = new OffscreenCanvas(canvas.width, canvas.height), pen = copy.getContext("2d");
    pen.drawImage(canvas, 0, 0);
    const pixels = pen.getImageData(0, 0, canvas.width, canvas.height).data;
    let count = 0;
    for (let place = 3; place < pixels.length; place += 4) count += pixels[place] > 0;
    return count;
})()"""
FIND = """(field => {{ field.value = "{words}"; field.dispatchEvent(new Event("input")); }})(
    document.getElementById("find"))"""
MIDDLE = """(() => {
    const box = canvas.getBoundingClientRect();
    return [box.x + box.width / 2, box.y + box.height / 2];
})()"""


def quiet(chromium, path):
    assert chromium.complaints() == []
    assert chromium.requested() == [path.resolve().as_uri()]


def test_gallery_shows_pictures_and_players_and_nothing_runs(chromium, shown, media):
    items = [
        GalleryItem(key=EVIL, modality=modality, score=0.5, metadata={EVIL: EVIL}, preview=preview)
        for (modality, _), preview in zip(media, make_previews(media), strict=True)
    ]
    items.append(GalleryItem(key=EVIL, modality="text", preview=Preview(words=EVIL)))
    path = shown(gallery_page(items, title="a red square", about=EVIL, notes=[EVIL]))
    quiet(chromium, path)
    assert chromium.run("document.title") == "a red square"
    assert chromium.run("[...document.images].map(image => image.naturalWidth)") == [40]
    assert chromium.run("document.querySelectorAll('article').length") == 4
    loaded = """new Promise(done => { const player = document.querySelector("audio");
        player.addEventListener("loadedmetadata", () => done(player.duration));
        player.preload = "auto";
        setTimeout(() => done(-1), 5000); })"""
    assert chromium.run(loaded) == pytest.approx(1, abs=0.01)


def test_policy_of_the_page_refuses_what_is_not_in_it(chromium, shown):
    shown(gallery_page([], title="none"))
    asked = """new Promise(done => { const image = new Image();
        image.onerror = () => done("refused");
        image.src = "http://127.0.0.1:9/x.png"; })"""
    assert chromium.run(asked) == "refused"
    failed = [event["params"] for event in chromium.events if event["method"] == "Network.loadingFailed"]
    assert [each["blockedReason"] for each in failed] == ["csp"]
    assert "Content Security Policy" in chromium.complaints()[0]


def test_map_draws_its_points_and_is_quiet(chromium, shown, plan):
    path = shown(plan)
    quiet(chromium, path)
    assert chromium.run(DRAWN) > 1000
    assert chromium.run("document.title") == "map"
    assert chromium.run("shown.textContent") == "121 points"


def test_outlier_that_is_chosen_is_shown_under_the_pointer_with_its_picture(chromium, shown, plan):
    path = shown(plan)
    chromium.run("document.querySelector('[data-row=\"120\"]').click()")
    chromium.settle()
    assert chromium.run("[tip.hidden, document.getElementById('name').textContent]") == [False, "far.png"]
    x, y = chromium.run(MIDDLE)
    chromium.point(x + 200, y - 150)
    assert chromium.run("tip.hidden") is True
    chromium.point(x + 2, y + 1)
    assert chromium.run("[tip.hidden, document.getElementById('name').textContent]") == [False, "far.png"]
    assert chromium.run("facts.textContent") == "modality: image\noutlier"
    assert chromium.run("[picture.hidden, picture.naturalWidth]") == [False, 40]
    quiet(chromium, path)


def test_filters_leave_what_is_asked_for(chromium, shown, plan):
    path = shown(plan)
    everything = chromium.run(DRAWN)
    chromium.run(FIND.format(words="GROUP 1/"))
    chromium.settle()
    assert chromium.run("shown.textContent") == "40 of 121 points"
    assert 0 < chromium.run(DRAWN) < everything
    chromium.run(FIND.format(words=""))
    chromium.run("legend.querySelector('input').click()")
    chromium.settle()
    assert chromium.run("shown.textContent") == "0 of 121 points"
    assert chromium.run(DRAWN) == 0
    chromium.run("document.querySelector('[data-row=\"120\"]').click()")  # what is hidden is shown again
    assert chromium.run("shown.textContent") == "121 points"
    quiet(chromium, path)


def test_wheel_and_keys_zoom_move_and_come_back(chromium, shown, plan):
    shown(plan)
    everything = chromium.run(DRAWN)
    x, y = chromium.run(MIDDLE)
    chromium.turn(x, y, -3000)
    assert chromium.run(DRAWN) < everything / 2
    chromium.run("canvas.focus()")
    chromium.key("0")
    assert chromium.run(DRAWN) == everything
    for _ in range(20):
        chromium.key("ArrowRight")
    assert chromium.run(DRAWN) < everything
    assert chromium.complaints() == []


def test_other_grouping_can_be_chosen(chromium, shown, blobs):
    pytest.importorskip("sklearn")
    shown(map_page(survey(blobs, by=["modality", "cluster"], clusters=3), title="map"))
    chromium.run("by.selectedIndex = 1; by.dispatchEvent(new Event('change'))")
    chromium.settle()
    names = "[...legend.querySelectorAll('span:nth-of-type(1)')].map(each => each.textContent)"
    assert chromium.run(names) == ["cluster 1", "cluster 2", "cluster 3"]
    assert chromium.complaints() == []


def test_map_of_20_000_points_answers_at_once(chromium, shown):
    vectors = np.random.default_rng(0).normal(size=(20_000, 3)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    from mmencode.pages import Layout, Survey
    from mmencode.pages.groups import group_values

    modalities = ("image",) * 20_000
    shown(
        map_page(
            Survey(
                space="fake@1",
                keys=tuple(f"photos/{row}.jpg" for row in range(20_000)),
                modalities=modalities,
                layout=Layout("pca", np.float64(vectors[:, :2]), (0.3, 0.3)),
                groupings=(group_values("modality", modalities),),
                outliers=(),
            ),
            title="many",
        )
    )
    assert chromium.run("shown.textContent") == "20000 points"
    x, y = chromium.run(MIDDLE)
    frames = """new Promise(done => { const start = performance.now(); let left = 10;
        const next = () => { canvas.dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowLeft"}));
            left-- ? requestAnimationFrame(next) : done((performance.now() - start) / 10); }; next(); })"""
    assert chromium.run(frames) < 250  # milliseconds, without a GPU
    chromium.run("document.getElementById('all').click()")
    chromium.point(x, y)
    assert chromium.run("tip.hidden") is False
