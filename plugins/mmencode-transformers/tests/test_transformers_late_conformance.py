"""Encoders of late interaction keep the contract, with many vectors for each item."""

from __future__ import annotations

import pytest
import tiny_late
import tiny_pages

import mmencode
from mmencode.testing import EncoderConformance
from mmencode.testing.conformance.multi import MultiChecks


@pytest.mark.filterwarnings("ignore:a text is longer")
class Late:
    """A tiny checkpoint, which is made when the class is first used."""

    __test__ = False
    family, make = "late-text/", staticmethod(tiny_late.colbert)

    @pytest.fixture(autouse=True, scope="class")
    def declare(self, request, tmp_path_factory):
        folder = tmp_path_factory.mktemp("late")
        request.cls.make(folder)
        request.cls.spec = mmencode.registry()[f"transformers/{self.family}{folder}"]


class TestColbert(Late, EncoderConformance):
    __test__ = True


class TestQuery(Late, EncoderConformance):
    __test__ = True
    family, make = "late-query/", staticmethod(lambda folder: tiny_late.colbert(folder, query_maxlen=60))


class TestColPali(Late, EncoderConformance):
    __test__ = True
    family, make = "late-image/", staticmethod(tiny_pages.colpali)


class TestPylate(Late, MultiChecks):
    __test__ = True
    make = staticmethod(tiny_late.pylate)


class TestColQwen2Query(Late, MultiChecks):
    __test__ = True
    family, make = "late-query/", staticmethod(tiny_pages.colqwen2)


class TestColQwen2(Late, MultiChecks):
    __test__ = True
    family, make = "late-image/", staticmethod(tiny_pages.colqwen2)


class TestColModernVBert(Late, MultiChecks):
    __test__ = True
    family, make = "late-image/", staticmethod(tiny_pages.colmodernvbert)
