"""The page as a browser shows it, for each modality: it finds, scores and explains, and asks nobody else."""

from __future__ import annotations

import json

import pytest
from browsers import Seen, find_violations, open_browser, require_browser
from page_media import film, jpeg, make_index, wav
from servers import run_server

import mmencode
from mmencode.inputs import Limits
from mmencode.serving.page_routes import Page
from mmencode.serving.shelf import Shelf

pytest.importorskip("lancedb")
KEY = "a-key-that-is-long-enough"


@pytest.fixture(scope="module")
def path(tmp_path_factory, default_space):
    return make_index(tmp_path_factory.mktemp("page"), default_space)


@pytest.fixture(scope="module")
def shelf(path, default_space):
    with mmencode.Index.open(path, space=default_space) as index:
        yield Shelf(index, Limits())


@pytest.fixture(scope="module")
def served(default_space, shelf):
    require_browser()
    with run_server(default_space, page=Page(shelf)) as found:
        yield found


@pytest.fixture(scope="module")
def browser(served):
    with open_browser() as found:
        yield found


@pytest.fixture
def seen(browser, served):
    """The page in a new tab, which must not have complained or asked for anything outside at the end."""
    tab = Seen(browser, served.url)
    yield tab
    tab.require_quiet()
    tab.close()


def test_picture_finds_its_neighbours_with_previews(seen):
    seen.add_file("mine.jpg", "image/jpeg", jpeg("chelsea"))
    assert seen.names()[0] == "chelsea.jpg"
    assert len(seen.names()) == 7
    first = seen.page.locator("#rows > li").first
    assert first.locator("img").evaluate("image => image.complete && image.naturalWidth") == 320
    assert "2000" in first.locator("dl").inner_text()
    assert seen.page.locator("#items img").evaluate("image => image.naturalWidth") == 320
    assert "cosine similarities" in seen.page.inner_text("#nearest-said")


def test_sound_finds_its_neighbours_and_can_be_played(seen):
    seen.add_file("mine.wav", "audio/wav", wav(440))
    assert seen.names()[0] == "tone 440.wav"
    player = seen.page.locator("#rows > li").first.locator("audio")
    seen.until("document.querySelector('#rows audio').readyState > 0")
    assert player.evaluate("player => player.duration") == pytest.approx(2, abs=0.05)
    assert seen.page.locator("#items audio").count() == 1


def test_text_finds_its_neighbours(seen, shelf):
    seen.write("a cup of coffee")
    (hits,) = shelf.index.search("text", ["a cup of coffee"], 7)
    assert seen.names() == [hit.key.rpartition("/")[2] for hit in hits]
    shown = seen.page.locator("#rows .number").all_inner_texts()
    assert [float(one.replace("−", "-")) for one in shown] == pytest.approx(
        [hit.score for hit in hits], abs=6e-4
    )


def test_each_line_can_be_a_text_of_its_own(seen):
    seen.page.check("#each")
    seen.write("a cat\n\na rocket\n")
    assert seen.page.locator("#items bdi").all_inner_texts() == ["a cat", "a rocket"]
    assert seen.page.locator("#items input:checked").count() == 1
    seen.page.check("#items input >> nth=0")
    seen.settle()
    assert seen.names()[0] == "chelsea.jpg"


def test_search_can_be_among_one_modality(seen):
    seen.write("a loud tone")
    seen.page.select_option("#among", "audio")
    seen.settle()
    assert sorted(seen.names()) == ["tone 3000.wav", "tone 440.wav"]


def test_row_of_the_index_is_searched_by_and_left_out(seen):
    seen.write("a cat")
    seen.page.click("#rows button:has-text('Search') >> nth=0")
    seen.settle()
    assert seen.page.locator("#items li").count() == 2
    assert len(seen.names()) == 6
    assert "chelsea.jpg" not in seen.names()


