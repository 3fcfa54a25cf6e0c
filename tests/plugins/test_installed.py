"""Distributions whose files are odd: each is set aside with its cause, and hurts nobody else."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile

import pytest
from distributions import hook, spec

from mmencode.errors import PluginError

GOOD = hook(spec("birds/words"))
NAMED = "Metadata-Version: 2.1\nName: mmencode-birds\n"


def test_a_distribution_written_by_hand_is_found_as_one_that_pip_wrote(site, found):
    site.add("mmencode-birds", GOOD, version="2.5")
    plugin = found()["mmencode-birds"]
    assert (plugin.version, plugin.entry_point, plugin.error) == ("2.5", "mmencode_birds", None)
    assert [one.name for one in plugin.specs] == ["birds/words"]


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        (None, "its METADATA is missing"),
        (b"", "its METADATA has no Name"),
        ("Metadata-Version: 2.1\nVersion: 1\n", "its METADATA has no Name"),
        (
            "Name: UNKNOWN; rm -rf\nVersion: 1\n",
            "its METADATA gives it the name 'UNKNOWN; rm -rf', which isn't valid",
        ),
        (NAMED, "its METADATA has no Version"),
        (NAMED.encode() + b"Version: 1.0\nAuthor: Ren\xe9\n", "its METADATA isn't UTF-8"),
        (NAMED.encode() + b"Version: 1.0\n\nBy Ren\xe9\n", "its METADATA isn't UTF-8"),
    ],
)
def test_odd_metadata_sets_its_own_distribution_aside_by_the_name_of_its_folder(site, found, metadata, words):
    site.add("mmencode-birds", GOOD, metadata=metadata)
    plugin = found()["mmencode-birds"]
    assert plugin.cause == f"PluginError: {words}; remedy: reinstall it, or uninstall it"
    assert plugin.specs == ()


def test_metadata_that_is_no_file_is_not_waited_for(site, found):
    info = site.add("mmencode-birds", GOOD, metadata=None)
    os.mkfifo(info / "METADATA")
    assert "no regular file" in found()["mmencode-birds"].cause


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[mmencode]\nbirds = mmencode_birds\xff\n", "its entry_points.txt isn't UTF-8"),
        ("[mmencode]\nbirds = mmencode_birds\n".encode("utf-16"), "its entry_points.txt isn't UTF-8"),
        ("[mmencode]\nbirds\n", "the line 'birds' of its entry_points.txt names no module"),
        ("[mmencode]\nbirds = two words\n", "the line 'birds = two words' of its entry_points.txt names no"),
        ("[mmencode]\nbirds = \n", "names no module"),
    ],
)
def test_odd_entry_points_set_their_own_distribution_aside(site, found, content, words):
    site.add("mmencode-birds", GOOD, entry_points=content)
    plugin = found()["mmencode-birds"]
    assert isinstance(plugin.error, PluginError)
    assert words in plugin.cause


@pytest.mark.parametrize(
    "content", [b"\xff\xfe[console_scripts]", "[console_scripts]\nno equals sign\n", "]["]
)
def test_odd_entry_points_that_have_nothing_to_do_with_mmencode_are_nobodys_concern(site, found, content):
    site.add("innocent", entry_points=content)
    assert "innocent" not in found()


def unreadable(info):
    (info / "entry_points.txt").chmod(0)


def folder(info):
    (info / "entry_points.txt").mkdir()


def pipe(info):
    os.mkfifo(info / "entry_points.txt")


def ring(info):
    (info / "entry_points.txt").symlink_to("entry_points.txt")


def device(info):
    (info / "entry_points.txt").symlink_to("/dev/zero")


def vast(info):
    with open(info / "entry_points.txt", "wb") as file:
        file.truncate(2**40)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        *((make, "OSError: ") for make in (folder, pipe, ring, device)),
        (vast, "ValueError: it has more than 16777216 bytes"),
    ],
)
def test_entry_points_that_cannot_be_read_are_said_and_not_waited_for(site, found, make, why):
    make(site.add("innocent", entry_points=None))
    assert found()["innocent"].cause.startswith(f"PluginError: its entry_points.txt can't be read: {why}")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_entry_points_without_permission_are_said(site, found):
    unreadable(site.add("innocent", entry_points="[mmencode]\n"))
    assert "PermissionError" in found()["innocent"].cause


def test_what_pip_leaves_of_an_uninstallation_is_passed_over(site, found):
    site.add("mmencode-birds", GOOD, folder="~mencode_birds-1.0.dist-info")
    assert "mmencode-birds" not in found()


def test_the_first_of_two_distributions_of_one_name_counts(site, found, monkeypatch, tmp_path):
    site.add("mmencode-birds", GOOD, version="1.0")
    behind = type(site)(tmp_path / "behind")
    behind.add("MMEncode_Birds", "raise RuntimeError", version="2.0")
    monkeypatch.syspath_prepend(behind.folder)
    monkeypatch.syspath_prepend(site.folder)
    assert [(name, plugin.version) for name, plugin in found().items() if "irds" in name] == [
        ("mmencode-birds", "1.0")
    ]


def test_a_folder_with_dashes_in_its_name_does_not_hide_mmencode(site, found):
    site.add("mmencode-birds", GOOD, folder="mmencode-birds-1.0.dist-info")
    assert found()["mmencode-birds"].error is None


@pytest.mark.parametrize("claimed", ["mmencode", "mmencode-offline"])
def test_metadata_that_claims_to_be_another_distribution_is_set_aside(site, found, claimed):
    site.add("aaa", GOOD, metadata=f"Name: {claimed}\nVersion: 9\n")
    assert f"its METADATA says that it is {claimed}" in found()["aaa"].cause


def test_older_egg_info_is_read_too(site, found):
    info = site.add("mmencode-birds", GOOD, folder="mmencode_birds-1.0-py3.11.egg-info", metadata=None)
    (info / "PKG-INFO").write_text(f"{NAMED}Version: 1.0\n")
    assert found()["mmencode-birds"].error is None
    (info / "requires.txt").write_text("mmencode>=99\n")
    assert "built for mmencode>=99" in found()["mmencode-birds"].cause


@pytest.mark.parametrize(
    "group",
    [
        "mmencode.plugins",
        "mmencodes",
        "mm_encode",
        "MMEncode",
        "mm-encode",
        "mmenocde",
        "mencode",
        "mmencoder",
    ],
)
def test_a_misspelt_group_is_listed_with_the_right_one(site, found, group):
    site.add("birds", "raise SystemExit", group=group)
    plugin = found()["birds"]
    assert plugin.notes == (f"its group {group!r} isn't read: call it [project.entry-points.mmencode]",)
    assert (plugin.error, plugin.specs) == (None, ())


@pytest.mark.parametrize(
    "group", ["console_scripts", "encoder", "encodings", "pytest11", "birds_encoders", "mimetypes"]
)
def test_other_groups_are_no_misspellings(site, found, group):
    site.add("birds", "raise SystemExit", group=group)
    assert "birds" not in found()


def test_a_plugins_own_group_of_plugins_is_no_misspelling(site, found):
    site.add(
        "mmencode-birds", GOOD, entry_points="[mmencode]\na = mmencode_birds\n[mmencode_birds.songs]\nx = y\n"
    )
    assert found()["mmencode-birds"].notes == ()


def test_a_distribution_with_thousands_of_entry_points_is_not_asked_for_each(site, found):
    lines = "".join(f"a{number} = mmencode_birds\n" for number in range(10_000))
    site.add("mmencode-birds", "raise SystemExit", entry_points=f"[mmencode]\n{lines}")
    assert "more than 100 lines" in found()["mmencode-birds"].cause


def test_a_distribution_in_a_zip_file_is_one_too(site, found, monkeypatch, tmp_path):
    with zipfile.ZipFile(tmp_path / "birds.zip", "w") as archive:
        archive.writestr("mmencode_birds.py", GOOD)
        archive.writestr("mmencode_birds-1.0.dist-info/METADATA", f"{NAMED}Version: 1.0\n")
        archive.writestr("mmencode_birds-1.0.dist-info/entry_points.txt", "[mmencode]\na = mmencode_birds\n")
    monkeypatch.syspath_prepend(tmp_path / "birds.zip")
    assert found()["mmencode-birds"].error is None


def test_comments_blank_lines_and_a_byte_order_mark_do_not_matter(site, found):
    site.add(
        "mmencode-birds",
        GOOD,
        entry_points="\ufeff[mmencode]\r\n\r\n# one\n; two\na=mmencode_birds [extra]\n",
    )
    assert found()["mmencode-birds"].error is None


def test_a_path_with_entries_that_are_no_folders_hurts_nobody(site, tmp_path):
    site.add("mmencode-birds", GOOD)
    code = f"""
import pathlib, sys
from mmencode.plugins import discover
sys.path[:] = [3, None, b"bytes", pathlib.Path("a"), "/nothing", {str(site.folder)!r}, *sys.path]
print(*sorted(plugin.distribution for plugin in discover() if plugin.error is None))
"""
    # In a process of its own: what traces this one, such as coverage, reads the path meanwhile.
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300
    )
    assert {"mmencode", "mmencode-birds", "mmencode-offline"} <= {*done.stdout.split()}


def test_a_finder_that_fails_is_said_and_hurts_nobody(site, found, monkeypatch):
    class Broken:
        def find_spec(self, *_):
            return None

        def find_distributions(self, context):
            raise RuntimeError("no idea")

    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    assert "fails: RuntimeError: no idea" in found()["unknown"].cause
