"""The encoder of a space as a module of the caller's own: for data loaders and training."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

import mmencode
from mmencode import EncoderModule, Runtime, Space
from mmencode.errors import ClosedError, EncoderError, InputError, UnknownModalityError
from mmencode.testing import fake_multi_specs, fake_specs, sample_items

TEXTS = ["a dog", "a cat", "a red car on a road"]


@pytest.mark.parametrize("modality", ["text", "image", "audio"])
def test_module_computes_the_vectors_of_the_space(space, modality):
    items = sample_items(modality, 3)
    module = space.encoder(modality)
    assert isinstance(module, EncoderModule)
    found = module(module.collate([module.prepare(item) for item in items]))
    np.testing.assert_allclose(found.detach(), space.encode(modality, items), atol=1e-6)


def test_module_of_the_default_space_computes_its_vectors():
    pytest.importorskip("mmencode_offline")
    space = mmencode.load("default", device="cpu", dtype="float32")
    module = space.encoder("text")
    found = module(module.collate_items(TEXTS))
    np.testing.assert_allclose(found.detach(), space.encode("text", TEXTS), atol=1e-5)


def test_module_is_built_into_loaders_over_raw_items(space):
    buffers = []
    for image in sample_items("image", 5):
        image.save(file := io.BytesIO(), "PNG")
        buffers.append(file.getvalue())
    module = space.encoder("image")
    loader = DataLoader(buffers, batch_size=2, collate_fn=module.collate_items)
    found = torch.cat([module(batch) for batch in loader])
    np.testing.assert_allclose(found.detach(), space.encode("image", buffers), atol=1e-6)


@pytest.mark.filterwarnings("ignore:this process was forked")
def test_workers_of_a_loader_prepare_items(space):
    module = space.encoder("text")
    loader = DataLoader(TEXTS, batch_size=2, num_workers=1, collate_fn=module.collate_items)
    found = torch.cat([module(batch) for batch in loader])
    np.testing.assert_allclose(found.detach(), space.encode("text", TEXTS), atol=1e-6)


def test_training_a_module_leaves_the_space_as_it_was(install):
    install(fakes=fake_specs())
    with mmencode.load("fake", device="cpu") as space:
        before = space.encode("text", TEXTS)
        module = space.encoder("text").train()
        assert all(each.requires_grad for each in module.parameters())
        linear = torch.nn.Linear(space.dim, space.dim)
        optimiser = torch.optim.SGD([*module.parameters(), *linear.parameters()], lr=1)
        for _ in range(2):
            optimiser.zero_grad()
            linear(module(module.collate_items(TEXTS))).square().sum().backward()
            optimiser.step()
        np.testing.assert_array_equal(space.encode("text", TEXTS), before)


def test_weights_of_a_module_are_nobody_elses(space):
    ours, own = space.encoder("image"), space.tower("image").encoder
    shared = {each.data_ptr() for each in own.state_dict().values() if each.numel()}
    assert not shared & {each.data_ptr() for each in ours.encoder.state_dict().values() if each.numel()}


def test_module_moves_floats_of_a_batch_to_the_type_of_its_weights():
    space = Space("fake", fake_specs(), runtime=Runtime("cpu", "float32"))
    module = space.encoder("image").double()
    found = module(module.collate_items(sample_items("image", 2)))
    np.testing.assert_allclose(found.detach(), space.encode("image", sample_items("image", 2)), atol=1e-5)


def test_module_takes_limits_and_names_bad_items(space):
    with pytest.raises(InputError, match="can't be decoded as an image"):
        space.encoder("image").prepare(b"nothing of the kind")
    strict = Space("fake", fake_specs(), limits=mmencode.Limits(pixels=10))
    with pytest.raises(InputError, match="pixels"):
        strict.encoder("image").prepare(Image.new("RGB", (20, 20)))


def test_module_of_many_vectors_gives_them_with_their_mask():
    space = Space("letters", fake_multi_specs("letters"), runtime=Runtime("cpu"))
    module = space.encoder("text")
    vectors, mask = module.forward_tokens(module.collate_items(["a cat", "a dog and a cat"]))
    found = space.encode_multi("text", ["a cat", "a dog and a cat"])
    np.testing.assert_allclose(vectors[mask.bool()].detach(), found.vectors, atol=1e-6)


def test_what_has_no_module_is_said(space):
    with pytest.raises(UnknownModalityError):
        space.encoder("smell")
    fused = space.fuse("image+text")
    with pytest.raises(EncoderError, match="is the sum of its parts' vectors, and no network"):
        fused.encoder("image+text")
    space.close()
    with pytest.raises(ClosedError):
        space.encoder("text")
