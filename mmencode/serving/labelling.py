"""Labels of requests become classifiers, whose prompts are embedded in the same queue as everything else."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from starlette.requests import Request

from ..embeddings.array_types import Vectors
from ..embeddings.embeddings import Embeddings
from ..errors import LabelError
from ..plugins.modalities import prompt_of
from ..plugins.spec import TEXT
from ..zeroshot import Bank, Classification, Classifier, Labels, describe_labels
from ..zeroshot.bank import mean_rows
from ..zeroshot.templates import PLACE
from .asking import Wanted, choose_modality
from .embedding import embed_items, texts_of
from .faults import RequestError
from .gateway import Gateway
from .service import Service

_KEPT = 2**14  # labels whose vectors are kept
_LONGEST = 2**8  # characters of a label or template that is kept
_HOLE = "{}"  # the place of the label in clients' templates

Key = tuple[str, str, tuple[str, ...], str]


class Labelling:
    """Classifies items by labels that requests bring; the classifiers that were used last are kept."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._kept: OrderedDict[Key, Classifier] = OrderedDict()

    async def classify(
        self, request: Request, service: Service, wanted: Wanted, labels: Sequence[str], template: str = ""
    ) -> Classification:
        """Score an item for each label, as `Space.classifier(labels).classify` does.

        `template` has {} for the label; without one the modality's own prompt is used. Prompts that aren't
        known are embedded with the item, as one request. Raises RequestError for labels that make no
        classifier, and for an item that can't be encoded.
        """
        self._gateway.require_few(len(labels))
        space = service.space
        modality = choose_modality(space, wanted)
        key = (space.name, modality, tuple(labels), template)
        known = self._kept.get(key)
        if known is None:
            described, prompt = _describe(labels, template), prompt_of(space.spec(modality))
            groups = [[str(text) for text in group] for group in described.groups(prompt)]
            prompts = texts_of([text for group in groups for text in group], "query")
        else:
            prompts = []
        found = await embed_items(self._gateway, request, service, [wanted, *prompts])
        if known is None:
            means = _average(np.stack(found.vectors[1:]), groups, described.names)
            vectors = Embeddings(means, space=found.space, modality=TEXT)
            known = Classifier(space, Bank(), described, described={PLACE if template else prompt: vectors})
        item = Embeddings(np.stack(found.vectors[:1]), space=found.space, modality=modality)
        try:
            scored = await self._gateway.run(known.rank, item)
        except LabelError as cause:
            raise _no_classifier(
                "several of them have one vector, so that nothing tells them apart"
            ) from cause
        self._keep(key, known)
        return scored

    def _keep(self, key: Key, classifier: Classifier) -> None:
        if max(map(len, (*key[2], key[3]))) > _LONGEST:
            return
        self._kept[key] = classifier
        self._kept.move_to_end(key)
        while len(self._kept) > 1 and sum(len(names) for _, _, names, _ in self._kept) > _KEPT:
            self._kept.popitem(last=False)


def _describe(labels: Sequence[str], template: str) -> Labels:
    """Check labels and a template; RequestError, which has places and no words of the input."""
    if template and (_HOLE not in template or PLACE in template):
        raise RequestError(
            f"the template has no {_HOLE} for the label",
            status=422,
            code="invalid_template",
            param="parameters.hypothesis_template",
            remedy=f'write "a photo of a {_HOLE}", say',
        )
    templates = [template.replace(_HOLE, PLACE)] if template else None
    try:
        return describe_labels(labels, templates)
    except LabelError:
        most, least = (
            len(labels),
            0,
        )  # the shortest beginning that makes no classifier ends with the one at fault
        while most - least > 1:
            middle = (most + least) // 2
            try:
                describe_labels(labels[:middle], templates)
                least = middle
            except LabelError:
                most = middle
    raise _no_classifier(
        f"label {most - 1} is no word, or is another one's again" if labels else "there are none"
    )


def _average(vectors: Vectors, groups: Sequence[Sequence[str]], names: Sequence[str]) -> Vectors:
    try:
        return mean_rows(vectors, groups, names)
    except LabelError as cause:
        raise _no_classifier("the prompts of one cancel each other out") from cause


def _no_classifier(why: str) -> RequestError:
    return RequestError(
        f"the labels make no classifier: {why}",
        status=422,
        code="invalid_labels",
        param="parameters.candidate_labels",
        remedy="send words that differ in more than case and spaces",
    )
