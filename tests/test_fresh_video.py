"""Videos from wheels in a fresh environment: checked, indexed, searched and classified, and a new plugin."""

from __future__ import annotations

import json
from pathlib import Path

import fresh
import pytest
from mmencode_video.probes import encode_frames, frames

pytestmark = pytest.mark.slow
PLUGIN = fresh.ROOT / "plugins" / "mmencode-video"
NEW = "mmencode new-plugin demo-video --modality video && pip install ./{0} && pytest {0}"


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """The interpreter of a fresh environment with videos."""
    folder = tmp_path_factory.mktemp("fresh")
    return fresh.install(folder / "venv", *fresh.build(folder / "wheels", fresh.ROOT, PLUGIN))


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    """The folder of a small random X-CLIP."""
    monkeypatch.syspath_prepend(PLUGIN / "tests")
    import tiny_videos

    folder = tmp_path / "xclip"
    folder.mkdir()
    tiny_videos.xclip(folder)
    return folder


@pytest.fixture
def films(tmp_path):
    """A folder of films, one of which is cut in its middle."""
    top = tmp_path / "films"
    top.mkdir()
    for number, name in enumerate(("kite", "boat", "bridge")):
        (top / f"{name}.mp4").write_bytes(encode_frames(frames(number)))
    whole = (top / "kite.mp4").read_bytes()
    (top / "broken.mp4").write_bytes(whole[: len(whole) // 2])
    return top


def test_a_fresh_environment_treats_videos_as_it_treats_images(python, checkpoint, films, tmp_path):
    def said(*arguments):
        line = ("-m", "mmencode.cli", *map(str, arguments), "--json")
        done = fresh.run(python, *line, cwd=tmp_path)
        assert done.returncode == 0, done.stderr + done.stdout
        return json.loads(done.stdout)

    states = {row["distribution"]: row["state"] for row in said("plugins")}
    assert states["mmencode-video"] == "ok"
    (report,) = said("check", f"video/xclip-video/{checkpoint}")
    assert report["state"] == "passed"
    assert [check["state"] for check in report["checks"]].count("passed") > 20

    space = f"video/xclip/{checkpoint}"
    added = said("index", "add", "films.index", films, "--space", space)
    assert added["added"] == 3
    (failed,) = added["failed"]
    assert Path(failed["item"]).name == "broken.mp4"
    found = said(
        *("search", "films.index", "--example", f"video={films / 'boat.mp4'}", "-k", 3),
        *("--html", tmp_path / "found.html"),
    )
    ranked = [(Path(match["item"]).name, match["score"]) for match in found["matches"]]
    assert ranked[0] == ("boat.mp4", pytest.approx(1, abs=1e-4))
    assert {name for name, _ in ranked} == {"boat.mp4", "kite.mp4", "bridge.mp4"}
    page = (tmp_path / "found.html").read_text()
    assert page.count('<img src="data:image/jpeg;base64,') == 4  # three films, and the example
    classified = said(
        "classify", films, "--modality", "video", "--space", space, "--labels", "boat,bridge,kite"
    )
    assert sorted(Path(row["item"]).name for row in classified["results"]) == [
        "boat.mp4",
        "bridge.mp4",
        "kite.mp4",
    ]
    assert [Path(row["item"]).name for row in classified["failed"]] == ["broken.mp4"]

    done = fresh.shell(python, NEW.format("mmencode-demo-video"), cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
