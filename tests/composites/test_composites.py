"""Items with parts of several modalities: how they are read, refused, copied, and encoded."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import mmencode
from mmencode import EncoderSpec, Limits, Space
from mmencode.embeddings.embeddings import Embeddings
from mmencode.engine.generated import generated_items
from mmencode.engine.runtime import Runtime
from mmencode.errors import InputError, SpecError, UnknownModalityError
from mmencode.inputs import reader
from mmencode.inputs.owning import own, own_each, size_in_bytes
from mmencode.testing import FakeFused, fake_omni_specs

RED, BLUE = (Image.new("RGB", (30, 20), colour) for colour in ("red", "blue"))
FUSED, MIXED = "image+text", "interleaved"
LOUD = (np.linspace(-0.5, 0.5, 4000, dtype=np.float32), 8000)


def png(image):
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def space():
    runtime = Runtime("cpu", "float32", batch_size=4, workers=3)
    with Space("omni", fake_omni_specs("omni"), runtime=runtime) as space:
        yield space


def test_fused_items_are_encoded_in_order_and_alone_as_together(space):
    items = [(image, text) for text in ("a", "bb", "a longer text") for image in (RED, BLUE, None)]
    together = space.encode(FUSED, items)
    assert together.modality == FUSED
    for item, vector in zip(items, together.vectors, strict=True):
        np.testing.assert_allclose(space.encode(FUSED, [item]).vectors[0], vector, atol=1e-6)


def test_absent_part_leaves_the_vector_of_the_other(space):
    found = space.encode(FUSED, [(None, "a"), (RED, None)]).vectors
    np.testing.assert_array_equal(found[:1], space.encode("text", ["a"]).vectors)
    np.testing.assert_array_equal(found[1:], space.encode("image", [RED]).vectors)


def test_interleaved_items_are_read_part_by_part_in_their_order(space):
    first, second = [("text", "a"), ("image", png(RED))], [("image", RED), ("text", "a")]
    found = space.encode(MIXED, [first, second, second * 3]).vectors
    assert not np.allclose(found[0], found[1])
    np.testing.assert_array_equal(found[1:2], space.encode(FUSED, [(RED, "a")]).vectors)


def test_each_part_is_read_by_its_own_reader(space, tmp_path):
    path = tmp_path / "red.png"
    path.write_bytes(png(RED))
    kinds = [RED, path, str(path), png(RED), np.asarray(RED), io.BytesIO(png(RED))]
    found = space.encode(FUSED, [(kind, "a") for kind in kinds]).vectors
    np.testing.assert_array_equal(found, np.repeat(found[:1], len(kinds), axis=0))


BAD = [
    ((RED,), "it has 1 part, and not 2", "pass tuples (image, text)"),
    ((RED, "a", "b"), "it has 3 parts, and not 2", "pass tuples (image, text)"),
    ((), "it has 0 parts, and not 2", "pass tuples (image, text)"),
    ([RED, "a"], "list is no tuple of the parts of image+text", "pass tuples (image, text)"),
    (None, "NoneType is no tuple of the parts of image+text", "pass tuples (image, text)"),
    ("a", "str is no tuple of the parts of image+text", "pass tuples (image, text)"),
    ((None, None), "all of its parts are absent", "leave it out"),
    (("a", RED), "part 0 (image): there is no such file", "the parts are (image, text), in this order"),
    ((RED, RED), "part 1 (text): text is a str, not Image", "the parts are (image, text), in this order"),
    ((RED, " "), "part 1 (text): the text is blank", "leave it out"),
    ((b"nothing", "a"), "part 0 (image): ", "pass"),
    ((3, "a"), "part 0 (image): int is no image", "pass a path"),
]


@pytest.mark.parametrize(("item", "fact", "remedy"), BAD, ids=lambda value: repr(value)[:20])
def test_bad_fused_item_is_named_with_its_part_and_hurts_no_neighbour(space, item, fact, remedy):
    good = [(RED, "a"), (BLUE, "b")]
    with pytest.raises(InputError) as caught:
        space.encode(FUSED, [good[0], item, good[1]])
    assert caught.value.index == 1
    assert caught.value.fact.startswith(fact)
    assert remedy in caught.value.remedy or fact.endswith(": ")
    found = space.encode(FUSED, [good[0], item, good[1]], on_error="skip")
    assert found.positions.tolist() == [0, 2]
    np.testing.assert_array_equal(found.vectors, space.encode(FUSED, good).vectors)


BAD_MIXED = [
    ([], "it has no parts"),
    ("a", "str is no list of (modality, part) pairs"),
    ([("text", "a"), "b"], "part 1: it is no (modality, part) pair"),
    ([("text", "a", "b")], "part 0: it is no (modality, part) pair"),
    ([("text", "a"), ("audio", LOUD)], "part 1: there is no 'audio' in its items"),
    ([("image", RED), ("Text", "a")], "part 1: there is no 'Text' in its items"),
    ([("image", RED), ("text", None)], "part 1 (text): it is absent"),
    ([("text", "a"), ("image", "no file")], "part 1 (image): there is no such file"),
    ([("text", "a")] * 5000, "it has 5000 parts, and 4096 are the most"),
]


@pytest.mark.parametrize(("item", "fact"), BAD_MIXED, ids=lambda value: repr(value)[:20])
def test_bad_interleaving_is_named_with_its_part_and_hurts_no_neighbour(space, item, fact):
    good = [[("text", "a")], [("image", RED), ("text", "b")]]
    found = space.encode(MIXED, [good[0], item, good[1]], on_error="skip")
    (error,) = found.errors
    assert (error.index, error.fact, bool(error.remedy)) == (1, fact, True)
    assert found.positions.tolist() == [0, 2]
    np.testing.assert_array_equal(found.vectors, space.encode(MIXED, good).vectors)


def test_part_keeps_the_source_and_fault_of_its_error(space, tmp_path):
    path = tmp_path / "gone.png"
    found = space.encode(FUSED, [(path, "a"), (RED, "a")], on_error="skip")
    assert (found.errors[0].source, found.errors[0].fault) == (str(path), "access")


def test_limits_hold_for_each_part():
    with Space("omni", fake_omni_specs("omni"), limits=Limits(characters=3, pixels=700)) as space:
        large = Image.new("RGB", (100, 100))
        found = space.encode(FUSED, [(RED, "abcd"), (large, "abc"), (RED, "abc")], on_error="skip")
    assert found.positions.tolist() == [2]
    assert [error.fault for error in found.errors] == ["limit", "limit"]
    assert [error.fact[:14] for error in found.errors] == ["part 1 (text):", "part 0 (image)"]


def test_parts_together_take_no_more_memory_than_one_item_may():
    read = reader(MIXED, parts=("image", "text"))
    item = [("image", np.zeros((100, 100, 3), np.uint8))] * 10
    assert len(read(item, Limits(memory=10 * 100 * 100 * 8))) == 10
    with pytest.raises(
        InputError, match=r"part 4 \(image\): with the parts before it takes 150000 bytes"
    ) as caught:
        read(item, Limits(memory=120_001))
    assert caught.value.fault == "limit"


@pytest.mark.parametrize("batch", [(RED, "a"), [RED, "a"], [None, "a"]])
def test_single_fused_item_is_no_batch(space, batch):
    with pytest.raises(TypeError, match=r"one item of image\+text"):
        space.encode(FUSED, batch)


def test_single_interleaved_item_is_no_batch(space):
    with pytest.raises(TypeError, match="one item of interleaved"):
        space.encode(MIXED, [("text", "a"), ("image", RED)])


def test_table_in_place_of_items_says_how_to_pair_its_columns(space):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"photo": [png(RED)], "caption": ["a"]})
    with pytest.raises(TypeError, match=r"list\(zip\(batch\['photo'\], batch\['caption'\]\)\)"):
        space.encode(FUSED, frame)
    assert len(space.encode(FUSED, list(zip(frame["photo"], frame["caption"], strict=True)))) == 1


def test_parts_in_another_order_are_pointed_out(space):
    with pytest.raises(UnknownModalityError, match=r"it has image\+text: give the parts in that order"):
        space.encode("text+image", [("a", RED)])


def test_fused_items_mix_with_others(space):
    pairs = [("text", "a"), (FUSED, (RED, "a")), (MIXED, [("text", "a")]), (FUSED, ("no file", "a"))]
    found = space.encode_mixed(pairs, on_error="skip")
    assert found.positions.tolist() == [0, 1, 2]
    assert found.errors[0].index == 3
    np.testing.assert_array_equal(found.vectors[1:2], space.encode(FUSED, [(RED, "a")]).vectors)
    np.testing.assert_array_equal(found.vectors[2], found.vectors[0])


@pytest.mark.parametrize("suffix", ["npz", "safetensors", "parquet"])
def test_fused_vectors_are_saved_and_loaded(space, tmp_path, suffix):
    found = space.encode(FUSED, [(RED, "a"), ((), 1), (BLUE, "b")], on_error="skip").with_keys(
        ["r", "x", "b"]
    )
    found.save(tmp_path / f"fused.{suffix}")
    back = Embeddings.load(tmp_path / f"fused.{suffix}")
    assert (back.modality, back.space, back.keys, back.towers) == (FUSED, space.id, ("r", "b"), found.towers)
    assert [str(error) for error in back.errors] == [str(error) for error in found.errors]


def reused():
    """Items whose parts are all one buffer, one list and one picture."""
    pixels, picture = np.empty((6, 8, 3), np.uint8), Image.new("RGB", (8, 6))
    parts = [None, None]
    for number in range(40):
        pixels[:] = number * 5
        picture.paste(Image.fromarray(pixels))
        yield (pixels, f"text {number}")
        yield (picture, f"text {number}")
        buffer = io.BytesIO(png(picture))
        yield (buffer, f"text {number}")
        parts[:] = [("image", pixels), ("text", f"text {number}")]


def test_parts_that_share_a_buffer_are_as_they_were_when_given(space):
    expected = [
        (np.full((6, 8, 3), number * 5, np.uint8), f"text {number}") for number in range(40) for _ in range(3)
    ]
    found = [part.vectors for part in space.stream(FUSED, reused(), chunk=7)]
    np.testing.assert_array_equal(np.concatenate(found), space.encode(FUSED, expected).vectors)


def test_interleaved_list_that_is_filled_again_is_as_it_was_when_given(space):
    def again():
        parts = []
        for number in range(30):
            parts[:] = [("text", f"text {number}")] * (1 + number % 3)
            yield parts

    expected = [[("text", f"text {number}")] * (1 + number % 3) for number in range(30)]
    np.testing.assert_array_equal(space.encode(MIXED, again()).vectors, space.encode(MIXED, expected).vectors)


def test_file_that_comes_again_within_another_tuple_is_refused_ahead_of_its_turn(tmp_path):
    (tmp_path / "red.png").write_bytes(png(RED))
    with (tmp_path / "red.png").open("rb") as file:
        drawn = own_each((file, text) for text in ("a", "b"))
        assert next(drawn)[1] == "a"
        with pytest.raises(InputError, match="gives the same object again"):
            next(drawn)
        assert own((file, "a"))[1] is False


def test_text_that_comes_again_beside_a_file_is_no_fault(tmp_path):
    names = ["a.png", "b.png"]
    for name in names:
        (tmp_path / name).write_bytes(png(RED))
    files = [(tmp_path / name).open("rb") for name in names]
    shared = np.zeros((4, 4, 3), np.uint8)
    assert len(list(own_each((file, "the same", shared) for file in files))) == 2
    for file in files:
        file.close()


def test_parts_count_as_memory_that_waits():
    array = np.zeros((10, 10, 3), np.uint8)
    assert size_in_bytes((array, "a", array, array)) == 900
    assert size_in_bytes([("image", array), ("text", "a")]) == 300


def test_probes_of_a_composite_are_made_of_those_of_its_parts(space, tmp_path):
    texts, images = generated_items("text"), generated_items("image")
    assert [text for _, text in generated_items(FUSED)] == texts
    assert [pair[0] for pair in generated_items(MIXED, ("image", "text"))[0]] == ["image", "text"]
    assert len({image.tobytes() for image, _ in generated_items(FUSED)}) == len(images)
    assert generated_items("smell+text") == []


def test_failing_encoder_is_told_from_bad_items_by_the_probes():
    class Broken(FakeFused):
        def forward(self, tensors):
            raise RuntimeError("broken")

    network = torch.nn.Linear(8, 8)
    spec = replace(fake_omni_specs("omni")[2], target=f"{__name__}:BUILT.build", shared=False)
    BUILT.build = staticmethod(lambda: Broken(network))
    with (
        Space("omni", [spec]) as space,
        pytest.raises(mmencode.errors.EncoderError, match="known to be good"),
    ):
        space.encode(FUSED, [(RED, "a")], on_error="skip")


class BUILT:
    """Where the encoder of a test is put."""


def test_encoder_gets_tuples_of_read_values_with_none():
    seen = []

    class Seeing(FakeFused):
        def preprocess(self, item):
            seen.append(item)
            return super().preprocess(item)

    spec = replace(fake_omni_specs("omni")[2], target=f"{__name__}:BUILT.build", shared=False)
    BUILT.build = staticmethod(lambda: Seeing(torch.nn.Linear(8, 8)))
    with Space("omni", [spec], runtime=Runtime("cpu", "float32")) as space:
        space.encode(FUSED, [(png(RED), "a"), (None, "b")])
    (image, text), absent = sorted(seen, key=lambda item: item[1])
    assert (isinstance(image, Image.Image), image.mode, text, absent) == (True, "RGB", "a", (None, "b"))


GOOD_NAMES = ["image+text", "text+image", "image+image", "audio+image+text", "smell+text"]
BAD_NAMES = [
    "image+",
    "+text",
    "image++text",
    "Image+text",
    "image + text",
    "interleaved+text",
    "+".join("a" * 17),
]


@pytest.mark.parametrize("modality", GOOD_NAMES)
def test_spec_knows_the_parts_in_the_name_of_a_composite(modality):
    spec = EncoderSpec(name="a", modality=modality, target="a:b", dim=2)
    assert spec.parts == tuple(modality.split("+"))
    assert replace(spec, name="b").parts == spec.parts


@pytest.mark.parametrize("modality", BAD_NAMES)
def test_malformed_composite_is_refused(modality):
    with pytest.raises(SpecError, match="modality"):
        EncoderSpec(name="a", modality=modality, target="a:b", dim=2)


@pytest.mark.parametrize(
    ("modality", "parts"),
    [
        ("interleaved", ()),
        ("interleaved", ("image", "image")),
        ("interleaved", ("image+text",)),
        ("interleaved", ("interleaved",)),
        ("interleaved", ("Image",)),
        ("text", ("text",)),
        ("image+text", ("text", "image")),
        ("interleaved", ["image"]),
    ],
)
def test_parts_that_do_not_fit_the_modality_are_refused(modality, parts):
    with pytest.raises(SpecError, match="parts"):
        EncoderSpec(name="a", modality=modality, parts=parts, target="a:b", dim=2)


def test_modality_called_interleaved_is_refused():
    with pytest.raises(SpecError, match="another word"):
        mmencode.ModalitySpec(name="interleaved", reader="a:b")


def test_saved_omni_space_is_loaded_and_verified_with_its_composites(install, tmp_path):
    install(omni=fake_omni_specs("omni"))
    with mmencode.load("omni", device="cpu", dtype="float32") as space:
        space.save(tmp_path / "saved")
        known = space.id
    with mmencode.load(tmp_path / "saved") as back:
        assert back.id == known
        found = back.verify()
    assert found.same
    assert {*found.angles} == {"text", "image", FUSED, MIXED}


class FusedTokens(mmencode.MultiEncoder):
    """A vector for each of its parts."""

    width, preprocessing, counting = 8, "one for each part", "all"

    def preprocess(self, item):
        rows = [torch.full((8,), place + 1.0) for place, part in enumerate(item) if part is not None]
        return {"rows": torch.stack(rows)}

    def collate(self, items):
        rows, mask = mmencode.encoder.pad_rows([item["rows"] for item in items])
        return {"rows": rows, "mask": mask}

    def forward_tokens(self, tensors):
        return tensors["rows"], tensors["mask"]


def test_composites_may_have_many_vectors():
    spec = EncoderSpec(
        name="late", modality=FUSED, target=f"{__name__}:FusedTokens", dim=8, outputs="many", space="late"
    )
    with Space("late", [spec]) as space:
        found = space.encode_multi(
            FUSED, [(RED, "a"), (None, "a"), (None, None), (RED, "b")], on_error="skip"
        )
    assert (found.modality, found.counts.tolist()) == (FUSED, [2, 1, 2])
    assert [error.index for error in found.errors] == [2]
