"""Check the sides of queries and documents, instructions, and the widths that vectors may be cut to."""

from __future__ import annotations

import dataclasses
import warnings
from unittest import SkipTest

from ...engine.runtime import Runtime
from ...errors import InstructionError, UnknownNameError
from ...plugins.registry import registry
from ...plugins.spec import EncoderSpec
from ...spaces.space import Space
from .suite import Suite, encode_singly

_WORDS = "tell items apart by their colours alone"


class SideChecks(Suite):
    """Checks that queries leave documents alone and heed instructions, and that widths are what they say."""

    def test_each_side_has_its_own_vectors_beside_the_other(self) -> None:
        """Queries and documents are built in one call, and neither changes what the other gives."""
        spec = self.get_spec()
        other = self._find_other_side(spec)
        with Space(spec.space_name, [spec, other], runtime=Runtime("cpu", "float32")) as both:
            items = self.samples()
            encode_singly(both, other.key, items[:1])
            found = encode_singly(both, spec.key, items)
        self.assert_equal(found, self.encode(items), f"beside {other.name!r}")

    def _find_other_side(self, spec: EncoderSpec) -> EncoderSpec:
        """Find the encoder of the other side; SkipTest where the modality has one side only."""
        try:
            space = registry().space(spec.space_name)
        except UnknownNameError:
            space = ()
        for other in space:
            if other.modality == spec.modality and other.role != spec.role:
                return other
        raise SkipTest("only where a modality has a side of queries and one of documents")

    def test_an_instruction_changes_the_vectors(self) -> None:
        """An instruction gives other vectors, and is never ignored in silence."""
        spec = self.get_spec()
        if not spec.instructed:
            raise SkipTest("only for encoders of queries that take an instruction")
        asked = dataclasses.replace(spec, instruction=_WORDS)
        try:
            with Space(spec.space_name, [asked], runtime=Runtime("cpu", "float32")) as space:
                found = encode_singly(space, spec.key, self.samples()).vectors
        except InstructionError:
            raise SkipTest("the checkpoint's prompt has no place for an instruction") from None
        same = (abs(found - self.encode(self.samples()).vectors) <= self.tolerance).all()
        assert not same, f"the instruction {_WORDS!r} changes no vector"

    def test_vectors_can_be_cut_to_each_declared_width(self) -> None:
        """Widths are below that of the vectors, and vectors that are cut to one still tell items apart."""
        declared = tuple(self.get_spec().widths or self.encoder().widths)
        if not declared:
            raise SkipTest("only for encoders that declare widths to cut vectors to")
        found = self.encode(self.samples())
        whole = all(type(width) is int and 0 < width < found.dim for width in declared)
        assert whole, f"widths are {declared}, and vectors have {found.dim} numbers"
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for width in declared:
                cut = found.truncate(width, force=self.get_spec().outputs == "many").vectors
                alike = abs(cut[0] - cut[1:]).max(initial=0) <= self.tolerance
                assert width == 1 or not alike, f"all items have one vector at a width of {width}"
