"""An encoder that is built over another one of its space shares that one's network, and changes no vector."""

from __future__ import annotations

import gc
import pickle
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import mmencode
from mmencode import Encoder, IdentityProjection, Space
from mmencode.encoder import Base
from mmencode.engine.convolutions import FusedConv2d, can_fuse
from mmencode.engine.packing import PackedLinear
from mmencode.engine.runtime import Runtime
from mmencode.errors import EncoderError, IdentityError, SpecError
from mmencode.plugins.spec import EncoderSpec
from mmencode.testing import sample_items

WIDTH = 96  # wide enough for linear layers to be packed
PICTURES = sample_items("image")
built: list[str] = []


class Eye(Encoder):
    """Images through a linear layer."""

    width = WIDTH
    preprocessing = "RGB 24x24"

    def __init__(self, seed=0, channels=3, side=24):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.last = nn.Linear(channels * side * side, WIDTH)
            self.make_more()

    def make_more(self):
        pass

    def preprocess(self, item):
        pixels = np.array(item.resize((24, 24)), np.float32) / 255
        return {"pixels": torch.from_numpy(pixels).permute(2, 0, 1)}

    def forward(self, tensors):
        return self.last(tensors["pixels"].flatten(1))


class ConvolvingEye(Eye):
    """Images through a convolution with its norm, and a linear layer."""

    def __init__(self):
        super().__init__(0, 8, 22)

    def make_more(self):
        self.conv, self.norm = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
        for tensor in (self.norm.running_mean, self.norm.bias.data):
            tensor.normal_(0, 0.3)
        for tensor in (self.norm.running_var, self.norm.weight.data):
            tensor.uniform_(0.3, 2)

    def forward(self, tensors):
        return super().forward({"pixels": self.norm(self.conv(tensors["pixels"]))})


class Glance(Encoder):
    """Pictures that are seen a second time, by the eye of a space; a layer of its own follows."""

    width = WIDTH
    preprocessing = "as images"

    def __init__(self, base):
        super().__init__()
        self.eye, self.projection = base.encoder, base.projection
        self.architecture = f"a glance of {base.name}"
        self.own = nn.Linear(WIDTH, WIDTH)
        nn.init.eye_(self.own.weight)
        nn.init.zeros_(self.own.bias)

    def preprocess(self, item):
        return self.eye.preprocess(item)

    def forward(self, tensors):
        return self.own(self.projection(self.eye(tensors)))


def eye():
    built.append("eye")
    return Eye()


def convolving_eye():
    return ConvolvingEye()


def other_eye():
    return Eye(1)


def glance(over=None):
    built.append("glance")
    return Glance(over or Base(Eye(), IdentityProjection(), WIDTH, "eyes/image"))


def no_glance(over=None):
    raise ValueError("no glance today")


def spec_of(modality, target, **options):
    named = {"name": f"eyes/{modality}", "space": "eyes", "dim": WIDTH, **options}
    return EncoderSpec(modality=modality, target=f"{__name__}:{target}", **named)


IMAGE, OVER = spec_of("image", "eye"), spec_of("glance", "glance", over="image")
ALONE = replace(OVER, over="")


def space_of(*specs, runtime=None, **options):
    return Space("eyes", specs or (IMAGE, OVER), runtime=runtime or Runtime("cpu", "float32"), **options)


def shares(space):
    """Whether each of a space's devices has one network for both, and its folded twin, too."""
    pairs = list(zip(*(space._members.towers(key) for key in ("image", "glance")), strict=True))
    assert len({id(image.encoder) for image, _ in pairs}) == len(pairs) == len(space.runtime.devices)
    return all(
        glance.encoder.eye is image.encoder
        and getattr(glance.forward, "eye", image.forward) is image.forward
        and glance.dtype == image.dtype == glance.encoder.own.bias.dtype
        for image, glance in pairs
    )


def joined(space, spec=ALONE):
    """The space with glances, as their plugin joins them: over the very encoder that its card names."""
    lead = IdentityProjection(into=space.id)
    lead.report = {
        side: {"at": {"1": 1.0}, "interval": [0.9, 1.0], "chance": {"1": 0.1}, "sigmas": 9.0, "count": 40}
        for side in ("forward", "backward")
    }
    over = f"image@{space.tower_card('image').digest}"
    return space.join({"glance": (replace(spec, over=over), lead)})


@pytest.fixture(autouse=True)
def forget():
    built.clear()


@pytest.fixture(scope="module")
def expected():
    """The vectors, and the cards, of both encoders where each stands alone."""
    with space_of(IMAGE) as images, space_of(ALONE) as glances:
        rows = images.encode("image", PICTURES).vectors, glances.encode("glance", PICTURES).vectors
        return *rows, images.card.towers[0], glances.card.towers[0]


def require_as_alone(space, expected):
    image, glance, image_card, glance_card = expected
    np.testing.assert_array_equal(space.encode("image", PICTURES).vectors, image)
    np.testing.assert_array_equal(space.encode("glance", PICTURES).vectors, glance)
    assert identity(space.tower_card("image")) == identity(image_card)
    assert identity(space.tower_card("glance")) == identity(glance_card)


def identity(card):
    """What the encoder's vectors depend on; an identity that was measured has another name."""
    return replace(card.identity, projection="")


@pytest.mark.parametrize("first", ["image", "glance"])
def test_both_are_built_at_once_and_hold_one_network(first, expected):
    with space_of() as space:
        space.encode(first, PICTURES[:1])
        assert shares(space)
        assert built == ["eye", "glance"]
        require_as_alone(space, expected)
        image, glance = space.tower("image"), space.tower("glance")
        if torch.backends.mkldnn.is_available():
            assert type(image.encoder.last) is type(glance.encoder.own) is PackedLinear


