"""Every Python example in README and docs runs, and prints what it says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

pytest.importorskip("mmencode_offline", reason="the examples run on the default space")
pytest.importorskip("sybil", reason="sybil runs the examples: pip install sybil")
from pages_of_docs import HOSTS, PAGES, ROOT, SLOW, Block, Reading, blocks


def _marks(page: Path) -> list[pytest.MarkDecorator]:
    name = page.relative_to(ROOT).as_posix()
    marks = [pytest.mark.slow] if name in SLOW else []
    if name in HOSTS:
        missing = [module for module in HOSTS[name] if not _is_there(module)]
        why = f"{', '.join(missing)}: .ci/run hosts installs it"
        marks += [pytest.mark.hosts, pytest.mark.skipif(bool(missing), reason=why)]
    return marks


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # the package that it is in
        return False


@pytest.fixture(scope="module")
def reading(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Path], Reading]]:
    """The page that is being read, begun anew when another one was read in between."""
    current: list[Reading] = []

    def of(page: Path) -> Reading:
        if not current or current[0].page != page:
            while current:
                current.pop().close()
            current.append(Reading(page, tmp_path_factory.mktemp(page.stem)))
        return current[0]

    yield of
    for last in current:
        last.close()


@pytest.mark.parametrize(
    "block",
    [pytest.param(block, id=block.name, marks=_marks(page)) for page in PAGES for block in blocks(page)],
)
def test_example_runs(block: Block, reading: Callable[[Path], Reading]):
    reading(block.page).read(block)


def test_every_field_and_hook_stands_in_the_page_about_plugins():
    from dataclasses import fields

    from mmencode.plugins.hookspecs import Hooks
    from mmencode.plugins.spec import EncoderSpec

    page = (ROOT / "docs" / "plugins.md").read_text()
    hooks = [name for name in vars(Hooks) if name.startswith("mmencode_")]
    missing = [
        name for name in [*hooks, *(field.name for field in fields(EncoderSpec))] if f"`{name}" not in page
    ]
    assert not missing


def test_every_module_stands_in_the_map_of_the_package():
    page = (ROOT / "docs" / "contributing.md").read_text()
    parts = [path for path in (ROOT / "mmencode").iterdir() if not path.name.startswith("_")]
    names = [path.name if path.suffix else f"{path.name}/" for path in parts if path.name != "py.typed"]
    assert [name for name in names if name not in page] == []
