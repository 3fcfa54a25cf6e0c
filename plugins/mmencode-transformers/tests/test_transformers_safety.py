"""What a checkpoint can't do, and what a message says when something is missing."""

from __future__ import annotations

import json
import pickle
import shutil
import socket
import subprocess
import sys

import pytest
import torch
from huggingface_hub.errors import RepositoryNotFoundError
from mmencode_transformers import sources
from mmencode_transformers.clap import towers as clap
from mmencode_transformers.clip import towers as clip
from mmencode_transformers.image import build as build_image
from mmencode_transformers.sentence import build as build_sentence
from mmencode_transformers.speech import build as build_speech
from mmencode_transformers.text import build

from mmencode.errors import UnknownNameError, WeightsError


@pytest.fixture
def bert(checkpoint, tmp_path):
    """A copy to spoil."""
    shutil.copytree(checkpoint("bert"), tmp_path / "bert")
    return tmp_path / "bert"


def rewrite(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def refused(folder, make=build, prefix="mean:"):
    with pytest.raises(WeightsError) as caught:
        make(f"{prefix}{folder}")
    return str(caught.value)


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_checkpoints_with_their_own_code_are_refused(file, bert):
    (bert / "code.py").write_text("raise RuntimeError('it ran')")
    rewrite(bert / file, auto_map={"AutoModel": "code.Model", "AutoTokenizer": ["code.Words", None]})
    message = refused(bert)
    assert "auto_map" in message
    assert file in message


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"trust_remote_code": True}, "trust_remote_code"),
        ({"model_args": {"trust_remote_code": True}}, "trust_remote_code"),
        ({"attn_implementation": "kernels-community/flash-attn"}, "kernels-community/flash-attn"),
        ({"text_config": {"_attn_implementation": "someone/kernel"}}, "someone/kernel"),
        ({"quantization_config": {"quant_method": "gptq"}}, "quantised"),
    ],
    ids=str,
)
def test_settings_can_switch_nothing_on(settings, said, bert):
    rewrite(bert / "config.json", **settings)
    assert said in refused(bert)


def test_modules_in_folders_of_their_own_can_bring_no_code_either(bert, tmp_path):
    rewrite(bert / "config.json", auto_map={"AutoModel": "code.Model"})
    (tmp_path / "st").mkdir()
    bert.rename(tmp_path / "st" / "0_Transformer")
    listed = [{"path": "0_Transformer", "type": "sentence_transformers.models.Transformer"}]
    (tmp_path / "st" / "modules.json").write_text(json.dumps(listed))
    assert "auto_map" in refused(tmp_path / "st", build_sentence, "")


def test_adapters_are_refused_since_their_base_is_elsewhere(bert):
    (bert / "adapter_config.json").write_text('{"base_model_name_or_path": "someone/model"}')
    assert "adapter" in refused(bert)


class Evil:
    """What a pickle can do."""

    def __reduce__(self):
        return (eval, ("__import__('pathlib').Path('it_ran').touch()",))


