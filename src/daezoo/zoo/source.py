"""Where entries and weights come from."""

import hashlib
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO, Any, NamedTuple
from urllib.parse import quote, urlsplit
from urllib.request import url2pathname

from daezoo.files import write_atomically
from daezoo.zoo import cache, download
from daezoo.zoo.entry import LARGEST_ENTRY, NAME, Entry, ZooError, check_name, parse, read


class Source(ABC):
    """A place that holds entries and their weights, side by side."""

    def __init__(self, where: str) -> None:
        self.where = where

    @abstractmethod
    def entry(self, name: str) -> Entry:
        """An entry by name.

        Raises:
            ZooError: If it is not there.
        """

    @abstractmethod
    def weights(self, entry: Entry, progress: download.Progress | None = None) -> bytes:
        """An entry's weights, verified.

        Raises:
            ZooError: If they are not there, or not what the entry says.
        """

    def names(self) -> list[str]:
        """The names of all entries.

        Raises:
            ZooError: If the place cannot say.
        """
        raise ZooError(f"{self.where} cannot be listed; give the name of a model.")

    def entries(self, pattern: str) -> list[Entry]:
        """The entries whose names match a pattern of * and ?."""
        return [self.entry(name) for name in self.names() if fnmatchcase(name, pattern)]


def _names(files: Iterable[str]) -> list[str]:
    """The names of the entries among files; other YAML files are not ours."""
    stems = {file.removesuffix(".yaml") for file in files if file.endswith(".yaml")}
    return sorted(stem for stem in stems if NAME.fullmatch(stem))


class Folder(Source):
    """A local folder."""

    def __init__(self, where: str, path: Path) -> None:
        super().__init__(where)
        self.path = path
        if not path.is_dir():
            raise ZooError(f"The source {where} is no folder.")

    def entry(self, name: str) -> Entry:
        """As the base."""
        path = self.path / f"{check_name(name)}.yaml"
        if not path.is_file():
            raise ZooError(f"The source {self.where} has no entry {name}: there is no file {path}.")
        return read(path)

    def weights(self, entry: Entry, progress: download.Progress | None = None) -> bytes:
        """As the base."""
        path = self.path / entry.weights.file
        if not path.is_file():
            raise ZooError(f"The source {self.where} lacks the weights of {entry.name}: there is no file {path}.")
        return read_weights(path, entry)

    def names(self) -> list[str]:
        """As the base."""
        return _names(path.name for path in self.path.glob("*.yaml"))


class Remote(Source):
    """A place behind a network; entries that were had once are kept for when it must not be used."""

    def entry(self, name: str) -> Entry:
        """As the base."""
        where = self.address(f"{check_name(name)}.yaml")
        kept = cache.folder() / "entries" / f"{hashlib.sha256(where.encode()).hexdigest()}.yaml"
        if cache.offline() and kept.is_file():
            return parse(kept.read_bytes(), str(kept))
        download.online(where)
        content = self.small(f"{name}.yaml")
        entry = parse(content, where)
        if entry.name != name:
            raise ZooError(f"{where} holds the entry {entry.name}, not {name}.")
        try:
            write_atomically(kept, lambda file: file.write(content))
        except OSError as error:
            raise ZooError(
                f"The cache {cache.folder()} cannot be written: {error.strerror or error}. Set DAEZOO_CACHE."
            ) from None
        return entry

    def weights(self, entry: Entry, progress: download.Progress | None = None) -> bytes:
        """As the base."""
        there = cache.get(entry.weights)
        return self.fetch(entry, progress) if there is None else there

    @abstractmethod
    def address(self, file: str) -> str:
        """What a file is called in errors."""

    @abstractmethod
    def small(self, file: str) -> bytes:
        """A small file's content."""

    @abstractmethod
    def fetch(self, entry: Entry, progress: download.Progress | None) -> bytes:
        """Weights, from there into the cache."""


class Web(Remote):
    """Files under a web address."""

    headers: dict[str, str] | None = None

    def address(self, file: str) -> str:
        """As the base."""
        return f"{self.where.rstrip('/')}/{quote(file)}"

    def small(self, file: str) -> bytes:
        """As the base."""
        return download.small_file(self.address(file), LARGEST_ENTRY, self.headers)

    def fetch(self, entry: Entry, progress: download.Progress | None) -> bytes:
        """As the base."""
        return download.fetch(self.address(entry.weights.file), entry.weights, progress, self.headers)


class Hub(Web):
    """A model repository of the Hugging Face Hub, hf://organisation/repository[@revision]."""

    def __init__(self, where: str) -> None:
        super().__init__(where)
        parts = where.removeprefix("hf://").strip("/").split("/")
        if len(parts) != 2 or not all(parts):
            raise ZooError(f"A source on the Hugging Face Hub is hf://organisation/repository, got {where}.")
        self.repository, _, self.revision = "/".join(parts).partition("@")
        token = hub_library().get_token()
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}

    def address(self, file: str) -> str:
        """As the base."""
        return hub_library().hf_hub_url(self.repository, file, revision=self.revision or None, endpoint=hub_endpoint())

    def names(self) -> list[str]:
        """As the base."""
        download.online(self.where)
        hub = hub_library()
        try:
            files = hub.HfApi(hub_endpoint()).list_repo_files(self.repository, revision=self.revision or None)
        except Exception as error:  # of the hub, of its HTTP library, of the connection
            raise ZooError(f"{self.where} cannot be listed: {' '.join(str(error).split())}") from None
        return _names(files)


