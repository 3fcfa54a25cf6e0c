"""A copy of a network computes the same with modules of its own, in the memory of the original's weights."""

from __future__ import annotations

import copy
import warnings
import weakref

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from mmencode.errors import EncoderError
from mmencode.isolation.copying import snapshot, structural_copy
from mmencode.testing.conformance.handed import differences, state_of

ITEMS = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))


def old_weight_norm():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nn.utils.weight_norm(nn.Linear(8, 8))


class Tied(nn.Module):
    """One weight in two layers, one layer in two places."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)
        self.second.weight = self.first.weight
        self.again = self.first
        self.all = nn.ModuleList([self.first, self.second])

    def forward(self, items):
        return self.again(self.second(self.first(items)))


class CopiesItself(nn.Linear):
    """Says that a copy is itself, and that it can't be pickled."""

    def __deepcopy__(self, memo):
        return self

    def __getstate__(self):
        raise RuntimeError("no")


class Quantised(nn.Module):
    def __init__(self):
        super().__init__()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.inner = torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(8, 8)), {nn.Linear})

    def forward(self, items):
        return self.inner(items)


def scripted():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.trace(nn.Linear(8, 8).eval(), ITEMS)


def compiled_in_place():
    layer = nn.Linear(8, 8)
    layer.compile(backend="eager")
    return layer


def born_in_inference_mode():
    with torch.inference_mode():
        return nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8))


NETWORKS = {
    "layers": lambda: nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Dropout(0.5)),
    "a weight norm of hooks": old_weight_norm,
    "a weight norm of parametrizations": lambda: parametrizations.weight_norm(nn.Linear(8, 8)),
    "a spectral norm": lambda: parametrizations.spectral_norm(nn.Linear(8, 8)),
    "a recurrent network": lambda: nn.LSTM(8, 8, 2),
    "tied weights": Tied,
    "a class that says how it is copied": lambda: CopiesItself(8, 8),
    "a quantised network": Quantised,
    "a scripted network": scripted,
    "a compiled network": lambda: torch.compile(nn.Linear(8, 8), backend="eager"),
    "a network compiled in place": compiled_in_place,
    "a traced graph": lambda: torch.fx.symbolic_trace(nn.Sequential(nn.Linear(8, 8), nn.ReLU())),
    "a network born in inference mode": born_in_inference_mode,
}


def features(network):
    with torch.no_grad():
        found = network(ITEMS)
    return found[0] if isinstance(found, tuple) else found


@pytest.mark.parametrize("kind", NETWORKS)
def test_copy_computes_the_same_and_what_is_done_to_it_is_not_done_to_the_original(kind):
    torch.manual_seed(0)
    network = nn.Sequential(NETWORKS[kind]()).train()
    before = state_of(network)
    made = structural_copy(network)
    assert differences(before, state_of(network)) == []
    made.eval().requires_grad_(False)
    assert differences(before, state_of(network)) == []
    torch.testing.assert_close(features(made), features(network.eval()), rtol=0, atol=0)
    before = state_of(network)
    if kind != "a quantised network":  # which has one type only
        made.to(torch.bfloat16)
    features(network)
    assert differences(before, state_of(network)) == []


def test_parameters_lie_in_the_same_memory_and_everything_else_is_new():
    network = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8))
    network(ITEMS).sum().backward()
    made = structural_copy(network)
    for own, theirs in zip(network.parameters(), made.parameters(), strict=True):
        assert own is not theirs
        assert own.data_ptr() == theirs.data_ptr()
        assert theirs.grad is None
        assert own.grad is not None
    assert made[1].running_mean.data_ptr() != network[1].running_mean.data_ptr()
    assert {id(module) for module in network.modules()}.isdisjoint(id(module) for module in made.modules())


def test_snapshot_has_memory_of_its_own():
    network = nn.Linear(8, 8)
    made, expected = snapshot(network), network.weight.clone()
    with torch.no_grad():
        network.weight.add_(1)
    assert torch.equal(made.weight, expected)


def test_what_is_one_stays_one():
    made = structural_copy(Tied())
    assert made.again is made.first is made.all[0]
    assert made.second.weight is made.first.weight
    made.to(torch.float64)
    assert made.second.weight is made.first.weight


