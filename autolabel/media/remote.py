"""Inputs by address: buckets (``s3://``, ``gs://`` and others) through fsspec, the web, lists.

- A file's address is that file. In buckets a folder's address is everything below it, and
  ``*``, ``?``, ``[]`` and ``**`` work.
- ``https://.../list.txt`` is a list of addresses, one a line, relative ones to the list's own.
  Blank lines and lines that begin with ``#`` are skipped.

Content is what counts: the same bytes have the same key, wherever they are. What comes from
elsewhere is untrusted: files are limited in size, every wait in time, a list can't name this
machine's files, and what fails for the moment is tried again a few times.
"""

from __future__ import annotations

import http.client
import os
import posixpath
import re
import shutil
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, unquote, urljoin, urlsplit

from autolabel.errors import InputError, MissingExtra, UsageError
from autolabel.media.spool import Found

T = TypeVar("T")
TIMEOUT_SECONDS = 30.0
"""How long to wait for a server's next bytes."""
TRIES = 4
MAX_VIDEO_BYTES = 2**36
"""Videos larger than this (64 GiB) are refused."""
MAX_LINE = 8192
"""Bytes in a line of a list."""
LISTED = frozenset({"http", "https", "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss"})
"""What addresses a list may name."""
_CHUNK = 2**20
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://.")
_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})


def is_url(text: str) -> bool:
    """Return whether an input is an address, not a path."""
    return _URL.match(text) is not None


def size_and_time(path: str) -> tuple[int, int]:
    """Return a file's size in bytes and its time of change in ns; zeros for an address.

    What is at an address is taken as unchanged: asking for each would take as long as reading.

    Raises:
        OSError: If the file can't be looked at.
    """
    if is_url(path):
        return 0, 0
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns


def find(url: str, kind_of: Callable[[str], str | None]) -> Iterator[Found]:
    """Yield what an address stands for.

    Args:
        url: The address.
        kind_of: Says of a name whether it is an "image", a "video" or neither.

    Raises:
        UsageError: If nothing is there, or it may not be read.
        MissingExtra: If what reads this kind of bucket is not installed.
    """
    name = unquote(urlsplit(url).path) if _is_web(url) else url
    kind = kind_of(name)
    if kind is not None and not _has_magic(url):
        yield Found(url, 1, kind)
    elif not _is_web(url):
        yield from _in_bucket(url, kind_of)
    elif name.lower().endswith(".txt"):
        yield from _listed(url, kind_of)
    else:
        raise UsageError(
            f"{url}: expected the address of a picture or video, or of a list (.txt, one "
            "address a line): the web has no folders"
        )


def read_bytes(url: str, most: int) -> bytes:
    """Return the bytes at an address.

    Raises:
        InputError: If they can't be had, or are more than ``most``.
    """

    def read() -> bytes:
        with _opened(url) as file:
            data: bytes = file.read(most + 1)
        if len(data) > most:
            raise InputError(f"{url}: too large: more than {most:,} bytes")
        return data

    return _tried(url, read)


@contextmanager
def at_hand(path: str) -> Iterator[str]:
    """Give the path of a local file with what is at a path or an address.

    Raises:
        InputError: If it can't be had, or is larger than ``MAX_VIDEO_BYTES``.
    """
    if not is_url(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="autolabel-") as folder:
        target = Path(folder) / ("video" + posixpath.splitext(urlsplit(path).path)[1].lower())
        _tried(path, lambda: _save(path, target))
        yield str(target)


def _save(url: str, target: Path) -> None:
    """Write what is at an address to a file, piece by piece."""
    with _opened(url) as source, open(target, "wb") as file:
        while chunk := source.read(_CHUNK):
            file.write(chunk)
            if file.tell() > MAX_VIDEO_BYTES:
                raise InputError(f"{url}: too large: more than {MAX_VIDEO_BYTES:,} bytes")
        if shutil.disk_usage(target.parent).free < _CHUNK:
            raise InputError(f"{url}: the temporary folder {target.parent} is full")


def _is_web(url: str) -> bool:
    """Return whether a web server is asked, not a bucket."""
    return url.lower().startswith(("http://", "https://"))


def _has_magic(url: str) -> bool:
    """Return whether an address is a pattern; on the web it never is."""
    return not _is_web(url) and any(char in url for char in "*?[")


@contextmanager
def _opened(url: str) -> Iterator[Any]:
    """Give an address as a binary file to read."""
    if _is_web(url):
        safe = quote(url, safe="/:?#[]@!$&'()*+,;=%~-._")
        request = urllib.request.Request(safe, headers={"User-Agent": "autolabel"})
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
            yield _Whole(answer)
        return
    system, path = _bucket(url)
    with system.open(path, "rb") as file:
        yield file


