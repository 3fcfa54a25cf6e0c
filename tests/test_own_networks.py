"""A network of one's own becomes an encoder and stays as it is, and so does one that two encoders share."""

from __future__ import annotations

import copy
import threading
import warnings
from dataclasses import replace

import numpy as np
import open_clip
import pytest
import timm
import torch
import torchaudio
from torch import nn

from mmencode.encoder import Encoder, digest
from mmencode.encoders.openclip.image import OpenClipImage
from mmencode.encoders.openclip.text import OpenClipText
from mmencode.encoders.timm import TimmClassifier, TimmEncoder
from mmencode.encoders.torchaudio import TorchaudioEncoder
from mmencode.engine.packing import PackedLinear
from mmencode.engine.runtime import Runtime
from mmencode.errors import IdentityError, WeightsError
from mmencode.plugins.spec import EncoderSpec
from mmencode.projection import Linear
from mmencode.spaces.space import Space
from mmencode.testing import EncoderConformance, sample_items
from mmencode.testing.conformance.handed import differences, state_of

IMAGES = sample_items("image", 3)
SPEC = EncoderSpec(name="mine", modality="image", target=f"{__name__}:Mine.encoder", dim=64)
TEXTS = EncoderSpec(name="mine/text", modality="text", target=f"{__name__}:Mine.texts", dim=64, space="both")
PICTURES = replace(SPEC, name="mine/image", space="both")


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(64)
        self.layers = nn.Sequential(nn.Linear(64, 128), nn.GELU(), nn.Dropout(0.5), nn.Linear(128, 64))

    def forward(self, hidden):
        return hidden + self.layers(self.norm(hidden))


def network():
    """One that is trained: with batch norm and dropout, in train mode."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), Block(), Block()).train()


class Pictures(Encoder):
    width = 64
    preprocessing = "8 x 8 pixels, grey"

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def preprocess(self, item):
        grey = np.asarray(item.convert("L").resize((8, 8)), np.float32)
        return {"numbers": torch.from_numpy(grey / 255).flatten()}

    def forward(self, tensors):
        return self.inner(tensors["numbers"])


class Texts(Pictures):
    preprocessing = "64 characters"

    def preprocess(self, item):
        return {"numbers": torch.tensor([ord(letter) / 128 for letter in item.ljust(64)[:64]])}


class Mine:
    """Where the encoders under test are, so that a spec's target can name them."""

    network = network()
    projection = None

    @classmethod
    def encoder(cls):
        return Pictures(cls.network)

    @classmethod
    def texts(cls):
        return Texts(cls.network)

    @classmethod
    def led(cls):
        return cls.projection


@pytest.fixture(autouse=True)
def own():
    Mine.network = network()
    return Mine.network


def space_of(*specs, dtype="float32", **options):
    return Space(specs[0].space_name, specs, runtime=Runtime("cpu", dtype, **options))


def gone_on(own):
    """Train a network for a step, as its owner might."""
    optimizer = torch.optim.SGD(own.parameters(), lr=0.1)
    own(torch.rand(4, 64)).square().mean().backward()
    optimizer.step()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_network_stays_as_it_was(own, dtype):
    before = state_of(own)
    assert len(own.state_dict()) == 19
    with space_of(SPEC, dtype=dtype) as space:
        space.encode("image", IMAGES)
        assert differences(before, state_of(own)) == []
    assert own.state_dict().keys() == network().state_dict().keys()
    own.to(torch.bfloat16)(torch.rand(4, 64, dtype=torch.bfloat16))  # so its owner can cast it
    own.float()
    weight = own[0].weight.clone()
    gone_on(own)  # and train it
    assert not torch.equal(own[0].weight, weight)
    assert own[1].num_batches_tracked == 2


def test_vectors_are_those_of_the_network_in_eval_mode(own):
    with space_of(SPEC) as space, torch.no_grad():
        encoder = Pictures(copy.deepcopy(own).eval())
        expected = encoder(encoder.collate([encoder.preprocess(image) for image in IMAGES]))
        expected = nn.functional.normalize(expected, dim=-1)
        np.testing.assert_allclose(space.encode("image", IMAGES), expected, atol=1e-5)


def test_weights_that_nothing_changes_are_not_held_twice(own):
    with space_of(SPEC) as space:
        inner = space.tower("image").encoder.inner
        assert inner[1].weight.data_ptr() == own[1].weight.data_ptr()
        assert inner[2].norm.weight.data_ptr() == own[2].norm.weight.data_ptr()


