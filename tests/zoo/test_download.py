import multiprocessing
import os
import resource
import socket
import time

import pytest
import torch
from tiny_zoo import NAME, files_of, model_of, send, serving, tiny

import daezoo
from daezoo.files import write_text
from daezoo.zoo import cache, download
from daezoo.zoo.entry import ZooError
from daezoo.zoo.source import find


@pytest.fixture
def zoo(tmp_path, monkeypatch):
    """A folder to serve, an empty cache, and no patience."""
    monkeypatch.setenv("DAEZOO_CACHE", str(tmp_path / "cache"))
    for name in ("DAEZOO_SOURCE", "DAEZOO_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(download, "PAUSE", 0.001)
    monkeypatch.setattr(download, "TIMEOUT", (5.0, 0.3))
    return tmp_path / "zoo"


def kept():
    """What the cache holds of weights, whole or not."""
    return sorted(path.suffix for path in cache.folder().glob("*") if path.is_file())


def fetch(server, entry, **options):
    return download.fetch(f"{server.url}/{entry.weights.file}", entry.weights, **options)


def refused(server, entry, *said):
    """Fetching fails with our error, which says where, and leaves no bad file."""
    with pytest.raises(ZooError) as raised:
        fetch(server, entry)
    for part in (server.url, "--source", *said):
        assert part in str(raised.value), str(raised.value)
    assert ".safetensors" not in kept()
    return str(raised.value)


def test_a_model_is_loaded_from_a_server_and_the_next_time_from_the_cache(zoo):
    entry = tiny(zoo)
    with serving(files_of(zoo)) as server:
        model = daezoo.load(NAME, source=server.url)
        assert kept() == [".safetensors"]
        assert [path for path, _ in server.asked] == [f"/{NAME}.yaml", f"/{entry.weights.file}"]
        daezoo.load(NAME, source=server.url)
        assert len(server.asked) == 3  # the entry alone is asked for again
    x = torch.rand(2, 1, 8, 8)
    assert torch.equal(model.encode(x), model_of().encode(x))


def test_a_connection_that_drops_at_any_byte_is_resumed_there(zoo):
    entry = tiny(zoo)
    content = (zoo / entry.weights.file).read_bytes()
    for cut in (1, 7, 8, len(content) // 2, len(content) - 1):

        def answer(handler, cut=cut):
            start = int((handler.headers.get("Range") or "bytes=0-").removeprefix("bytes=").rstrip("-"))
            if not start:
                return send(handler, content[:cut], Content_Length=str(len(content)))
            return send(handler, content[start:], 206, Content_Range=f"bytes {start}-{len(content)}/{len(content)}")

        with serving(answer) as server:
            assert fetch(server, entry) == content
            assert [wanted for _, wanted in server.asked] == [None, f"bytes={cut}-"]
        cache.place_of(entry.weights).unlink()


def test_a_server_that_gives_a_byte_at_a_time_is_borne_with(zoo):
    entry = tiny(zoo, hidden=1)
    content = (zoo / entry.weights.file).read_bytes()

    def answer(handler):
        start = int((handler.headers.get("Range") or "bytes=0-").removeprefix("bytes=").rstrip("-"))
        part = content[start : start + 40]
        send(handler, part, 206 if start else 200, Content_Range=f"bytes {start}-{len(content)}/{len(content)}",
             Content_Length=str(len(content) - start))  # fmt: skip

    with serving(answer) as server:
        assert fetch(server, entry) == content
        assert len(server.asked) == -(-len(content) // 40) > 2 * download.ATTEMPTS


def test_ranges_that_are_shorter_than_asked_for_are_put_together(zoo):
    entry = tiny(zoo)
    content = (zoo / entry.weights.file).read_bytes()
    cache.folder().mkdir(parents=True)
    cache.partial_of(entry.weights).write_bytes(content[:100])

    def answer(handler):
        start = int(handler.headers["Range"].removeprefix("bytes=").rstrip("-"))
        part = content[start : start + 500]
        send(handler, part, 206, Content_Range=f"bytes {start}-{start + len(part) - 1}/{len(content)}")

    with serving(answer) as server:
        assert fetch(server, entry) == content


def test_a_download_goes_on_where_a_process_was_killed(zoo):
    entry = tiny(zoo)
    content = (zoo / entry.weights.file).read_bytes()
    cache.folder().mkdir(parents=True)
    cache.partial_of(entry.weights).write_bytes(content[:100])
    with serving(files_of(zoo)) as server:
        assert fetch(server, entry) == content
        assert [wanted for _, wanted in server.asked] == ["bytes=100-"]
    assert kept() == [".safetensors"]


@pytest.mark.parametrize("left", [b"\x00" * 100, b"\x00" * 10**6])
def test_a_spoilt_beginning_is_thrown_away(zoo, left):
    entry = tiny(zoo)
    cache.folder().mkdir(parents=True)
    cache.partial_of(entry.weights).write_bytes(left)
    with serving(files_of(zoo)) as server:
        assert fetch(server, entry) == (zoo / entry.weights.file).read_bytes()
    assert kept() == [".safetensors"]


def test_a_server_that_ignores_ranges_sends_all_again(zoo):
    entry = tiny(zoo)
    content = (zoo / entry.weights.file).read_bytes()
    cache.folder().mkdir(parents=True)
    cache.partial_of(entry.weights).write_bytes(content[:100])
    with serving(lambda handler: send(handler, content)) as server:
        assert fetch(server, entry) == content
        assert len(server.asked) == 1


def test_wrong_bytes_of_the_right_length_are_refused_with_both_digests(zoo):
    entry = tiny(zoo)
    other = bytes(reversed((zoo / entry.weights.file).read_bytes()))
    with serving(lambda handler: send(handler, other)) as server:
        message = refused(server, entry, entry.weights.sha256, "sha256")
        assert len(server.asked) == 1
    import hashlib

    assert hashlib.sha256(other).hexdigest() in message
    assert kept() == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda content: content[:-5], "truncated"),
        (lambda content: b"", "has 0 bytes"),
        (lambda content: content + b"more", "sends more"),
        (lambda content: content * 3, "sends more"),
    ],
)
def test_another_length_is_refused(zoo, change, said):
    entry = tiny(zoo)
    content = (zoo / entry.weights.file).read_bytes()
    with serving(lambda handler: send(handler, change(content))) as server:
        refused(server, entry, said, entry.weights.sha256)
    assert kept() == []


