"""Indexes on object storage, which has no locks and no renames: each commit is one conditional write.

Whoever commits a version that another has committed meanwhile is refused by the storage, and LanceDB looks
what the other one changed. Rows, failures and files of the space have their key declared as such, so that two
writers that add one key at once are told apart: the later one looks again and replaces the row. So there may
be several writers, none of which needs to know of the others, or to unlock anything when it dies.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
import tempfile
import threading
import weakref
from pathlib import Path
from typing import Any

from ..card import TowerCard
from ..errors import BusyError, SpaceMismatchError, StoreError
from ..spaces.folder import CARD
from .columns import Owner, failure_schema, owner_of, row_schema
from .lance import as_store_errors, connect
from .places import Address

_MAKER = b"mmencode.index.maker"  # of the table of the space
_KEY = b"lance-schema:unenforced-primary-key"
ROWS, FAILURES, SPACE = "rows", "failures", "space"  # tables; the last one is made last


class SpaceFiles:
    """The card and the projections of an index's space, copied from its table into a temporary folder."""

    folder: Path

    def __init__(self, address: Address) -> None:
        self._address = address
        self.folder = Path(tempfile.mkdtemp(prefix="mmencode-index-"))
        self._remove = weakref.finalize(self, _remove, self.folder, os.getpid())
        self._table: Any = None
        self._digests: dict[str, str] = {}
        self._guard = threading.RLock()
        self.refresh()

    def refresh(self) -> None:
        """Copy what has changed since; StoreError where there is no index."""
        with self._guard, as_store_errors(self._address, "opened"):
            if self._table is None:
                self._table = _open(self._address, SPACE)
                if self._table is None:
                    raise absent(self._address)
            else:
                self._table.checkout_latest()
            for name, content in sorted(_files(self._table), reverse=True):  # the card last
                digest = _digest(content)
                if self._digests.get(name) != digest and "/" not in name:
                    (self.folder / name).write_bytes(content)
                    self._digests[name] = digest

    def publish(self) -> bool:
        """Write the files of the folder into the table; false where another writer has changed the card."""
        with self._guard, as_store_errors(self._address, "written"):
            known = self._digests.get(CARD, "")
            for path in sorted(self.folder.iterdir()):
                if path.name != CARD and self._digests.get(path.name) != _digest(path.read_bytes()):
                    _merge(self._table, [path])
            merged = _merge(self._table, [self.folder / CARD], f"target.digest = '{known}'")
            if merged.num_updated_rows == 1:
                self._digests[CARD] = _digest((self.folder / CARD).read_bytes())
                return True
            self._digests.clear()
        self.refresh()
        return False

    def close(self) -> None:
        """Remove the temporary folder."""
        self._remove()


def _remove(folder: Path, process: int) -> None:
    """Remove a folder of this process's; a child that was forked leaves it to its parent."""
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)


def has_shared(address: Address) -> bool:
    """Whether an address has an index."""
    with as_store_errors(address, "opened"):
        return _open(address, SPACE) is not None


def absent(address: Address) -> StoreError:
    """Make the error for an address without an index."""
    return StoreError(f"there is no index at {address}", remedy="make one with mmencode.Index.create")


def make_shared_tables(address: Address, dim: int, owner: Owner) -> None:
    """Make the empty tables of an index, which isn't one before `finish`; FileExistsError where there is one.

    What a process left that was killed while it made an index is removed.
    """
    if has_shared(address):
        raise _exists(address)
    with as_store_errors(address, "written"):
        database = connect(address)
        rows = _open(address, ROWS)
        if rows is not None and (rows.count_rows() or owner_of(rows.schema) is None):
            for name in (ROWS, FAILURES):
                database.drop_table(name, ignore_missing=True)
            rows = None
        if rows is None:
            rows = _create(address, ROWS, _with_key(row_schema(dim, owner)).empty_table())
        found = owner_of(rows.schema)  # of another process, where that made the table at the same time
        if found is None or (found.space, found.layout) != (owner.space, owner.layout):
            raise BusyError(
                "an index of another space is being made at this address",
                culprit=str(address),
                remedy="wait until it is there, or name another address",
            )
        failures = _open(address, FAILURES)
        if failures is not None and owner_of(failures.schema) != found:
            database.drop_table(FAILURES)
            failures = None
        if failures is None:
            _create(address, FAILURES, _with_key(failure_schema(found)).empty_table())


