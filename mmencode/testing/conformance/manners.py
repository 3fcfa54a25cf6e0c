"""Check how an encoder treats its surroundings: threads, processes, memory, network and global state."""

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
from ...engine.building import build_tower
from ...engine.runtime import Runtime, devices
from ...engine.towers import load_tower
from ...errors import IdentityError
from ...spaces.space import Space
from . import elsewhere, handed
from .state import differences, generators, seed_generators, settings
from .suite import Suite, encode_singly


class MannerChecks(Suite):
    """Checks that an encoder can be shared between threads, freed, and run without side effects."""

    def test_preprocess_is_thread_safe(self) -> None:
        """Worker threads can share one encoder."""
        safe, expected = self.safe_items(), self.preprocess_samples()
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
        """A fresh process computes the same vectors."""
        self.only_by_name()
        _, found = elsewhere.encode(self.name, self.samples()[:2])
        self.assert_equal(found, self.encode(self.samples()[:2]), "in another process")

    def test_closing_lets_the_encoder_go(self) -> None:
        """Closing a space frees the weights."""
        spec = self.get_spec()
        references: list[weakref.ref[Encoder]] = []

        def give() -> Encoder:
            encoder = handed.build_raw(spec)
            references.append(weakref.ref(encoder))
            return encoder

        with handed.retarget(spec, give) as watched:
            space = Space(spec.space_name, [watched], runtime=Runtime("cpu", "float32"))
            encode_singly(space, spec.key, self.samples()[:1])
            encoder = space.tower(spec.key).encoder
            plain, _, _ = build_tower(watched)  # as built: a space may copy the weights into another layout
        self._features(plain)
        weak: Any = StorageWeakRef  # refers to the memory itself, not to one of the tensors that share it
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
        assert not alive, "something still holds a reference to the encoder after close()"
        kept = sum(not weight.expired() for weight in held)
        assert not kept, f"something keeps {kept} of {len(held)} weights in memory after close()"

    def test_the_network_stays_its_owners(self) -> None:
        """Encoding leaves a network unchanged that somebody else goes on using or training."""
        spec = self.get_spec()
        encoder = handed.build_raw(spec)
        before = handed.state_of(encoder)
        dtypes = ("float32",) if spec.bf16_cosine is None else ("float32", "bfloat16")
        with handed.retarget(spec, lambda: encoder) as mine:
            for dtype in dtypes:
                with (
                    suppress(IdentityError),  # changed weights are reported below
                    Space(spec.space_name, [mine], runtime=Runtime("cpu", dtype)) as space,
                ):
                    encode_singly(space, spec.key, self.samples())
        found = handed.differences(before, handed.state_of(encoder))
        assert not found, f"loading and encoding change {', '.join(found[:3])} of the target's encoder"

    def test_encoding_again_keeps_nothing(self) -> None:
        """Encoding leaks no tensors, so that a server can run for weeks."""
        few = self.samples()[:3]
        self.encode(few)  # fills caches, which may stay
        before = _count_tensors()
        for _ in range(2):
            self.encode(few)
        after = _count_tensors()
        assert after <= before, f"{after - before} tensors are left over by two calls"

    def test_moving_the_encoder_leaves_nothing_behind(self) -> None:
        """Networks and tensors of an encoder are registered, so that they move to its device."""
        encoder, _, _ = build_tower(self.get_spec())
        self._features(encoder)  # some tensors are created by the first call
        encoder.to("meta")
        known = set(encoder.modules())
        left = [
            f"{type(module).__name__}.{name}"
            for module in known
            for name, value in vars(module).items()
            for part in _several(value)
            if _stays(part, known)
        ]
        assert not left, f"these stay behind, register them as buffers or modules: {left[:3]}"

    def _features(self, encoder: Encoder) -> None:
        """Run the encoder's forward pass once."""
        with torch.inference_mode():
            encoder(encoder.collate(self.preprocess_samples()[:2]))

    def test_device_and_back_changes_nothing(self) -> None:
        """The encoder runs on every device, and moving it back to the CPU restores its vectors."""
        others = [name for name in devices() if name != "cpu"]
        if not others:
            raise SkipTest("only on machines with a device other than the CPU")
        spec, expected = self.get_spec(), self.encode(self.samples()).vectors
        with Space(spec.space_name, [spec], runtime=Runtime(others[0], "float32")) as space:
            cosines = (encode_singly(space, spec.key, self.samples()).vectors * expected).sum(axis=1)
            assert cosines.min() > 0.999, f"cosine {cosines.min():.5f} between the CPU and {others[0]}"
            tower = space.tower(spec.key)
            space.runtime = Runtime("cpu", "float32")
            tower.encoder.cpu(), tower.projection.cpu()
            self.assert_equal(encode_singly(space, spec.key, self.samples()), expected, "there and back")

    def test_preprocess_leaves_its_item_alone(self) -> None:
        """Preprocessing leaves the item unchanged."""
        for item, before in zip(self.safe_items(), self.safe_items(), strict=True):
            self.encoder().preprocess(item)
            assert _is_same(item, before), "preprocess changed its item"

    def test_cost_is_a_positive_number(self) -> None:
        """The cost of every item, by which the engine forms batches, is positive."""
        assert all(self.encoder().cost(tensors) > 0 for tensors in self.preprocess_samples())

    def test_encoding_leaves_global_state_alone(self) -> None:
        """Loading and encoding leave random generators, torch's settings and the current folder unchanged."""
        found = self.open_space().changed  # by the first use: a change made once isn't seen again
        with seed_generators():
            before = settings() | generators()
            load_tower(self.get_spec(), Runtime("cpu", "float32"))
            self.encode(self.samples())
            found += differences(before, settings() | generators())
        assert not found, f"loading or encoding changes {', '.join(dict.fromkeys(found))}"

    def test_encoding_needs_no_network(self) -> None:
        """An encoder that is loaded opens no network connection."""
        expected = self.encode(self.samples())
        refuse = mock.Mock(side_effect=OSError("there is no network"))
        ways = ("socket.connect", "socket.connect_ex", "socket.sendto", "getaddrinfo", "gethostbyname")
        with ExitStack() as stack:
            for way in ways:
                stack.enter_context(mock.patch(f"socket.{way}", refuse))
            try:
                found = self.encode(self.samples())
            finally:
                assert not refuse.called, f"the encoder opened a connection: {refuse.call_args}"
        self.assert_equal(found, expected, "without network")


def _is_same(one: Any, other: Any) -> bool:
    """Whether two safe values, or all the parts of a composite's, hold the same."""
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_is_same, one, other))
    first, second = (np.asarray(getattr(value, "samples", value)) for value in (one, other))
    return np.array_equal(first, second)


def _several(value: Any) -> Iterable[Any]:
    """The members of a container, or the value itself."""
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list | tuple | set) else (value,)


def _stays(value: Any, known: set[torch.nn.Module]) -> bool:
    """Whether a value is a tensor left behind on its device, or an unregistered network with such tensors."""
    if isinstance(value, torch.nn.Module):
        tensors = (*value.parameters(), *value.buffers())
        return value not in known and any(_stays(tensor, known) for tensor in tensors)
    return isinstance(value, torch.Tensor) and value.device.type != "meta"


def _count_tensors() -> int:
    """Count the tensors that are alive, after a garbage collection."""
    gc.collect()
    return sum(issubclass(type(value), torch.Tensor) for value in gc.get_objects())
