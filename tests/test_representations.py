"""Whatever a public object holds, its representation is short, and notebooks show tables."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import mmencode
from mmencode import Embeddings, MultiEmbeddings, Waveform
from mmencode.arguments.brief import MOST, describe_briefly, shorten, table_in_markdown
from mmencode.errors import InputError
from mmencode.testing import sample_items

COUNT = 3000
WORDS = [
    "ab",
    "cd",
    "efg",
    "hi",
    "jklm",
    "no",
    "pqr",
    "st",
    "uvw",
    "xyz",
    "bac",
    "dec",
    "fed",
    "gab",
    "had",
    "cab",
    "lag",
    "mad",
    "nab",
    "oak",
]


def unit(count=COUNT, dim=16):
    vectors = np.random.default_rng(0).normal(size=(count, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def objects(space, tmp_path):
    """Public objects, each of which holds much."""
    errors = [
        InputError("it is " + "broken " * 30, source=f"{place}.jpg", index=place) for place in range(COUNT)
    ]
    rows = Embeddings(
        unit(), space="a@1", modality="text", errors=errors, keys=[str(row) for row in range(COUNT)]
    )
    texts = [f"text {place}" for place in range(300)]
    classifier = space.classifier([f"label {place}" for place in range(300)])
    space.encode("image", sample_items("image", 2))
    yield from (rows, rows.quantize("int8"), rows.quantize("binary"), mmencode.Ranges.of(rows))
    many = MultiEmbeddings(rows.vectors, [2] * (COUNT // 2), space="a@1", modality="text")
    yield from (many, many.quantize("binary"), mmencode.search(rows[:200], rows, 50))
    yield from (space, space.card, space.specs["text"], *space.card.towers, space.tower("image"))
    yield from (space.encode_tokens("text", texts), classifier, classifier.classify("text", texts))
    yield from (space.exact().card, next(iter(space.features("text", texts))), mmencode.registry())
    yield from (
        Waveform(np.zeros(10**6, np.float32), 16000),
        *mmencode.registry().plugins,
        space.encoder("text").spec,
    )
    index = pytest.importorskip("mmencode.index")
    with index.Index.create(tmp_path / "index", space) as made:
        yield made.add("text", [*texts, *[" " * count for count in range(1, 200)]], on_error="skip")
        yield from (
            made,
            made.rows(),
            made.state(),
            made.failures()[0],
            made.search("text", ["text 1"])[0][0],
        )
    yield replace(space.card, probes={"text": unit(50).tolist()})
    evaluation = pytest.importorskip("mmencode.evaluation")
    yield evaluation.zero_shot(space, "text", texts, [WORDS[place % 20] for place in range(300)])


def test_representations_are_short_whatever_is_held(space, tmp_path):
    pytest.importorskip("lancedb")
    for each in objects(space, tmp_path):
        shown = repr(each)
        assert len(shown) <= 2 * MOST, (type(each), len(shown), shown[:300])
        assert type(each).__name__ in shown


def test_small_values_are_shown_whole():
    from mmencode.index.results import Added, Failure

    assert repr(Added(1, 2, (Failure("a", "text", "why"),))) == (
        "Added(added=1, unchanged=2, failed=(Failure(key='a', modality='text', reason='why', "
        "fault='content'),), removed=0, replaced=0, left_out={})"
    )


def test_long_values_are_shortened():
    assert describe_briefly(np.zeros((5, 3), np.float32)) == "<float32 [5, 3]>"
    assert describe_briefly(list(range(100))) == "[0, 1, 2, 3, ... 100 in all]"
    assert describe_briefly({place: place for place in range(9)}) == "{0: 0, 1: 1, 2: 2, 3: 3, ... 9 in all}"
    assert len(describe_briefly("x" * 10**6)) < 100
    assert len(describe_briefly([[["x" * 1000] * 50] * 50] * 50)) < 10**4
    assert shorten("abc", 3) == "abc"


def test_cells_of_tables_for_notebooks_are_escaped():
    table = table_in_markdown(("a", "b"), [("x|y", "<img src=x>"), ("line\none", 1)])
    assert table.splitlines()[2:] == [r"| x\|y | \<img src=x\> |", "| line one | 1 |"]


def test_notebooks_show_tables(space):
    assert "| text | fake/text |" in space._repr_markdown_().replace("\\", "")
    found = space.classifier(["dog", "cat"]).classify("text", ["a dog"] * 20)
    lines = found._repr_markdown_().splitlines()
    assert lines[0] == "| item | best | scores |"
    assert len(lines) == 14
    assert lines[-1] == "20 items in all"
    assert "| space | modalities |" in mmencode.registry()._repr_markdown_()
    evaluation = pytest.importorskip("mmencode.evaluation")
    report = evaluation.zero_shot(
        space, "text", [f"text {place}" for place in range(60)], [WORDS[place % 20] for place in range(60)]
    )
    shown = report._repr_markdown_()
    assert "## Figures" in shown
    assert len(shown.splitlines()) < 60 < len(report.to_markdown().splitlines())