def test_pickles_with_code_are_refused_unrun(bert, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (bert / "model.safetensors").unlink()
    torch.save({"weight": Evil()}, bert / "pytorch_model.bin", pickle_module=pickle)
    assert "tensors and no code" in refused(bert)
    assert not (tmp_path / "it_ran").exists()


def test_safetensors_are_preferred_to_pickles(bert):
    torch.save({"weight": Evil()}, bert / "pytorch_model.bin", pickle_module=pickle)
    assert build(f"mean:{bert}").width == 32


def test_pickles_that_hold_tensors_are_read(bert, load):
    from safetensors.torch import load_file

    expected = load(f"transformers/text/mean:{bert}").encode("text", ["a dog"]).vectors
    torch.save(load_file(bert / "model.safetensors"), bert / "pytorch_model.bin")
    (bert / "model.safetensors").unlink()
    found = load(f"transformers/text/mean:{bert}/").encode("text", ["a dog"]).vectors
    assert (found == expected).all()


def test_truncated_weights_are_refused(bert):
    whole = (bert / "model.safetensors").read_bytes()
    (bert / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    assert "can't be loaded" in refused(bert)


def test_weights_that_lack_some_are_refused_rather_than_drawn(bert):
    from safetensors.torch import load_file, save_file

    weights = load_file(bert / "model.safetensors")
    del weights["bert.encoder.layer.1.output.dense.weight"]
    save_file(weights, bert / "model.safetensors", {"format": "pt"})
    assert "encoder.layer.1.output.dense.weight" in refused(bert)


@pytest.mark.parametrize(
    ("kind", "make", "prefix", "files"),
    [
        ("bert", build, "mean:", ["tokenizer.json"]),
        ("bert", build, "mean:", ["config.json"]),
        ("bert", build, "mean:", ["model.safetensors"]),
        ("dinov2", build_image, "cls:", ["preprocessor_config.json"]),
        ("clip", clip, "", ["preprocessor_config.json"]),
        ("wav2vec2", build_speech, "mean:", ["preprocessor_config.json"]),
        ("clap", clap, "", ["preprocessor_config.json"]),
    ],
)
def test_missing_files_are_named(kind, make, prefix, files, checkpoint, tmp_path):
    shutil.copytree(checkpoint(kind), tmp_path / kind)
    for file in files:
        (tmp_path / kind / file).unlink()
    assert files[0] in refused(tmp_path / kind, make, prefix)


def test_folders_that_are_not_there_are_named():
    assert "/no/such/folder" in refused("/no/such/folder")


def test_malformed_settings_are_named(bert):
    (bert / "config.json").write_text("{")
    assert "config.json" in refused(bert)


def test_architectures_that_transformers_does_not_know_are_refused(bert):
    rewrite(bert / "config.json", model_type="not_invented_yet")
    assert "not_invented_yet" in refused(bert)


@pytest.mark.parametrize(
    ("kind", "make", "prefix"),
    [
        ("clip", build, "mean:"),
        ("wav2vec2", build, "mean:"),
        ("bert", build_image, "cls:"),
        ("bert", clip, ""),
    ],
)
def test_checkpoints_of_another_family_are_refused(kind, make, prefix, checkpoint):
    assert f"is a {kind}" in refused(checkpoint(kind), make, prefix)


def test_tokenizers_without_a_fast_form_are_refused(bert, monkeypatch):
    slow = type("SlowTokenizer", (), {"is_fast": False})()
    monkeypatch.setattr("mmencode_transformers.tokenizer.AutoTokenizer.from_pretrained", lambda *a, **k: slow)
    assert "SlowTokenizer" in refused(bert)


def test_local_folders_ask_nobody(checkpoint, monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("it asked the network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    build(f"mean:{checkpoint('bert')}")
    clip(str(checkpoint("clip")))
    clap(str(checkpoint("clap")))
    build_speech(f"mean:{checkpoint('whisper')}")


@pytest.fixture
def hub(monkeypatch):
    """A hub in place of the real one: a list of what was asked for, and how it answers."""
    asked = []

    def answer(folder):
        def snapshot(repo_id, *, revision, allow_patterns):
            asked.append((repo_id, revision, allow_patterns))
            if isinstance(folder, Exception):
                raise folder
            return str(folder)

        monkeypatch.setattr(sources, "snapshot_download", snapshot)
        return asked

    return answer


def test_hub_ids_and_revisions_are_fetched_as_safetensors(bert, hub):
    asked = hub(bert)
    assert build("mean:someone/model@v1.0").width == 32
    ((repository, revision, patterns),) = asked
    assert (repository, revision) == ("someone/model", "v1.0")
    assert "model.safetensors" in patterns
    assert not {"pytorch_model.bin", "*.bin", "*.py"} & set(patterns)


def test_pickled_weights_are_fetched_only_where_there_are_no_others(bert, hub):
    (bert / "model.safetensors").unlink()
    asked = hub(bert)
    with pytest.raises(WeightsError):
        build("mean:model")
    assert [repository for repository, _, _ in asked] == ["model", "model"]
    assert "pytorch_model.bin" in asked[1][2]


def test_a_hub_that_can_not_be_reached_is_answered_with_the_syntax_of_a_folder(hub):
    hub(OSError("no route"))
    message = refused("someone/model")
    assert "no route" in message
    assert "transformers/text/mean:./someone/model" in message


def test_ids_that_the_hub_does_not_have_are_unknown_names(hub):
    from unittest.mock import Mock

    hub(RepositoryNotFoundError("401", response=Mock()))
    with pytest.raises(UnknownNameError, match="someone/nothing"):
        build("mean:someone/nothing")


def test_a_folder_of_the_same_name_is_not_taken_for_an_id(bert, hub, monkeypatch, tmp_path):
    """transformers would read it; here a folder is only what is written as one."""
    monkeypatch.chdir(tmp_path)
    asked = hub(OSError("no route"))
    refused("bert")
    assert asked
    assert build("mean:./bert").width == 32


@pytest.mark.parametrize("name", ["", "a/b/c", "a b", "someone/model@", "https://elsewhere/model"])
def test_names_that_are_neither_are_answered_with_the_syntax(name):
    with pytest.raises(UnknownNameError, match="transformers/text/mean:"):
        build(f"mean:{name}")


def test_declaring_imports_nothing_heavy():
    code = "import sys, mmencode_transformers as m; list(m.mmencode_encoders()); print(sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300
    )
    heavy = ("torch", "numpy", "transformers", "tokenizers", "huggingface_hub", "safetensors")
    assert not [name for name in heavy if repr(name) in done.stdout]
