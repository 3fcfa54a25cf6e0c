"""Files where they lie: on disks of this machine, or behind an address such as s3://bucket/photos."""

from __future__ import annotations

import errno
import glob
import io
import os
import posixpath
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from .._atomic import file_aside, open_regular
from ..errors import InputError, MmencodeError, StoreError
from ..errors.causes import fault_of, message_of
from ..inputs.walking import Walk, endings_of
from ..plugins.packages import import_package
from .units import File

_WILD = "*?["
_BUFFER = 2**16
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
TABLES = (".csv", ".jsonl", ".parquet", ".tar")


def is_address(place: str) -> bool:
    """Whether a place is an address, with a scheme, rather than a path on this machine."""
    return "://" in place


def absolute(place: str) -> str:
    """Make a path absolute, for processes with other working folders; an address stays what it is."""
    return place if is_address(place) else os.path.abspath(place)


class Disk:
    """Files on this machine, by their paths."""

    def find(self, source: str, modality: str) -> list[File]:
        """List the files of a folder, those that a pattern matches, or the one that is named, sorted.

        Names are relative to the folder, or to the part of a pattern before its first wildcard. A folder's
        files are those of the modality, without hidden ones and links out of it, or else, where it has none,
        its tables and archives. InputError for a folder that can't be listed, whose files would seem gone.
        """
        if os.path.isdir(source):
            walk = Walk(source, modality)
            paths = list(walk) or _tables_below(source)
            for path, reason in walk.unlisted:
                raise InputError(reason, source=path, remedy="check its permissions", fault="access")
            paths.sort()
            return [self._file(path, os.path.relpath(path, source)) for path in paths]
        if any(mark in source for mark in _WILD) and not os.path.exists(source):
            root = _root_of(source, os.sep)
            paths = sorted(path for path in glob.glob(source, recursive=True) if os.path.isfile(path))
            return [self._file(path, os.path.relpath(path, root)) for path in paths]
        return [self._file(source, os.path.basename(source))]

    def _file(self, path: str, name: str) -> File:
        try:
            state = os.stat(path)
        except OSError as cause:
            raise _unreadable(path, cause) from cause
        return File(path, name.replace(os.sep, "/"), state.st_size, str(state.st_mtime_ns))

    def look(self, file: File) -> File:
        """Look at a file again; InputError where it is gone."""
        return self._file(file.path, file.name)

    @contextmanager
    def open(self, path: str) -> Iterator[BinaryIO]:
        """Open a regular file to read."""
        try:
            with open_regular(path) as file:
                yield file
        except OSError as cause:
            raise _unreadable(path, cause) from cause

    def item(self, file: File, most: int) -> Any:
        """An item that is a file: its path, which encoders read themselves."""
        return file.path

    def names(self, folder: str) -> list[str]:
        """List the names of the files in a folder, sorted; none where there is no folder."""
        with _telling(folder, "read"), suppress(FileNotFoundError):
            return sorted(entry.name for entry in os.scandir(folder) if entry.is_file())
        return []

    def write(self, path: str, content: bytes) -> None:
        """Write a file whole or not at all, with the folder around it; StoreError where that fails."""
        with _telling(path, "written"):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with file_aside(path) as aside:
                aside.write_bytes(content)

    def create(self, path: str, content: bytes) -> None:
        """Write a file unless it is there already, whatever other processes do meanwhile."""
        held = Path(f"{path}.{os.getpid()}.new")
        self.write(str(held), content)
        try:
            with _telling(path, "written"), suppress(FileExistsError):
                os.link(held, path)
        finally:
            held.unlink(missing_ok=True)

    def read(self, path: str) -> bytes | None:
        """Read a file; None where it isn't there."""
        with _telling(path, "read"), suppress(FileNotFoundError):
            return Path(path).read_bytes()
        return None

    def remove(self, path: str) -> None:
        """Remove a file; one that is gone already is fine."""
        with _telling(path, "removed"):
            Path(path).unlink(missing_ok=True)

    def join(self, *parts: str) -> str:
        """Join the parts of a path."""
        return os.path.join(*parts)


