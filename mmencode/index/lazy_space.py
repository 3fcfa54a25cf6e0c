"""The space of an index: written into the index's folder, and loaded from there when first needed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from ..card import SpaceCard, is_same_space
from ..embeddings.embeddings import Embeddings
from ..embeddings.multi import MultiEmbeddings
from ..embeddings.rows import join_widths
from ..embeddings.token_pooling import id_before_pooling
from ..embeddings.unit import require_unit
from ..engine.runtime import Auto
from ..errors import EncoderError, IdentityError, UnknownNameError, WeightsError
from ..inputs import Limits
from ..plugins.registry import registry
from ..spaces.folder import CARD, Saved, read_card, read_shipped_card, write_folder
from ..spaces.late import products_device
from ..spaces.loading import Trust, load_gaining
from ..spaces.space import Space
from .identity import explain, require_card, require_id
from .lance import require_threads


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadOptions:
    """The options of `mmencode.load`."""

    device: str | Auto = "auto"
    dtype: str | Auto = "auto"
    backend: str = "torch"
    limits: Limits | None = None
    trust: Trust | None = None
    modalities: Sequence[str] | None = None
    instruction: str = ""


class LazySpace:
    """The space of the index in a folder, which is loaded when first needed unless there is one already.

    A space that is `owned` by the index is closed with it; the caller's own, `given`, stays open. Raises
    WeightsError or IdentityError for a damaged card in the folder, and SpaceMismatchError, with what differs,
    for a space of another fingerprint.
    """

    id: str
    folder: Path
    given: Space | None

    def __init__(
        self,
        folder: Path,
        space: Space | None = None,
        *,
        owned: bool = False,
        options: LoadOptions,
        refresh: Callable[[], None] | None = None,
    ) -> None:
        self.card: SpaceCard = read_card(folder / CARD)
        self.id = self.card.id  # which takes a while to compute
        self.given = None if owned else space
        self.options = options
        self.folder = folder
        self._refresh = refresh  # brings the folder up to date, where it is a copy
        self._loaded = space if owned else None
        self._guard = threading.Lock()
        if space is not None and not is_same_space(self.id, space.id):
            require_card(self.card, space.card, "searched or added")

    def get(self) -> Space:
        """Return the space, loaded; raises as `load`."""
        require_threads()  # before the lock, which in a forked process may never become free
        if self.given is not None:
            return self.given
        with self._guard:
            if self._loaded is None:
                self._loaded = self._load()
            return self._loaded

    @contextmanager
    def explaining(self, modality: str) -> Iterator[None]:
        """Raise an IdentityError of the modality's encoder as SpaceMismatchError, with what differs."""
        try:
            yield
        except IdentityError as cause:
            raise explain(self.card, self.get(), modality, cause) from cause

    @property
    def products_device(self) -> str:
        """The device that computes products of many vectors: that of the space, if it is loaded."""
        space = self.given or self._loaded
        return "cpu" if space is None else products_device(space.runtime)

    def require_vectors(self, embeddings: Embeddings | MultiEmbeddings, what: str, doing: str) -> None:
        """Raise SpaceMismatchError for vectors of another space, ValueError for a wrong width or length.

        How they were pooled doesn't count.
        """
        require_id(self.card, self.id, id_before_pooling(embeddings.space), doing)
        if embeddings.dim != self.card.dim:
            raise ValueError(f"the {what} has {embeddings.dim} numbers, and the index's rows {self.card.dim}")
        require_unit(embeddings.vectors, what)

    def find_towers(self, modalities: Iterable[str]) -> dict[str, str]:
        """Find the digests of the towers of these modalities' rows, as far as they are known."""
        wanted = set(modalities)
        if any(self.card.tower(modality) is None for modality in wanted):
            if self._refresh is not None:
                self._refresh()
            self.card = read_card(self.folder / CARD)  # another writer may have added a modality since
        return {tower.key: tower.digest for tower in self.card.towers if tower.key in wanted}

    def find_widths(self, modalities: Iterable[str]) -> tuple[int, ...]:
        """Find the widths that the rows of all these modalities may be cut to."""
        towers = [self.card.tower(modality) for modality in modalities]
        return join_widths([tower.widths if tower else () for tower in towers])

    def close(self) -> None:
        """Close the space, if it was loaded for the index."""
        if self._loaded is not None:
            self._loaded.close()

    def _load(self) -> Space:
        options = self.options
        try:
            return load_gaining(
                self.folder,
                device=options.device,
                dtype=options.dtype,
                backend=options.backend,
                limits=options.limits,
                trust=options.trust,
                modalities=options.modalities,
                instruction=options.instruction,
            )
        except (UnknownNameError, WeightsError) as error:
            error.remedy += "; or give the space itself: Index.open(path, space=space)"
            raise


def write_space(space: Space, folder: Path) -> None:
    """Write a space into an index's folder, so that `LazySpace` can load it if that is possible at all.

    It is possible for encoders that plugins declare, with projections that can be saved. The card gets
    vectors to verify the space by, from the space's own folder or its plugin; those of a composed space are
    encoded.
    """
    card = space.card
    if space.projections and not card.probes:
        try:
            return space.save(folder)
        except (UnknownNameError, EncoderError):  # not shareable: then the space is given to Index.open
            return write_folder(folder, Saved(card, {}, {}))
    shipped = None if card.probes else read_shipped_card(space.specs.values())
    if shipped is not None and shipped.fingerprint == card.fingerprint:
        card = replace(card, probes=shipped.probes)
    write_folder(folder, Saved(card, _find_plugins(space), space.projections))


def _find_plugins(space: Space) -> Mapping[str, str]:
    """Find the distribution that declares each encoder, where one does."""
    found = {}
    for spec in space.specs.values():
        with suppress(UnknownNameError):
            found[spec.name] = registry().distribution(spec.name)
    return found