def test_a_server_that_never_stops_is_cut_off(zoo):
    entry = tiny(zoo)

    def answer(handler):
        handler.send_response(200)
        handler.end_headers()
        while True:
            handler.wfile.write(b"x" * 2**16)

    with serving(answer) as server:
        refused(server, entry, "sends more")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 418])
def test_a_refusal_is_final(zoo, status):
    entry = tiny(zoo)
    with serving(lambda handler: send(handler, b"", status)) as server:
        refused(server, entry, str(status))
        assert len(server.asked) == 1
    assert kept() == []


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("after", ["0", "Thu, 01 Jan 1970 00:00:00 GMT", "soon", "-3"])
def test_a_busy_server_is_asked_again(zoo, status, after):
    entry = tiny(zoo)
    content = (zoo / entry.weights.file).read_bytes()

    def answer(handler):
        if len(server.asked) < 3:
            return send(handler, b"", status, Retry_After=after)
        return send(handler, content)

    with serving(answer) as server:
        assert fetch(server, entry) == content
        assert len(server.asked) == 3


def test_the_time_a_busy_server_names_is_kept(zoo, monkeypatch):
    entry = tiny(zoo)
    pauses = []
    monkeypatch.setattr(download.time, "sleep", pauses.append)
    with serving(lambda handler: send(handler, b"", 503, Retry_After="17")) as server:
        refused(server, entry, "503", f"{download.ATTEMPTS} times")
    assert pauses == [17.0] * (download.ATTEMPTS - 1)
    with serving(lambda handler: send(handler, b"", 429, Retry_After="86400")) as server:
        refused(server, entry, "86400 s")
        assert len(server.asked) == 1


