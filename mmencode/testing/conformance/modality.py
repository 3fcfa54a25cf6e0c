"""Check the modality of an encoder, where a plugin declares it: its reader, its probes and its preview."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path
from typing import Any
from unittest import SkipTest

import numpy as np

from ...engine.generated import generated_items
from ...errors import InputError
from ...inputs import Limits, list_parts, reader
from ...inputs.showing import show_item
from ...plugins.core_modalities import CORE
from ...plugins.modalities import find_modality
from ...plugins.modality import ModalitySpec
from .suite import Suite


class ModalityChecks(Suite):
    """Checks that a declared modality reads what it should, names what it can't, and shows its items."""

    def declared_modality(self) -> ModalitySpec:
        """Give the encoder's modality; skip the check for mmencode's own, and for what nobody declares."""
        spec = find_modality(self.get_spec().modality)
        if spec is None or spec.name in CORE:
            raise SkipTest("only for a modality that a plugin declares")
        return spec

    def probes(self) -> list[Any]:
        """Give the modality's probes; skip the check where it declares none."""
        spec = self.declared_modality()
        if not spec.probes:
            raise SkipTest("the modality declares no probes")
        items = generated_items(spec.name)
        assert items, "its probes can't be made: the warning says why"
        return items

    def test_every_form_of_a_probe_is_one_item(self) -> None:
        """Path, bytes and file: a reader takes what every other does."""
        spec, items = self.declared_modality(), self.probes()
        content = items[0]
        if spec.inline or type(content) is not bytes:
            raise SkipTest("only for probes that are the bytes of files")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"probe{next(iter(spec.endings), '')}"
            path.write_bytes(content)
            with path.open("rb") as file:
                kinds = [content, path, str(path), bytearray(content), io.BytesIO(content), file]
                found = self.encode(kinds).vectors
        self.assert_equal(found, np.repeat(found[:1], len(kinds), axis=0), "kinds of item")

    def test_each_item_of_a_file_is_read_by_its_name(self) -> None:
        """A file of several items is counted, each is read by its number, and one beyond is an InputError."""
        spec, items = self.declared_modality(), self.probes()
        if not spec.part or type(items[0]) is not bytes:
            raise SkipTest(
                "only for a modality with files of several items, and the bytes of files as probes"
            )
        read = reader(spec.name)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"probe{next(iter(spec.endings), '')}"
            path.write_bytes(items[0])
            names = list(list_parts(spec.name, path))
            for name in names:
                read(name, Limits())
            beyond = f"{path}#{spec.part}={len(names) + 1}"
            try:
                read(beyond, Limits())
            except InputError as error:
                fault, fact = error.fault, error.fact
            else:
                raise AssertionError(f"{beyond} was read, and the file was said to have {len(names)} items")
            assert fault != "encoder", f"{beyond}: {fact}"

    def test_probes_are_the_same_each_time(self) -> None:
        """A saved space is verified by its probes, which mustn't change meanwhile."""
        self.assert_equal(self.encode(self.probes()), self.encode(self.probes()), "probes made twice")

    def test_reader_says_what_is_wrong_with_an_item(self) -> None:
        """Whatever is no item is an InputError about the item, and no fault of the reader."""
        spec = self.declared_modality()
        read = reader(spec.name)
        others: list[object] = [None, object()]
        others += (
            [b"bytes"] if spec.inline else ["no such file", Path("no such file"), "https://example.org/a"]
        )
        for item in others:
            try:
                read(item, Limits())
            except InputError as error:
                fault, fact, remedy = error.fault, error.fact, error.remedy
            else:
                raise AssertionError(f"{item!r} was read without an error")
            assert fault != "encoder", f"{item!r}: {fact}"
            assert remedy, f"{item!r}: its error has no remedy: {fact}"

    def test_preview_shows_every_probe(self) -> None:
        """Pages and the command line have something to show of each item."""
        spec = self.declared_modality()
        for item in self.probes():
            try:
                show_item(spec.name, item, Limits())
            except InputError as error:
                raise AssertionError(f"it can't be shown: {error.fact}") from error
