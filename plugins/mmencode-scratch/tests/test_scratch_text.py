"""The encoder keeps the contract, and its folder is read whole or refused by name."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmencode_scratch.text import CONFIG, TOKENIZER, WEIGHTS, ScratchText, Shape, encoder
from mmencode_scratch.training import train_tokenizer

import mmencode
from mmencode.errors import InputError, WeightsError
from mmencode.testing import EncoderConformance

TEXTS = ["a red car on the road", "two dogs under an old bridge", "in the rain near the quiet harbour"] * 3


def made(tokens: int = 128) -> ScratchText:
    tokenizer = train_tokenizer(TEXTS, 300)
    torch.manual_seed(0)
    found = ScratchText(Shape(vocabulary=300, width=32, heads=2, inner=48, tokens=tokens), tokenizer)
    for parameter in found.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return found.eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scratch") / "mine"
    made().save(path)
    return path


class TestScratch(EncoderConformance):
    @pytest.fixture(autouse=True, scope="class")
    def _name(self, folder: Path) -> None:
        type(self).name = f"scratch/{folder}"


@torch.inference_mode()
def features(found: ScratchText, *texts: str) -> torch.Tensor:
    return found(found.collate([found.preprocess(text) for text in texts]))


def test_folder_gives_the_encoder_that_was_saved(folder: Path) -> None:
    found = encoder(str(folder))
    assert sorted(path.name for path in folder.iterdir()) == [CONFIG, TOKENIZER, WEIGHTS]
    torch.testing.assert_close(features(found, *TEXTS[:3]), features(made(), *TEXTS[:3]), rtol=0, atol=0)


def test_folder_that_is_there_is_not_written_over(folder: Path) -> None:
    with pytest.raises(FileExistsError):
        made().save(folder)


def test_features_are_the_mean_of_the_contextual_tokens(folder: Path) -> None:
    found = encoder(str(folder))
    tensors = found.collate([found.preprocess(text) for text in ("a car", TEXTS[1])])
    with torch.inference_mode():
        tokens, mask = found.forward_tokens(tensors)
    expected = [row[kept].mean(dim=0) for row, kept in zip(tokens, mask, strict=True)]
    assert mask.sum(dim=1).tolist() == [found.cost(found.preprocess(text)) for text in ("a car", TEXTS[1])]
    torch.testing.assert_close(features(found, "a car", TEXTS[1]), torch.stack(expected), rtol=0, atol=1e-6)


def test_case_makes_no_difference_and_no_character_is_unknown(folder: Path) -> None:
    found = encoder(str(folder))
    torch.testing.assert_close(features(found, "A Red Car"), features(found, "a red car"), rtol=0, atol=0)
    assert not torch.allclose(features(found, "日本"), features(found, "🦊"), atol=1e-3)


def test_text_of_which_the_tokenizer_leaves_nothing_is_blank(folder: Path) -> None:
    with pytest.raises(InputError, match="the tokenizer leaves nothing of it"):
        encoder(str(folder)).preprocess("")


def test_cut_text_is_warned_of_once() -> None:
    found = made(tokens=4)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        items = [found.preprocess(TEXTS[0]) for _ in range(3)]
    assert [str(warning.message)[:34] for warning in said] == ["a text is longer than 4 tokens, an"]
    assert {len(item["ids"]) for item in items} == {4}


def test_identity_changes_with_the_tokenizer() -> None:
    shape = Shape(vocabulary=400, width=8, heads=2)
    words = [ScratchText(shape, train_tokenizer(TEXTS, size)).tokenizer for size in (270, 280)]
    assert words[0].startswith("sha256:")
    assert words[0] != words[1]


@pytest.mark.parametrize("name", [CONFIG, TOKENIZER, WEIGHTS])
def test_missing_file_is_named(name: str, tmp_path: Path) -> None:
    made().save(tmp_path / "mine")
    (tmp_path / "mine" / name).unlink()
    with pytest.raises(WeightsError, match=name):
        encoder(str(tmp_path / "mine"))


def _config(**changes: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        found = json.loads((folder / CONFIG).read_text())
        (folder / CONFIG).write_text(json.dumps({**found, **changes}))

    return change


class Payload:
    def __reduce__(self) -> Any:
        return (print, ("this pickle ran code",))


DAMAGE: dict[str, tuple[str, Callable[[Path], object]]] = {
    "no JSON": (CONFIG, lambda folder: (folder / CONFIG).write_text("{")),
    "no object": (CONFIG, lambda folder: (folder / CONFIG).write_text("[]")),
    "another format": (CONFIG, _config(format=2)),
    "an unknown size": (CONFIG, _config(colour=2)),
    "a huge size": (CONFIG, _config(width=10**9)),
    "sizes that no memory holds": (WEIGHTS, _config(vocabulary=2**20, width=2**14, inner=2**16)),
    "no number": (CONFIG, _config(layers="two")),
    "odd heads": (CONFIG, _config(heads=5)),
    "small vocabulary": (TOKENIZER, _config(vocabulary=10)),
    "another width": (WEIGHTS, _config(width=64)),
    "no tokenizer": (TOKENIZER, lambda folder: (folder / TOKENIZER).write_text("{}")),
    "half the weights": (
        WEIGHTS,
        lambda folder: (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:900]),
    ),
    "a pickle": (WEIGHTS, lambda folder: (folder / WEIGHTS).write_bytes(pickle.dumps(Payload()))),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_file_is_named_and_no_code_runs(
    damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, change = DAMAGE[damage]
    made().save(tmp_path / "mine")
    change(tmp_path / "mine")
    with pytest.raises(WeightsError, match=name):
        encoder(str(tmp_path / "mine"))
    assert "this pickle ran code" not in capsys.readouterr().out


def test_space_has_the_folders_name(folder: Path) -> None:
    with mmencode.load(f"scratch/{folder}", device="cpu", dtype="float32") as space:
        assert space.encode("text", ["a red car"]).vectors.shape == (1, 32)
        assert space.encode_tokens("text", ["a red car"])[0].shape[1] == 32


def test_declaring_imports_nothing_heavy() -> None:
    code = "import sys, mmencode_scratch as m; list(m.mmencode_encoders()); print(sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300
    )
    assert not [
        name for name in ("torch", "numpy", "timm", "tokenizers", "sklearn") if repr(name) in done.stdout
    ]


def test_a_folder_is_one_wherever_it_lies_and_another_with_other_heads(folder: Path, tmp_path: Path) -> None:
    """The number of heads changes vectors and no weight."""
    shutil.copytree(folder, tmp_path / "copy")
    shutil.copytree(folder, tmp_path / "heads")
    config = json.loads((folder / CONFIG).read_text())
    (tmp_path / "heads" / CONFIG).write_text(json.dumps(config | {"heads": config["heads"] * 2}))
    found = {}
    for place in (folder, tmp_path / "copy", tmp_path / "heads"):
        with mmencode.load(f"scratch/{place}", device="cpu", dtype="float32") as space:
            found[place.name] = space.card.fingerprint, space.encode("text", TEXTS).vectors
    (first, vectors), (second, others), (third, different) = found.values()
    assert first == second != third
    assert np.array_equal(vectors, others)
    assert not np.array_equal(vectors, different)
