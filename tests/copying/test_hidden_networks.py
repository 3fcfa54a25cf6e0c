"""A network is copied wherever it is hidden, so that the copy never computes with the original."""

from __future__ import annotations

import dataclasses
import functools
import threading
import types
import weakref
from collections import OrderedDict, defaultdict, deque, namedtuple

import pytest
import torch
from torch import nn

from mmencode.isolation.copying import structural_copy

ITEMS = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
Pair = namedtuple("Pair", "network number")


@dataclasses.dataclass(frozen=True)
class Frozen:
    network: nn.Module


class Slotted:
    __slots__ = ("network",)

    def __init__(self, network):
        self.network = network


class Deep:
    """Holds it some levels down, and has words of its own about copies."""

    def __init__(self, network):
        self.inner = {"levels": [(network,)]}

    def __deepcopy__(self, memo):
        return self

    def __getstate__(self):
        raise RuntimeError("no")

    def __call__(self, items):
        return self.inner["levels"][0][0](items)


def by_closure(network):
    def run(items):
        return network(items)

    return run


def by_default(network):
    def run(items, *, inner=network):
        return inner(items)

    return run


def by_recursion(network):
    def run(items, depth=2):
        return run(items, depth - 1) if depth else network(items)

    return run


def by_wrapper(network):
    @functools.wraps(network.forward)
    def run(*arguments):
        return network(*arguments)

    return run


def within(hold, get):
    """Hides the network by `hold`, and gets it back by `get`."""

    def hide(network):
        held = hold(network)
        return lambda items: get(held)(items)

    return hide


HIDDEN = {
    "a bound method": lambda network: network.forward,
    "a partial": lambda network: functools.partial(nn.Module.__call__, network),
    "a closure": by_closure,
    "a default": by_default,
    "a function that calls itself": by_recursion,
    "a wrapped function": by_wrapper,
    "a list": within(lambda network: [network], lambda held: held[0]),
    "a list of itself": within(lambda network: [network, [network]], lambda held: held[1][0]),
    "a tuple": within(lambda network: (0, network), lambda held: held[1]),
    "a named tuple": within(lambda network: Pair(network, 1), lambda held: held.network),
    "a set": within(lambda network: {network}, lambda held: next(iter(held))),
    "a frozen set": within(lambda network: frozenset([network]), lambda held: next(iter(held))),
    "a dict": within(lambda network: {"a": network}, lambda held: held["a"]),
    "the keys of a dict": within(lambda network: {network: 1}, lambda held: next(iter(held))),
    "an ordered dict": within(lambda network: OrderedDict(a=network), lambda held: held["a"]),
    "a dict with a default": within(
        lambda network: defaultdict(lambda: network), lambda held: held["whatever"]
    ),
    "a queue": within(lambda network: deque([network], maxlen=3), lambda held: held[0]),
    "a frozen dataclass": within(Frozen, lambda held: held.network),
    "slots": within(Slotted, lambda held: held.network),
    "a namespace": within(lambda network: types.SimpleNamespace(a=network), lambda held: held.a),
    "an object": Deep,
    "a weak reference": within(weakref.ref, lambda held: held()),
    "a proxy": within(weakref.proxy, lambda held: held.forward),
    "a cache": within(lambda network: functools.lru_cache(3)(lambda: network), lambda held: held()),
}


class Hides(nn.Module):
    def __init__(self, hide, *, registered=True):
        super().__init__()
        network = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8))
        self.network = network if registered else [network]
        self.run = hide(network)
        self.lock = threading.Lock()
        self.itself = [self]

    def forward(self, items):
        with self.itself[0].lock:
            return self.run(items)


@pytest.mark.parametrize("registered", [True, False], ids=["registered too", "nowhere else"])
@pytest.mark.parametrize("hidden", HIDDEN)
def test_network_that_is_hidden_is_copied_too(hidden, registered):
    whole = Hides(HIDDEN[hidden], registered=registered).train()
    inner = whole.network if registered else whole.network[0]
    made = structural_copy(whole)
    called = []
    for module in (whole, *inner.modules()):
        module.register_forward_hook(lambda *_: called.append(1))
    made(ITEMS)
    assert called == []
    assert inner[1].num_batches_tracked == 0
    assert made.lock is whole.lock
