"""What a hostile checkpoint can't do: run code, read elsewhere, hang, take more memory than its weights."""

from __future__ import annotations

import base64
import json
import os
import pickle
import shutil
import struct
import zipfile

import pytest
import tiny
import torch
from mmencode_transformers.clap import towers as clap
from mmencode_transformers.image import build as build_image
from mmencode_transformers.sentence import build as build_sentence
from mmencode_transformers.text import build
from safetensors.torch import save_file

from mmencode.errors import InputError, WeightsError


class Payload:
    def __reduce__(self):
        return (print, ("this pickle ran code",))


@pytest.fixture
def copied(checkpoint, tmp_path):
    """A copy of a checkpoint to spoil."""

    def copy(kind="bert"):
        shutil.copytree(checkpoint(kind), tmp_path / kind)
        return tmp_path / kind

    return copy


def rewrite(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def refused(folder, *words, make=build, prefix="mean:"):
    with pytest.raises(WeightsError) as caught:
        make(f"{prefix}{folder}")
    for word in words:
        assert word in str(caught.value)
    assert caught.value.remedy


def sharded(folder, *files):
    """Put an index in place of the weights, which assigns a tensor to each of these files."""
    (folder / "model.safetensors").unlink()
    places = {f"tensor{number}": file for number, file in enumerate(files)}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))


@pytest.mark.parametrize(
    "form",
    [
        "../outside.safetensors",
        "{0}/outside.safetensors",
        "sub/../../outside.safetensors",
        "sub/x.safetensors",
        "..",
        "",
        "x.txt",
        3,
        None,
        ["x.safetensors"],
    ],
)
def test_shard_elsewhere_is_not_read(copied, tmp_path, form):
    folder = copied()
    save_file({"tensor0": torch.ones(1)}, tmp_path / "outside.safetensors")
    sharded(folder, form.format(tmp_path) if isinstance(form, str) else form)
    refused(folder, "names files that are no shards in its own folder")


@pytest.mark.parametrize("content", ["[]", "{}", '{"weight_map": []}', "[" * 5000, "nonsense"])
def test_index_that_is_none_is_named(copied, content):
    folder = copied()
    sharded(folder)
    (folder / "model.safetensors.index.json").write_text(content)
    refused(folder, "model.safetensors.index.json")


def test_shard_that_lacks_a_tensor_or_is_a_pipe_is_named(copied):
    folder = copied()
    sharded(folder, "a.safetensors")
    save_file({"other": torch.ones(1)}, folder / "a.safetensors")
    refused(folder, "a.safetensors has the tensor 'tensor0', which isn't there")
    (folder / "a.safetensors").unlink()
    os.mkfifo(folder / "a.safetensors")
    refused(folder, "a pipe, socket or device")


@pytest.mark.parametrize(
    "file", ["model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt"]
)
def test_pipe_in_place_of_a_file_does_not_hang(copied, file):
    folder = copied()
    (folder / file).unlink(missing_ok=True)
    os.mkfifo(folder / file)
    refused(folder, file)


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json"])
def test_link_to_a_device_does_not_fill_the_memory(copied, file):
    folder = copied()
    (folder / file).unlink()
    (folder / file).symlink_to("/dev/zero")
    refused(folder, "a pipe, socket or device")


def test_pickle_that_unpacks_to_more_than_it_is_costs_nothing(copied):
    folder = copied()
    (folder / "model.safetensors").unlink()
    torch.save({"w": torch.zeros(4)}, folder / "whole")
    with (
        zipfile.ZipFile(folder / "whole") as archive,
        zipfile.ZipFile(folder / "pytorch_model.bin", "w", zipfile.ZIP_DEFLATED) as out,
    ):
        for name in archive.namelist():
            out.writestr(name, archive.read(name) if "/data/" not in name else bytes(2**24))
    refused(folder, "would unpack to")


@pytest.mark.parametrize("file", [".metadata", "training_args.bin", "adapter_model.bin"])
def test_pickle_beside_the_weights_is_not_opened(copied, capfd, file):
    """Those of a distributed checkpoint, which torch unpickles as they are, above all."""
    folder = copied()
    (folder / file).write_bytes(pickle.dumps(Payload()))
    shutil.move(folder / "model.safetensors", folder / "shard-00001-model-00001-of-00001.safetensors")
    refused(folder, "no model.safetensors")
    assert "ran code" not in capfd.readouterr().out


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"num_hidden_layers": 200_000}, "a far larger model"),
        ({"hidden_size": 10**9}, "a far larger model"),
        ({"vocab_size": 10**9}, "a far larger model"),
        ({"intermediate_size": 10**9}, "a far larger model"),
        ({"max_position_embeddings": 10**9}, "a far larger model"),
        ({"transformers_weights": "/etc/passwd"}, "transformers_weights"),
        ({"fusion_config": {"a": 1}}, "fusion_config"),
        ({"nested": {"deep": [{"quantization_config": {"bits": 4}}]}}, "quantised"),
        ({"hidden_size": "x"}, "config"),
        ({"hidden_size": None}, "bert"),
    ],
)
def test_settings_of_another_model_end_before_it_is_built(copied, change, words):
    folder = copied()
    rewrite(folder / "config.json", **change)
    refused(folder, words)


