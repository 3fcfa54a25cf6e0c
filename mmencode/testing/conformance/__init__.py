"""The contract of an encoder as tests: inherit the class, name the encoder, run pytest.

    from mmencode.testing import EncoderConformance

    class TestColours(EncoderConformance):
        name = "colours"

Each check's name says what it protects. A check that doesn't apply to an encoder skips, with the reason.
"""

from __future__ import annotations

from .declaration import DeclarationChecks
from .items import ItemChecks
from .manners import MannerChecks
from .suite import Suite
from .vectors import VectorChecks

__all__ = ["EncoderConformance", "Suite"]


class EncoderConformance(DeclarationChecks, VectorChecks, ItemChecks, MannerChecks):
    """Checks that one encoder keeps its word; `Suite` says what a test class may set."""