def finish(address: Address, folder: Path) -> None:
    """Write the files of a space's folder, which makes the tables an index.

    FileExistsError where another process was sooner, BusyError where none of several can be told to be first.
    """
    files = _table_of(sorted(folder.iterdir()))
    mine = secrets.token_hex(16).encode()
    with as_store_errors(address, "written"):
        tables = [_open(address, name) for name in (ROWS, FAILURES)]
        owners = {None if table is None else owner_of(table.schema) for table in tables}
        if len(owners) > 1 or None in owners:
            raise BusyError(
                "other processes were making an index at this address at the same time",
                culprit=str(address),
                remedy="let one of them make it: try again",
            )
        made = _create(address, SPACE, files.replace_schema_metadata({_MAKER: mine}))
    if _maker(made) != mine:
        raise _exists(address)


def refuse_claim(modality: str, held: TowerCard, other: str) -> SpaceMismatchError:
    """Make the error for an encoder of a modality that another encoder was added for."""
    return SpaceMismatchError(
        f"the index has {held.name}, a tower {held.digest}, for {modality}, which on object storage stays, "
        f"and rows by {other} aren't mixed with its",
        remedy="encode with the index's own encoder, or make another index",
    )


def _exists(address: Address) -> FileExistsError:
    return FileExistsError(errno.EEXIST, "there is an index already", str(address))


def _open(address: Address, name: str) -> Any:
    """Open a table; None where there is none."""
    try:
        return connect(address).open_table(name)
    except (ValueError, FileNotFoundError) as cause:
        if "was not found" in str(cause):
            return None
        raise


def _create(address: Address, name: str, content: Any) -> Any:
    """Make a table of rows, or open the one that another process made meanwhile.

    LanceDB looks first whether the table is there. One that comes up after that is written over, which
    its versions tell; then the last one of whoever was first is put back.
    """
    try:
        made = connect(address).create_table(name, content)
    except Exception:
        found = _open(address, name)
        if found is None:
            raise
        return found
    last = int(made.version)
    if last > 1:
        made.checkout(1)
        first = _maker(made)
        for version in range(last - 1, 0, -1):
            made.checkout(version)
            if _maker(made) == first:
                made.restore()
                break
        made.checkout_latest()
    return made


def _maker(table: Any) -> bytes:
    """The mark of the process that made a table."""
    facts = table.schema.metadata or {}
    owner = owner_of(table.schema)
    return facts.get(_MAKER, b"") if owner is None else owner.index.encode()


def _with_key(schema: Any) -> Any:
    """Declare that no two rows share the first column, which is what lets LanceDB tell writers apart."""
    metadata = {**(schema.field(0).metadata or {}), _KEY: b"true"}
    return schema.set(0, schema.field(0).with_metadata(metadata))


def _table_of(paths: list[Path]) -> Any:
    import pyarrow as pa

    contents = [path.read_bytes() for path in paths]
    fields = [("name", pa.string()), ("digest", pa.string()), ("content", pa.binary())]
    schema = pa.schema([pa.field(name, kind, nullable=False) for name, kind in fields])
    columns = [[path.name for path in paths], [_digest(each) for each in contents], contents]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.table(arrays, schema=_with_key(schema))


def _merge(table: Any, paths: list[Path], where: str | None = None) -> Any:
    merge = table.merge_insert("name").when_matched_update_all(where=where).when_not_matched_insert_all()
    return merge.execute(_table_of(paths))


def _files(table: Any) -> list[tuple[str, bytes]]:
    found = table.search().select(["name", "content"]).to_arrow().to_pylist()
    return [(row["name"], row["content"]) for row in found]


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
