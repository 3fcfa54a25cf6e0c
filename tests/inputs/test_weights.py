"""Files that nobody vouches for: tensors come out of them, or an error that names them, and no code runs."""

from __future__ import annotations

import argparse
import contextlib
import os
import pickle
import resource
import struct
import warnings
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from bombs import bomb
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from mmencode.errors import WeightsError
from mmencode.inputs.pickled import require_stored
from mmencode.inputs.weights import fill, read_state, reason, require_numbers, shapes_of

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2), "count": torch.tensor(3)}


class Payload:
    def __init__(self, function, *arguments):
        self.made = (function, arguments)

    def __reduce__(self):
        return self.made


def same(found):
    return found.keys() == STATE.keys() and all(torch.equal(found[key], STATE[key]) for key in STATE)


def refused(path, *words):
    with pytest.raises(WeightsError) as caught:
        read_state(path)
    said = str(caught.value)
    assert repr(str(path)) in said
    assert caught.value.remedy
    for word in words:
        assert word in said
    assert "weights_only" not in said
    return caught.value


def prefixed(prefix):
    return {f"{prefix}{name}": tensor for name, tensor in STATE.items()}


# What is read


@pytest.mark.parametrize(
    "content",
    [
        STATE,
        {"state_dict": STATE},
        {"model": STATE, "args": argparse.Namespace(lr=0.1), "epoch": 3},
        {"state_dict_ema": STATE, "state_dict": {"a.weight": torch.zeros(2, 3)}},
        {"model_ema": STATE, "model": {"a.weight": torch.zeros(2, 3)}},
        {"model": {"state_dict": STATE}},
        prefixed("module."),
        prefixed("_orig_mod."),
        prefixed("_orig_mod.module."),
        prefixed("module._orig_mod."),
        {"model": prefixed("module.")},
        {name: nn.Parameter(tensor, requires_grad=False) for name, tensor in STATE.items()},
        {**STATE, "epoch": 3, "name": "x"},
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_state_dict_is_found_in_what_trainers_save(tmp_path, content, zipped):
    torch.save(content, tmp_path / "x.bin", _use_new_zipfile_serialization=zipped)
    assert same(read_state(tmp_path / "x.bin"))


@pytest.mark.parametrize("ending", ["safetensors", "pt", "", "ckpt"])
def test_what_a_file_is_its_first_bytes_say(tmp_path, ending):
    save_file(STATE, tmp_path / f"x.{ending}")
    assert same(read_state(tmp_path / f"x.{ending}"))
    torch.save(STATE, tmp_path / f"y.{ending}")
    assert same(read_state(tmp_path / f"y.{ending}"))
    assert shapes_of(tmp_path / f"x.{ending}") == shapes_of(tmp_path / f"y.{ending}")
    assert shapes_of(tmp_path / f"x.{ending}")["a.weight"] == (2, 3)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.text("ab._", min_size=1, max_size=9), st.lists(st.integers(0, 3), max_size=3), min_size=1
    )
)
def test_tensors_of_any_shape_come_back(tmp_path, sizes):
    state = {f"x{name}": torch.rand(size) for name, size in sizes.items()}
    torch.save(state, tmp_path / "x.pt")
    save_file(state, tmp_path / "x.safetensors")
    for file in ("x.pt", "x.safetensors"):
        found = read_state(tmp_path / file)
        assert found.keys() == state.keys()
        assert all(torch.equal(found[name], state[name]) for name in state)
        assert shapes_of(tmp_path / file) == {name: tuple(tensor.shape) for name, tensor in state.items()}


# What is refused


@pytest.mark.parametrize("name", ["lost.pt", "lost.safetensors", "no/folder/x.pt", "a\0b"])
def test_missing_file_is_named(tmp_path, name):
    refused(tmp_path / name, "there is no file")