class Elsewhere(Remote):
    """Anything else that fsspec opens, such as s3://."""

    def address(self, file: str) -> str:
        """As the base."""
        return f"{self.where.rstrip('/')}/{file}"

    def small(self, file: str) -> bytes:
        """As the base."""
        with _said(self.address(file)), open_remote(self.address(file)) as remote:
            return remote.read(LARGEST_ENTRY + 1)

    def fetch(self, entry: Entry, progress: download.Progress | None) -> bytes:
        """As the base."""
        where = self.address(entry.weights.file)
        download.online(where)

        def transfer(file: IO[bytes]) -> None:
            there = file.seek(0, os.SEEK_END)
            with _said(where), open_remote(where) as remote:
                remote.seek(there)
                while (chunk := remote.read(download.CHUNK)) and there <= entry.weights.bytes:
                    there += len(chunk)
                    _write(file, chunk)
                    if progress:
                        progress(there)

        return download.receive(where, entry.weights, transfer)

    def names(self) -> list[str]:
        """As the base."""
        import fsspec

        download.online(self.where)
        with _said(self.where):
            system, path = fsspec.url_to_fs(self.where)
            return _names(file.rpartition("/")[2] for file in system.ls(path, detail=False))

    def write(self, files: dict[str, bytes]) -> None:
        """Write files there.

        Raises:
            ZooError: If they cannot be written.
        """
        import fsspec

        for name, content in files.items():
            with _said(self.address(name)), fsspec.open(self.address(name), "wb") as remote:
                remote.write(content)


class _Unwritable(Exception):
    """The local disk's fault, not that of the other side.

    Args:
        disk: What it said.
    """

    def __init__(self, disk: OSError) -> None:
        self.disk = disk


def _write(file: IO[bytes], chunk: bytes) -> None:
    try:
        file.write(chunk)
    except OSError as error:
        raise _Unwritable(error) from None


@contextmanager
def _said(where: str) -> Iterator[None]:
    """What fsspec's many libraries raise, as a ZooError; what the local disk does stays an OSError."""
    try:
        yield
    except ZooError:
        raise
    except _Unwritable as error:
        raise error.disk from None
    except Exception as error:
        raise ZooError(
            f"{where} cannot be had: {type(error).__name__}: {error}. Check the address, the access rights, and that "
            "fsspec's package for it is installed; or name another source: --source."
        ) from None


def open_remote(url: str) -> Any:
    """A remote file, open to read."""
    import fsspec

    return fsspec.open(url, "rb")


def hub_library() -> Any:
    """The package huggingface_hub.

    Raises:
        ZooError: If it is not installed.
    """
    try:
        import huggingface_hub
    except ImportError:
        raise ZooError("hf:// needs the package huggingface_hub: pip install 'daezoo[hub]'") from None
    return huggingface_hub


def hub_endpoint() -> str | None:
    """The environment's HF_ENDPOINT at this moment; None for the Hub itself."""
    return os.environ.get("HF_ENDPOINT") or None


def read_weights(path: Path, entry: Entry) -> bytes:
    """Weights from a local file, verified.

    Raises:
        ZooError: If it cannot be read, or is another file.
    """
    try:
        cache.check_size(path.stat().st_size, entry.weights, str(path))
        return cache.check(path.read_bytes(), entry.weights, str(path))
    except OSError as error:
        raise ZooError(f"{path} cannot be read: {error.strerror or error}.") from None


def open_source(where: str) -> Source:
    """The source that an address names: a folder, file://, http(s)://, hf://, or what fsspec opens, such as s3://.

    Raises:
        ZooError: If there is none such.
    """
    local = local_folder(where)
    if local is not None:
        return Folder(where, local)
    if where.startswith(("http://", "https://")):
        return Web(where)
    return Hub(where) if where.startswith("hf://") else Elsewhere(where)


def local_folder(where: str) -> Path | None:
    """The folder that an address names; None if it is none of this machine."""
    if where.startswith("file://"):
        return Path(url2pathname(urlsplit(where).path))
    return None if "://" in where else Path(where).expanduser()


def shipped_folder() -> Path:
    """The folder of the entries that come with this package: a checkout's zoo/, else what is inside the wheel."""
    checkout = Path(__file__).resolve().parents[3]
    inside = Path(__file__).resolve().parent / "pretrained"
    return checkout / "zoo" if (checkout / "pyproject.toml").is_file() and not inside.is_dir() else inside


def imported_folder() -> Path:
    """Where entries are kept that `daezoo zoo import` brought."""
    return cache.folder() / "imported"


