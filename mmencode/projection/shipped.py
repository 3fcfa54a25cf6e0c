"""Projections that plugins ship as files in their packages, read without any code of theirs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path

from ..errors import WeightsError
from ..errors.causes import describe_error
from ..plugins.spec import EncoderSpec
from .base import Projection
from .files import Fit, load_projection, read_fit


def load_shipped(spec: EncoderSpec) -> Projection:
    """Load the projection that an encoder's plugin ships; WeightsError where it can't be found or read."""
    with _find_shipped(spec) as path:
        return load_projection(path)


def read_shipped_fit(spec: EncoderSpec) -> Fit:
    """Read where a shipped projection leads, and how well; WeightsError where it can't be found or read."""
    with _find_shipped(spec) as path:
        return read_fit(path)


@contextmanager
def _find_shipped(spec: EncoderSpec) -> Iterator[Path]:
    package, _, file = spec.projection.partition(":")
    try:
        found = files(package).joinpath(file)
    except KeyboardInterrupt:
        raise
    except BaseException as cause:  # the package is the plugin's, and importing it may do anything
        raise WeightsError(
            f"EncoderSpec.projection {spec.projection!r} can't be found: {describe_error(cause)}",
            culprit=f"the declaration of encoder {spec.name!r}",
            remedy="reinstall the plugin; its author puts what save_projection wrote into the package",
        ) from cause
    with as_file(found) as path:
        yield path
