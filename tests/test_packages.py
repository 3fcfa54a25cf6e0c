"""What an encoder needs, and whether that is installed."""

from __future__ import annotations

import sys

import pytest
from distributions import Site

from mmencode.errors import MissingPackageError
from mmencode.plugins.packages import (
    find_package,
    import_package,
    missing_packages,
    require_packages,
)
from mmencode.plugins.requirements import admits, read_requirement
from mmencode.plugins.spec import EncoderSpec


@pytest.fixture
def missing(tmp_path, monkeypatch):
    """What a spec lacks that requires these lines, beside a site with `birds` 2.0 and odd distributions."""
    site = Site(tmp_path / "site")
    site.add("birds", version="2.0", entry_points=None)
    site.add("egg", version="3.0.dev1", entry_points=None)
    site.add("odd", version="two", entry_points=None)
    site.add("nameless", metadata=b"Name: nameless\n", entry_points=None)
    site.add("latin", metadata=b"Name: latin\nAuthor: Ren\xe9\nVersion: 1\n", entry_points=None)
    site.add("empty", metadata=None, entry_points=None)
    monkeypatch.syspath_prepend(site.folder)

    def ask(*lines):
        spec = EncoderSpec(name="a", modality="text", target="p:f", dim=3, requires=lines, install="get it")
        return missing_packages(spec)

    return ask


@pytest.mark.parametrize(
    "line",
    [
        *("birds", "birds>=2", "Birds==2.0", "birds[song]>=1", "egg>=2", "egg==3.0.dev1"),
        *("nothing; extra == 'next'", "nothing; python_version < '3'", "birds>=9; sys_platform == 'moon'"),
    ],
)
def test_what_is_installed_or_not_asked_for_here_is_not_missing(missing, line):
    assert missing(line) == []


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("nothing>=1", "nothing>=1 isn't installed"),
        ("birds>=3; python_version > '3'", "birds>=3 is needed and 2.0 is installed"),
        ("egg>=3", "egg>=3 is needed and 3.0.dev1 is installed"),
        ("odd>=1", "odd>=1 is needed, and the version that is installed can't be read: InvalidVersion"),
        ("nameless>=1", "nameless>=1 is needed, and the version that is installed can't be read: "),
        (
            "latin>=1",
            "latin>=1 is needed, and the version that is installed can't be read: UnicodeDecodeError",
        ),
        ("empty>=1", "empty>=1 is needed, and the version that is installed can't be read: "),
    ],
)
def test_what_is_missing_is_said_whatever_state_it_is_in(missing, line, words):
    (said,) = missing(line)
    assert said.startswith(words)


def test_the_error_has_the_command_that_installs_it():
    spec = EncoderSpec(name="a", modality="text", target="p:f", dim=3, requires=("nothing>=1",))
    with pytest.raises(MissingPackageError, match=r"pip install 'nothing>=1'"):
        require_packages(spec)


def test_a_marker_that_does_not_hold_is_no_requirement():
    assert read_requirement("a>=1; python_version < '3'") is None
    assert read_requirement("a>=1; extra == 'x'") is None
    assert read_requirement(f"a>=1; sys_platform == '{sys.platform}'").name == "a"
    with pytest.raises(ValueError, match="not a req"):
        read_requirement("not a req !!")


@pytest.mark.parametrize(
    ("specifier", "version", "admitted"),
    [
        (">=0.2", "0.2.0.dev0", True),
        (">=0.2,<0.3", "0.2.0rc1", True),
        ("<0.2", "0.2.0.dev0", False),
        (">=0.1,<0.2", "0.2.0rc1", False),
        (">=0.2.0rc2", "0.2.0rc1", False),
        (">=0.2.0rc1", "0.2.0rc2", True),
        ("==0.1.0", "0.1.0+cpu", True),
        ("==0.2.*", "0.2.0.dev3+gabc", True),
        ("", "0.2.0a1", True),
        (">=99", "0.2.0a1", False),
    ],
)
def test_a_version_on_the_way_to_another_counts_as_that(specifier, version, admitted):
    assert admits(read_requirement(f"mmencode{specifier}").specifier, version) is admitted


NEED = "clusters need birds", "pip install birds"


def test_an_optional_package_is_imported_when_it_is_there():
    assert import_package("json.decoder", *NEED).JSONDecoder
    assert find_package("json", *NEED).name == "json"


@pytest.mark.parametrize("load", [import_package, find_package])
def test_a_package_that_is_absent_is_an_error_that_says_how_to_install_it(load):
    with pytest.raises(MissingPackageError) as caught:
        load("no_birds", *NEED)
    assert caught.value.fact == "clusters need birds, which isn't installed"
    assert caught.value.remedy == "pip install birds"


def test_a_package_that_lacks_another_one_is_an_error_that_names_that(tmp_path, monkeypatch):
    (tmp_path / "halfbirds.py").write_text("import no_wings")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingPackageError, match="which can't be imported: No module named 'no_wings'"):
        import_package("halfbirds", *NEED)


@pytest.mark.parametrize("raised", ["OSError('undefined symbol: wing')", "RuntimeError('another CUDA')"])
def test_a_package_built_for_another_library_is_an_error_that_says_so(raised, tmp_path, monkeypatch):
    (tmp_path / "oldbirds.py").write_text(f"raise {raised}")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        MissingPackageError, match=r"which can't be imported: (undefined symbol|another CUDA)"
    ):
        import_package("oldbirds", *NEED)