def test_layers_are_packed_in_the_copy_only(own):
    with space_of(SPEC) as space:
        packed = [type(module) is PackedLinear for module in space.tower("image").encoder.modules()]
    if torch.backends.mkldnn.is_available():
        assert sum(packed) == 5
    assert not any(isinstance(module, PackedLinear) for module in own.modules())


def test_packed_encoder_has_the_state_of_the_plain_one(own):
    with space_of(SPEC) as space:
        encoder = space.tower("image").encoder
        assert encoder.state_dict().keys() == Pictures(own).state_dict().keys()
        assert digest(encoder) == digest(Pictures(own))


@pytest.mark.parametrize("first", ["text", "image"])
def test_space_of_a_shared_network_has_one_fingerprint_whichever_is_used_first(own, first):
    expected = space_of(TEXTS, PICTURES).id
    items = {"text": ["a", "b"], "image": IMAGES}
    with space_of(TEXTS, PICTURES) as space:
        before = state_of(own)
        for modality in (first, *(items.keys() - {first})):
            space.encode(modality, items[modality])
        assert space.id == expected
        assert differences(before, state_of(own)) == []
    with space_of(TEXTS, PICTURES) as again:
        assert again.id == expected


def test_compiling_leaves_the_network_alone(own, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda module: module)  # which would take its time
    before = state_of(own)
    with space_of(SPEC, compile=True) as space:
        space.encode("image", IMAGES)
    assert differences(before, state_of(own)) == []


def test_encoder_that_is_used_twice_is_two(own):
    encoder = Pictures(own)
    Mine.given = encoder
    spec = replace(SPEC, target=f"{__name__}:Mine.given.train")
    with space_of(spec) as one, space_of(spec, dtype="bfloat16") as other:
        first = one.encode("image", IMAGES).vectors
        assert not np.array_equal(first, other.encode("image", IMAGES).vectors)
        np.testing.assert_array_equal(one.encode("image", IMAGES), first)
        assert one.id == other.id


def test_projection_of_ones_own_stays_as_it_is():
    Mine.projection = Linear(torch.eye(5, 64), torch.zeros(5)).train()
    spec = replace(SPEC, projection=f"{__name__}:Mine.led", dim=5)
    before = state_of(Mine.projection)
    for space in (space_of(spec), Space("mine", [SPEC], projections={"image": Mine.projection})):
        expected = space.encode("image", IMAGES).vectors
        assert differences(before, state_of(Mine.projection)) == []
        Mine.projection.weight += 1  # whoever trains it on doesn't change the space
        np.testing.assert_array_equal(space.encode("image", IMAGES), expected)
        Mine.projection.weight -= 1


class TestSharedNetwork(EncoderConformance):
    """The kit runs on an encoder whose network somebody goes on using, one check after another."""

    spec = SPEC

    def test_closing_lets_the_encoder_go(self):
        pytest.skip("this network is kept, on purpose")


def test_kit_leaves_a_shared_network_alone(own):
    before = state_of(own)
    suite = TestSharedNetwork()
    suite.test_moving_the_encoder_leaves_nothing_behind()
    suite.test_bfloat16_stays_close()
    suite.teardown_class()
    assert differences(before, state_of(own)) == []
    with space_of(SPEC) as space:
        assert len(space.encode("image", IMAGES)) == 3


# A network that is trained while a space encodes.


def sgd(own):
    gone_on(own)


def fused(own):
    optimizer = torch.optim.AdamW(own.parameters(), lr=0.1, fused=True)
    own(torch.rand(4, 64)).square().mean().backward()
    optimizer.step()


def data(own):
    own[1].weight.data.add_(1)


def loaded(own):
    own.load_state_dict({key: value + 1 for key, value in own.state_dict().items()})


@pytest.mark.parametrize("change", [sgd, fused, data, loaded], ids=lambda change: change.__name__)
def test_vectors_of_weights_that_were_changed_since_are_refused(own, change):
    with space_of(SPEC) as space:
        before = space.encode("image", IMAGES)
        change(own)
        with pytest.raises(
            IdentityError, match=r"'mine' were changed after it was loaded(.|\n)*load the space"
        ):
            space.encode("image", IMAGES)
        with pytest.raises(IdentityError, match="were changed"):
            next(space.stream("image", IMAGES))
        with pytest.raises(IdentityError, match="were changed"):
            next(space.features("image", IMAGES))
    with space_of(SPEC) as again:
        assert again.encode("image", IMAGES).space != before.space