@pytest.mark.skipif(not can_fuse(), reason="this torch has no oneDNN for convolutions")
@pytest.mark.parametrize("late", [False, True])
def test_convolutions_are_folded_once_for_both(late):
    image = replace(IMAGE, target=f"{__name__}:convolving_eye")
    with space_of(image) as images, joined(images) if late else space_of(image, OVER) as space:
        assert shares(space)
        image, glance = space.tower("image"), space.tower("glance")
        assert type(glance.forward.eye.conv) is FusedConv2d
        assert glance.forward.eye.conv is image.forward.conv
        assert type(glance.encoder.eye.conv) is nn.Conv2d
        rows = [space.encode(key, PICTURES).vectors for key in ("image", "glance")]
        assert np.abs(rows[0] - rows[1]).max() < 1e-6  # a glance adds nothing


@pytest.mark.parametrize(
    "options",
    [{}, {"dtype": "bfloat16"}, {"compile": True}, {"device": ["cpu", "cpu"]}],
    ids=["float32", "bfloat16", "compile", "devices"],
)
def test_one_that_joins_shares_what_is_loaded_already_with_both_spaces(options, expected):
    runtime = Runtime(**{"device": "cpu", "dtype": "float32", **options})
    with space_of(IMAGE, runtime=runtime) as images:
        before = images.encode("image", PICTURES[:1])
        with joined(images) as space:
            assert shares(space)
            assert space.tower("image") is images.tower("image")
            assert space.id == images.id
            if not options or "device" in options:
                require_as_alone(space, expected)
            assert identity(space.tower_card("glance")) == identity(expected[3])
        np.testing.assert_array_equal(images.encode("image", PICTURES[:1]), before)


def test_all_is_let_go_when_the_spaces_are_closed():
    with space_of(IMAGE) as images, joined(images) as space:
        held = [weakref.ref(space.tower(key).encoder) for key in ("image", "glance")]
    del images, space
    gc.collect()
    assert not any(reference() for reference in held)


def test_a_space_that_is_saved_shares_again_when_it_is_loaded(install, tmp_path, expected):
    install(eyes=(IMAGE,), glances=(replace(ALONE, name="glances", space=""),))
    spec = replace(ALONE, name="glances", space="")
    with space_of(IMAGE) as images, joined(images, spec) as space:
        space.save(tmp_path / "saved")
        card, sent = space.card, pickle.dumps(space)
    for again in (mmencode.load(tmp_path / "saved", device="cpu", dtype="float32"), pickle.loads(sent)):
        with again:
            built.clear()
            assert shares(again)
            assert again.card.id == card.id
            assert again.card.tower("glance") == card.tower("glance")
            require_as_alone(again, (*expected[:3], card.tower("glance")))
    with mmencode.load(tmp_path / "saved", device="cpu", dtype="float32", modalities=("glance",)) as part:
        np.testing.assert_array_equal(part.encode("glance", PICTURES), expected[1])
        assert part._members.loaded == ("glance",)


def test_another_encoder_than_the_named_one_is_not_built_over(expected):
    with space_of(IMAGE) as images, joined(images) as space:
        found = space.spec("glance")
    elsewhere = spec_of("image", "other_eye", name="others/image")
    native = replace(ALONE, over=found.over)
    with space_of(elsewhere, native) as mixed:
        np.testing.assert_array_equal(mixed.encode("glance", PICTURES), expected[1])
        assert mixed.tower("glance").encoder.eye is not mixed.tower("image").encoder
        assert mixed.tower("glance").base is None


def test_what_bears_less_than_the_loaded_one_has_a_network_of_its_own(expected):
    runtime = Runtime("cpu")
    runtime.dtype = torch.bfloat16
    image, spec = replace(IMAGE, bf16_cosine=1.0), replace(ALONE, bf16_cosine=None)
    with space_of(image, runtime=runtime) as images:
        images.tower("image")
        with joined(images, spec) as space:
            assert [space.tower(key).dtype for key in ("image", "glance")] == [torch.bfloat16, torch.float32]
            np.testing.assert_array_equal(space.encode("glance", PICTURES), expected[1])
    with space_of(image, replace(OVER, bf16_cosine=None), runtime=runtime) as space:
        assert shares(space)
        assert space.tower("image").dtype == torch.float32


def test_a_change_of_the_shared_network_is_found_through_both(monkeypatch):
    network = Eye()
    monkeypatch.setitem(globals(), "Eye", lambda: network)
    runtime = Runtime("cpu", "float32", compile=True)  # which packs nothing, so that the memory stays shared
    with space_of(IMAGE, runtime=runtime) as images, joined(images) as space:
        tower = space.tower("glance")
        tower.require_as_loaded()
        with torch.no_grad():
            network.last.weight.add_(1)
        with pytest.raises(IdentityError, match="changed after it was loaded"):
            tower.require_as_loaded()


def test_one_that_cannot_be_built_hurts_not_the_other():
    with space_of(IMAGE, replace(OVER, target=f"{__name__}:no_glance")) as space:
        assert space.tower("image").dim == WIDTH
        with pytest.raises(EncoderError, match="no glance today"):
            space.tower("glance")


@pytest.mark.parametrize("over", ["glance", "image@12", "Image", "image:asker"])
def test_over_names_another_encoder(over):
    with pytest.raises(SpecError, match=r"EncoderSpec\.over"):
        replace(OVER, over=over)
