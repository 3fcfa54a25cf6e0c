"""Labels as vectors of a space, and items compared with them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..arguments.lists import to_list
from ..card import require_same_space
from ..embeddings.embeddings import Embeddings
from ..errors import FitError, InputError, LabelError
from ..isolation.guarding import Guard
from ..plugins.spec import TEXT, Scoring
from .bank import Bank, Encode, mean_rows
from .calibration import Calibration, calibration
from .fewshot import PRIOR, Examples, Method, head_of
from .heads import Head, equal_firsts, twins
from .labels import KEPT, Labels
from .results import Classification, Flags
from .templates import PLACE

Label = str | Collection[str] | None
_SHOWN = 8  # labels in a message


@dataclass(frozen=True, eq=False, slots=True)
class Source:
    """What a classifier asks of its space.

    prompts  by modality, the template of those without one
    scoring  how cosines of a modality with texts become probabilities
    """

    encode: Encode
    prompts: Mapping[str, str]
    scoring: Callable[[str], Scoring | None]
    bank: Bank


class Classifier:
    """Labels as vectors of a space, computed once; made by `Space.classifier`.

    Each label is put into every template, and the mean of the normalised vectors is normalised again
    (prompt ensembling; Radford et al., "Learning Transferable Visual Models From Natural Language
    Supervision", 2021, section 3.1.4). Without templates, the prompt that the encoder of the classified
    modality declares is the only one. A classifier doesn't change: `with_examples` and `calibrate` give
    others. Pickled, it takes its labels' vectors along, and its space as that travels.
    """

    def __init__(
        self,
        source: Source,
        labels: Labels,
        *,
        multi_label: bool = False,
        heads: Mapping[str, Head] | None = None,
        calibrations: Mapping[str, Calibration] | None = None,
    ) -> None:
        self.labels = labels.names
        self.multi_label = multi_label
        self.calibrations = dict(calibrations or {})
        self._source = source
        self._labels = labels
        self._fitted = dict(heads or {})
        self._described: dict[str, Embeddings] = {}
        self._sound: set[str] = set()
        self._guard = Guard()

    def label_embeddings(self, modality: str) -> Embeddings:
        """The vectors `[labels, dim]` of what describes the labels to items of this modality."""
        return self._all_embeddings(modality)[: len(self.labels)]

    def classify(
        self, modality: str, batch: Sequence[Any], *, on_error: str = "raise", progress: bool = False
    ) -> Classification:
        """Encode the batch and compare it with every label."""
        return self.rank(self._source.encode(modality, batch, on_error=on_error, progress=progress))

    def rank(self, embeddings: Embeddings) -> Classification:
        """Compare what is encoded already.

        SpaceMismatchError when it is of another space, ValueError for vectors that aren't finite or not of
        unit length, LabelError where labels have one vector.
        """
        head = self._head(getattr(embeddings, "modality", TEXT))
        scores = head.scores(embeddings)
        found = self.calibrations.get(embeddings.modality)
        scoring = head.scoring if found is None else found.scoring
        return Classification(
            labels=self.labels,
            scores=scores[:, : len(self.labels)],
            positions=embeddings.positions,
            errors=embeddings.errors,
            scoring=scoring,
            threshold=self._threshold(scoring) if found is None else found.threshold,
            null=scores[:, -1] if self._has_null else None,
            multi_label=self.multi_label,
        )

    def calibrate(
        self, modality: str, items: Sequence[Any] | Embeddings, labels: Sequence[Label]
    ) -> Classifier:
        """The same with probabilities fitted to labelled items, raw or encoded; they aren't to be examples.

        The softmax gets a scale ("temperature scaling"; Guo et al., "On Calibration of Modern Neural
        Networks", 2017); with multi_label, a sigmoid gets scale and bias (Platt 1999), and `labels` has a
        collection for each item. Items labelled None are none of these: they belong to the null class, or
        where there is none choose a threshold of the best score. `calibrations[modality]` says what was
        found, with the error on held-out items before and after.

        Raises FitError for fewer than 10 items, 1 to 4 that are none of these, and scores that say nothing
        about the labels; LabelError for a label that isn't one.
        """
        if self.multi_label and self._has_null:
            raise FitError(
                "a null class and fitted probabilities both say from where on a label counts",
                remedy="calibrate a classifier without a null class",
            )
        vectors = self._encoded(modality, items)
        targets = self._targets(labels, len(vectors))
        head = self._head(modality)
        before = None if self.multi_label and _is_softmax(head.scoring) else head.scoring
        found = calibration(
            modality,
            np.asarray(head.scores(vectors), np.float64),
            targets,
            before,
            multi_label=self.multi_label,
            rejecting=not (self.multi_label or self._has_null),
        )
        return self._with(self._fitted, self.calibrations | {modality: found})

    def with_examples(
        self,
        modality: str,
        items: Sequence[Any] | Embeddings,
        labels: Sequence[Label],
        method: Method = "blend",
        *,
        prior: float = PRIOR,
    ) -> Classifier:
        """The same for items of this modality with labelled examples, raw or encoded, besides the prompts.

        "blend"  (prior * prompts + n * mean of the n examples) / (prior + n) for each label, with the prompts
                 moved to where examples are; labels may be without examples
        "mean"   the mean of each label's examples, and no prompts
        "probe"  logistic regression on the vectors, and no prompts; needs scikit-learn

        These start from the prompts, whatever examples this classifier has. Scores of "blend" and "mean" have
        no scale for probabilities until `calibrate` fits one to other items. A calibration of this modality
        is dropped. With a null class, None is a label, too.

        Raises LabelError for a label that isn't one or lacks examples, FitError without any example,
        SpaceMismatchError for vectors of another space, MissingPackageError without scikit-learn.
        """
        vectors = self._encoded(modality, items)
        if not self._has_null and not self.multi_label and any(label is None for label in labels):
            raise LabelError(
                "an example labelled None has no class to belong to",
                remedy="give the classifier a null class, or calibrate it with such items",
            )
        examples = Examples(
            names=(*self.labels, *(["the null class"] if self._has_null else [])),
            vectors=vectors.vectors,
            targets=self._targets(labels, len(vectors)),
            multi_label=self.multi_label,
        )
        head = self._told_apart(head_of(examples, self._prompted(modality), method, prior))
        others = {known: found for known, found in self.calibrations.items() if known != modality}
        return self._with(self._fitted | {modality: head}, others)

    def __getstate__(self) -> dict[str, Any]:
        """With the labels' vectors for every modality of the space, so that nothing describes them again."""
        for modality in self._source.prompts:
            self._all_embeddings(modality)
        labels = self._labels
        if labels.by != TEXT:  # open files, pictures: what was made of them is enough
            without = tuple(() for _ in labels.names), (None,) * len(labels.null)
            labels = replace(labels, items=without[0], null=without[1])
        return {**vars(self), "_guard": None, "_labels": labels}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _guard=Guard())

    def __repr__(self) -> str:
        fitted = [f"examples of {modality}" for modality in self._fitted]
        fitted += [f"calibrated for {modality}" for modality in self.calibrations]
        return f"<Classifier of {len(self.labels)} labels{''.join(f', {what}' for what in fitted)}>"

    @property
    def _has_null(self) -> bool:
        return len(self._labels.null) > 0

    def _with(self, heads: Mapping[str, Head], calibrations: Mapping[str, Calibration]) -> Classifier:
        found = Classifier(
            self._source, self._labels, multi_label=self.multi_label, heads=heads, calibrations=calibrations
        )
        found._described.update(self._described)  # open files can be read but once
        return found

    def _head(self, modality: str) -> Head:
        fitted = self._fitted.get(modality)
        if fitted is not None:
            return fitted
        head, template = self._prompted(modality), self._template(modality)
        if template not in self._sound:
            self._told_apart(head)
            self._sound.add(template)
        return head

    def _told_apart(self, head: Head) -> Head:
        """The head, whose labels must have vectors of their own unless they may be the same."""
        alike = twins(head.weights) if self._labels.distinct and head.offsets is None else ()
        if not len(alike):
            return head
        names = [(*self.labels, "the null class")[place] for place in alike]
        shown = ", ".join(map(repr, names[:_SHOWN])) + (
            f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        )
        raise LabelError(
            f"{len(names)} labels are one vector to this encoder, so that nothing tells them apart: {shown}",
            remedy="words that its tokenizer doesn't know or cuts off look the same to it: describe them "
            f"otherwise, leave all but one out, or {KEPT}",
        )

    def _prompted(self, modality: str) -> Head:
        """The head of the labels' descriptions; cosines have the encoder's scale only with texts."""
        vectors = self._all_embeddings(modality)
        scoring = self._source.scoring(modality) if self._labels.by == TEXT else None
        firsts = None if self._labels.distinct else equal_firsts(vectors.vectors)
        return Head(vectors.vectors, None, vectors.space, scoring, firsts)

    def _template(self, modality: str) -> str:
        """The prompt of a modality, where it matters to what describes the labels."""
        own = self._labels.items is not None or self._labels.templates is not None
        return PLACE if own else self._source.prompts.get(modality, PLACE)

    def _all_embeddings(self, modality: str) -> Embeddings:
        """The vectors of all labels and of the null class, `[labels + 1, dim]`."""
        template = self._template(modality)
        with self._guard:
            if template not in self._described:
                self._described[template] = self._describe(template)
            return self._described[template]

    def _describe(self, template: str) -> Embeddings:
        groups = self._labels.groups(template)
        names = (*self.labels, "the null class")[: len(groups)]
        if self._labels.by == TEXT:
            return self._source.bank.means(self._source.encode, names, groups)
        items = [item for group in groups for item in group]
        try:
            encoded = self._source.encode(self._labels.by, items)
        except InputError as error:
            raise _placed(error, names, [len(group) for group in groups]) from error.__cause__
        return Embeddings(
            mean_rows(encoded.vectors, groups, names), space=encoded.space, modality=self._labels.by
        )

    def _threshold(self, scoring: Scoring | None) -> float | None:
        """The score whose probability is one half, where a label is judged by itself."""
        if not self.multi_label or scoring is None or scoring.kind != "sigmoid" or not scoring.scale:
            return None
        return -scoring.bias / scoring.scale

    def _encoded(self, modality: str, items: Sequence[Any] | Embeddings) -> Embeddings:
        if not isinstance(items, Embeddings):
            return self._source.encode(modality, items)
        if items.modality != modality:
            raise ValueError(f"these are vectors of {items.modality!r}, not of {modality!r}")
        require_same_space(items.space, self._all_embeddings(modality).space, "compared")
        items.require_unit()
        return items

    def _targets(self, labels: Sequence[Label], count: int) -> Flags:
        """Whether item i has label j, `[n, labels]`, with the null class in the last column."""
        labels = to_list(labels, "labels")
        if len(labels) != count:
            raise ValueError(
                f"{count} items need {count} labels in a list, not {len(labels)}: give each item one, or None"
            )
        targets = np.zeros((count, len(self.labels) + self._has_null), bool)
        for row, label in enumerate(labels):
            if label is None and not self.multi_label:
                targets[row, len(self.labels) :] = True
                continue
            for name in self._names(label, row):
                targets[row, self._labels.place(name)] = True
        return targets

    def _names(self, label: Label, row: int) -> Collection[str]:
        if self.multi_label and (label is None or isinstance(label, str)):
            raise TypeError(f"label {row} is {label!r}: with multi_label, give each item a list of labels")
        if not self.multi_label and not isinstance(label, str):
            raise TypeError(f"label {row} is {label!r}: give each item one label, or use multi_label=True")
        return [label] if isinstance(label, str) else label or ()


def _placed(error: InputError, names: Sequence[str], sizes: Sequence[int]) -> InputError:
    """The error with the label whose example couldn't be encoded, and its place among those."""
    starts = np.cumsum([0, *sizes])
    place = int(np.searchsorted(starts, error.index or 0, side="right")) - 1
    source = f"example of {names[place]!r}, {error.source}"
    index = (error.index or 0) - int(starts[place])
    return InputError(error.fact, source=source, remedy=error.remedy, index=index)


def _is_softmax(scoring: Scoring | None) -> bool:
    return scoring is not None and scoring.kind == "softmax"
