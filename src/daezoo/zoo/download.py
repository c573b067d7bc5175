"""Files from a web server: resumed, retried, and never more of them than was announced."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import IO

import requests
import urllib3

from daezoo import __version__
from daezoo.zoo import cache
from daezoo.zoo.entry import Weights, ZooError

ATTEMPTS = 5
"""Requests for one file in a row that may fail before we give up; one that brought something forward does not count."""
TIMEOUT = (10.0, 30.0)
"""Seconds to wait for a connection, and for the next byte."""
PAUSE = 1.0
"""Seconds before the second attempt; twice as long before each further one."""
LONGEST_PAUSE = 60.0
"""Seconds that we wait when a server says Retry-After, at most; if it says more, we give up."""
PASSING = (408, 425, 429, 500, 502, 503, 504)
CHUNK = 2**16

Progress = Callable[[int], None]
"""Called with the number of bytes that are there."""


class Passing(Exception):
    """A failure that may be over soon.

    Args:
        reason: What happened.
        pause: Seconds to wait; None for the usual.
    """

    def __init__(self, reason: str, pause: float | None = None) -> None:
        super().__init__(reason)
        self.pause = pause


def online(url: str) -> None:
    """Raise ZooError if DAEZOO_OFFLINE is set."""
    if cache.offline():
        raise ZooError(f"DAEZOO_OFFLINE is set, so {url} is not asked for. Unset it, or name a local --source.")


def _retry_after(value: str | None) -> float | None:
    if not value:
        return None
    try:
        pause = float(value) if value.strip().isdecimal() else parsedate_to_datetime(value).timestamp() - time.time()
    except (ValueError, OverflowError):
        return None
    return max(0.0, pause)


@contextmanager
def _opened(url: str, start: int, headers: dict[str, str]) -> Iterator[requests.Response]:
    headers = {"User-Agent": f"daezoo/{__version__}", "Accept-Encoding": "identity", **headers}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        with requests.Session() as session, session.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
            if response.status_code in PASSING:
                pause = _retry_after(response.headers.get("Retry-After"))
                if pause is not None and pause > LONGEST_PAUSE:
                    raise ZooError(
                        f"{url}: the server answers {response.status_code} and wants us back in {pause:.0f} s. "
                        "Try again then, or name another source: --source."
                    )
                raise Passing(f"the server answers {response.status_code} {response.reason}", pause)
            if response.status_code not in ((200, 206, 416) if start else (200,)):
                raise ZooError(
                    f"{url}: the server answers {response.status_code} {response.reason}. Check the address, or name "
                    "another source: --source."
                )
            yield response
    except ZooError:
        raise
    except (requests.TooManyRedirects, ValueError) as error:  # a ValueError of requests is about the address
        raise ZooError(f"{url} cannot be had: {error}. Name another source: --source.") from None
    except requests.RequestException as error:
        raise Passing(_reason(error)) from None


def _reason(error: Exception) -> str:
    """What went wrong, without the objects that urllib3 wraps around it."""
    cause: BaseException = error
    while cause.args and isinstance(cause.args[0], BaseException):
        cause = cause.args[0]
    if isinstance(cause, urllib3.exceptions.ProtocolError):
        return str(cause.args[0]) if cause.args else "the connection was lost"
    return str(getattr(cause, "reason", None) or cause) or type(cause).__name__


def _persist(url: str, attempt: Callable[[], bool]) -> None:
    """Call `attempt` until it does not fail; it returns whether it brought something forward before it failed.

    Raises:
        ZooError: If it failed too often in a row.
    """
    failures = 0
    while True:
        online(url)
        try:
            if attempt():
                return
        except Passing as error:
            failures += 1
            if failures >= ATTEMPTS:
                raise ZooError(
                    f"{url} cannot be had: {error}, {failures} times in a row. What came, if anything, is kept, and "
                    "the next attempt goes on from there. Try again later, or name another source: --source."
                ) from None
            time.sleep(PAUSE * 2 ** (failures - 1) if error.pause is None else error.pause)
        else:
            failures = 0


def small_file(url: str, largest: int, headers: dict[str, str] | None = None) -> bytes:
    """A small file's content.

    Args:
        url: http or https.
        largest: Bytes it may have.
        headers: Sent along.

    Raises:
        ZooError: If it cannot be had, or is larger.
    """
    content = b""

    def attempt() -> bool:
        nonlocal content
        content = b""
        with _opened(url, 0, headers or {}) as response:
            announced = response.headers.get("Content-Length", "")
            for chunk in response.iter_content(CHUNK):
                content += chunk
                if len(content) > largest:
                    raise ZooError(f"{url} is larger than {largest:,} bytes, so it is not what we look for.")
            if announced.isdecimal() and len(content) < int(announced):
                raise Passing("the connection was lost")
            return True

    _persist(url, attempt)
    return content


def fetch(url: str, weights: Weights, progress: Progress | None = None, headers: dict[str, str] | None = None) -> bytes:
    """Download weights into the cache, or find that somebody else just did.

    A download that was cut short, by the server or by the end of the process, goes on at the byte where it stopped.

    Args:
        url: http or https.
        weights: What is expected.
        progress: Told of progress.
        headers: Sent along.

    Returns:
        The verified content.

    Raises:
        ZooError: If it cannot be had, is not what is expected, or cannot be kept. The cache then holds no bad file.
    """
    return receive(url, weights, lambda file: _Download(url, weights, file, progress, headers or {}).run())


def receive(where: str, weights: Weights, transfer: Callable[[IO[bytes]], None]) -> bytes:
    """Let `transfer` complete the unfinished file of some weights, verify it and keep it in the cache.

    If what was there before spoils it, it is transferred once more from the beginning.

    Args:
        where: Where it comes from, for errors.
        weights: What is expected.
        transfer: Called with the unfinished file, open to read and write.

    Returns:
        The verified content.

    Raises:
        ZooError: As `fetch`.
    """
    with cache.locked(weights):
        there = cache.get(weights)
        if there is not None:
            return there
        part = cache.partial_of(weights)
        try:
            while True:
                resumed = part.is_file()
                try:
                    with open(part, "r+b" if resumed else "w+b") as file:
                        transfer(file)
                        file.flush()
                        os.fsync(file.fileno())
                    content = _checked(part.read_bytes(), weights, where)
                    os.replace(part, cache.place_of(weights))
                    return content
                except _Mismatch:
                    part.unlink()
                    if not resumed:
                        raise
        except OSError as error:
            part.unlink(missing_ok=True)
            raise ZooError(
                f"{weights.file} cannot be kept in the cache {cache.folder()}: {error.strerror or error}. Free "
                f"{weights.bytes:,} bytes there, or set DAEZOO_CACHE to another folder."
            ) from None
        finally:
            if part.is_file() and not part.stat().st_size:
                part.unlink()


class _Mismatch(ZooError):
    """What came is not what was expected."""


def _checked(content: bytes, weights: Weights, where: str) -> bytes:
    try:
        return cache.check(content, weights, where)
    except ZooError as error:
        raise _Mismatch(f"{error} The download was thrown away.") from None


class _Download:
    """One file on its way.

    Args:
        url: From where.
        weights: What is expected.
        file: Where it goes; what it holds already is not asked for again.
        progress: Told of progress.
        headers: Sent along.
    """

    def __init__(
        self, url: str, weights: Weights, file: IO[bytes], progress: Progress | None, headers: dict[str, str]
    ) -> None:
        self.url, self.weights, self.file = url, weights, file
        self.progress, self.headers = progress, headers
        self.there = self.furthest = file.seek(0, os.SEEK_END)

    def run(self) -> None:
        """Complete the file."""
        if self.there > self.weights.bytes:
            self._begin_anew()
        _persist(self.url, self._bring_forward)

    def _begin_anew(self) -> None:
        self.file.seek(0)
        self.file.truncate()
        self.there = 0

    def _bring_forward(self) -> bool:
        """One request; whether the file is complete.

        Raises:
            Passing: If nothing came that was not there before.
        """
        if self.there == self.weights.bytes:
            return True
        start, furthest = self.there, self.furthest
        with _opened(self.url, start, self.headers) as response:
            if start and not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
                self._begin_anew()  # the server ignores ranges, or its file is shorter
                if response.status_code != 200:
                    raise Passing(f"the server has nothing from byte {start:,} on")
            reason = "the connection was lost"
            try:
                # what there is, at once: iter_content loses the last bytes before a connection breaks
                while chunk := response.raw.read1(CHUNK):
                    self._keep(chunk)
            except urllib3.exceptions.HTTPError as error:
                reason = _reason(error)
            else:
                announced = response.headers.get("Content-Length", "")
                # a range may be shorter than what was asked for, if the whole is not
                whole = response.headers.get("Content-Range", "").endswith(f"/{self.weights.bytes}")
                if self.there < self.weights.bytes and announced.isdecimal() and not whole:
                    raise _Mismatch(self._other(f"has {self.there:,} bytes"))
        if self.there == self.weights.bytes:
            return True
        if self.furthest == furthest:
            raise Passing(reason)
        return False

    def _keep(self, chunk: bytes) -> None:
        if self.there + len(chunk) > self.weights.bytes:
            raise _Mismatch(self._other("sends more"))
        self.file.write(chunk)
        self.file.flush()  # so that a killed process leaves all that came
        self.there += len(chunk)
        self.furthest = max(self.furthest, self.there)
        if self.progress:
            self.progress(self.there)

    def _other(self, what: str) -> str:
        return (
            f"{self.url} {what}; {self.weights.file} has {self.weights.bytes:,} bytes and the sha256 "
            f"{self.weights.sha256}. It is truncated or another file. The download was thrown away. Name another "
            "source: --source."
        )
