"""A space as a folder: it comes back as it was, or an error says why not."""

from __future__ import annotations

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import composing
import numpy as np
import pytest
from composing import FAMILY, OTHER, SOUND, TEXT, WIDE, anchored, declared, on_cpu
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mmencode
from mmencode import IdentityProjection, Limits, Projection, compose
from mmencode.card import json_digest
from mmencode.encoder import digest
from mmencode.errors import (
    ClosedError,
    EncoderError,
    IdentityError,
    InputError,
    UnknownNameError,
    WeightsError,
)
from mmencode.projection import save_projection
from mmencode.spaces import folder as folders
from mmencode.spaces.folder import read_card, read_folder
from mmencode.testing import sample_items

IMAGES = sample_items("image", 3)


@pytest.fixture(autouse=True)
def installed(install):
    install(words=(TEXT, SOUND), pictures=(OTHER, WIDE), family=(FAMILY,))


@pytest.fixture
def mine():
    """A space of two native encoders and one with a projection."""
    words = on_cpu(TEXT, SOUND)
    parts = {"text": "words/text", "audio": "words/audio", "image": ("wide", anchored(words))}
    with compose("mine", parts) as space:
        yield space


@pytest.fixture
def folder(mine, tmp_path):
    mine.save(tmp_path / "mine")
    return tmp_path / "mine"


def content_of(folder):
    return json.loads((folder / "card.json").read_text())


def change(folder, **fields):
    """Write other fields into a card by hand."""
    (folder / "card.json").write_text(json.dumps({**content_of(folder), **fields}))


def sealed(content):
    """The content with the checksum that it should have."""
    rest = {key: value for key, value in content.items() if key != "checksum"}
    return {**rest, "checksum": json_digest(rest)}


def reseal(folder, **fields):
    """Write other fields into a card as its writer would."""
    (folder / "card.json").write_text(json.dumps(sealed({**content_of(folder), **fields})))


# What comes back


@pytest.mark.parametrize("kind", [str, Path])
def test_saved_space_comes_back_as_it_was(mine, folder, kind):
    with mmencode.load(kind(folder), device="cpu", dtype="float32") as back:
        assert (back.name, back.id, back.dim) == (mine.name, mine.id, mine.dim)
        assert set(back.modalities) == set(mine.modalities)
        for modality in mine.modalities:
            items = sample_items(modality, 3)
            np.testing.assert_array_equal(back.encode(modality, items), mine.encode(modality, items))


def test_projection_comes_back_with_what_it_says(mine, folder):
    back = mmencode.load(folder).projections["image"]
    assert digest(back) == digest(mine.projections["image"])
    assert back.into == on_cpu(TEXT, SOUND).id


def test_folder_holds_the_card_and_the_projections_and_no_weights(folder):
    assert sorted(path.name for path in folder.iterdir()) == ["card.json", "image.safetensors"]


def test_card_says_what_the_page_says(mine, folder):
    content = content_of(folder)
    assert list(content) == [
        *("format", "name", "dim", "normalisation", "inputs", "towers", "fingerprint", "plugins"),
        *("projections", "checksum", "probes"),
    ]
    assert content["format"] == 1
    assert content["fingerprint"] == mine.card.fingerprint
    assert content["plugins"] == {"words/text": "words", "words/audio": "words", "wide": "pictures"}
    assert content["projections"] == ["image"]
    assert {modality: np.shape(rows) for modality, rows in content["probes"].items()} == {
        "text": (4, 8),
        "audio": (3, 8),
        "image": (4, 8),
    }


def test_fingerprint_and_checksum_follow_from_the_file_as_the_page_says(folder):
    def sha256(content):
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(canonical.encode("ascii")).hexdigest()

    content = content_of(folder)
    checksum = content.pop("checksum")
    assert checksum == sha256(content)
    covered = ("format", "dim", "normalisation", "inputs", "towers")
    assert content["fingerprint"] == sha256({name: content[name] for name in covered})


