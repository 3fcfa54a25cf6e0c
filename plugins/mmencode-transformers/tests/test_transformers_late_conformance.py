"""Encoders of late interaction keep the contract, with many vectors for each item."""

from __future__ import annotations

import pytest
from declaring import Checkpoint

from mmencode.testing import EncoderConformance
from mmencode.testing.conformance.multi import MultiChecks


@pytest.mark.filterwarnings("ignore:a text is longer")
class Late(Checkpoint):
    """One of late interaction, whose texts may be longer than it takes."""

    family, kind = "late-text/", "colbert"


class TestColbert(Late, EncoderConformance):
    __test__ = True


class TestQuery(Late, EncoderConformance):
    __test__ = True
    family, kind = "late-query/", "longer_queries"


class TestColPali(Late, EncoderConformance):
    __test__ = True
    family, kind = "late-image/", "colpali"


class TestPylate(Late, MultiChecks):
    __test__ = True
    kind = "pylate"


class TestColQwen2Query(Late, MultiChecks):
    __test__ = True
    family, kind = "late-query/", "colqwen2"


class TestColQwen2(Late, MultiChecks):
    __test__ = True
    family, kind = "late-image/", "colqwen2"


class TestColModernVBert(Late, MultiChecks):
    __test__ = True
    family, kind = "late-image/", "colmodernvbert"