def test_relative_path_says_where_it_begins(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(Path("lost.pt"), f"relative to {tmp_path}")


@pytest.mark.parametrize("kind", ["fifo", "folder", "device", "link to a device", "socket"])
def test_what_is_no_file_is_not_opened(tmp_path, kind):
    path = tmp_path / "x.pt"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "socket":
        import socket

        os.chdir(tmp_path)  # the path of a socket is short
        server = socket.socket(socket.AF_UNIX)
        server.bind("x.pt")
        server.close()
    else:
        path = Path("/dev/zero") if kind == "device" else path
        if kind != "device":
            path.symlink_to("/dev/zero")
    refused(path, "and no file")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 3\n", "git lfs pull"),
        (b"\n<!DOCTYPE html><html>Not found</html>", "HTML page"),
        (b"just text", "can't be read as a checkpoint"),
        (struct.pack("<Q", 2**39) + b"{" + b" " * 99, "header of 549755813888 bytes"),
        (struct.pack("<Q", 8) + b'{"a": 1}', "header of"),
        (struct.pack("<Q", 40) + b'{"a":{"shape":[1.5],"dtype":"F32"}}     ', "header of"),
        (struct.pack("<Q", 60_000) + b'{"a":' + b"[" * 59_995, "header of"),
        (struct.pack("<Q", 2) + b"{}", "no tensors"),
    ],
)
def test_what_is_no_checkpoint_says_what_it_is(tmp_path, content, words):
    (tmp_path / "x.bin").write_bytes(content)
    if words == "no tensors":
        assert read_state(tmp_path / "x.bin") == {}
    else:
        refused(tmp_path / "x.bin", words)


