"""Settings beside weights, and the models that they describe: read with limits, and built within them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from torch import nn

from mmencode.errors import WeightsError
from mmencode.inputs.building import Bounded, sketch
from mmencode.inputs.settings import matters, read_object, read_settings, settings_digest


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "can't be read"),
        (b"\xff\xfe", "can't be read"),
        (b"[" * 100_000, "nested deeper than 64 levels"),
        (b"[" * 900 + b"]" * 900, "nested deeper than 64 levels"),
        (b'{"a":' * 70 + b"1" + b"}" * 70, "nested deeper than 64 levels"),
        (b" " * (2**24 + 1), "16777217 bytes, and 16777216 are the most"),
    ],
)
def test_settings_that_are_none_are_an_error_that_names_them(tmp_path, content, words):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(WeightsError, match=words) as caught:
        read_settings(tmp_path / "config.json")
    assert str(tmp_path / "config.json") in caught.value.fact


def test_settings_that_are_a_pipe_do_not_hang(tmp_path):
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(WeightsError, match="a pipe, socket or device"):
        read_object(tmp_path / "config.json")


def test_digest_of_settings_counts_what_matters_at_any_depth_and_no_order():
    settings = {"heads": 4, "inner": {"eps": 1e-5, "dtype": "float16"}, "list": [{"act": "gelu"}], "one": 1.0}
    same = {"one": 1, "list": [{"act": "gelu", "hidden_dropout": 0.1}], "inner": {"eps": 0.00001}, "heads": 4}
    assert settings_digest(settings, matters) == settings_digest(same, matters)
    assert settings_digest(settings) != settings_digest(same)
    for other in (
        {"heads": 5},
        {"inner": {"eps": 1e-6}},
        {"list": [{"act": "relu"}]},
        {"more": None},
        {"one": True},
    ):
        assert settings_digest(settings | other, matters) != settings_digest(settings, matters)


# Models that settings describe


@pytest.mark.parametrize(
    "build",
    [
        lambda: nn.Linear(10**9, 10**9),
        lambda: nn.Sequential(*(nn.Linear(1, 1) for _ in range(200_000))),
        lambda: nn.Embedding(10**12, 1),
    ],
)
def test_model_that_is_far_larger_than_its_weights_is_not_built(build):
    with pytest.raises(WeightsError, match="settings of 'x' describe a far larger model"):
        sketch(build, {"a": (3, 4)}, "'x'")


def test_model_of_its_weights_size_is_built():
    module = nn.Sequential(*(nn.Linear(8, 8) for _ in range(50)))
    shapes = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    found = sketch(lambda: nn.Sequential(*(nn.Linear(8, 8) for _ in range(50))), shapes, "x")
    assert {name: tuple(tensor.shape) for name, tensor in found.items()} == shapes
    with Bounded(shapes, "x"):
        assert not nn.Linear(8, 8).weight.is_meta


def test_no_library_of_a_family_reads_a_checkpoint_itself():
    """All of them go by these readers: what a file may cost and hold is decided in one place."""
    root = Path(__file__).parents[2]
    found = [
        f"{path.relative_to(root)}: {word}"
        for folder in (
            "mmencode/encoders",
            *(f"plugins/mmencode-{name}" for name in ("transformers", "diffusers", "documents", "scratch")),
        )
        for path in sorted((root / folder).rglob("*.py"))
        if "tests" not in path.parts
        for word in ("torch.load(", "safe_open(", "load_file(", "json.load(", "pickle.load")
        if word in path.read_text()
    ]
    assert found == []
