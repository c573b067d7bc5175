"""Pretrained models for others: copied to a place, read back from there, and their address kept."""

import os
import re
from pathlib import Path
from tempfile import TemporaryDirectory

from daezoo.files import write_atomically
from daezoo.zoo import cache, entry, readme
from daezoo.zoo.download import online
from daezoo.zoo.entry import Entry, ZooError
from daezoo.zoo.source import (
    Elsewhere,
    Folder,
    Hub,
    Shipped,
    Source,
    Web,
    find,
    hub_endpoint,
    hub_library,
    imported_folder,
    local_folder,
    open_source,
    shipped_folder,
)


def publish(name: str, destination: str, source: str | None = None) -> Entry:
    """Copy a pretrained model's entry and weights to a folder, hf://ORG/REPO or what fsspec can write, such as s3://.

    Everything is read back from there and compared. If the model is of this checkout's zoo/, an address that
    others can reach, by web, hf://, s3://, gs:// or az://, becomes one of the entry's urls.

    Args:
        name: As for `daezoo.load`.
        destination: Where to.
        source: As for `daezoo.load`.

    Returns:
        The entry as it is there.

    Raises:
        ZooError: If it cannot be written there, or reads otherwise than it was written.
    """
    found, place = find(name, source)
    content = place.weights(found)
    url = f"{destination.rstrip('/')}/{found.weights.file}"
    public = re.fullmatch(entry.URL, url) is not None
    if public and url not in found.urls:
        found = found.model_copy(update={"urls": [*found.urls, url]})
    files = {f"{found.name}.yaml": found.to_yaml().encode(), found.weights.file: content}
    _send(destination, files, found)
    _compare(open_source(destination), found, content)
    ours = shipped_folder() / f"{found.name}.yaml"
    of_checkout = (shipped_folder().parent / "pyproject.toml").is_file() and ours.is_file()
    if public and of_checkout and isinstance(place, Shipped) and entry.read(ours).weights == found.weights:
        entry.write(found, shipped_folder())
        readme.write(shipped_folder())
    return found


def push_to_hub(name: str, repository: str, source: str | None = None, private: bool = False) -> Entry:
    """Publish a pretrained model in a repository of the Hugging Face Hub, which is made if there is none.

    Args:
        name: As for `daezoo.load`.
        repository: organisation/name.
        source: As for `daezoo.load`.
        private: Make a new repository private.

    Raises:
        ZooError: As for `publish`.
    """
    if private:
        _create(repository, private)
    return publish(name, f"hf://{repository}", source)


def _send(destination: str, files: dict[str, bytes], found: Entry) -> None:
    folder = local_folder(destination)
    if folder is not None:
        for name, content in files.items():
            _write(folder / name, content)
        return
    if destination.startswith(("http://", "https://")):
        raise ZooError(
            f"{destination} cannot be written by HTTP. Publish into a folder and put its files on the server, or "
            "publish to hf:// or s3://."
        )
    online(destination)
    if destination.startswith("hf://"):
        _send_to_hub(destination, files, found)
        return
    place = open_source(destination)
    assert isinstance(place, Elsewhere)
    place.write(files)


def _write(path: Path, content: bytes) -> None:
    write_atomically(path, lambda file: file.write(content))


def _create(repository: str, private: bool) -> None:
    online(f"hf://{repository}")
    try:
        hub_library().HfApi(hub_endpoint()).create_repo(repository, private=private, exist_ok=True)
    except Exception as error:  # of the hub, of its HTTP library, of the connection
        raise ZooError(f"hf://{repository} cannot be made: {' '.join(str(error).split())}") from None


def _send_to_hub(destination: str, files: dict[str, bytes], found: Entry) -> None:
    hub, place = hub_library(), open_source(destination)
    assert isinstance(place, Hub)
    _create(place.repository, False)
    others = [place.entry(name) for name in place.names() if name != found.name]
    models = sorted([*others, found], key=lambda one: one.name)
    files["README.md"] = readme.render(models, readme.CARD.format(where=destination)).encode()
    operations = [hub.CommitOperationAdd(path_in_repo=name, path_or_fileobj=content) for name, content in files.items()]
    try:
        hub.HfApi(hub_endpoint()).create_commit(
            place.repository, operations, commit_message="Add a model of daezoo", revision=place.revision or None
        )
    except Exception as error:
        raise ZooError(f"{destination} cannot be written: {' '.join(str(error).split())}") from None


def _compare(place: Source, found: Entry, content: bytes) -> None:
    """Raise ZooError unless a place holds just that; past the cache."""
    if place.entry(found.name) != found:
        raise ZooError(f"{place.where} holds another entry {found.name} than was written there.")
    if isinstance(place, Folder):
        read = place.weights(found)
    else:
        assert isinstance(place, Web | Elsewhere)
        with TemporaryDirectory() as empty, cache.elsewhere(Path(empty)):
            read = place.fetch(found, None)
    if read != content:
        raise ZooError(f"{place.where} holds other weights of {found.name} than were written there.")


def keep(found: Entry, content: bytes, folder: Path) -> None:
    """Write an entry and its verified weights into a folder, which then is a source.

    Raises:
        OSError: If it cannot be written.
    """
    _write(folder / found.weights.file, content)
    entry.write(found, folder)


def import_from(folder: str | os.PathLike[str], names: list[str]) -> list[Entry]:
    """Take models from a source into the cache, where `daezoo.load(name)` finds them without it.

    Args:
        folder: Any source; mostly a folder that `daezoo zoo download --dest` filled on another machine.
        names: Of the models; all if there are none.

    Raises:
        ZooError: If one is not what its entry says, or is called like another model that is known here.
    """
    place = open_source(os.fspath(folder))
    taken = []
    for name in names or place.names():
        found = place.entry(name)
        shipped = shipped_folder() / f"{name}.yaml"
        for known in (shipped, imported_folder() / f"{name}.yaml"):
            if known.is_file() and entry.read(known).weights != found.weights:
                raise ZooError(
                    f"{place.where} has other weights of {name} than {known}. Use it by --source, or delete that file."
                )
        content = place.weights(found)
        with cache.locked(found.weights):
            cache.put(content, found.weights, place.where)
        if not shipped.is_file():
            entry.write(found, imported_folder())
        taken.append(found)
    return taken