def test_forward_passes_in_train_mode_change_nothing_but_the_copy():
    network = nn.Sequential(nn.BatchNorm1d(8)).train()
    made = structural_copy(network)
    made(ITEMS)
    assert made[0].num_batches_tracked == 1
    assert network[0].num_batches_tracked == 0
    assert torch.equal(network[0].running_mean, torch.zeros(8))


def test_embedding_that_shortens_its_rows_shortens_those_of_the_copy_only():
    network = nn.Embedding(10, 8, max_norm=1.0)
    with torch.no_grad():
        network.weight.fill_(5)
    structural_copy(network)(torch.arange(10))
    assert network.weight.min() == 5


def test_hooks_go_with_the_copy_and_write_into_it():
    class Listens(nn.Module):
        def __init__(self):
            super().__init__()
            self.network, self.heard, heard = nn.Linear(8, 8), {}, []
            self.list = heard
            self.network.register_forward_hook(lambda module, inputs, output: heard.append(output))
            self.network.register_forward_hook(self.keep)

        def keep(self, module, inputs, output):
            self.heard["last"] = output

        def forward(self, items):
            self.network(items)
            return self.heard["last"] + self.list[-1]

    whole = Listens()
    made = structural_copy(whole)
    torch.testing.assert_close(made(ITEMS), 2 * whole.network(ITEMS))
    assert len(made.list) == 1
    assert len(whole.list) == 1  # of its own call, in the line before
    handle = made.network.register_forward_pre_hook(lambda *_: None)
    assert not whole.network._forward_pre_hooks
    handle.remove()


def test_what_holds_no_network_is_shared():
    class Tokenizer:
        def __init__(self):
            self.words = {"a": 1}

    network = nn.Linear(8, 8)
    network.tokenizer, network.seen = Tokenizer(), {}
    made = structural_copy(network)
    assert made.tokenizer is network.tokenizer
    assert made.seen is not network.seen


def test_object_that_closes_something_when_it_goes_is_left_alone():
    class Closes:
        def __init__(self, network):
            self.network, self.closed = network, []

        def __del__(self):
            self.closed.append(1)

    network = nn.Linear(8, 8)
    network.opened = [Closes(network)]
    closed = network.opened[0].closed
    made = structural_copy(network)
    assert made.opened[0] is network.opened[0]
    del made
    assert closed == []


def test_reference_to_a_network_that_the_copy_is_only_a_part_of_still_finds_it():
    parent = nn.Sequential(nn.Linear(8, 8))
    parent[0].parent = weakref.ref(parent)
    made = structural_copy(parent[0])
    assert made.parent() is parent


def test_lazy_layer_stays_lazy_and_fills_in_its_own_weights():
    network = nn.Sequential(nn.LazyLinear(4))
    made = structural_copy(network)
    made(ITEMS)
    assert type(made[0]) is nn.Linear
    assert type(network[0]) is nn.LazyLinear


def test_parameter_keeps_its_class_and_what_was_noted_on_it():
    class Noted(nn.Parameter):
        pass

    network = nn.Linear(8, 8)
    network.weight = Noted(torch.randn(8, 8), requires_grad=False)
    network.weight.note = {"scale": torch.ones(1)}
    made = structural_copy(network)
    assert type(made.weight) is Noted
    assert made.weight.note is not network.weight.note
    assert made.weight.note == {"scale": 1}
    assert not made.weight.requires_grad


def test_training_goes_on_beside_the_copy():
    network = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 1))
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1)
    made = structural_copy(network).eval().requires_grad_(False)
    made.to(torch.bfloat16)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = network(ITEMS).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2


def test_sharded_parameters_are_refused():
    kind = type("DTensor", (nn.Parameter,), {"__module__": "torch.distributed.tensor"})
    network = nn.Linear(8, 8)
    network.weight = kind(torch.randn(8, 8))
    with pytest.raises(EncoderError, match="DTensor, of which each process holds a part"):
        structural_copy(network)


def test_copy_of_a_copy_and_deepcopy_work():
    network = nn.Sequential(*(nn.Sequential(NETWORKS[kind]()) for kind in ("layers", "tied weights")))
    expected = features(network.eval())
    for made in (structural_copy(structural_copy(network)), copy.deepcopy(structural_copy(network))):
        assert torch.equal(features(made), expected)


def test_deep_chain_of_containers_is_no_recursion():
    network, chain = nn.Linear(8, 8), []
    for _ in range(5000):
        chain = [chain]
    network.chain = chain
    assert structural_copy(network).chain is not chain
