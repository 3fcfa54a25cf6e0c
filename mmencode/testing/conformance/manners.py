"""Checks of how an encoder behaves beside others: threads, processes, memory, network, global state."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import Any
from unittest import SkipTest, mock

import numpy as np
import torch
from torch.multiprocessing.reductions import StorageWeakRef

from ...encoder import Encoder
from ...engine.runtime import Runtime, devices
from ...engine.towers import build_tower, load_tower
from ...errors import IdentityError
from ...spaces.space import Space
from . import elsewhere, handed
from .state import changed, generators, settings, unlikely_generators
from .suite import Suite


class MannerChecks(Suite):
    """The encoder can be shared, let go, and trusted with the machine."""

    def test_preprocess_is_thread_safe(self) -> None:
        """Worker threads share one encoder."""
        safe, expected = self.safe_items(), self.preprocessed()
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(self.encoder().preprocess, safe * 8))
        for position, tensors in enumerate(found):
            for name, tensor in expected[position % len(safe)].items():
                assert torch.equal(tensors[name], tensor), f"{name} differs between threads"

    def test_eight_threads_may_encode_at_once(self) -> None:
        """One space serves a whole server, and each caller gets the vectors of its own items."""
        items = self.samples()
        expected = self.encode(items).vectors
        starts = [number % len(items) for number in range(16)]
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda start: self.encode(items[start:]).vectors, starts))
        for start, vectors in zip(starts, found, strict=True):
            self.assert_equal(vectors, expected[start:], "in a thread")

    def test_works_in_another_process(self) -> None:
        """What a fresh process computes is the same."""
        self.only_by_name()
        _, found = elsewhere.encoding(self.name, self.samples()[:2])
        self.assert_equal(found, self.encode(self.samples()[:2]), "in another process")

    def test_closing_lets_the_encoder_go(self) -> None:
        """Nothing keeps the weights in memory."""
        spec = self.declared()
        references: list[weakref.ref[Encoder]] = []

        def give() -> Encoder:
            encoder = handed.built(spec)
            references.append(weakref.ref(encoder))
            return encoder

        with handed.giving(spec, give) as watched:
            space = Space(spec.space_name, [watched], runtime=Runtime("cpu", "float32"))
            space.encode(spec.modality, self.samples()[:1])
            encoder = space.tower(spec.modality).encoder
            plain, _, _ = build_tower(watched)  # its weights as they were, which a space may lay out anew
        self._features(plain)
        weak: Any = StorageWeakRef  # sees the memory itself, whatever tensor refers to it
        held = [
            weak(parameter.untyped_storage())
            for built in (encoder, plain)
            for parameter in built.parameters()
        ]
        references += [weakref.ref(encoder), weakref.ref(plain)]
        del encoder, plain
        space.close()
        gc.collect()
        alive = sum(reference() is not None for reference in references)
        assert not alive, "something still refers to the encoder after close()"
        kept = sum(not weight.expired() for weight in held)
        assert not kept, f"something keeps {kept} of {len(held)} weights after close()"

    def test_the_network_stays_its_owners(self) -> None:
        """Whoever trains a network, or uses it otherwise, can make an encoder of it: it stays as it was."""
        spec = self.declared()
        encoder = handed.built(spec)
        before = handed.state(encoder)
        dtypes = ("float32",) if spec.bf16_cosine is None else ("float32", "bfloat16")
        with handed.giving(spec, lambda: encoder) as mine:
            for dtype in dtypes:
                with (
                    suppress(IdentityError),  # weights that were changed are found below
                    Space(spec.space_name, [mine], runtime=Runtime("cpu", dtype)) as space,
                ):
                    space.encode(spec.modality, self.samples())
        found = handed.changed(before, handed.state(encoder))
        assert not found, f"loading and encoding change {', '.join(found[:3])} of what the target gave"

    def test_encoding_again_keeps_nothing(self) -> None:
        """A server may run for weeks: no tensor stays behind when a call has ended."""
        few = self.samples()[:3]
        self.encode(few)  # what is made once may stay
        before = _tensors()
        for _ in range(2):
            self.encode(few)
        after = _tensors()
        assert after <= before, f"{after - before} tensors more after two more calls"

    def test_moving_the_encoder_leaves_nothing_behind(self) -> None:
        """Networks and tensors that an encoder holds are registered, so that they follow it to its device."""
        encoder, _, _ = build_tower(self.declared())
        self._features(encoder)  # some are made when they are first needed
        encoder.to("meta")
        known = set(encoder.modules())
        left = [
            f"{type(module).__name__}.{name}"
            for module in known
            for name, value in vars(module).items()
            for part in _several(value)
            if _stays(part, known)
        ]
        assert not left, f"register these, they stay behind: {left[:3]}"

    def _features(self, encoder: Encoder) -> None:
        """Run its forward pass once."""
        with torch.inference_mode():
            encoder(encoder.collate(self.preprocessed()[:2]))

    def test_device_and_back_changes_nothing(self) -> None:
        """The encoder runs wherever it is put, and comes home as it was."""
        others = [name for name in devices() if name != "cpu"]
        if not others:
            raise SkipTest("only where there is another device than the CPU")
        spec, expected = self.declared(), self.encode(self.samples()).vectors
        with Space(spec.space_name, [spec], runtime=Runtime(others[0], "float32")) as space:
            cosines = (space.encode(spec.modality, self.samples()).vectors * expected).sum(axis=1)
            assert cosines.min() > 0.999, f"cosine {cosines.min():.5f} between the CPU and {others[0]}"
            tower = space.tower(spec.modality)
            space.runtime = Runtime("cpu", "float32")
            tower.encoder.cpu(), tower.projection.cpu()
            self.assert_equal(space.encode(spec.modality, self.samples()), expected, "there and back")

    def test_preprocess_leaves_its_item_alone(self) -> None:
        """An item may be used again."""
        for item, before in zip(self.safe_items(), self.safe_items(), strict=True):
            self.encoder().preprocess(item)
            same = getattr(item, "samples", item), getattr(before, "samples", before)
            assert np.array_equal(np.asarray(same[0]), np.asarray(same[1])), "preprocess changed its item"

    def test_cost_is_a_positive_number(self) -> None:
        """The engine puts items of like cost together."""
        assert all(self.encoder().cost(tensors) > 0 for tensors in self.preprocessed())

    def test_encoding_leaves_global_state_alone(self) -> None:
        """Generators, dtype, threads, gradient mode and folder are the user's, while loading, too."""
        found = self.opened().changed  # what was changed once isn't changed again
        with unlikely_generators():
            before = settings() | generators()
            load_tower(self.declared(), Runtime("cpu", "float32"))
            self.encode(self.samples())
            found += changed(before, settings() | generators())
        assert not found, f"it changes {', '.join(dict.fromkeys(found))}"

    def test_encoding_needs_no_network(self) -> None:
        """Once loaded, nothing is fetched, nor tried to be."""
        expected = self.encode(self.samples())
        refuse = mock.Mock(side_effect=OSError("there is no network"))
        ways = ("socket.connect", "socket.connect_ex", "socket.sendto", "getaddrinfo", "gethostbyname")
        with ExitStack() as stack:
            for way in ways:
                stack.enter_context(mock.patch(f"socket.{way}", refuse))
            try:
                found = self.encode(self.samples())
            finally:
                assert not refuse.called, f"it opened a connection: {refuse.call_args}"
        self.assert_equal(found, expected, "without network")


def _several(value: Any) -> Iterable[Any]:
    """What a container in an attribute holds, or the value itself."""
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list | tuple | set) else (value,)


def _stays(value: Any, known: set[torch.nn.Module]) -> bool:
    """Whether it is a tensor that wasn't moved, or a network with such tensors that nobody registered."""
    if isinstance(value, torch.nn.Module):
        tensors = (*value.parameters(), *value.buffers())
        return value not in known and any(_stays(tensor, known) for tensor in tensors)
    return isinstance(value, torch.Tensor) and value.device.type != "meta"


def _tensors() -> int:
    """How many tensors are alive."""
    gc.collect()
    return sum(issubclass(type(value), torch.Tensor) for value in gc.get_objects())
