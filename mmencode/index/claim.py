"""The towers of an index's rows: one encoder for each modality, be it one that joined its space."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ..card import SpaceCard, TowerCard
from ..embeddings.embeddings import Embeddings
from ..embeddings.multi import MultiEmbeddings
from ..errors import BusyError, EncoderError, SpaceMismatchError, StoreError, UnknownNameError
from ..errors.causes import message_of
from ..plugins.registry import registry
from ..plugins.spec import modality_of_key
from ..spaces.folder import CARD, read_card, write_joiner
from ..spaces.space import Space
from .shared import SpaceFiles, refuse_claim
from .store import Store

_TRIES = 20  # of the commit of a claim, beside other writers


class Claim:
    """The claim of one encoder to all rows of a modality that joined the index's space.

    The index's card holds it, so that it outlives the process. An encoder whose claim has no rows yet gives
    way to another.
    """

    def __init__(
        self, folder: Path, store: Store, space: Space, modality: str, shared: SpaceFiles | None = None
    ) -> None:
        self._folder, self._store, self._space, self._modality = folder, store, space, modality
        self._shared = shared
        self._tower = space.tower_card(modality)

    def require(self) -> SpaceCard | None:
        """Make the claim, or see that it holds, and give the index's card; None for the space's own towers.

        Within the block that has the right to write, so that no other gets the rows in between. Raises
        SpaceMismatchError where rows of another encoder are there, or of one that nobody knows.
        """
        if not self._tower.joined:
            return None
        if self._shared is not None:
            return self._require_shared(self._shared)
        card = read_card(self._folder / CARD)
        held = card.tower(self._modality)
        if held is not None and held.digest == self._tower.digest:
            return card
        if count := self._store.count(self._modality):
            raise refuse(self._modality, held, self._tower.name, count)
        return self._write()

    def _require_shared(self, shared: SpaceFiles) -> SpaceCard:
        """Make the claim where no lock keeps others away: the first one stays, whether it has rows or not."""
        for _ in range(_TRIES):
            shared.refresh()
            card = read_card(self._folder / CARD)
            held = card.tower(self._modality)
            if held is not None and held.digest == self._tower.digest:
                return card
            if held is not None:
                raise refuse_claim(self._modality, held, self._tower.name)
            card = self._write()
            if shared.publish():
                return card
        raise BusyError(
            "other writers kept changing the index's card",
            culprit=str(self._store.folder),
            remedy="try again",
        )

    def _write(self) -> SpaceCard:
        projection = self._space.projections.get(self._modality)
        plugin = None
        with suppress(UnknownNameError):
            plugin = registry().distribution(self._tower.name)
        try:
            return write_joiner(self._folder, self._tower, plugin, projection)
        except EncoderError:  # a projection of the caller's own class: then the space is given to Index.open
            return write_joiner(self._folder, self._tower, plugin, None)
        except OSError as cause:
            raise StoreError(
                f"the index's card can't be written: {message_of(cause)}",
                culprit=str(self._folder),
                remedy="make room on the disk, or get the right to write there; no row was changed",
            ) from cause


def require_claims(
    card: SpaceCard,
    embeddings: Embeddings | MultiEmbeddings,
    space: Space | None,
    count: Callable[[str], int],
) -> bool:
    """Whether vectors are of a modality that `space` is to claim before they are added to an index.

    `count` gives the number of rows of a modality. Raises SpaceMismatchError for vectors that another
    encoder made than the index's, and for those of a modality that joined its space and nobody knows how.
    """
    if asked := [key for key in embeddings.towers if modality_of_key(key) != key]:
        raise refuse_queries(asked[0])
    for modality, made_by in embeddings.towers.items():
        held = card.tower(modality)
        if held is not None and held.digest != made_by and (rows := count(modality)):
            raise refuse(modality, held, f"a tower {made_by}", rows)
    modality = embeddings.modality
    held = card.tower(modality)
    if held is not None and not held.joined:
        return False
    if (digest := embeddings.towers.get(modality)) is None:
        if held is not None and (rows := count(modality)):
            raise refuse(modality, held, "an encoder that they don't name", rows)
        return False
    if held is not None and held.digest == digest:
        return False
    if space is None or modality not in space.specs or space.tower_card(modality).digest != digest:
        raise SpaceMismatchError(
            f"the index doesn't know the encoder that made these vectors of {modality}, a tower {digest}",
            remedy="open it with the space that made them: Index.open(path, space=space)",
        )
    return True


def refuse_queries(key: str) -> SpaceMismatchError:
    """Make the error for rows of the queries' side, which documents aren't compared with."""
    return SpaceMismatchError(
        f"these vectors were made for queries, {key!r}, and an index holds documents",
        remedy=f"encode the items as documents: space.encode({modality_of_key(key)!r}, batch)",
    )


def require_documents(space: Space, modality: str) -> None:
    """Raise SpaceMismatchError for a modality that only queries have, UnknownModalityError for none."""
    asking = space.key(modality, "")
    if modality_of_key(asking) != asking:
        raise refuse_queries(asking)
    space.spec(asking)


def refuse(modality: str, held: TowerCard | None, other: str, count: int) -> SpaceMismatchError:
    """Make the error for rows of one modality by another encoder than that of the rows that are there."""
    own = "one that it doesn't know" if held is None else f"{held.name}, a tower {held.digest}"
    return SpaceMismatchError(
        f"the index holds {count} rows of {modality} by {own}, and rows by {other} aren't mixed with them",
        remedy=f"encode them with the index's own encoder, or all of them again with this one: "
        f"index.delete(\"modality = '{modality}'\"), and add the items once more",
    )
