"""Sessions: an exported graph, loaded by a library, on as many threads as torch has."""

from __future__ import annotations

import ctypes
import os
import queue
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, final

import torch
from torch import Tensor

from ...errors import EncoderError
from ...isolation.guarding import Guard
from ...plugins.packages import import_package
from ..backend_names import ONNXRUNTIME, OPENVINO, install_line


class Session(Protocol):
    """A loaded graph, which several threads may run at once."""

    def run(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Compute features `[b, width]`; inputs that the graph doesn't use are left out."""
        ...


@final
class OnnxSession:
    """A graph in onnxruntime, whose threads sleep when they have no work, and leave the cores to others."""

    def __init__(self, file: Path, threads: int) -> None:
        library = _import(ONNXRUNTIME)
        library.disable_telemetry_events()  # which would be sent to its makers
        options = library.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 4  # what fails is raised
        self._session = library.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        self._names = [one.name for one in self._session.get_inputs()]

    def run(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Compute features `[b, width]`."""
        (features,) = self._session.run(None, {name: tensors[name].numpy() for name in self._names})
        return torch.from_numpy(features)


@final
class OpenVinoSession:
    """A graph in OpenVINO, in float32 also where the processor has bfloat16; a request for each thread."""

    def __init__(self, file: Path, threads: int) -> None:
        core = _import(OPENVINO).Core()
        settings = {
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "f32",
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,
        }
        self._compiled = core.compile_model(core.read_model(file), "CPU", settings)
        self._names = [one.get_any_name() for one in self._compiled.inputs]
        self._free: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def run(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Compute features `[b, width]`."""
        try:
            request = self._free.get_nowait()
        except queue.Empty:
            request = self._compiled.create_infer_request()
        try:
            found = request.infer({name: tensors[name].numpy() for name in self._names})
            return torch.from_numpy(found[0])  # a copy, which the next pass doesn't overwrite
        finally:
            self._free.put(request)


SESSIONS: Mapping[str, type[OnnxSession] | type[OpenVinoSession]] = {
    ONNXRUNTIME: OnnxSession,
    OPENVINO: OpenVinoSession,
}


class Sessions:
    """The sessions of one graph, opened again when torch's number of threads has changed, or after a fork.

    A forked process has none of the threads that the library began in its parent. The parent's session is
    neither used there nor ended, since it would wait for them, and OpenVINO doesn't start anew at all.
    """

    def __init__(self, backend: str, file: Path) -> None:
        self._backend, self._file = backend, file
        self._open: dict[tuple[int, int], Session] = {}  # by process and number of threads
        self._guard = Guard()

    def run(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Compute features `[b, width]` on as many threads as torch has for this one."""
        now = os.getpid(), torch.get_num_threads()
        session = self._open.get(now)
        if session is None:
            with self._guard:
                session = self._open.get(now) or self._begin(now)
        return session.run(tensors)

    def _begin(self, now: tuple[int, int]) -> Session:
        """Open a session; two are kept, since threads of one process may differ in their numbers."""
        for before in [key for key in self._open if key[0] != now[0]]:
            self._leave(self._open[before])
            del self._open[before]
        while len(self._open) > 1:
            del self._open[next(iter(self._open))]
        session = self._open[now] = SESSIONS[self._backend](self._file, now[1])
        return session

    def _leave(self, session: Session) -> None:
        """Leave a parent's session as it is; EncoderError in a process where the library can't go on."""
        if self._backend == OPENVINO:
            raise EncoderError(
                "this process was forked from one in which OpenVINO computes, and it doesn't go on in both",
                remedy='start processes by "spawn", or load the space with backend="onnxruntime"',
            )
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(session))  # so that it lives as long as the process

    def close(self) -> None:
        """Let the session go; the next run opens another one."""
        self._open = {}


def _import(name: str) -> Any:
    return import_package(name, f"backend={name!r} needs {name}", install_line(name))
