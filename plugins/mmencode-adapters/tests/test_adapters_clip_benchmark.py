"""A space in CLIP_benchmark: its figures are those of the network itself, to the last digit."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

pytest.importorskip("mmencode_adapters", reason="mmencode-adapters: .ci/run hosts installs it")
pytest.importorskip(
    "clip_benchmark.metrics.zeroshot_classification",
    reason="it isn't installed: pip install --no-deps clip-benchmark",
)
pytest.importorskip(
    "clip_benchmark.models", reason="it isn't installed: pip install --no-deps clip-benchmark"
)

import open_clip
from clip_benchmark.metrics import zeroshot_classification as benchmark
from clip_benchmark.metrics import zeroshot_retrieval
from clip_benchmark.models import MODEL_TYPES, load_clip
from mmencode_adapters.clip_benchmark import SpaceModel, register
from PIL import Image
from safetensors.torch import save_file

from mmencode.testing import sample_items

pytestmark = pytest.mark.hosts

LABELS = ["cat", "red car", "sea lion", "Boston Terrier", "café", "bridge"]
TEMPLATES = ["a photo of a {c}", "{c}"]
TRUTH = [0, 1, 2, 3, 4, 5, 0, 1, 3, 2, 2, 4]
CAPTIONS = [[f"{LABELS[place]} number {number}", f"a {LABELS[place]}"] for number, place in enumerate(TRUTH)]
CONFIG = {
    "embed_dim": 48,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "head_width": 32, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2},
}


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """What CLIP_benchmark loads of a tiny network: open_clip's own, and the space's."""
    folder = tmp_path_factory.mktemp("clip")
    (folder / "tiny-benchmark.json").write_text(json.dumps(CONFIG))
    open_clip.add_model_config(folder / "tiny-benchmark.json")
    weights = folder / "tiny.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save_file(open_clip.create_model("tiny-benchmark").state_dict(), weights)
    model, transform, tokenizer = load_clip("open_clip", "tiny-benchmark", str(weights), None, "cpu")
    space = load_clip("mmencode", f"openclip/tiny-benchmark/{weights}", "", None, "cpu")
    return (model.eval(), transform, tokenizer), space


class Pictures(torch.utils.data.Dataset):
    """Pictures with their targets, as CLIP_benchmark's loader reads them."""

    classes = LABELS

    def __init__(self, transform, targets):
        self.images, self.transform, self.targets = sample_items("image", len(targets)), transform, targets

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, place):
        return self.transform(self.images[place]), self.targets[place]


def pairs(batch):
    """Stack the pictures of a batch beside the list of their captions, as CLIP_benchmark's collate does."""
    return torch.stack([image for image, _ in batch]), [captions for _, captions in batch]


def classify(loaded):
    model, transform, tokenizer = loaded
    weights = benchmark.zero_shot_classifier(model, tokenizer, LABELS, TEMPLATES, "cpu", amp=False)
    loader = torch.utils.data.DataLoader(Pictures(transform, TRUTH), batch_size=5)
    logits, truth = benchmark.run_classification(model, weights, loader, "cpu", amp=False)
    return logits, truth


def retrieve(loaded):
    model, transform, tokenizer = loaded
    loader = torch.utils.data.DataLoader(Pictures(transform, CAPTIONS), batch_size=5, collate_fn=pairs)
    return zeroshot_retrieval.evaluate(model, loader, tokenizer, "cpu", amp=False, recall_k_list=[1, 3, 5])


def test_the_figures_of_classification_are_equal_to_the_last_digit(both):
    (theirs, truth), (ours, again) = map(classify, both)
    np.testing.assert_allclose(ours, theirs, atol=2e-3)  # of logits up to 100
    assert torch.equal(truth, again)
    for figure in (
        lambda logits: (logits.argmax(axis=1) == truth).float().mean().item(),  # its own fails with numpy 2.4
        lambda logits: benchmark.balanced_accuracy_score(truth, logits.argmax(axis=1)),
        lambda logits: benchmark.average_precision_per_class(
            logits, torch.nn.functional.one_hot(truth, len(LABELS))
        ).tolist(),
    ):
        assert figure(ours) == figure(theirs)


def test_the_figures_of_retrieval_are_equal_to_the_last_digit(both):
    theirs, ours = map(retrieve, both)
    assert ours == theirs
    assert 0 < ours["image_retrieval_recall@1"] < 1


def test_a_picture_waits_for_one_call_and_another_process_is_told_of():
    model = SpaceModel()
    number = model.transform(Image.new("RGB", (32, 32), "red"))
    assert model.encode_image(number[None]).shape == (1, 384)
    with pytest.raises(ValueError, match="num_workers=0"):
        model.encode_image(number[None])


def test_registering_twice_leaves_one_type():
    register()
    register()
    assert MODEL_TYPES.count("mmencode") == 1