class Remote:
    """Files behind addresses, by fsspec and its packages: s3fs for s3://, gcsfs for gs://."""

    def __init__(self, address: str) -> None:
        scheme = address.partition("://")[0]
        library: Any = import_package("fsspec", f"{scheme}:// needs fsspec", "pip install 'mmencode[scale]'")
        try:
            self._files, _ = library.core.url_to_fs(address)
        except (ImportError, ValueError) as cause:
            raise InputError(
                f"{scheme}:// can't be opened: {message_of(cause)}",
                source=address,
                remedy="install the package of fsspec for it: s3fs for s3://, gcsfs for gs://",
                fault="access",
            ) from cause

    def find(self, source: str, modality: str) -> list[File]:
        """List the files below a prefix, those that a pattern matches, or the one that is named, sorted."""
        files, start = self._files, self._files._strip_protocol(source)
        with _readable(source):
            files.invalidate_cache()
            if any(mark in start for mark in _WILD):
                root, found = _root_of(start, "/"), files.glob(start, detail=True)
            elif files.isfile(start):
                return [self._file(start, posixpath.basename(start), files.info(start))]
            else:
                root, found = start.rstrip("/"), files.find(start, detail=True)
                items, tables = (
                    {path: info for path, info in found.items() if _is_wanted(path, root, endings)}
                    for endings in (endings_of(modality), TABLES)
                )
                found = items or tables
        listed = sorted((path, info) for path, info in found.items() if info.get("type") == "file")
        return [self._file(path, _below(path, root), info) for path, info in listed]

    def _file(self, path: str, name: str, info: dict[str, Any]) -> File:
        path = self._files.unstrip_protocol(path)
        etag = info.get("ETag") or info.get("etag") or info.get("mtime") or info.get("LastModified") or ""
        return File(path, name, int(info.get("size") or 0), str(etag))

    def look(self, file: File) -> File:
        """Look at a file again; InputError where it is gone."""
        with _readable(file.path):
            self._files.invalidate_cache()
            path = self._files._strip_protocol(file.path)
            return self._file(path, file.name, self._files.info(path))

    @contextmanager
    def open(self, path: str) -> Iterator[BinaryIO]:
        """Open a file to read."""
        with _readable(path):
            file = self._files.open(self._files._strip_protocol(path), "rb")
        with file:
            yield io.BufferedReader(_Told(file, path), _BUFFER)

    def beside(self, table: str, path: str) -> str:
        """The address of a path that is relative to a table."""
        folder = posixpath.dirname(self._files._strip_protocol(table))
        return str(self._files.unstrip_protocol(posixpath.normpath(posixpath.join(folder, path))))

    def item(self, file: File, most: int) -> Any:
        """An item that is a file: its bytes; InputError for one that is larger than may be read."""
        if file.size > most:
            raise InputError(
                f"it has {file.size} bytes, and at most {most} are read",
                source=file.name,
                remedy="raise Limits.bytes, if this is no mistake",
                fault="limit",
            )
        with _readable(file.path):
            content = self._files.cat_file(self._files._strip_protocol(file.path), start=0, end=most + 1)
        if len(content) > most:
            raise InputError(
                f"it has more than {most} bytes, and no more are read",
                source=file.name,
                remedy="raise Limits.bytes, if this is no mistake",
                fault="limit",
            )
        return content

    def names(self, folder: str) -> list[str]:
        """List the names of the files below a prefix, sorted."""
        with _telling(folder, "read"), suppress(FileNotFoundError):
            self._files.invalidate_cache()
            found = self._files.ls(self._files._strip_protocol(folder), detail=True)
            return sorted(posixpath.basename(info["name"]) for info in found if info["type"] == "file")
        return []

    def write(self, path: str, content: bytes) -> None:
        """Write a file in one request, so that it is there whole or not at all; StoreError if that fails."""
        with _telling(path, "written"):
            self._files.pipe_file(self._files._strip_protocol(path), content)

    def create(self, path: str, content: bytes) -> None:
        """Write a file unless it is there already; storage without conditional writes may let two through."""
        if self.read(path) is not None:
            return
        try:
            with _telling(path, "written"), suppress(FileExistsError):
                self._files.pipe_file(self._files._strip_protocol(path), content, mode="create")
        except (
            StoreError
        ):  # which is what some libraries make of the answer that it is there, such as S3's 412
            if self.read(path) is None:
                raise

    def read(self, path: str) -> bytes | None:
        """Read a file; None where it isn't there."""
        with _telling(path, "read"), suppress(FileNotFoundError):
            return bytes(self._files.cat_file(self._files._strip_protocol(path)))
        return None

    def remove(self, path: str) -> None:
        """Remove a file; one that is gone already is fine."""
        with _telling(path, "removed"), suppress(FileNotFoundError):
            self._files.rm_file(self._files._strip_protocol(path))

    def join(self, *parts: str) -> str:
        """Join the parts of an address."""
        return "/".join([parts[0].rstrip("/"), *parts[1:]])


