"""Labels of requests become classifiers, whose prompts are embedded in the same queue as everything else."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

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

Key = tuple[str, tuple[str, ...], str]


@dataclass(frozen=True, slots=True)
class _Prompts:
    """The prompts of labels, by a template, and the classifier that their vectors make."""

    key: Key
    labels: Labels
    template: str
    groups: list[list[str]]

    @property
    def wanted(self) -> list[Wanted]:
        """The prompts, as items of a request."""
        return texts_of([text for group in self.groups for text in group], "query")

    def make_classifier(self, service: Service, vectors: Sequence[Vectors], space: str) -> Classifier:
        """Make the classifier; RequestError where the prompts of one label cancel each other out."""
        try:
            means = mean_rows(np.stack(vectors), self.groups, self.labels.names)
        except LabelError as cause:
            raise _no_classifier("the prompts of one cancel each other out") from cause
        described = {self.template: Embeddings(means, space=space, modality=TEXT)}
        return Classifier(service.space, Bank(), self.labels, described=described)


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
        modality = choose_modality(service.space, wanted)
        prompts = self._ask(service, modality, labels, template)
        known = self._kept.get(prompts.key)
        asked = [wanted] if known is not None else [wanted, *prompts.wanted]
        found = await embed_items(self._gateway, request, service, asked)
        known = known or prompts.make_classifier(service, found.vectors[1:], found.space)
        item = Embeddings(np.stack(found.vectors[:1]), space=found.space, modality=modality)
        return await self._rank(prompts.key, known, item)

    async def rank(
        self, request: Request, service: Service, item: Embeddings, labels: Sequence[str]
    ) -> Classification:
        """Score an item that is encoded already for each label, by its modality's own prompt.

        Raises RequestError for labels that make no classifier.
        """
        prompts = self._ask(service, item.modality, labels, "")
        known = self._kept.get(prompts.key)
        if known is None:
            found = await embed_items(self._gateway, request, service, prompts.wanted)
            known = prompts.make_classifier(service, found.vectors, found.space)
        return await self._rank(prompts.key, known, item)

    def _ask(self, service: Service, modality: str, labels: Sequence[str], template: str) -> _Prompts:
        self._gateway.require_few(len(labels))
        described, prompt = _describe(labels, template), prompt_of(service.space.spec(modality))
        groups = [[str(text) for text in group] for group in described.groups(prompt)]
        key = (service.space.name, tuple(labels), template or prompt)
        return _Prompts(key, described, PLACE if template else prompt, groups)

    async def _rank(self, key: Key, classifier: Classifier, item: Embeddings) -> Classification:
        try:
            scored = await self._gateway.run(classifier.rank, item)
        except LabelError as cause:
            raise _no_classifier(
                "several of them have one vector, so that nothing tells them apart"
            ) from cause
        self._keep(key, classifier)
        return scored

    def _keep(self, key: Key, classifier: Classifier) -> None:
        if max(map(len, (*key[1], key[2]))) > _LONGEST:
            return
        self._kept[key] = classifier
        self._kept.move_to_end(key)
        while len(self._kept) > 1 and sum(len(names) for _, names, _ in self._kept) > _KEPT:
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
        most, least = len(labels), 0  # the shortest beginning that makes none ends with the one at fault
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


def _no_classifier(why: str) -> RequestError:
    return RequestError(
        f"the labels make no classifier: {why}",
        status=422,
        code="invalid_labels",
        param="parameters.candidate_labels",
        remedy="send words that differ in more than case and spaces",
    )