def test_card_can_be_read_by_people(folder):
    lines = (folder / "card.json").read_text().splitlines()
    assert all(len(line) < 200 for line in lines[:-2])
    assert lines[-2].startswith('  "probes": {')


def test_card_of_a_folder_is_that_of_its_file(mine, folder):
    card = read_card(folder)
    assert card == read_card(folder / "card.json")
    assert card.fingerprint == mine.card.fingerprint
    assert set(card.probes) == {"text", "audio", "image"}


def test_loaded_space_has_the_card_with_its_probes(folder):
    assert mmencode.load(folder).card == read_card(folder)


def test_folder_is_the_same_however_often_it_is_written(mine, folder, tmp_path):
    mine.save(tmp_path / "again")
    mmencode.load(folder).save(tmp_path / "back")
    for name in ("card.json", "image.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()
        assert (tmp_path / "back" / name).read_bytes() == (folder / name).read_bytes()


def test_member_of_a_family_comes_back(tmp_path):
    words = on_cpu(TEXT, SOUND)
    mine = compose("mine", {"text": words, "image": ("lib/one", anchored(words))})
    mine.save(tmp_path / "mine")
    back = mmencode.load(tmp_path / "mine", trust="names")
    assert back.id == mine.id
    np.testing.assert_array_equal(back.encode("image", IMAGES), mine.encode("image", IMAGES))


def test_installed_space_comes_back(tmp_path):
    mmencode.load("words").save(tmp_path / "copy")
    assert mmencode.load(tmp_path / "copy").id == mmencode.load("words").id


def test_loading_loads_no_encoder(install, folder):
    nowhere = [replace(spec, target="no_such_module:build") for spec in (TEXT, SOUND, WIDE)]
    install(words=tuple(nowhere[:2]), pictures=(nowhere[2],))
    back = mmencode.load(folder)
    assert back.id == read_card(folder).id
    with pytest.raises(EncoderError, match="no_such_module"):
        back.encode("text", ["a"])


def test_space_in_another_dtype_saves_the_same(mine, folder, tmp_path):
    other = mmencode.load(folder, device="cpu", dtype="bfloat16")
    other.save(tmp_path / "other")
    assert (tmp_path / "other" / "card.json").read_bytes() == (folder / "card.json").read_bytes()


def test_narrow_limits_do_not_hinder_saving(tmp_path):
    compose("mine", {"text": "words/text"}, limits=Limits(characters=3)).save(tmp_path / "mine")
    assert (tmp_path / "mine" / "card.json").is_file()


def test_encode_takes_a_folder_for_a_space(folder):
    found = mmencode.encode("text", ["a"], space=str(folder))
    assert found.space == read_card(folder).id


# Which names are folders


def test_string_names_the_installed_space_where_there_are_both(mine, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mine.save("words")
    assert mmencode.load("words").name == "words"
    assert mmencode.load(Path("words")).name == "mine"
    assert mmencode.load("./words").name == "mine"


def test_string_that_names_nothing_suggests_what_is_installed():
    with pytest.raises(UnknownNameError, match="did you mean words"):
        mmencode.load("wordss")


def test_string_that_names_a_folder_without_a_card_says_so(tmp_path):
    with pytest.raises(UnknownNameError, match=r"has no card\.json(.|\n)*Space\.save"):
        mmencode.load(str(tmp_path))


def test_path_is_always_a_folder(tmp_path):
    for path in (tmp_path, Path("words"), tmp_path / "nowhere"):
        with pytest.raises(
            WeightsError, match=r"there is no card of a space(.|\n)*card\.json(.|\n)*Space\.save"
        ):
            mmencode.load(path)


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "", "\ud800"])
def test_string_that_no_file_can_have_is_just_unknown(name):
    with pytest.raises(UnknownNameError):
        mmencode.load(name)


# Saving fails as a whole


class Foreign(Projection):
    dim = 8

    def forward(self, features):
        return features[:, :8]