DROP = """([name, kind, content, text]) => {
    const moved = new DataTransfer();
    const bytes = Uint8Array.from(atob(content), one => one.charCodeAt(0));
    if (content) moved.items.add(new File([bytes], name, {type: kind}));
    else moved.setData("text/plain", text);
    const Kind = EVENT === "paste" ? ClipboardEvent : DragEvent;
    document.body.dispatchEvent(new Kind(EVENT, {bubbles: true, cancelable: true,
        [EVENT === "paste" ? "clipboardData" : "dataTransfer"]: moved}));
}"""


@pytest.mark.parametrize("event", ["drop", "paste"])
def test_files_and_texts_can_be_dropped_and_pasted(seen, event):
    import base64

    script = DROP.replace("EVENT", json.dumps(event))
    seen.page.evaluate(script, ["a.jpg", "image/jpeg", base64.b64encode(jpeg("rocket")).decode(), ""])
    seen.settle()
    assert seen.names()[0] == "rocket.jpg"
    seen.page.evaluate(script, ["", "", "", "a kitten"])
    seen.settle()
    assert seen.names()[0] == "chelsea.jpg"


def test_sound_can_be_recorded(seen):
    seen.page.click("#record")
    seen.page.wait_for_timeout(1500)
    seen.page.click("#record")
    seen.page.wait_for_selector("#items audio")
    seen.settle()
    assert seen.names()[0].startswith("tone")


def test_labels_are_scored_as_the_library_scores_them(seen, default_space):
    seen.add_file("mine.jpg", "image/jpeg", jpeg("rocket"))
    seen.write("a kitten")
    seen.open_tab("labels")
    seen.page.fill("#names", "cat, rocket\ncup of coffee")
    seen.page.click("#labelling button")
    seen.settle()
    tables = seen.page.locator("#scores table")
    assert tables.count() == 2
    rows = tables.first.locator("tbody tr")
    labels = ["cat", "rocket", "cup of coffee"]
    expected = default_space.classifier(labels).classify("image", [jpeg("rocket")]).top(3)[0]
    assert rows.locator("th").all_inner_texts() == [label for label, _ in expected]
    scores = [float(row.locator(".number").first.inner_text().replace("−", "-")) for row in rows.all()]
    assert scores == pytest.approx([score for _, score in expected], abs=6e-4)
    assert tables.nth(1).locator("tbody th").first.inner_text() == "cat"


def test_similarities_among_items_are_those_of_the_library(seen, default_space):
    seen.add_file("mine.jpg", "image/jpeg", jpeg("chelsea"))
    seen.write("a cat")
    seen.write("a rocket")
    seen.open_tab("why")
    cells = seen.page.locator("#matrix td button").all_inner_texts()
    picture = default_space.encode("image", [jpeg("chelsea")])
    texts = default_space.encode("text", ["a cat", "a rocket"])
    expected = [*mmencode.similarity(picture, texts)[0], mmencode.similarity(texts[0], texts[1])[0, 0]]
    found = [float(cells[place].replace("−", "-")) for place in (0, 1, 3)]
    assert found == pytest.approx([float(value) for value in expected], abs=6e-4)


def test_words_of_a_text_are_shown_by_what_they_add(seen):
    seen.add_file("mine.jpg", "image/jpeg", jpeg("chelsea"))
    seen.write("yesterday a cat slept")
    seen.open_tab("why")
    seen.page.select_option("#whole", label="yesterday a cat slept")
    seen.page.select_option("#other", label="mine.jpg")
    seen.page.click("#explaining button")
    seen.page.wait_for_selector("#parts .sides")
    assert seen.page.locator("#parts .words .part").all_inner_texts() == ["yesterday", "a", "cat", "slept"]
    assert seen.page.locator("#parts ol >> nth=0").locator("li").first.inner_text().startswith("cat +")


