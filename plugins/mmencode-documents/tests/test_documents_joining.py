"""Any space with images gains pages by one line, with one vector for each page or many."""

from __future__ import annotations

import mmencode_documents
import numpy as np
import pytest
from mmencode_documents import join_pages
from mmencode_documents.drawing import make_pdf, samples, write_words
from mmencode_documents.items import RENDERING

import mmencode
from mmencode import Index, Limits, Space
from mmencode.errors import EncoderError, UnknownModalityError
from mmencode.inputs import list_parts, reader
from mmencode.testing import EncoderConformance, fake_specs

PAGES = samples(6)


@pytest.fixture(params=["fake", "fake-multi"])
def name(request, installed):
    return request.param


def loaded(name, **options):
    return mmencode.load(name, device="cpu", dtype="float32", **options)


def encode(space, modality, items):
    many = space.spec(modality).outputs == "many"
    return (space.encode_multi if many else space.encode)(modality, items)


def test_pages_have_the_vectors_of_their_pictures_and_the_id_stays(name):
    pictures = [reader("page")(page, Limits()) for page in PAGES]
    with loaded(name) as space, join_pages(space) as joined:
        assert joined.id == space.id
        assert joined.modalities == (*space.modalities, "page")
        found, expected = encode(joined, "page", PAGES), encode(space, "image", pictures)
        np.testing.assert_allclose(found.vectors, expected.vectors, atol=1e-6)
        assert mmencode.similarity(found, expected).argmax(axis=1).tolist() == list(range(6))


def test_the_resolution_is_part_of_the_identity_and_the_measure_on_the_card(name):
    with loaded(name) as space, join_pages(space) as joined:
        (tower,) = joined.card.joiners
        assert tower.identity.preprocessing.startswith(f"{RENDERING}; ")
        assert tower.report["forward"]["at"]["1"] == 1.0
        assert tower.report["target"] == joined.id


def test_pages_and_pictures_share_one_network(name):
    kind = "late" if "multi" in name else "image"
    with loaded(name) as space, join_pages(space) as joined, loaded(f"page/{kind}/{name}") as alone:
        page = joined.tower("page")
        assert page.encoder.image is space.tower("image").encoder
        assert page.card.identity.weights == alone.card.towers[0].identity.weights
        np.testing.assert_array_equal(
            encode(joined, "page", PAGES).vectors, encode(alone, "page", PAGES).vectors
        )


def test_a_joined_space_is_saved_and_loaded(name, tmp_path):
    with loaded(name) as space, join_pages(space) as joined:
        joined.save(tmp_path / "saved")
        expected = encode(joined, "page", PAGES).vectors
        with mmencode.load(tmp_path / "saved", device="cpu", dtype="float32", trust="names") as again:
            assert again.id == space.id
            assert again.tower("page").encoder.image is again.tower("image").encoder
            np.testing.assert_array_equal(encode(again, "page", PAGES).vectors, expected)


def test_an_index_that_was_made_before_gains_pages(installed, tmp_path):
    path = tmp_path / "report.pdf"
    path.write_bytes(make_pdf(["0 0 1 rg 0 0 300 842 re f", "1 0 0 rg 0 400 595 442 re f"]))
    pages = list(list_parts("page", path))
    pictures = [reader("page")(page, Limits()) for page in pages]
    with loaded("fake") as space:
        with Index.create(tmp_path / "index", space) as index:
            index.add("image", pictures, keys=["blue", "red"])
        with join_pages(space) as joined, Index.open(tmp_path / "index", space=joined) as index:
            assert index.sync(tmp_path, ["page"]).added == 2
            hits = index.search("image", pictures, k=2)
            assert [{hit.key for hit in each} for each in hits] == [{"blue", pages[0]}, {"red", pages[1]}]
    with Index.open(tmp_path / "index") as index:
        assert index.modalities == ("image", "page")


def test_the_image_tower_may_be_left_out(installed, tmp_path):
    with loaded("fake") as space, join_pages(space) as joined:
        joined.save(tmp_path / "saved")
    with mmencode.load(tmp_path / "saved", trust="names", modalities=("text", "page")) as space:
        assert len(space.encode("page", PAGES)) == 6


def test_a_space_without_images_is_refused(installed):
    with (
        Space("words", fake_specs("words")[:1]) as space,
        pytest.raises(UnknownModalityError, match="no images"),
    ):
        join_pages(space)


def test_a_name_that_loads_another_space_is_refused(installed):
    with loaded("fake") as space, pytest.raises(EncoderError, match="many vectors for an image"):
        join_pages(space, name="fake-multi")


def test_the_wrong_kind_is_named_with_the_right_one(installed):
    with pytest.raises(EncoderError, match="page/late/fake-multi"):
        loaded("page/image/fake-multi").encode("page", PAGES)
    with pytest.raises(EncoderError, match="page/image/fake"):
        loaded("page/late/fake").encode_multi("page", PAGES)


def test_the_family_stands_for_itself_without_joining(installed):
    with loaded("page/image/fake") as space:
        assert len(space.encode("page", [make_pdf([write_words("alone")])])) == 1


ONE, MANY = mmencode_documents.mmencode_encoders()


class TestPagesConform(EncoderConformance):
    spec = ONE.member("fake", 8)

    @pytest.fixture(autouse=True)
    def _installed(self, installed):
        pass


class TestLatePagesConform(EncoderConformance):
    spec = MANY.member("fake-multi", 8)

    @pytest.fixture(autouse=True)
    def _installed(self, installed):
        pass