class _Whole:
    """An answer of a web server that is an error where it ends before its length."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer
        self._left = int(answer.headers.get("Content-Length") or -1)

    def read(self, size: int) -> bytes:
        """Return up to ``size`` bytes, fewer at the end only."""
        data: bytes = self._answer.read(size)
        if self._left >= 0:
            self._left -= len(data)
            if len(data) < size and self._left > 0:
                raise http.client.IncompleteRead(b"", self._left)
        return data

    def __iter__(self) -> Iterator[bytes]:
        """Yield lines, long ones in pieces."""
        while line := self._answer.readline(MAX_LINE + 1):
            yield line


def _bucket(url: str) -> tuple[Any, str]:
    """Return the file system of an address, and the path in it.

    Raises:
        MissingExtra: If its package is not installed.
        UsageError: If there is no such kind of address.
    """
    try:
        import fsspec
    except ModuleNotFoundError as error:
        raise MissingExtra("fsspec", "remote") from error
    try:
        system, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise MissingExtra(
            f"what reads {url.partition('://')[0]}:// ({error})", "remote"
        ) from error
    except ValueError as error:
        raise UsageError(f"{url}: {error}") from error
    return system, path


def _tried(url: str, work: Callable[[], T]) -> T:
    """Return what ``work`` returns, tried again where that may help.

    Raises:
        InputError: If it doesn't; the message is "ADDRESS: what is wrong".
    """
    for attempt in range(TRIES):
        try:
            return work()
        except (InputError, UsageError, MissingExtra):
            raise
        except Exception as error:  # each kind of bucket has errors of its own
            if attempt == TRIES - 1 or not _may_pass(error):
                raise InputError(f"{url}: {_reason(error)}") from error
            time.sleep(0.2 * 4**attempt)
    raise AssertionError("unreachable: the last try returns or raises")


def _may_pass(error: Exception) -> bool:
    """Return whether another try may help."""
    if isinstance(error, urllib.error.HTTPError):
        return error.code in _AGAIN
    return not isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError)


def _reason(error: Exception) -> str:
    """Return what was wrong, in words."""
    if isinstance(error, urllib.error.HTTPError):
        return f"the server said {error.code} {error.reason}"
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, PermissionError) or type(error).__name__ == "NoCredentialsError":
        return (
            f"permission denied ({error}): are credentials set for this bucket (AWS_PROFILE, "
            "GOOGLE_APPLICATION_CREDENTIALS and the like), and may they list and read it?"
        )
    if isinstance(error, TimeoutError):
        return f"no answer within {TIMEOUT_SECONDS:g} s"
    return f"can't be read ({type(error).__name__}: {error})"


def _in_bucket(url: str, kind_of: Callable[[str], str | None]) -> Iterator[Found]:
    """Yield the pictures and videos below an address, or that match it."""
    system, path = _bucket(url)
    scheme = url.partition("://")[0]
    base = path if not _has_magic(path) else path[: re.search(r"[*?[]", path).start()]  # type: ignore[union-attr]
    depth = base.rstrip("/").count("/") if base.endswith("/") or not _has_magic(path) else 0
    depth = depth or base.count("/") - 1

    def names() -> list[str]:
        found = system.glob(path) if _has_magic(path) else system.find(path)
        return sorted(str(one) for one in found)

    try:
        every = _tried(url, names)
    except InputError as error:
        raise UsageError(str(error)) from error
    found = [(name, kind) for name in every if (kind := kind_of(name)) is not None]
    if not found:
        raise UsageError(
            f"{url}: no picture or video there; found {len(every)} other "
            f"file{'' if len(every) == 1 else 's'}"
        )
    for name, kind in found:
        yield Found(f"{scheme}://{name.lstrip('/')}", max(1, name.count("/") - depth), kind)


def _listed(url: str, kind_of: Callable[[str], str | None]) -> Iterator[Found]:
    """Yield what a list of addresses names."""
    empty = True
    for number, line in enumerate(_lines(url), 1):
        address = line.strip()
        if not address or address.startswith("#"):
            continue
        address = urljoin(url, address)
        scheme = urlsplit(address).scheme.lower()
        if scheme not in LISTED or len(line) > MAX_LINE:
            raise UsageError(
                f"{url}, line {number}: found {address[:80]!r}, expected an address of at most "
                f"{MAX_LINE} characters that begins with {', '.join(sorted(LISTED))}"
            )
        empty = False
        yield Found(address, 1, kind_of(unquote(urlsplit(address).path)) or "image")
    if empty:
        raise UsageError(f"{url}: the list is empty; expected one address a line")


def _lines(url: str) -> Iterable[str]:
    """Return the lines of a list, read whole before any is used: a broken one gives none."""

    def read() -> Path:
        with _opened(url) as file:
            for line in file:
                kept.write(line)
                if len(line) > MAX_LINE or kept.tell() > MAX_VIDEO_BYTES:
                    break
        return Path(kept.name)

    with tempfile.NamedTemporaryFile(prefix="autolabel-") as kept:
        try:
            _tried(url, lambda: (kept.seek(0), kept.truncate(), read()))
        except InputError as error:
            raise UsageError(str(error)) from error
        kept.seek(0)
        for line in kept:
            yield line.decode("utf-8", "replace")