Storage = Disk | Remote


def storage_of(place: str) -> Storage:
    """Find the storage of a path or an address."""
    return Remote(place) if is_address(place) else Disk()


class _Told(io.RawIOBase):
    """A file of fsspec as one of Python's, whose errors name it; fsspec's own reads lines of any length."""

    def __init__(self, file: Any, path: str) -> None:
        self._file, self._path = file, path

    def readable(self) -> bool:
        """Tell that the file can be read."""
        return True

    def seekable(self) -> bool:
        """Tell that the file can be read from any place."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read as many bytes as are there, at most as many as fit."""
        with _readable(self._path):
            content = self._file.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def seek(self, place: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place, and tell it."""
        with _readable(self._path):
            return int(self._file.seek(place, whence))

    def tell(self) -> int:
        """Tell the place that is read from next."""
        return int(self._file.tell())


def _tables_below(folder: str) -> list[str]:
    """The paths of the tables and archives below a folder, without hidden ones and links."""
    found = []
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = [os.path.join(root, name) for name in names if not name.startswith(".")]
        found += [path for path in paths if path.lower().endswith(TABLES) and not os.path.islink(path)]
    return found


def _is_wanted(path: str, root: str, endings: Sequence[str]) -> bool:
    below = _below(path, root)
    return path.lower().endswith(tuple(endings)) and not any(
        part.startswith(".") for part in below.split("/")
    )


def _below(path: str, root: str) -> str:
    """The name of a file below a prefix; two slashes in a row stay two, since such are two names."""
    return path.removeprefix(root).removeprefix("/") if root else path


def _root_of(pattern: str, separator: str) -> str:
    """The folder before the first wildcard of a pattern."""
    parts = pattern.split(separator)
    first = next(place for place, part in enumerate(parts) if any(mark in part for mark in _WILD))
    return separator.join(parts[:first]) or (separator if pattern.startswith(separator) else ".")


@contextmanager
def _readable(path: str) -> Iterator[None]:
    """Raise any error of storage as InputError: libraries have classes of their own."""
    try:
        yield
    except MmencodeError:
        raise
    except Exception as cause:
        raise _unreadable(path, cause) from cause


@contextmanager
def _telling(path: str, doing: str) -> Iterator[None]:
    """Raise any error of an output's storage but FileNotFoundError and FileExistsError as StoreError."""
    try:
        yield
    except (MmencodeError, FileNotFoundError, FileExistsError):
        raise
    except Exception as cause:
        full = getattr(cause, "errno", None) in _FULL
        raise StoreError(
            f"the output can't be {doing}: {'the disk is full: ' if full else ''}{message_of(cause)}",
            culprit=path,
            remedy="make room and run this again, which goes on from here"
            if full
            else "check the address, the credentials and the right to write there; what is done is kept",
        ) from cause


def _unreadable(path: str, cause: Exception) -> InputError:
    return InputError(
        f"it can't be read: {message_of(cause)}",
        source=path,
        remedy="check that it is there and may be read, with the credentials that you have",
        fault=fault_of(cause, "access"),
    )