def test_without_a_time_each_pause_is_twice_as_long(zoo, monkeypatch):
    entry = tiny(zoo)
    pauses = []
    monkeypatch.setattr(download.time, "sleep", pauses.append)
    with serving(lambda handler: send(handler, b"", 500)) as server:
        refused(server, entry, "500")
    assert pauses == [0.001 * 2**power for power in range(download.ATTEMPTS - 1)]


def test_a_redirect_loop_ends(zoo):
    entry = tiny(zoo)
    with serving(lambda handler: send(handler, b"", 302, Location=handler.path)) as server:
        refused(server, entry, "redirects")


def test_a_redirect_to_a_local_file_is_not_followed(zoo):
    entry = tiny(zoo)
    with serving(lambda handler: send(handler, b"", 302, Location=f"file://{zoo / entry.weights.file}")) as server:
        refused(server, entry)


def test_a_redirect_is_followed(zoo):
    entry = tiny(zoo)
    content = (zoo / entry.weights.file).read_bytes()

    def answer(handler):
        if handler.path != "/there":
            return send(handler, b"", 307, Location="/there")
        return send(handler, content)

    with serving(answer) as server:
        assert fetch(server, entry) == content


def test_a_server_that_never_answers_is_given_up(zoo):
    entry = tiny(zoo)

    def answer(handler):
        time.sleep(1)

    with serving(answer) as server:
        refused(server, entry, "timed out")


def test_a_server_that_stops_in_the_middle_is_given_up_and_the_beginning_kept(zoo):
    entry = tiny(zoo)
    content = (zoo / entry.weights.file).read_bytes()

    def answer(handler):
        if handler.headers.get("Range"):
            time.sleep(1)
        send(handler, content[:50], Content_Length=str(len(content)))

    with serving(answer) as server:
        refused(server, entry, "goes on from there")
    assert kept() == [".part"]
    with serving(files_of(zoo)) as server:
        assert fetch(server, entry) == content
        assert server.asked[0][1] == "bytes=50-"


def test_nobody_there(zoo):
    entry = tiny(zoo)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(ZooError, match="refused"):
        download.fetch(f"{url}/x", entry.weights)
    assert kept() == []


def test_an_entry_is_asked_for_as_patiently_as_weights(zoo):
    entry = tiny(zoo)
    text = (zoo / f"{NAME}.yaml").read_bytes()

    def answer(handler):
        turn = len(server.asked)
        if turn == 1:
            return send(handler, b"", 503, Retry_After="0")
        if turn == 2:
            return send(handler, text[:50], Content_Length=str(len(text)))
        return send(handler, text)

    with serving(answer) as server:
        assert find(NAME, server.url).entry == entry
        assert len(server.asked) == 3
    with serving(lambda handler: send(handler, b"#" * 10**6)) as server, pytest.raises(ZooError, match="larger than"):
        find(NAME, server.url)
    with serving(lambda handler: send(handler, b"", 404)) as server, pytest.raises(ZooError, match=r"404.*--source"):
        find(NAME, server.url)


def load_in_a_process(url, start, results):
    start.wait()
    try:
        results.put(daezoo.load(NAME, source=url).encode(torch.ones(1, 1, 8, 8)).sum().item())
    except BaseException as error:
        results.put(repr(error))


