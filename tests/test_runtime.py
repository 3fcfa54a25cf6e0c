from __future__ import annotations

import os

import pytest
import torch

from mmencode.engine.runtime import Runtime, devices, move, native_dtype, reasons
from mmencode.errors import DeviceError


def test_auto_becomes_concrete():
    runtime = Runtime()
    assert str(runtime.device) == next(iter(devices()))
    assert runtime.dtype == native_dtype(runtime.device)
    assert runtime.batch_size >= 1
    assert runtime.workers == len(os.sched_getaffinity(0))
    assert "batch_size=" in repr(runtime)


@pytest.mark.parametrize("device", ["cuda:99", "mps:7", "nonsense", "xla"])
def test_absent_device_is_an_error_with_what_is_there(device):
    with pytest.raises(DeviceError, match=rf"'{device}' isn't there(.|\n)*cpu"):
        Runtime(device)


def test_cuda_is_an_error_where_there_is_none(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError, match="install a CUDA build"):
        Runtime("cuda")


def test_first_gpu_is_preferred(monkeypatch):
    class Properties:
        name, total_memory, major, minor = "Test GPU", 8 * 2**30, 8, 0

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: Properties)
    assert Runtime().device == torch.device("cuda:0")
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    assert Runtime("cuda").device == torch.device("cuda:1")  # another device may be current later
    assert Runtime("cuda:1").batch_size > Runtime("cpu").batch_size
    assert devices()["cuda:1"] == "Test GPU, 8 GiB"


def test_devices_of_two_kinds_are_an_error(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    with pytest.raises(ValueError, match="several of one kind"):
        Runtime("mps,cpu")
    with pytest.raises(ValueError, match="several of one kind"):
        Runtime([])


def test_mps_is_preferred_to_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert "mps" in list(devices())[:-1]


def test_cores_are_counted_where_there_is_no_affinity(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity")
    assert Runtime("cpu").workers == os.cpu_count()


@pytest.mark.parametrize(
    "wrong", [{"dtype": "int8"}, {"batch_size": 0}, {"batch_size": "big"}, {"workers": -1}, {"workers": True}]
)
def test_nonsense_is_a_value_error_that_names_it(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Runtime("cpu", **wrong)


def test_moving_casts_floats_only():
    moved = move(
        {"x": torch.zeros(2), "ids": torch.zeros(2, dtype=torch.int64), "m": torch.ones(2).bool()},
        torch.device("cpu"),
        torch.bfloat16,
    )
    assert [tensor.dtype for tensor in moved.values()] == [torch.bfloat16, torch.int64, torch.bool]


@pytest.mark.parametrize(
    ("features", "dtype"),
    [
        ({"avx512_bf16": True}, torch.bfloat16),
        ({"amx_bf16": True}, torch.bfloat16),
        ({"avx512_f": True, "avx512_bf16": False}, torch.float32),
        ({}, torch.float32),
    ],
)
def test_bfloat16_is_native_where_the_processor_has_instructions_for_it(monkeypatch, features, dtype):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: features, raising=False)
    assert native_dtype(torch.device("cpu")) == Runtime("cpu").dtype == dtype
    assert reasons(Runtime("cpu"))["dtype"].startswith(str(dtype).removeprefix("torch."))
    assert Runtime("cpu", "float32").dtype == torch.float32


@pytest.mark.parametrize(
    ("capability", "dtype"), [((7, 5), torch.float32), ((8, 0), torch.bfloat16), ((9, 0), torch.bfloat16)]
)
def test_bfloat16_is_native_on_cuda_from_ampere_on(monkeypatch, capability, dtype):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert native_dtype(torch.device("cuda:0")) == dtype


def test_reasons_say_what_was_asked_for():
    assert reasons(Runtime("cpu", "float16"))["dtype"] == "float16: as asked for"


def test_forked_process_computes_on_one_thread_and_says_so_once(monkeypatch):
    runtime, threads = Runtime("cpu"), []
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    runtime.after_fork()
    assert threads == []
    monkeypatch.setattr(os, "getpid", lambda: -1)
    with pytest.warns(RuntimeWarning, match="spawn"):
        runtime.after_fork()
    runtime.after_fork()
    assert threads == [1]