@pytest.mark.parametrize(
    ("name", "kind", "content", "count"),
    [("mine.jpg", "image/jpeg", jpeg("chelsea"), 35), ("mine.wav", "audio/wav", wav(440), 16)],
)
def test_parts_of_pictures_and_sounds_are_drawn_over_them(seen, name, kind, content, count):
    seen.add_file(name, kind, content)
    seen.page.click("#rows button:has-text('Why?') >> nth=1")
    seen.page.wait_for_selector("#parts .over")
    parts = seen.page.locator("#parts .over .part")
    assert parts.count() == count
    assert (
        parts.evaluate_all(
            "parts => Math.max(...parts.map(one => parseFloat(one.style.getPropertyValue('--weight'))))"
        )
        == 75
    )
    assert seen.page.locator("#parts .sides li").count() > 0
    if kind.startswith("image"):
        over, under = (seen.page.locator(f"#parts {what}").bounding_box() for what in (".over", ".under img"))
        assert over == pytest.approx(under, abs=1)


def test_map_shows_all_rows_and_a_point_can_be_searched_by(seen):
    seen.open_tab("map")
    seen.until("document.getElementById('shown')?.textContent === '7 points'")
    assert "PCA" in seen.page.inner_text("#map-said")
    seen.page.fill("#find", "coffee")
    assert seen.page.inner_text("#shown") == "1 of 7 points"
    seen.page.focus("#canvas")
    seen.page.keyboard.press("Enter")
    assert seen.page.inner_text("#name").endswith("coffee.jpg")
    seen.until("document.getElementById('picture').naturalWidth > 0")
    seen.page.keyboard.press("Enter")
    seen.settle()
    assert seen.page.locator("#items bdi").all_inner_texts() == ["coffee.jpg"]
    seen.page.check("#centred")
    seen.settle()
    seen.until("document.getElementById('shown')?.textContent === '7 points'")


def test_all_is_done_by_the_keyboard(seen):
    keyboard = seen.page.keyboard
    seen.page.focus("#words")
    keyboard.type("a rocket")
    keyboard.press("Control+Enter")
    seen.settle()
    assert seen.names()[0] == "rocket.jpg"
    seen.page.focus("#tab-nearest")
    for expected in ("labels", "why", "map", "nearest"):
        keyboard.press("ArrowRight")
        assert seen.page.evaluate("document.activeElement.id") == f"tab-{expected}"
        assert seen.page.is_visible(f"#{expected}")
    seen.page.focus("#items button")
    keyboard.press("Enter")
    assert seen.page.locator("#items li").count() == 0
    assert seen.page.evaluate("document.activeElement.id") == "words"
    seen.settle()


def test_bad_file_has_its_error_and_the_others_their_neighbours(seen):
    seen.add_file("broken.jpg", "image/jpeg", b"no picture at all")
    seen.add_file("strange.xyz", "", b"?")
    seen.add_file("mine.jpg", "image/jpeg", jpeg("coffee"))
    errors = seen.page.locator("#items .bad").all_inner_texts()
    assert len(errors) == 2
    assert errors[1] == "This space takes no files of this kind."
    assert seen.names()[0] == "coffee.jpg"
    assert [said for said in seen.complaints if "422" not in said] == []
    seen.complaints.clear()  # the browser notes each answer of an error by itself


def test_words_of_items_and_keys_are_no_markup(seen):
    evil = "<img src=x onerror=document.title='run'><script>document.title='run'</script>"
    seen.write(evil)
    seen.open_tab("why")
    seen.open_tab("labels")
    seen.page.fill("#names", f"{evil},cat")
    seen.page.click("#labelling button")
    seen.settle()
    assert "run" not in seen.page.title()
    assert seen.page.locator("#items img, #scores img").count() == 0


def test_policy_lets_the_page_ask_nobody_else(seen):
    asked = """new Promise(done => { const image = new Image(); image.onerror = () => done("refused");
        image.onload = () => done("loaded"); image.src = "http://127.0.0.1:9/x.png"; })"""
    assert seen.page.evaluate(asked) == "refused"
    assert any("Content Security Policy" in said for said in seen.complaints)
    assert seen.page.evaluate("fetch('http://127.0.0.1:9/').then(() => 'sent', () => 'refused')") == "refused"
    seen.complaints.clear()
    seen.asked.clear()


