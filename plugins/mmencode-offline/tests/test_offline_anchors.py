"""The anchors that are shipped are those that the script builds."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"
WORDNET = Path("/usr/share/wordnet")

needs_wordnet = pytest.mark.skipif(
    not (WORDNET / "data.noun").exists(), reason=f"WordNet's data.noun isn't in {WORDNET}"
)


@pytest.mark.slow
@needs_wordnet
def test_a_rebuild_gives_what_is_shipped() -> None:
    pytest.importorskip("onnx")
    command = [sys.executable, str(SCRIPTS / "build_anchors.py"), "--check", "--wordnet", str(WORDNET)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_wordnet
def test_wordnet_says_what_a_thing_is_a_kind_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    from wordnet import WordNet

    wordnet = WordNet(WORDNET)
    tench = wordnet.synset(1440764)
    assert (tench.name, tench.parent is not None) == ("tench", True)
    assert tench.gloss.startswith("freshwater dace-like game fish of Europe")
    assert tench.gloss.endswith("noted for ability to survive outside water")
    assert wordnet.kinds(1440764, 2) == ["cyprinid", "cypriniform fish"]
    assert wordnet.kinds(3666591, 3) == []


@needs_wordnet
def test_an_offset_between_synsets_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    from wordnet import WordNet

    with pytest.raises(ValueError, match="no synset stands at byte 1440765"):
        WordNet(WORDNET).synset(1440765)


def test_the_neutral_clips_are_the_same_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    from neutral_clips import clips

    first, second = list(clips()), list(clips())
    assert len(first) == 56
    assert all(
        (one == other).all() and abs(one).max() == 0.5 for one, other in zip(first, second, strict=True)
    )
