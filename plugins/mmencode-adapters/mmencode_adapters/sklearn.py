"""scikit-learn: a transformer of raw items into vectors, and a classifier by the words of its classes.

Both take part in pipelines, searches and clones. A fitted one knows the fingerprint of its space, and after
it was pickled refuses another space of that name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, ClassifierMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d

from mmencode import Embeddings

from .spaces import KeptSpace, SpaceLike

HOST = "the fitted estimator"
Array = np.ndarray[Any, np.dtype[Any]]
Role = Literal["", "query", "document"]


class SpaceTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """A transformer of items of one modality into a space's vectors, float32 `[n, dim]`.

    Items are those of `Space.encode`: texts, paths, bytes, pictures, `(samples, rate)`. Embeddings of the
    same space pass through, so that items are encoded once for a search over many settings. Nothing is
    learnt: `fit` notes the space's fingerprint, and doesn't look at the items.
    """

    def __init__(self, space: SpaceLike = "default", *, modality: str = "text", role: Role = "") -> None:
        self.space = space
        self.modality = modality
        self.role = role

    def fit(self, X: Any, y: Any = None) -> SpaceTransformer:
        """Note the fingerprint and the width of the space."""
        _as_batch(X)
        kept = KeptSpace(self.space, host=HOST)
        self.fingerprint_ = kept.fingerprint
        self._n_features_out = kept.get().dim
        return self

    def transform(self, X: Any) -> Array:
        """Encode items in order; InputError, which is a ValueError, names one that can't be."""
        check_is_fitted(self)
        kept = KeptSpace(self.space, self.fingerprint_, host=HOST)
        return _encode(X, kept, self.modality, self.role).vectors

    def __sklearn_tags__(self) -> Any:
        """Say to scikit-learn that X has items rather than numbers, and isn't validated as such."""
        return _as_items(super().__sklearn_tags__())


class ZeroShotClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier of items by the words of their classes, or by examples as well.

    modality   that of the items, "image" by default
    words      the words of each class, where the class itself isn't what its items should be called
    templates  as for `Space.classifier`
    examples   "" looks at nothing but the words; "blend", "mean" and "probe" learn from the items that `fit`
               gets, as `Classifier.with_examples` says
    """

    def __init__(
        self,
        space: SpaceLike = "default",
        *,
        modality: str = "image",
        words: Mapping[Any, str] | None = None,
        templates: str | Sequence[str] | None = None,
        examples: Literal["", "blend", "mean", "probe"] = "",
    ) -> None:
        self.space = space
        self.modality = modality
        self.words = words
        self.templates = templates
        self.examples = examples

    def fit(self, X: Any, y: Any) -> ZeroShotClassifier:
        """Encode the words of the classes in `y`, and where examples count, the items, too."""
        X = _as_batch(X)
        check_classification_targets(y)
        target = column_or_1d(y, warn=True)
        if len(target) != len(X):
            raise ValueError(f"{len(X)} items have {len(target)} classes: give each item one")
        kept = KeptSpace(self.space, host=HOST)
        self.fingerprint_ = kept.fingerprint
        self.classes_, places = np.unique(target, return_inverse=True)
        words = self.words or {}
        names = [str(words.get(one, one)) for one in self.classes_.tolist()]
        classifier = kept.get().classifier(names, self.templates)
        if self.examples:
            labels = [names[place] for place in places]
            classifier = classifier.with_examples(self.modality, X, labels, self.examples)
        self.classifier_ = classifier
        return self

    def decision_function(self, X: Any) -> Array:
        """Score each item for each class, `[n, classes]`, or `[n]` for the second of two classes."""
        scores = self._scores(X)
        return scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 else scores

    def predict(self, X: Any) -> Array:
        """The class of each item with the highest score."""
        scores = self._scores(X)
        found: Array = self.classes_[scores.argmax(axis=1)]
        return found

    def _scores(self, X: Any) -> Array:
        check_is_fitted(self)
        kept = KeptSpace(self.space, self.fingerprint_, host=HOST)
        scores: Array = self.classifier_.rank(_encode(X, kept, self.modality, "")).scores
        return scores

    def __sklearn_tags__(self) -> Any:
        """Say to scikit-learn that X has items rather than numbers, and that words alone may not fit."""
        tags = _as_items(super().__sklearn_tags__())
        tags.classifier_tags.poor_score = True
        return tags


def _encode(X: Any, kept: KeptSpace, modality: str, role: Role) -> Embeddings:
    batch = _as_batch(X)
    if isinstance(batch, Embeddings):
        kept.accept(batch)
        return batch
    return kept.get().encode(modality, batch, role=role)


def _as_batch(X: Any) -> Any:
    """Make a list of items, or leave Embeddings; TypeError for a sparse matrix and for one string.

    A table with one column has its values as items.
    """
    if issparse(X):
        raise TypeError("a sparse matrix was passed, and items to encode are needed: pass a list of them")
    if isinstance(X, str | bytes):
        raise TypeError("one string was passed, and a list of items is needed: put it into a list")
    if isinstance(X, Embeddings) or not hasattr(X, "__array__"):
        return X if isinstance(X, Embeddings) else list(X)
    array = np.asarray(X)  # a table, too, whose rows are its items
    return list(array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array)


def _as_items(tags: Any) -> Any:
    tags.input_tags.two_d_array = False
    tags.input_tags.one_d_array = True
    tags.input_tags.string = True
    tags.no_validation = True
    if tags.transformer_tags is not None:
        tags.transformer_tags.preserves_dtype = ["float32"]
    return tags