def test_two_processes_that_want_the_same_get_one_good_file(zoo):
    tiny(zoo, hidden=64)
    context = multiprocessing.get_context("fork")
    start, results = context.Event(), context.Queue()
    slowly = files_of(zoo)

    def answer(handler):
        time.sleep(0.1)
        slowly(handler)

    with serving(answer) as server:
        processes = [
            context.Process(target=load_in_a_process, args=(server.url, start, results), daemon=True) for _ in range(3)
        ]
        for process in processes:
            process.start()
        start.set()
        found = [results.get(timeout=120) for _ in processes]
        for process in processes:
            process.join()
        asked = [path for path, _ in server.asked]
    expected = model_of(hidden=64).encode(torch.ones(1, 1, 8, 8)).sum().item()
    assert found == [pytest.approx(expected)] * 3
    assert asked.count(f"/{NAME}.safetensors") == 1  # two waited
    assert kept() == [".safetensors"]


@pytest.mark.parametrize("how", ["download", "put"])
def test_a_full_disk_leaves_the_cache_clean(zoo, how):
    entry = tiny(zoo, hidden=200)
    content = (zoo / entry.weights.file).read_bytes()
    assert len(content) > 2**15
    import signal

    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**15, before[1]))  # writing beyond fails, as on a full disk
    try:
        with serving(files_of(zoo)) as server, pytest.raises(ZooError, match=r"(?s)kept in the cache.*DAEZOO_CACHE"):
            fetch(server, entry) if how == "download" else cache.put(content, entry.weights, "there")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert kept() == []


def test_offline_is_honoured_when_it_is_set_later(zoo, monkeypatch):
    entry = tiny(zoo)
    with serving(files_of(zoo)) as server:
        monkeypatch.setenv("DAEZOO_OFFLINE", "1")
        with pytest.raises(ZooError, match="DAEZOO_OFFLINE is set"):
            daezoo.load(NAME, source=server.url)
        with pytest.raises(ZooError, match="DAEZOO_OFFLINE is set"):
            fetch(server, entry)
        assert server.asked == []
        monkeypatch.setenv("DAEZOO_OFFLINE", "0")
        daezoo.load(NAME, source=server.url)
        asked = len(server.asked)
        monkeypatch.setenv("DAEZOO_OFFLINE", "1")
        daezoo.load(NAME, source=server.url)  # entry and weights were had once
        assert len(server.asked) == asked


def test_a_cached_file_that_was_changed_is_had_again(zoo):
    entry = tiny(zoo)
    with serving(files_of(zoo)) as server:
        content = fetch(server, entry)
        path = cache.place_of(entry.weights)
        path.write_bytes(b"X" + content[1:])
        assert fetch(server, entry) == content
        assert path.read_bytes() == content
        assert len(server.asked) == 2


def test_a_cache_that_cannot_be_written_says_so(zoo, monkeypatch, tmp_path):
    entry = tiny(zoo)
    write_text(tmp_path / "file", "no folder")
    monkeypatch.setenv("DAEZOO_CACHE", str(tmp_path / "file"))
    with serving(files_of(zoo)) as server, pytest.raises(ZooError, match="DAEZOO_CACHE"):
        fetch(server, entry)


def test_prune_removes_what_nobody_needs(zoo):
    entry = tiny(zoo)
    content = (zoo / entry.weights.file).read_bytes()
    cache.put(content, entry.weights, "there")
    other = tiny(zoo, "vanilla.other", seed=1)
    cache.put((zoo / other.weights.file).read_bytes(), other.weights, "there")
    cache.partial_of(entry.weights).write_bytes(b"part")
    strangers = [cache.folder() / name for name in ("notes.txt", "vanilla.mine.safetensors", "my.part", "x.tmp")]
    for stranger in strangers:
        stranger.write_text("mine")
    removed = cache.prune({entry.weights.sha256})
    assert sorted(removed) == sorted([cache.partial_of(entry.weights), cache.place_of(other.weights)])
    assert cache.get(entry.weights) == content
    assert all(stranger.exists() for stranger in strangers)
    with cache.locked(entry.weights):
        assert cache.prune(set(), everything=True) == []  # somebody is at it
    assert cache.prune(set(), everything=True) == [cache.place_of(entry.weights)]
    assert os.listdir(cache.folder() / "locks")
