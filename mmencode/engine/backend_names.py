"""The names of backends, and what must be installed for each."""

from __future__ import annotations

from ..plugins.packages import find_package

TORCH, ONNXRUNTIME, OPENVINO = "torch", "onnxruntime", "openvino"
BACKENDS = (TORCH, ONNXRUNTIME, OPENVINO)
_EXTRAS = {ONNXRUNTIME: "onnx", OPENVINO: "openvino"}


def require_backend(name: str) -> None:
    """Raise ValueError for an unknown backend, MissingPackageError, with the pip line, for an absent one.

    Each but torch needs onnx, too, in whose format networks are exported.
    """
    if name not in BACKENDS:
        raise ValueError(f"backend is {name!r:.100}: make it one of {', '.join(BACKENDS)}")
    for package in (name, "onnx") if name != TORCH else ():
        find_package(package, f"backend={name!r} needs {package}", install_line(name))


def install_line(name: str) -> str:
    """The command that installs what a backend needs."""
    return f"pip install 'mmencode[{_EXTRAS[name]}]'"


def describe_backends() -> dict[str, str]:
    """Describe each backend to people: its version, or the command that installs it."""
    from importlib.metadata import PackageNotFoundError, version  # imported here, since only `info` asks

    found = {}
    for name in BACKENDS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = f"not installed: {install_line(name)}"
    return found