def test_every_cut_of_a_checkpoint_is_an_error_that_names_it(tmp_path):
    save_file(STATE, tmp_path / "whole.safetensors")
    torch.save(STATE, tmp_path / "whole.pt")
    torch.save(STATE, tmp_path / "legacy.pt", _use_new_zipfile_serialization=False)
    for name in ("whole.safetensors", "whole.pt", "legacy.pt"):
        whole = (tmp_path / name).read_bytes()
        for end in range(0, len(whole) - 1, max(1, len(whole) // 23)):
            (tmp_path / "cut").write_bytes(whole[:end])
            refused(tmp_path / "cut")


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data(), st.sampled_from(["x.pt", "x.safetensors", "legacy.pt"]))
def test_any_change_of_some_bytes_gives_tensors_or_an_error_of_ours(tmp_path, data, name):
    if not (tmp_path / "x.pt").exists():
        torch.save(STATE, tmp_path / "x.pt")
        torch.save(STATE, tmp_path / "legacy.pt", _use_new_zipfile_serialization=False)
        save_file(STATE, tmp_path / "x.safetensors")
    content = bytearray((tmp_path / name).read_bytes())
    for place in data.draw(st.lists(st.integers(0, min(len(content), 1500) - 1), min_size=1, max_size=6)):
        content[place] = data.draw(st.integers(0, 255))
    (tmp_path / "changed").write_bytes(content)
    with contextlib.suppress(WeightsError):  # and nothing else
        read_state(tmp_path / "changed")


@pytest.mark.parametrize(
    ("content", "culprit"),
    [
        (Payload(print, "this pickle ran code"), "print"),
        ({"state_dict": Payload(os.system, "true")}, "posix.system"),
        ({"w": torch.ones(2), "scores": Counter("ab")}, "collections.Counter"),
        ({"w": torch.ones(2), "best": np.float64(0.5)}, "numpy"),
        ({"w": torch.ones(2), "path": Path("a")}, "pathlib"),
        ({"w": Payload(bytearray, 10**12)}, "bytearray"),
        ({"w": Payload(torch.Tensor, 10**11)}, "torch.Tensor"),
        ({"w": Payload(torch.storage.UntypedStorage, 10**11)}, "torch.storage.UntypedStorage"),
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_more_than_tensors_is_refused_by_its_name_and_never_run(tmp_path, capfd, content, culprit, zipped):
    """Also what torch itself would let a pickle make, of any size: a byte array of a terabyte."""
    torch.save(content, tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
    refused(tmp_path / "x.pt", "holds more than tensors", culprit)
    assert "ran code" not in capfd.readouterr().out


def test_advice_of_a_library_to_run_code_is_not_passed_on(tmp_path):
    """The name of what is in the file is; timm and torch.hub read published files themselves."""
    from timm.models import load_state_dict

    torch.save({"w": Payload(print, "this pickle ran code")}, tmp_path / "x.pt")
    for read in (
        lambda: torch.load(tmp_path / "x.pt", weights_only=True),
        lambda: load_state_dict(str(tmp_path / "x.pt")),
    ):
        with pytest.raises(Exception, match="weights_only") as caught:
            read()
        said = reason(caught.value)
        assert said.startswith("the file holds more than tensors: ")
        assert said.endswith("print")
    assert reason(OSError("no route")) == "OSError: no route"


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_plain_pickle_of_any_protocol_is_refused(tmp_path, capfd, protocol):
    (tmp_path / "x.pt").write_bytes(pickle.dumps({"w": Payload(print, "this pickle ran code")}, protocol))
    refused(tmp_path / "x.pt")
    assert "ran code" not in capfd.readouterr().out


@pytest.mark.parametrize(
    "content", [[torch.ones(2)], torch.ones(2), {"a": 1, "b": {"c": 2}}, {3: torch.ones(2)}, 7]
)
def test_object_without_tensors_by_name_says_what_it_is(tmp_path, content):
    torch.save(content, tmp_path / "x.pt")
    what = "a mapping of 'a', 'b'" if isinstance(content, dict) and "a" in content else ""
    refused(tmp_path / "x.pt", "no tensors by name", what)


def test_torchscript_says_how_its_tensors_are_saved(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(nn.Linear(2, 2)).save(tmp_path / "x.pt")
    refused(tmp_path / "x.pt", "TorchScript", "torch.jit.load(path).state_dict()")


def test_archive_that_unpacks_to_more_than_it_is_costs_nothing(tmp_path):
    bomb(tmp_path / "x.pth", 2**27)
    assert (tmp_path / "x.pth").stat().st_size < 2**20
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(tmp_path / "x.pth", "would unpack to")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**16  # in KiB: 64 MiB


def test_entries_that_lie_over_each_other_are_counted_each(tmp_path):
    """Each of a thousand names for one stored piece; what they say adds up to more than the file."""
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", bytes(2**20))
    content = path.read_bytes()
    start = content.rindex(b"PK\x01\x02")
    entry, end = content[start:-22], bytearray(content[-22:])
    struct.pack_into("<HHLL", end, 8, 1000, 1000, 1000 * len(entry), start)
    path.write_bytes(content[:start] + entry * 1000 + end)
    with pytest.raises(WeightsError, match="would unpack to"):
        require_stored(path)


# Filling a module


class Net(nn.Module):
    def __init__(self, inputs=3, scale=True):
        super().__init__()
        self.a = nn.Linear(inputs, 2)
        self.register_buffer("count", torch.tensor(0))
        if scale:
            self.scale = nn.Parameter(torch.tensor(2.0))


@pytest.mark.parametrize("prefix", ["", "model.", "net.inner."])
def test_module_is_filled_whatever_prefix_a_trainer_left(prefix):
    module = Net()
    extra = {"loss.weight": torch.ones(3)} if prefix else {}
    lacking = fill(module, prefixed(prefix) | extra, "x", "y", optional=("scale",))
    assert lacking == {"scale"}
    assert torch.equal(module.a.weight, STATE["a.weight"])
    assert module.count == 3
    assert module.scale == 2


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (prefixed("student.") | prefixed("teacher."), ["lacks 3 of 3 tensors", "'a.", "6 that don't belong"]),
        (
            {"a.weight": torch.ones(2, 4), "a.bias": torch.ones(2), "count": torch.tensor(1)},
            ["a.weight is [2, 4] there, and [2, 3] is expected"],
        ),
        ({k: v for k, v in STATE.items() if k != "a.bias"}, ["lacks 1 of 3 tensors, 'a.bias' for one"]),
        (STATE | {"b": torch.ones(1)}, ["1 that don't belong there, 'b' for one"]),
        (STATE | {"a.bias": torch.ones(2, dtype=torch.int8)}, ["a.bias is of type torch.int8 there"]),
        ({f"x.{name}y": tensor for name, tensor in STATE.items()}, ["all its names begin with 'x.'"]),
        ({}, ["lacks 3 of 3"]),
    ],
)
def test_state_of_another_module_says_what_differs_and_changes_nothing(state, words):
    module = Net(scale=False)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    with pytest.raises(WeightsError) as caught:
        fill(module, state, "the file 'f' doesn't fit", "take another", culprit="here")
    assert caught.value.fact.startswith("the file 'f' doesn't fit: ")
    assert (caught.value.remedy, caught.value.culprit) == ("take another", "here")
    for word in words:
        assert word in caught.value.fact
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


def test_numbers_of_any_size_are_numbers_and_masks_may_be_infinite():
    module = Net()
    module.register_buffer("mask", torch.full((2,), float("-inf")))
    with torch.no_grad():
        module.a.weight.fill_(3e38)  # their sum isn't finite, and they are
    require_numbers(module, "x")
    with torch.no_grad():
        module.a.bias[1] = float("nan")
    with pytest.raises(WeightsError, match=r"encoder 'x' are damaged: a.bias contains NaN"):
        require_numbers(module, "x")