def fails(*arguments, **options):
    raise OSError("the disk is full")


def half(self, data, encoding=None):
    with self.open("w" if isinstance(data, str) else "wb", encoding=encoding) as file:
        file.write(data[: len(data) // 2])
    raise OSError("the disk is full")


def interrupted(*arguments, **options):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("place", "name", "failure"),
    [
        (folders, "save_projection", fails),
        (folders, "save_projection", interrupted),
        (folders, "_to_text", fails),
        (Path, "write_bytes", half),
        (Path, "write_text", half),
        (Path, "rename", fails),
        (Path, "mkdir", fails),
        (composing.Wide, "preprocess", fails),
    ],
)
def test_whatever_fails_leaves_nothing_behind(mine, tmp_path, monkeypatch, place, name, failure):
    monkeypatch.setattr(place, name, failure)
    with pytest.raises((OSError, KeyboardInterrupt, InputError, EncoderError)):
        mine.save(tmp_path / "mine")
    assert not list(tmp_path.iterdir())


def test_projection_that_cannot_be_saved_is_named_and_leaves_nothing(tmp_path):
    projection = Foreign()
    projection.into = on_cpu(TEXT, SOUND).id
    mine = compose("mine", {"text": "words/text", "image": ("wide", projection)})
    with pytest.raises(EncoderError, match="Foreign can't be saved"):
        mine.save(tmp_path / "mine")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["folder", "file", "link to nothing"])
def test_what_is_there_stays_as_it_is(mine, tmp_path, monkeypatch, kind):
    target = tmp_path / "mine"
    make = {"folder": target.mkdir, "file": target.touch, "link to nothing": lambda: target.symlink_to("no")}
    make[kind]()
    monkeypatch.setattr(composing.Wide, "preprocess", None)  # nothing is encoded before that is found out
    with pytest.raises(FileExistsError, match="mine is there already: choose another"):
        mine.save(target)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    assert target.is_symlink() == (kind == "link to nothing")


def test_folder_above_must_be_there(mine, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*no to write mine into"):
        mine.save(tmp_path / "no" / "mine")
    assert not list(tmp_path.iterdir())


def test_of_several_that_write_one_folder_one_succeeds(mine, tmp_path):
    def save(_):
        try:
            mine.save(tmp_path / "mine")
        except OSError:
            return 0
        return 1

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(save, range(4))) == 1
    assert os.listdir(tmp_path) == ["mine"]
    assert read_folder(tmp_path / "mine").card.id == mine.id


def test_encoder_that_nobody_could_load_again_is_refused(tmp_path):
    own = replace(TEXT, name="own", space="")
    with pytest.raises(UnknownNameError, match=r"no plugin declares the encoder 'own'(.|\n)*new-plugin"):
        compose("mine", {"text": own}).save(tmp_path / "mine")
    assert not list(tmp_path.iterdir())


def test_encoder_that_is_not_as_declared_is_not_saved(install, tmp_path, monkeypatch):
    install(pictures=(declared(WIDE),))
    mine = compose("mine", {"image": "wide"})
    real = composing.Wide.__init__
    monkeypatch.setattr(composing.Wide, "__init__", lambda self: (real(self), self.gain.data.add_(1e-6))[0])
    with pytest.raises(IdentityError, match="weights: declared"):
        mine.save(tmp_path / "mine")
    assert not list(tmp_path.iterdir())


def test_closed_space_is_not_saved(mine, tmp_path):
    mine.close()
    with pytest.raises(ClosedError):
        mine.save(tmp_path / "mine")


# Loading finds what is wrong


def leaves(content, path=()):
    """The paths of all values in a JSON document that hold no others."""
    if isinstance(content, dict | list) and content:
        places = content.items() if isinstance(content, dict) else enumerate(content)
        return [leaf for key, value in places for leaf in leaves(value, (*path, key))]
    return [path]


