"""Checks of how an encoder behaves beside others: threads, processes, memory, network, global state."""

from __future__ import annotations

import gc
import os
import random
import subprocess
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor
from unittest import SkipTest, mock

import numpy as np
import torch

from ...runtime import Runtime
from ...space import Space
from ...towers import load_tower
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
        """One space serves a whole server."""
        expected = self.encode(self.samples())
        with ThreadPoolExecutor(8) as pool:
            for found in pool.map(self.encode, [self.samples()] * 16):
                self.assert_equal(found, expected, "in a thread")

    def test_works_in_another_process(self) -> None:
        """What a fresh process computes is the same."""
        spec = self.declared()
        if self.spec is not None or self.items is not None:
            raise SkipTest("only an encoder tested by name, with sample items, can do it")
        code = (
            "import sys, mmencode; from mmencode import Runtime, Space; "
            "from mmencode.testing import sample_items; spec = mmencode.registry()[sys.argv[1]]; "
            "space = Space(spec.space_name, [spec], runtime=Runtime('cpu')); "
            "print(*space.encode(spec.modality, sample_items(spec.modality)[:1]).vectors[0].tolist())"
        )
        command = [sys.executable, "-c", code, spec.name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-500:]
        found = np.array(done.stdout.split(), np.float32)
        self.assert_equal(found, self.encode(self.samples()[:1]).vectors[0], "in another process")

    def test_closing_lets_the_encoder_go(self) -> None:
        """Nothing keeps the weights in memory."""
        spec = self.declared()
        space = Space(spec.space_name, [spec], runtime=Runtime("cpu"))
        space.encode(spec.modality, self.samples()[:1])
        encoder = weakref.ref(space._tower(spec.modality).encoder)
        space.close()
        gc.collect()
        assert encoder() is None, "something still refers to the encoder after close()"

    def test_moving_the_encoder_leaves_nothing_behind(self) -> None:
        """Tensors that an encoder holds are parameters or buffers, which follow it to its device."""
        encoder = load_tower(self.declared(), Runtime("cpu")).encoder.to("meta")
        left = [
            f"{type(module).__name__}.{name}"
            for module in encoder.modules()
            for name, value in vars(module).items()
            if isinstance(value, torch.Tensor) and value.device.type != "meta"
        ]
        assert not left, f"register these as buffers, they stay behind: {left[:3]}"

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
        before = _global_state()
        load_tower(self.declared(), Runtime("cpu"))
        self.encode(self.samples())
        assert _global_state() == before

    def test_encoding_needs_no_network(self) -> None:
        """Once loaded, nothing is fetched."""
        expected = self.encode(self.samples())
        refuse = mock.Mock(side_effect=AssertionError("it opened a connection"))
        with mock.patch("socket.socket.connect", refuse), mock.patch("socket.getaddrinfo", refuse):
            self.assert_equal(self.encode(self.samples()), expected, "without network")


def _global_state() -> tuple[object, ...]:
    numpy_state = np.random.get_state()
    return (
        random.getstate(),
        str(numpy_state),
        torch.get_rng_state().tolist(),
        torch.get_default_dtype(),
        torch.get_num_threads(),
        torch.is_grad_enabled(),
        os.getcwd(),
    )