def test_settings_that_are_nested_for_ever_are_named(copied):
    folder = copied()
    (folder / "config.json").write_text('{"a":' * 800 + "1" + "}" * 800)
    refused(folder, "nested deeper than 64 levels")


@pytest.mark.parametrize(
    ("kind", "make", "prefix", "change"),
    [
        ("dinov2", build_image, "cls:", {"size": {"height": 100_000, "width": 100_000}}),
        ("dinov2", build_image, "cls:", {"crop_size": {"height": 10**9, "width": 10**9}}),
        ("clap", clap, "", {"feature_size": 10**7}),
        ("clap", clap, "", {"fft_window_size": 10**9}),
        ("clap", clap, "", {"nb_max_samples": 10**12}),
    ],
)
def test_preprocessing_to_sizes_that_no_item_has_is_refused(copied, kind, make, prefix, change):
    folder = copied(kind)
    rewrite(folder / "preprocessor_config.json", **change)
    refused(folder, "is the most", make=make, prefix=prefix)


@pytest.mark.parametrize(
    "normalizer",
    [
        {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 10_000},
        {"type": "Prepend", "prepend": "a" * 10_000},
        {
            "type": "Sequence",
            "normalizers": [{"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 9}] * 9,
        },
        {
            "type": "Precompiled",
            "precompiled_charsmap": base64.b64encode(struct.pack("<I", 0) + b"a" * 2**18).decode(),
        },
    ],
)
def test_tokenizer_that_multiplies_a_text_is_refused(copied, normalizer):
    folder = copied()
    rewrite(folder / "tokenizer.json", normalizer=normalizer)
    refused(folder, "turn one character into", "tokenizer.json")


def test_tokenizer_that_looks_for_pieces_of_endless_words_is_refused(copied):
    folder = copied()
    model = {
        "type": "WordPiece",
        "unk_token": "[UNK]",
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 10**9,
        "vocab": {"[UNK]": 0},
    }
    rewrite(folder / "tokenizer.json", model=model)
    refused(folder, "1000000000 characters")


@pytest.mark.parametrize(
    "listed",
    [
        "[]",
        "{}",
        "[3]",
        '[{"type": "os.system", "path": ""}]',
        '[{"type": "sentence_transformers.models.Transformer", "path": "../../"}]',
        '[{"type": "sentence_transformers.models.Transformer", "path": 3}]',
    ],
)
def test_modules_that_are_none_are_named(copied, listed):
    folder = copied("sentence")
    (folder / "modules.json").write_text(listed)
    refused(folder, make=build_sentence, prefix="")


# Texts


@pytest.mark.parametrize(("kind", "blank"), [("bert", "\ufeff"), ("bert", ""), ("sentence", "")])
def test_text_that_the_tokenizer_leaves_nothing_of_is_blank(copied, kind, blank):
    folder = copied(kind)
    rewrite(
        folder / "tokenizer.json",
        normalizer={"type": "Replace", "pattern": {"String": "\ufeff"}, "content": ""},
    )
    encoder = build(f"mean:{folder}") if kind == "bert" else build_sentence(str(folder))
    read = encoder.reader.read
    with pytest.raises(InputError, match="the text is blank: the tokenizer leaves nothing of it"):
        read(blank, encoder.prompt)
    assert len(read("a dog", encoder.prompt)[0]) > 2


@pytest.mark.parametrize("kind", ["bert", "t5", "llama"])
@pytest.mark.filterwarnings("ignore:a text is longer")
def test_a_hundred_thousand_letters_without_a_space_are_one_text(checkpoint, kind):
    """In a time that grows with the length alone; what is behind the context is cut."""
    encoder = build(f"mean:{checkpoint(kind)}")
    assert len(encoder.preprocess("a" * 100_000)["ids"]) == tiny.LONGEST


def test_weights_of_another_size_are_not_bent(copied):
    """Neither positions of a text nor those of an image are interpolated while loading."""
    folder = copied()
    rewrite(folder / "config.json", max_position_embeddings=tiny.LONGEST + 8)
    refused(folder, "position_embeddings.weight is [64, 32] in the weights, and [72, 32] in the settings")


def test_image_weights_of_another_size_are_not_bent(copied):
    folder = copied("vit")
    rewrite(folder / "config.json", image_size=64)
    words = "position_embeddings is [1, 17, 32] in the weights, and [1, 65, 32] in the settings"
    refused(folder, words, make=build_image, prefix="cls:")