def replaced(content, path, value):
    """The document with another value at a path."""
    if not path:
        return value
    copy = content.copy()
    copy[path[0]] = replaced(content[path[0]], path[1:], value)
    return copy


def test_change_of_any_field_by_hand_is_found(folder):
    content = content_of(folder)
    paths = [path for path in leaves(content) if path[0] not in ("format", "probes")]
    assert len(paths) == 4 + 3 * 7 + 1 + 3 + 1 + 1
    for path in [*paths, ("probes", "image", 3, 7)]:
        for value in ("another", 2, None, [], 1.5):
            (folder / "card.json").write_text(json.dumps(replaced(content, path, value)))
            with pytest.raises(
                IdentityError, match=r"isn't as it was written(.|\n)*card\.json(.|\n)*the folder again"
            ):
                mmencode.load(folder)


def test_field_that_was_taken_out_or_put_in_is_found(folder):
    content = content_of(folder)
    others = [{key: value for key, value in content.items() if key != left_out} for left_out in content]
    for other in [*others, {**content, "more": 1}]:
        (folder / "card.json").write_text(json.dumps(other))
        with pytest.raises((IdentityError, WeightsError), match=r"card\.json(.|\n)*remedy"):
            mmencode.load(folder)


def test_card_that_was_only_laid_out_anew_is_the_same(mine, folder):
    (folder / "card.json").write_text(json.dumps(content_of(folder), indent=8, sort_keys=True))
    assert mmencode.load(folder).id == mine.id


def test_card_of_a_newer_format_asks_for_a_newer_mmencode(folder):
    reseal(folder, format=2, towers={"text": {"what": "nobody knows yet"}})
    with pytest.raises(WeightsError, match=r"format 2; this mmencode reads 1(.|\n)*needs a newer mmencode"):
        mmencode.load(folder)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"inputs": 7}, "version 7 of the readers"),
        ({"normalisation": "none"}, "the normalisation 'none'"),
    ],
)
def test_card_of_an_mmencode_that_made_other_vectors_is_refused(folder, fields, said):
    fingerprint = replace(read_card(folder), **fields).fingerprint
    reseal(folder, **fields, fingerprint=fingerprint)
    with pytest.raises(IdentityError, match=rf"{said}(.|\n)*compose it again"):
        mmencode.load(folder)
    assert read_card(folder).fingerprint == fingerprint


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": 3}, "'name' is 3, and should be of type str"),
        ({"dim": True}, "'dim' is True"),
        ({"dim": 0}, "3 towers of width 0"),
        ({"dim": 9}, r"probes of widths \[8\], and vectors of width 9"),
        ({"towers": {}}, "0 towers"),
        ({"towers": []}, "'towers' is"),
        ({"towers": {"../up": {}}}, "the tower '../up'"),
        (
            {"towers": {"text": {"encoder": "words/text"}}},
            "the tower 'text' doesn't have just the fields enc",
        ),
        ({"probes": {"smell": [[0.5] * 8]}}, "probes of smell, and no such tower"),
        ({"probes": {"text": []}}, "the probes of 'text'"),
        ({"probes": {"text": [[1] * 8]}}, "the probes of 'text'"),
        ({"probes": {"text": [[float("nan")] * 8]}}, "the probes of 'text'"),
        ({"probes": {"text": [[0.5] * 8, [0.5]]}}, r"widths \[1, 8\]"),
        ({"plugins": ["words"]}, "'plugins' doesn't say"),
        ({"plugins": {"words/text": 3}}, "'plugins' doesn't say"),
        ({"projections": {"image": 1}}, "'projections' is"),
        ({"projections": ["smell"]}, "should list some of"),
        ({"fingerprint": "0"}, "'fingerprint' isn't that of the card"),
    ],
    ids=str,
)
def test_card_that_was_written_wrongly_is_said(folder, fields, said):
    reseal(folder, **fields)
    with pytest.raises(WeightsError, match=rf"{said}(.|\n)*card\.json(.|\n)*remedy"):
        mmencode.load(folder)