class Shipped(Source):
    """What comes with this package or was imported; weights from beside the entry, the cache, or the entry's urls."""

    def __init__(self) -> None:
        super().__init__("the shipped zoo")

    def _place(self, name: str) -> Path | None:
        folders = (shipped_folder(), imported_folder())
        return next((folder for folder in folders if (folder / f"{name}.yaml").is_file()), None)

    def entry(self, name: str) -> Entry:
        """As the base."""
        folder = self._place(check_name(name))
        if folder is None:
            near = [known for known in self.names() if known.partition(".")[0] == name.partition(".")[0]]
            raise ZooError(
                f"There is no pretrained model {name}. Known: {', '.join(near or self.names()) or 'none'}. "
                "For a model from elsewhere, name its source: --source."
            )
        return read(folder / f"{name}.yaml")

    def names(self) -> list[str]:
        """As the base."""
        folders = (shipped_folder(), imported_folder())
        return _names(path.name for folder in folders for path in folder.glob("*.yaml"))

    def entries(self, pattern: str) -> list[Entry]:
        """As the base; imported ones that this version cannot read are named on stderr."""
        found = []
        for name in self.names():
            try:
                found += [self.entry(name)] if fnmatchcase(name, pattern) else []
            except ZooError as error:
                if self._place(name) == shipped_folder():
                    raise
                print(f"daezoo: warning: {error}", file=sys.stderr)
        return found

    def weights(self, entry: Entry, progress: download.Progress | None = None) -> bytes:
        """As the base."""
        beside = (self._place(entry.name) or shipped_folder()) / entry.weights.file
        if beside.is_file():
            return read_weights(beside, entry)
        there = cache.get(entry.weights)
        if there is not None:
            return there
        failed = [f"no file {beside}", f"not in the cache {cache.folder()}"]
        for url in entry.urls:
            try:
                return fetch_url(url, entry, progress)
            except ZooError as error:
                failed.append(str(error))
        if not entry.urls:
            failed.append("its entry names no urls")
        raise ZooError(
            f"The weights of {entry.name} are not here: {'; '.join(failed)}. Get {entry.weights.file} "
            f"({entry.weights.bytes:,} bytes, sha256 {entry.weights.sha256}) from a checkout of daezoo or a machine "
            f"that has it, with its {entry.name}.yaml, into one folder, and run: daezoo zoo import FOLDER"
        )


def fetch_url(url: str, entry: Entry, progress: download.Progress | None = None) -> bytes:
    """Weights from one of an entry's urls, the address of the file itself.

    Raises:
        ZooError: If they cannot be had, or are not what the entry says.
    """
    if url.startswith(("http://", "https://")):
        return download.fetch(url, entry.weights, progress)
    place, _, file = url.rpartition("/")
    source = open_source(place)
    if file != entry.weights.file or not isinstance(source, Remote):
        raise ZooError(f"{url} is no address of {entry.weights.file}.")
    return source.fetch(entry, progress)


def source_of(source: str | os.PathLike[str] | None) -> Source:
    """The source that was asked for, else the environment's DAEZOO_SOURCE, and then nothing else; else the shipped zoo.

    Raises:
        ZooError: If there is none such.
    """
    chosen = os.fspath(source) if source is not None else os.environ.get("DAEZOO_SOURCE")
    return open_source(chosen) if chosen else Shipped()


class Found(NamedTuple):
    """An entry, and the source that has its weights."""

    entry: Entry
    source: Source


def find(name: str, source: str | os.PathLike[str] | None = None) -> Found:
    """The entry of a name.

    Args:
        name: family.tag, the path of an entry's file or its weights, or hf://organisation/repository with one entry.
        source: Where to look for a name, instead of DAEZOO_SOURCE or the shipped zoo.

    Raises:
        ZooError: If there is none.
    """
    path = Path(name)
    if source is not None and (name.startswith("hf://") or path.suffix in (".yaml", ".safetensors")):
        raise ZooError(f"{name} says itself where the model is, so a source beside it means nothing. Leave one out.")
    if name.startswith("hf://"):
        hub = open_source(name)
        names = hub.names()
        if len(names) != 1:
            raise ZooError(
                f"{name} has {len(names)} entries ({', '.join(names) or 'none'}); give a name, and --source {name}."
            )
        return Found(hub.entry(names[0]), hub)
    if path.suffix in (".yaml", ".safetensors"):
        entry = read(path.with_suffix(".yaml"))
        return Found(entry, Folder(str(path.parent), path.parent))
    opened = source_of(source)
    return Found(opened.entry(name), opened)


def list_models(pattern: str = "*", source: str | os.PathLike[str] | None = None) -> list[str]:
    """The names of the pretrained models.

    Args:
        pattern: Of the names, as for files: `stacked.*`.
        source: Another place than DAEZOO_SOURCE or the shipped zoo.

    Raises:
        ZooError: If the source cannot be listed.
    """
    return [name for name in source_of(source).names() if fnmatchcase(name, pattern)]


def info(name: str, source: str | os.PathLike[str] | None = None) -> Entry:
    """All that is known of a pretrained model.

    Args:
        name: As for `daezoo.load`, but no run.
        source: Another place than DAEZOO_SOURCE or the shipped zoo.

    Raises:
        ZooError: If there is none of that name.
    """
    return find(name, source).entry
