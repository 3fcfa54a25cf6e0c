"""The contract of an encoder, as a test class to inherit: name the encoder in it, and run pytest.

    from mmencode.testing import EncoderConformance

    class TestColours(EncoderConformance):
        name = "colours"

The name of each check says what it protects. A check that doesn't apply to an encoder is skipped with the
reason.
"""

from __future__ import annotations

from .composites import CompositeChecks
from .declaration import DeclarationChecks
from .items import ItemChecks
from .manners import MannerChecks
from .modality import ModalityChecks
from .multi import MultiChecks
from .sides import SideChecks
from .suite import Suite
from .vectors import VectorChecks

__all__ = ["EncoderConformance", "Suite"]


class EncoderConformance(
    DeclarationChecks,
    VectorChecks,
    MultiChecks,
    CompositeChecks,
    SideChecks,
    ItemChecks,
    ModalityChecks,
    MannerChecks,
):
    """The checks that an encoder keeps its contract; `Suite` documents the attributes to set."""
