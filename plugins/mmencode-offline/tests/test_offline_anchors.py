"""The anchors that are shipped are those that the script builds."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"
WORDNET = Path("/usr/share/wordnet")
SOUNDFONT = Path("/usr/share/sounds/sf2/FluidR3_GM.sf2")

needs_wordnet = pytest.mark.skipif(
    not (WORDNET / "data.noun").exists(), reason=f"WordNet's data.noun isn't in {WORDNET}"
)
needs_soundfont = pytest.mark.skipif(
    not (SOUNDFONT.exists() and shutil.which("espeak-ng")),
    reason="the neutral clips need Debian's fluid-soundfont-gm and espeak-ng",
)


@pytest.mark.slow
@needs_wordnet
@needs_soundfont
def test_a_rebuild_gives_what_is_shipped() -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("tinysoundfont", reason="pip install --no-deps tinysoundfont")
    command = [sys.executable, str(SCRIPTS / "build_anchors.py"), "--check", "--wordnet", str(WORDNET)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
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


def test_the_noises_are_the_same_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    from neutral_clips import noises

    first, second = list(noises()), list(noises())
    assert len(first) == 64
    for one, other in zip(first, second, strict=True):
        assert (one.samples == other.samples).all()
        assert abs(one.samples).max() == 0.5


@needs_soundfont
def test_the_neutral_clips_are_instruments_drums_voices_and_noises(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tinysoundfont", reason="pip install --no-deps tinysoundfont")
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import neutral_clips

    monkeypatch.setattr(neutral_clips, "_PROGRAMS", (0, 40))
    monkeypatch.setattr(neutral_clips, "_DRUMS", (36, 38))
    monkeypatch.setattr(neutral_clips, "_VOICES", ("en+f1",))
    found = list(neutral_clips.clips(SOUNDFONT))
    assert len(found) == 2 * 10 + 2 * 4 + 8 + 64
    for clip in found:
        assert 0 < len(clip.samples) <= neutral_clips.SECONDS * clip.rate
        assert abs(clip.samples).max() == 0.5