def test_key_is_asked_for_where_the_server_has_keys(browser, default_space, shelf):
    with run_server(default_space, page=Page(shelf), keys=(KEY,)) as served:
        tab = Seen(browser, served.url)
        tab.page.wait_for_selector("#unlock:visible")
        tab.page.fill("#key", "another-key-and-a-wrong-one")
        tab.page.click("#unlock button")
        tab.settle()
        assert tab.page.is_visible("#unlock")
        tab.page.fill("#key", KEY)
        tab.page.click("#unlock button")
        tab.page.wait_for_selector("#unlock", state="hidden")
        tab.write("a kitten")
        assert tab.names()[0] == "chelsea.jpg"
        tab.close()


def test_many_files_are_encoded_a_few_at_a_time(seen):
    files = [
        {"name": f"{place}.jpg", "mimeType": "image/jpeg", "buffer": jpeg("coffee")} for place in range(10)
    ]
    most = """() => { window.most = 0; const send = window.fetch; let now = 0;
        window.fetch = (...all) => { now += all[0] === "/ui/embed"; window.most = Math.max(window.most, now);
            return send(...all).finally(() => { now -= all[0] === "/ui/embed"; }); }; }"""
    seen.page.evaluate(most)
    seen.page.set_input_files("#files", files)
    seen.settle()
    assert seen.page.locator("#items input:enabled").count() == 10
    assert seen.page.evaluate("window.most") == 3


def test_page_waits_for_a_server_that_is_still_loading(browser):
    with mmencode.load("default") as space, run_server(space, ready=False, page=Page()) as served:
        tab = Seen(browser, served.url)
        assert "offline" in tab.page.inner_text("#about")
        tab.add_file("mine.wav", "audio/wav", wav(440))
        assert tab.page.locator("#items .bad").count() == 0
        assert tab.page.locator("#items input:checked").count() == 1
        tab.close()


def test_page_works_without_an_index(browser, default_space):
    with run_server(default_space, page=Page()) as served:
        tab = Seen(browser, served.url)
        tab.write("a cat")
        assert "--index" in tab.page.inner_text("#nearest-said")
        tab.open_tab("map")
        assert "--index" in tab.page.inner_text("#map-said")
        tab.write("a dog")
        tab.open_tab("why")
        assert tab.page.locator("#matrix td button").count() == 2
        tab.require_quiet()
        tab.close()


@pytest.fixture(scope="module")
def space_with_videos(default_space):
    joining = pytest.importorskip("mmencode_video")
    pytest.importorskip("av")
    return joining.join_video(default_space, count=2)


def test_video_finds_its_neighbours(browser, space_with_videos, path):
    with (
        mmencode.Index.open(path, space=space_with_videos) as index,
        run_server(space_with_videos, page=Page(Shelf(index, Limits()))) as served,
    ):
        tab = Seen(browser, served.url)
        tab.add_file("mine.mp4", "video/mp4", film("coffee"))
        assert tab.names()[0] == "coffee.jpg"
        assert tab.page.locator("#items video").count() == 1
        assert "videos" in tab.page.inner_text("#takes")
        tab.require_quiet()
        tab.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_axe_finds_nothing_on_any_tab(browser, served, scheme, width, request):
    tab = Seen(browser, served.url, color_scheme=scheme, viewport={"width": width, "height": 800})
    assert find_violations(tab.page) == []
    tab.add_file("mine.jpg", "image/jpeg", jpeg("chelsea"))
    tab.add_file("mine.wav", "audio/wav", wav(440))
    tab.add_file("broken.jpg", "image/jpeg", b"no picture at all")
    tab.write("a cat that looks at you and waits for its dinner, which is late as it is every day")
    assert find_violations(tab.page) == []
    tab.open_tab("labels")
    tab.page.fill("#names", "cat, dog, rocket")
    tab.page.click("#labelling button")
    tab.settle()
    assert find_violations(tab.page) == []
    tab.open_tab("why")
    tab.page.click("#explaining button")
    tab.page.wait_for_selector("#parts .sides")
    assert find_violations(tab.page) == []
    tab.open_tab("map")
    tab.until("document.getElementById('shown')?.textContent === '7 points'")
    assert find_violations(tab.page) == []
    wide = tab.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert wide[0] <= wide[1]
    tab.close()
