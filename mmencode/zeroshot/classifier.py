"""A classifier compares items with the vectors that labels have in a space."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from ..arguments.lists import to_list
from ..card import require_same_space
from ..embeddings.array_types import Flags
from ..embeddings.embeddings import Embeddings
from ..errors import FitError, InputError, LabelError
from ..isolation.guarding import Guard
from ..plugins.modalities import prompt_of
from ..plugins.spec import QUERY, TEXT, Scoring
from .bank import Bank, mean_rows
from .calibration import Calibration, fit_calibration
from .contract import LabelSpace
from .fewshot import PRIOR, Examples, Method, fit_head
from .heads import Head, find_equal_firsts, find_twins
from .labels import KEEP_REMEDY, Labels
from .results import Classification
from .templates import PLACE

Label = str | Collection[str] | None
_SHOWN = 8  # labels in a message


class Classifier:
    """Classifies items by the vectors of labels in a space; `Space.classifier` makes it.

    The labels' vectors are computed once. Each label is put into every template, and the mean of the
    normalised vectors is normalised again (prompt ensembling; Radford et al., "Learning Transferable Visual
    Models From Natural Language Supervision", 2021, section 3.1.4). Without templates, the only one is the
    prompt that the encoder of the classified modality declares. A classifier doesn't change: `with_examples`
    and `calibrate` give others. A pickled one holds its labels' vectors, and its space as that is pickled.
    """

    labels: tuple[str, ...]
    calibrations: dict[str, Calibration]

    def __init__(
        self,
        space: LabelSpace,
        bank: Bank,
        labels: Labels,
        *,
        multi_label: bool = False,
        heads: Mapping[str, Head] | None = None,
        calibrations: Mapping[str, Calibration] | None = None,
        described: Mapping[str, Embeddings] | None = None,
    ) -> None:
        """Set up a classifier; texts of labels go through `bank`, to be encoded once for several classifiers.

        heads, calibrations   by modality
        described             vectors of labels that are encoded already, by the template of their prompts
        """
        self.labels = labels.names
        self.multi_label = multi_label
        self.calibrations = dict(calibrations or {})
        self._space = space
        self._bank = bank
        self._labels = labels
        self._heads = dict(heads or {})
        self._described = dict(described or {})
        self._distinct: set[str] = set()  # templates by which labels were found to have vectors of their own
        self._guard = Guard()

    def label_embeddings(self, modality: str) -> Embeddings:
        """The labels' vectors `[labels, dim]`, from the prompts or examples for items of a modality."""
        return self._all_embeddings(modality)[: len(self.labels)]

    def classify(
        self,
        modality: str,
        batch: Iterable[Any],
        *,
        on_error: Literal["raise", "skip"] = "raise",
        progress: bool = False,
    ) -> Classification:
        """Encode a batch of raw items, and score each of them for every label."""
        return self.rank(self._space.encode(modality, batch, on_error=on_error, progress=progress))

    def rank(self, embeddings: Embeddings) -> Classification:
        """Score items that are encoded already for every label.

        SpaceMismatchError when they are of another space, ValueError for vectors that aren't finite or not of
        unit length, LabelError where several labels have the same vector.
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
        """Fit probabilities to labelled items, raw or encoded; gives another classifier.

        The items must be others than the examples that heads were fitted to.

        The softmax gets a scale ("temperature scaling"; Guo et al., "On Calibration of Modern Neural
        Networks", 2017); with multi_label, a sigmoid gets scale and bias (Platt 1999), and `labels` has a
        collection for each item. Items labelled None are none of the labels: they belong to the null
        class, or where there is none give a threshold of the best score. `calibrations[modality]` holds the
        fit, with the error on held-out items before and after.

        Raises FitError for fewer than 10 items, for 1 to 4 labelled None, and for scores that say nothing
        about the labels; LabelError for an unknown label.
        """
        if self.multi_label and self._has_null:
            raise FitError(
                "a null class and fitted probabilities both set the score that a label needs",
                remedy="calibrate a classifier without a null class",
            )
        vectors = self._encode(modality, items)
        targets = self._targets(labels, len(vectors))
        head = self._head(modality)
        before = None if self.multi_label and _is_softmax(head.scoring) else head.scoring
        found = fit_calibration(
            modality,
            np.asarray(head.scores(vectors), np.float64),
            targets,
            before,
            multi_label=self.multi_label,
            rejecting=not (self.multi_label or self._has_null),
        )
        return self._with(self._heads, self.calibrations | {modality: found})

    def with_examples(
        self,
        modality: str,
        items: Sequence[Any] | Embeddings,
        labels: Sequence[Label],
        method: Method = "blend",
        *,
        prior: float = PRIOR,
    ) -> Classifier:
        """Fit the head of a modality to labelled examples, raw or encoded; gives another classifier.

        "blend"  (prior * prompts + n * mean of the n examples) / (prior + n) for each label, with the prompts
                 moved to where examples are; labels may be without examples
        "mean"   the mean of each label's examples, and no prompts
        "probe"  logistic regression on the vectors, and no prompts; needs scikit-learn

        Each starts from the prompts, whatever examples this classifier has. Scores of "blend" and "mean" have
        no scale for probabilities until `calibrate` fits one to other items. A calibration of this modality
        is dropped. With a null class, None is a label, too.

        Raises LabelError for an unknown label, and for one without examples, FitError without any example,
        SpaceMismatchError for vectors of another space, MissingPackageError without scikit-learn.
        """
        vectors = self._encode(modality, items)
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
        head = self._require_distinct(fit_head(examples, self._zero_shot_head(modality), method, prior))
        others = {known: found for known, found in self.calibrations.items() if known != modality}
        return self._with(self._heads | {modality: head}, others)

    def __getstate__(self) -> dict[str, Any]:
        """Compute the labels' vectors for every modality, so that the copy needn't encode them again."""
        for modality in self._space.specs:
            self._all_embeddings(modality)
        labels = self._labels
        if labels.by != TEXT:  # open files and pictures don't pickle, and their vectors are enough
            without = tuple(() for _ in labels.names), (None,) * len(labels.null)
            labels = replace(labels, items=without[0], null=without[1])
        return {**vars(self), "_guard": None, "_labels": labels}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _guard=Guard())

    def __repr__(self) -> str:
        fitted = [f"examples of {modality}" for modality in self._heads]
        fitted += [f"calibrated for {modality}" for modality in self.calibrations]
        return f"<Classifier of {len(self.labels)} labels{''.join(f', {what}' for what in fitted)}>"

    @property
    def _has_null(self) -> bool:
        return len(self._labels.null) > 0

    def _with(self, heads: Mapping[str, Head], calibrations: Mapping[str, Calibration]) -> Classifier:
        return Classifier(
            self._space,
            self._bank,
            self._labels,
            multi_label=self.multi_label,
            heads=heads,
            calibrations=calibrations,
            described=self._described,  # examples in open files can be read only once
        )

    def _head(self, modality: str) -> Head:
        fitted = self._heads.get(modality)
        if fitted is not None:
            return fitted
        head, template = self._zero_shot_head(modality), self._template(modality)
        if template not in self._distinct:
            self._require_distinct(head)
            self._distinct.add(template)
        return head

    def _require_distinct(self, head: Head) -> Head:
        """Raise LabelError where a head has one vector for several labels and duplicates are refused."""
        alike = find_twins(head.weights) if self._labels.distinct and head.offsets is None else ()
        if not len(alike):
            return head
        names = [(*self.labels, "the null class")[place] for place in alike]
        shown = ", ".join(map(repr, names[:_SHOWN])) + (
            f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        )
        raise LabelError(
            f"{len(names)} labels have one vector in this encoder, so that nothing tells them apart: {shown}",
            remedy="words that its tokenizer doesn't know or cuts off look the same to it: describe them "
            f"otherwise, leave all but one out, or {KEEP_REMEDY}",
        )

    def _zero_shot_head(self, modality: str) -> Head:
        """Make the zero-shot head of a modality; the encoder's scale holds only for cosines with texts."""
        vectors = self._all_embeddings(modality)
        scoring = self._space.scoring(modality) if self._labels.by == TEXT else None
        firsts = None if self._labels.distinct else find_equal_firsts(vectors.vectors)
        return Head(vectors.vectors, None, vectors.space, scoring, firsts)

    def _template(self, modality: str) -> str:
        """The template of a modality's prompts; "{label}" alone where the user gave templates or prompts."""
        own = self._labels.items is not None or self._labels.templates is not None
        if own or modality not in self._space.specs:
            return PLACE
        return prompt_of(self._space.specs[modality])

    def _all_embeddings(self, modality: str) -> Embeddings:
        """The vectors of all labels and, last, of the null class; they are encoded at the first call."""
        template = self._template(modality)
        with self._guard:
            if template not in self._described:
                self._described[template] = self._describe(template)
            return self._described[template]

    def _describe(self, template: str) -> Embeddings:
        groups = self._labels.groups(template)
        names = (*self.labels, "the null class")[: len(groups)]
        if self._labels.by == TEXT:
            return self._bank.means(self._space, names, groups)
        items = [item for group in groups for item in group]
        try:
            encoded = self._space.encode(self._labels.by, items, role=QUERY)
        except InputError as error:
            raise _name_label(error, names, [len(group) for group in groups]) from error.__cause__
        return Embeddings(
            mean_rows(encoded.vectors, groups, names), space=encoded.space, modality=self._labels.by
        )

    def _threshold(self, scoring: Scoring | None) -> float | None:
        """The score whose probability is one half, where each label is judged by itself by a sigmoid."""
        if not self.multi_label or scoring is None or scoring.kind != "sigmoid" or not scoring.scale:
            return None
        return -scoring.bias / scoring.scale

    def _encode(self, modality: str, items: Sequence[Any] | Embeddings) -> Embeddings:
        if not isinstance(items, Embeddings):
            return self._space.encode(modality, items)
        if items.modality != modality:
            raise ValueError(f"the items are vectors of {items.modality!r}, not of {modality!r}")
        require_same_space(items.space, self._all_embeddings(modality).space, "compared")
        items.require_unit()
        return items

    def _targets(self, labels: Sequence[Label], count: int) -> Flags:
        """Check the labels of items, and mark them in `[n, labels]`, where the null class is last."""
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


def _name_label(error: InputError, names: Sequence[str], sizes: Sequence[int]) -> InputError:
    """Make an error name the label whose example couldn't be encoded, and the place among its examples."""
    starts = np.cumsum([0, *sizes])
    place = int(np.searchsorted(starts, error.index or 0, side="right")) - 1
    source = f"example of {names[place]!r}, {error.source}"
    index = (error.index or 0) - int(starts[place])
    return InputError(error.fact, source=source, remedy=error.remedy, index=index)


def _is_softmax(scoring: Scoring | None) -> bool:
    return scoring is not None and scoring.kind == "softmax"