def attempt(read):
    """What it gives, or the error that says why not."""
    try:
        return read()
    except (IdentityError, WeightsError) as error:
        return error


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), value=plain, seals=st.booleans())
def test_any_other_value_anywhere_is_no_other_error(folder, data, value, seals):
    kept = folder / "kept"
    if not kept.exists():
        kept.write_text((folder / "card.json").read_text())
    content = json.loads(kept.read_text())
    path = data.draw(st.sampled_from(leaves(content)))
    path = path[: data.draw(st.integers(0, len(path)))]
    other = replaced(content, path, value)
    other = sealed(other) if seals and isinstance(other, dict) else other
    (folder / "card.json").write_text(json.dumps(other))
    found = attempt(lambda: read_folder(folder).card.fingerprint)
    if isinstance(found, str):
        assert other == content or seals
        assert found == other["fingerprint"]
    else:
        assert "card.json" in str(found)
        assert found.remedy


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b"3", b"{}", b"\xff\xfe\x00", b"[" * 100_000, b'{"a":' * 5000]
)
def test_file_that_is_no_card_is_said(folder, content):
    (folder / "card.json").write_bytes(content)
    with pytest.raises(WeightsError, match=r"card of a space can't be read(.|\n)*card\.json(.|\n)*remedy"):
        mmencode.load(folder)


def test_card_that_is_a_folder_is_said(folder):
    (folder / "card.json").unlink()
    (folder / "card.json").mkdir()
    with pytest.raises(WeightsError, match="can't be read"):
        mmencode.load(folder)


def test_missing_projection_is_named(folder):
    (folder / "image.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"no such file(.|\n)*image\.safetensors(.|\n)*remedy"):
        mmencode.load(folder)


def test_damaged_projection_is_named(folder):
    path = folder / "image.safetensors"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(WeightsError, match=r"image\.safetensors(.|\n)*remedy"):
        mmencode.load(folder)


def test_projection_with_another_number_is_named(folder):
    path = folder / "image.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(
        IdentityError, match=r"projection of image isn't the one(.|\n)*image\.safetensors(.|\n)*remedy"
    ):
        mmencode.load(folder)


@pytest.mark.parametrize("other", [IdentityProjection(), None])
def test_projection_in_another_s_place_is_named(folder, other):
    save_projection(other or anchored(on_cpu(TEXT, SOUND), seed=1), folder / "image.safetensors")
    with pytest.raises(
        IdentityError, match=r"projection of image isn't the one(.|\n)*image\.safetensors(.|\n)*remedy"
    ):
        mmencode.load(folder)


def test_encoder_that_is_not_installed_names_its_plugin(install, folder):
    install(words=(TEXT, SOUND))
    match = r"'mine' needs the encoder 'wide' for image, and no plugin declares it(.|\n)*pip install pictures"
    with pytest.raises(UnknownNameError, match=match):
        mmencode.load(folder)


def test_plugin_that_failed_to_load_is_the_cause(install, folder):
    install(words=(TEXT, SOUND), pictures=RuntimeError("boom"))
    with pytest.raises(
        UnknownNameError, match=r"pictures 1\.0 failed to load: RuntimeError: boom"
    ) as refused:
        mmencode.load(folder)
    assert "pip install" not in refused.value.remedy  # it is there


def test_weights_that_changed_are_found_on_first_use(folder, monkeypatch):
    real = composing.Wide.__init__
    monkeypatch.setattr(composing.Wide, "__init__", lambda self: (real(self), self.gain.data.add_(1e-6))[0])
    with mmencode.load(folder) as back:
        assert len(back.encode("text", ["a"])) == 1
        with pytest.raises(
            IdentityError, match=r"'wide' is not what(.|\n)*weights: declared 'sha256:(.|\n)*remedy"
        ):
            back.encode("image", IMAGES)
