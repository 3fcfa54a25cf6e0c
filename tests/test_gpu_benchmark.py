"""The benchmark for GPUs runs where there is none, so that it needs no mending where there is one."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("sentence_transformers", reason="a side of the benchmark")
pytest.importorskip("skimage", reason="the photographs of the benchmarks")


def test_benchmark_of_gpus_gives_every_row_or_says_why_not(monkeypatch, tmp_path, capsys):
    monkeypatch.syspath_prepend(Path(__file__).parent / "benchmarks")
    import gpu

    parts = [part.__name__ for part in gpu.PARTS if part.__name__ != "tests"]  # which runs the whole suite
    arguments = ["--device", "cpu", "--small", "--rounds", "1", "--only", *parts]
    monkeypatch.setattr(sys, "argv", ["gpu.py", str(tmp_path / "results"), *arguments])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the others of a busy machine would wait for each other
    try:
        gpu.main()
    finally:
        torch.set_num_threads(threads)
    found = json.loads((tmp_path / "results" / "results.json").read_text(encoding="utf-8"))
    assert found["failed"] == {}
    assert "cpu; " in found["machine"]
    rows = [row for table in found["tables"].values() for row in table]
    lost = [name for row in rows for name in row.values() if name.startswith("not measured")]
    for name in lost:  # what only a GPU can do
        assert any(word in name.lower() for word in ("cuda", "nvidia", "pin"))
    assert len(lost) < 10 < len(rows)
    cosines = [float(row["smallest cosine"]) for row in rows if row.get("smallest cosine")]
    for table in ("Captions: ViT-B-32", "Types: ViT-B-32, image", "Audio: wav2vec 2.0"):
        assert all(float(row["smallest cosine"]) > 0.999 for row in found["tables"][table])
    assert len(cosines) > 12
    assert "| mmencode, float32 |" in capsys.readouterr().out
