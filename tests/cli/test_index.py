from __future__ import annotations

from pathlib import Path

import pytest

from mmencode import Index
from mmencode.testing import fake_specs

pytest.importorskip("lancedb", reason="an index is on LanceDB: pip install 'mmencode[index]'")


def test_add_makes_an_index_of_the_default_space_and_counts_what_failed(run, run_json, folder, tmp_path):
    done = run_json("index", "add", tmp_path / "ix", folder)
    assert (done["added"], done["unchanged"], done["removed"], done["rows"]) == (3, 0, 0, 3)
    assert [Path(failure["item"]).name for failure in done["failed"]] == ["broken.png"]
    assert done["space"].startswith("fake@")
    with Index.open(tmp_path / "ix") as index:
        assert [Path(key).name for key in index.rows().embeddings.keys] == ["a.png", "b.JPG", "c.png"]


def test_add_again_encodes_nothing_and_takes_several_folders(run_json, folder, recordings, tmp_path):
    run_json("index", "add", tmp_path / "ix", folder)
    done = run_json("index", "add", tmp_path / "ix", folder, recordings)
    assert (done["added"], done["unchanged"], done["rows"]) == (2, 3, 5)


def test_modality_limits_what_is_added(run_json, recordings, folder, tmp_path):
    done = run_json("index", "add", tmp_path / "ix", folder, recordings, "--modality", "audio")
    assert done["rows"] == 2


def test_sync_removes_what_is_gone(run, run_json, folder, tmp_path):
    run("index", "add", tmp_path / "ix", folder)
    (folder / "a.png").unlink()
    done = run_json("index", "sync", tmp_path / "ix", folder)
    assert (done["removed"], done["unchanged"]) == (1, 2)


def test_sync_of_a_folder_that_lost_all_its_files_asks_for_yes(run, run_json, folder, tmp_path):
    run("index", "add", tmp_path / "ix", folder)
    folder.rename(tmp_path / "elsewhere")
    folder.mkdir()
    refused = run("index", "sync", tmp_path / "ix", folder, code=1).stderr
    assert "3 of 3 files" in refused
    assert "mmencode index sync --yes" in refused
    with Index.open(tmp_path / "ix") as index:
        assert len(index) == 3
    assert run_json("index", "sync", tmp_path / "ix", folder, "--yes")["removed"] == 3


def test_what_is_left_out_of_folders_is_counted(run, run_json, folder, tmp_path):
    done = run_json("index", "add", tmp_path / "ix", folder)
    assert done["left_out"] == {"with the ending .txt": 1, "hidden": 1, "hidden folders": 1}
    assert "1 with the ending .txt" in run("index", "add", tmp_path / "ix", folder).stderr


def test_links_out_of_a_folder_are_followed_on_demand(run_json, folder, tmp_path):
    (folder / "a.png").rename(tmp_path / "a.png")
    (folder / "a.png").symlink_to(tmp_path / "a.png")
    assert run_json("index", "add", tmp_path / "ix", folder)["added"] == 2
    assert run_json("index", "add", tmp_path / "ix", folder, "--follow-links")["added"] == 1


def test_failures_are_listed_with_reasons(run, folder, tmp_path):
    run("index", "add", tmp_path / "ix", folder)
    printed = run("index", "failures", tmp_path / "ix").stdout.splitlines()
    assert printed[0] == "file\tmodality\treason"
    assert printed[1].startswith(f"{folder / 'broken.png'}\timage\tit can't be decoded")


def test_failures_are_tried_again_on_demand(run, run_json, folder, tmp_path, monkeypatch):
    run("index", "add", tmp_path / "ix", folder)
    tried = []
    from mmencode.spaces.space import Space

    stream = Space.stream

    def watched(space, modality, items, **options):
        return stream(space, modality, (tried.append(item) or item for item in items), **options)

    monkeypatch.setattr(Space, "stream", watched)
    run("index", "add", tmp_path / "ix", folder)
    assert tried == []
    run("index", "add", tmp_path / "ix", folder, "--retry")
    assert [Path(item).name for item in tried] == ["broken.png"]


def test_info_shows_the_space_the_rows_and_how_they_are_searched(run, run_json, folder, recordings, tmp_path):
    run("index", "add", tmp_path / "ix", folder, recordings)
    facts = run_json("index", "info", tmp_path / "ix")
    assert facts["rows"] == {"audio": 2, "image": 3}
    assert (facts["failures"], facts["search"], facts["rows_searched_exactly"]) == (1, "exact", 5)
    assert facts["bytes_in_memory"] == 5 * 4 * facts["dim"]
    assert facts["card"]["towers"]["image"]["encoder"] == "fake/image"
    assert "3 image" in run("index", "info", tmp_path / "ix").stdout


def test_what_is_no_index_ends_with_one(run, folder):
    for command in ("failures", "info"):
        assert "there is no index" in run("index", command, folder, code=1).stderr
    assert "there is no index" in run("index", "add", folder, folder, code=1).stderr


def test_index_of_another_space_is_refused(run, install, folder, tmp_path):
    install(fakes=(*fake_specs(), *fake_specs("other")))
    run("index", "add", tmp_path / "ix", folder, "--space", "fake")
    refused = run("index", "add", tmp_path / "ix", folder, "--space", "other", code=1).stderr
    assert "other@" in refused
    assert "image: encoder is 'fake/image' in the index and 'other/image' there" in refused


def test_modality_without_files_is_wrong_usage(run, folder, tmp_path):
    assert "not 'text'" in run("index", "add", tmp_path / "ix", folder, "--modality", "text", code=2).stderr


def test_folder_with_nothing_to_encode_ends_with_one_and_can_be_filled_later(run, folder, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "the index is empty" in run("index", "add", tmp_path / "ix", empty, code=1).stderr
    run("index", "add", tmp_path / "ix", folder)
