"""The joining of pages to any space with images, by its own image tower, measured on pages."""

from __future__ import annotations

from dataclasses import replace
from math import sqrt
from typing import Any

import numpy as np

from mmencode import (
    EncoderSpec,
    IdentityProjection,
    Limits,
    MultiEmbeddings,
    Projection,
    Recall,
    Space,
    align,
    similarity,
)
from mmencode.errors import UnknownModalityError
from mmencode.inputs import reader

from . import mmencode_encoders
from .drawing import samples

_PAGES = 36  # that a space is measured on
_DEPTHS = (1, 5, 10)


def join_pages(space: Space, *, name: str = "") -> Space:
    """Make the space with pages, encoded by its own image tower; its id stays, and so do all vectors.

    name    by which the space is loaded, where that isn't `space.name`: the folder of one that was saved

    It is measured on pages that are drawn here, which must find their own pictures: that says that the tower
    is the space's own. Works for spaces of one vector for each item, and of many.

    Raises UnknownModalityError for a space without images, SpaceMismatchError where `name` loads another
    space than this, FitError where pages don't find their pictures better than by chance.
    """
    if "image" not in space.modalities:
        raise UnknownModalityError(
            f"the space {space.name!r} has no images, whose encoder pages would use",
            remedy="choose a space with images, such as a CLIP",
        )
    outputs = space.spec("image").outputs
    family = next(spec for spec in mmencode_encoders() if spec.outputs == outputs)
    over = f"image@{space.tower_card('image').digest}"  # so that both hold one network
    spec = replace(family.member(name or space.name, space.dim), over=over)
    pages = samples(_PAGES)
    read = reader("page")
    pairs = [(page, read(page, space.limits)) for page in pages]
    lead = _measure_many(spec, space, pairs) if outputs == "many" else _measure_one(spec, space, pairs)
    return space.join({"page": (spec, lead)})


def _measure_one(spec: EncoderSpec, space: Space, pairs: list[tuple[Any, Any]]) -> Projection:
    return align(spec, space, pairs, to="image", folds=3, method=IdentityProjection())


def _measure_many(spec: EncoderSpec, space: Space, pairs: list[tuple[Any, Any]]) -> Projection:
    """Measure by late interaction how pages find their pictures, and pictures their pages."""
    with Space(spec.space_name, [spec], runtime=space.runtime, limits=Limits()) as alone:
        found = alone.encode_multi("page", [page for page, _ in pairs])
    pictures = space.encode_multi("image", [picture for _, picture in pairs])
    pages = MultiEmbeddings(found.vectors, found.counts, space=pictures.space, modality="page")
    lead = IdentityProjection(into=space.id)
    lead.report = {
        "method": "identity",
        "source": spec.name,
        "target": space.id,
        "pairs": len(pairs),
        "forward": measure_ranks(similarity(pages, pictures)).to_dict(),
        "backward": measure_ranks(similarity(pictures, pages)).to_dict(),
    }
    return lead


def measure_ranks(scores: np.ndarray[Any, Any]) -> Recall:
    """Measure how often the partner of a row is its best column, of scores `[n, n]` with it on the diagonal.

    Equal scores count as if their order were drawn. The interval is Wilson's (1927).
    """
    count = len(scores)
    own = np.diag(scores)[:, None]
    ranks = (scores > own + 1e-6).sum(axis=1) + (np.abs(scores - own) <= 1e-6).sum(axis=1) / 2 + 0.5
    shares = {k: float((ranks <= k).mean()) for k in _DEPTHS}
    spread = sqrt((count**2 - 1) / 12 / count)
    sigmas = ((count + 1) / 2 - float(ranks.mean())) / spread if spread else 0.0
    share, z = shares[1], 1.96
    middle, reach = share + z**2 / (2 * count), z * sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    low, high = ((middle + side * reach) / (1 + z**2 / count) for side in (-1, 1))
    return Recall(count, shares, {k: min(1.0, k / count) for k in _DEPTHS}, (low, high), sigmas)
