"""Memory of a space of several towers against that of its checkpoint, which it should hold once.

A CLIP's image tower also takes videos and pages, by `join_video` and `join_pages`; that of an omni one, which
has videos of its own, takes pages.

python tests/benchmarks/towers.py [openclip] [clip] [clap] [omni]
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from common import child, machine, table

CODE = """
import gc, sys
sys.path.insert(0, {here!r})
import mmencode
from mmencode.testing import sample_items

def use(space):
    for key in space.modalities:
        spec = space.spec(key)
        parts = [part for part in spec.parts if part in space.modalities]
        space.encode(key, sample_items(spec.modality, parts=parts)[:2])

def join(space):
    for each in {join!r}:
        if each == "video":
            from mmencode_video import join_video as joined
        else:
            from mmencode_documents import join_pages as joined
        space = joined(space)
    return space

def status(field):
    for line in open("/proc/self/status"):
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 2**10

with mmencode.load({warm!r}, device="cpu", dtype="float32") as small:
    use(join(small))  # imports, and what libraries make when first used
gc.collect()
before = status("VmRSS")
open("/proc/self/clear_refs", "w").write("5")  # the peak begins anew
with mmencode.load({name!r}, device="cpu", dtype="float32", **{options!r}) as plain:
    space = plain if {saved!r} else join(plain)
    use(space)
    gc.collect()
    print(status("VmRSS") - before, status("VmHWM") - before)
"""
SAVE = """
import mmencode
with mmencode.load({name!r}, device="cpu", dtype="float32") as space:
    for each in {join!r}:
        if each == "video":
            from mmencode_video import join_video as joined
        else:
            from mmencode_documents import join_pages as joined
        space = joined(space)
    space.save({folder!r})
"""
Sizes = tuple[float, float]
JOINED = {"clip": ("video", "page"), "omni": ("page",)}
SMALL = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}


def openclip(folder: Path, *, small: bool = False) -> str:
    """A checkpoint of open_clip's ViT-B-32, or a small one, with random weights."""
    import open_clip
    from safetensors.torch import save_file

    config = open_clip.get_model_config("ViT-B-32")
    if small:
        config["vision_cfg"] |= {"layers": 1, "width": 64}
        config["text_cfg"] |= {"layers": 1, "width": 64, "heads": 1}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    save_file(open_clip.CLIP(**config).state_dict(), folder / "open_clip_model.safetensors")
    return f"openclip/local-dir:{folder}"


def clip(folder: Path, *, small: bool = False) -> str:
    """A checkpoint of transformers' CLIP of the size of ViT-B-32, or a small one, with random weights."""
    import transformers as hf

    options = SMALL if small else {}
    config = hf.CLIPConfig(
        text_config={**options, "vocab_size": 49408, "eos_token_id": 49407}, vision_config=options
    )
    hf.CLIPModel(config).save_pretrained(folder)
    hf.CLIPImageProcessor().save_pretrained(folder)
    _words().save_pretrained(folder)
    return f"transformers/clip/{folder}"


def clap(folder: Path, *, small: bool = False) -> str:
    """A checkpoint of transformers' CLAP, or a smaller one, with random weights."""
    import transformers as hf

    options = {"num_hidden_layers": 1} if small else {}
    config = hf.ClapConfig(
        text_config={**options, "vocab_size": 50265},
        audio_config={"depths": [1, 1, 1, 1]} if small else {},
    )
    hf.ClapModel(config).save_pretrained(folder)
    hf.ClapFeatureExtractor(truncation="rand_trunc").save_pretrained(folder)
    _words().save_pretrained(folder)
    return f"transformers/clap/{folder}"


def _words() -> object:
    """A tokenizer of single bytes, which needs no vocabulary."""
    import transformers as hf
    from tokenizers import Tokenizer, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<pad>": 1, **{letter: place + 2 for place, letter in enumerate(alphabet)}, "</s>": 49407}
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token=None))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=made, model_max_length=77, pad_token="<pad>", eos_token="</s>"
    )


def omni(folder: Path, *, small: bool = False) -> str:
    """A checkpoint of a Qwen3-VL of 0.1 billion weights, or a small one, with random weights."""
    sys.path.insert(0, str(Path(__file__).parents[2] / "plugins" / "mmencode-transformers" / "tests"))
    import tiny_omni

    wide = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
    tiny_omni.qwen3(folder, **({} if small else wide))
    return f"transformers/omni/{folder}"


def measure(
    warm: str, name: str, join: tuple[str, ...] = (), *, saved: bool = False, **options: object
) -> Sizes:
    """MiB that a space adds to a fresh process: when it is loaded and used, and at the peak meanwhile."""
    here = str(Path(__file__).parent)
    code = CODE.format(here=here, warm=warm, name=name, join=join, saved=saved, options=options)
    settled, peak = child(code)[-2:]
    return float(settled), float(peak)


def main() -> None:
    """Print one table, of all checkpoints or of those that are named."""
    print(machine("torch", "mmencode", "open_clip_torch", "transformers"))
    rows = [("space", "checkpoint, MiB", "settled, of it", "peak, of it")]
    kinds: dict[str, Callable[..., str]] = {"openclip": openclip, "clip": clip, "clap": clap, "omni": omni}
    for kind in sys.argv[1:] or kinds:
        with tempfile.TemporaryDirectory() as place:
            folder, small = Path(place, "whole"), Path(place, "small")
            folder.mkdir(), small.mkdir()
            name, warm = kinds[kind](folder), kinds[kind](small, small=True)
            weights = sum(path.stat().st_size for path in folder.glob("*.safetensors")) / 2**20
            measured = towers(Path(place), warm, name) if kind != "omni" else {}
            for what, found in (measured | joined(Path(place), warm, name, JOINED.get(kind, ()))).items():
                settled, peak = (f"{mebibytes / weights:.2f}" for mebibytes in found)
                rows.append((f"{kind}, {what}", f"{weights:.0f}", settled, peak))
    table("Memory of several towers", rows)


def towers(place: Path, warm: str, name: str) -> dict[str, Sizes]:
    """What is measured of a checkpoint's own towers: both, and the text tower of the saved space alone."""
    saved = str(place / "saved")
    child(SAVE.format(name=name, folder=saved, join=()))
    return {
        "both towers": measure(warm, name),
        "text only": measure(warm, name, modalities=("text",)),
        "text only, saved": measure(warm, saved, modalities=("text",)),
    }


def joined(place: Path, warm: str, name: str, join: tuple[str, ...]) -> dict[str, Sizes]:
    """What is measured of a space that gained further modalities: as they join, and saved and loaded."""
    if not join:
        return {}
    saved, what = str(place / "joined"), f"all towers with {' and '.join(join)}"
    child(SAVE.format(name=name, folder=saved, join=join))
    return {
        f"{what}, joining": measure(warm, name, join),
        f"{what}, saved": measure(warm, saved, join, saved=True, trust="names"),
    }


if __name__ == "__main__":
    main()