def test_training_while_items_are_drawn_is_noticed(own):
    def items():
        yield from IMAGES
        gone_on(own)

    with space_of(SPEC) as space:
        space.encode("image", IMAGES)
        with pytest.raises(IdentityError, match="were changed"):
            list(space.stream("image", items()))


def test_using_the_network_beside_the_space_is_no_change(own):
    with space_of(SPEC) as space:
        expected = space.encode("image", IMAGES).vectors
        own.eval()(torch.rand(2, 64))
        own.train()(torch.rand(2, 64)).sum().backward()
        own.zero_grad()
        np.testing.assert_array_equal(space.encode("image", IMAGES), expected)


def test_encoder_that_is_cast_has_its_own_weights(own):
    with space_of(SPEC, dtype="bfloat16") as space:
        expected = space.encode("image", IMAGES).vectors
        gone_on(own)
        np.testing.assert_array_equal(space.encode("image", IMAGES), expected)


def test_encoders_that_nobody_else_holds_are_not_watched():
    spec = EncoderSpec(name="fake", modality="image", target="mmencode.testing:FakeImage", dim=8)
    with space_of(spec) as space:
        assert space.tower("image").borrowed._watched == {}


def test_training_in_another_thread_either_changes_nothing_or_is_said(own):
    """Every result that comes is that of the card."""
    with space_of(SPEC) as space:
        expected = space.encode("image", IMAGES).vectors
        begin, trained = threading.Event(), threading.Event()

        def train():
            begin.wait(10)
            for _ in range(5):
                gone_on(own)
            trained.set()

        thread = threading.Thread(target=train)
        thread.start()
        begin.set()
        try:
            for _ in range(1000):
                np.testing.assert_array_equal(space.encode("image", IMAGES), expected)
        except IdentityError:
            pass
        else:
            pytest.fail("five steps of training went by unnoticed")
        finally:
            thread.join(60)


# Networks that can't be encoded with as they are.


def test_network_on_the_meta_device_is_said_to_have_no_weights(own):
    own.to("meta")
    with pytest.raises(WeightsError, match=r"'mine' gave a network without numbers in 'inner.0.weight'"):
        space_of(SPEC).encode("image", IMAGES)


def test_lazy_layer_is_said_to_have_no_weights():
    Mine.network = nn.Sequential(nn.LazyLinear(64))
    with pytest.raises(WeightsError, match="run a lazy layer once"):
        space_of(SPEC).encode("image", IMAGES)


# The encoders that take a model.


@pytest.mark.parametrize("name", ["test_vit", "test_resnet", "test_convnext"])
def test_timm_model_stays_as_it_is(name):
    model = timm.create_model(name).train()
    before, keys = state_of(model), model.state_dict().keys()
    TimmEncoder(model)
    TimmClassifier(model)
    assert differences(before, state_of(model)) == []
    assert model.state_dict().keys() == keys


def test_torchaudio_model_stays_as_it_is():
    model = torchaudio.models.wav2vec2_base(aux_num_out=5)
    model.encoder.transformer.layers = model.encoder.transformer.layers[:1]
    before = state_of(model.train())
    TorchaudioEncoder(model, rate=16000)
    assert differences(before, state_of(model)) == []
    assert model.aux is not None


def test_open_clip_model_stays_as_it_is_and_feeds_both_encoders():
    vision = {"image_size": 64, "layers": 2, "width": 64, "patch_size": 16, "head_width": 32}
    text = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2}
    model = open_clip.CustomTextCLIP(64, vision, text).train()
    model.visual.preprocess_cfg = {"size": 64}
    before, random = state_of(model), torch.get_rng_state()
    image, words = OpenClipImage(model), OpenClipText(model, open_clip.get_tokenizer("ViT-B-32"))
    assert differences(before, state_of(model)) == []
    assert torch.equal(torch.get_rng_state(), random)
    with torch.no_grad():
        model.eval()
        pixels = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
        expected = model.encode_image(image._normalise(pixels))
        torch.testing.assert_close(image.eval()({"pixels": pixels}), expected, atol=1e-5, rtol=1e-4)
        tensors = words.collate([words.preprocess("a dog")])
        expected = model.encode_text(open_clip.get_tokenizer("ViT-B-32")(["a dog"]))
        torch.testing.assert_close(words.eval()(tensors), expected, atol=1e-5, rtol=1e-4)


def test_digest_sees_the_weights_of_a_quantised_network():
    def quantised():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(8, 8)), {nn.Linear})

    torch.manual_seed(0)
    one = quantised()
    assert digest(one) == digest(copy.deepcopy(one))
    assert digest(one) != digest(quantised())
