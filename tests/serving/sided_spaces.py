"""A space of fakes whose queries have another encoder than its documents."""

from __future__ import annotations

from dataclasses import replace

import mmencode
from mmencode.testing import FakeText, fake_specs


class Asking(FakeText):
    """The fake of texts, with words before them."""

    preprocessing = "characters, behind words"

    def preprocess(self, item):
        return super().preprocess(f"find this: {item}")


def make_sided_space():
    specs = {spec.modality: spec for spec in fake_specs("sided")}
    query = replace(specs["text"], name="sided/query", role="query", target=f"{__name__}:Asking")
    return mmencode.Space("sided", [*specs.values(), query])
