import json
import os
import subprocess
import sys
import time
from unittest.mock import patch

import pytest
import torch
import yaml
from tiny_zoo import NAME, error_of, files_of, serving, tiny

import daezoo
from conftest import ROOT
from daezoo.zoo import cache, source


@pytest.fixture
def zoo(tmp_path, monkeypatch):
    """A tiny zoo in place of the shipped one."""
    monkeypatch.setenv("DAEZOO_CACHE", str(tmp_path / "cache"))
    for name in ("DAEZOO_SOURCE", "DAEZOO_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    tiny(tmp_path / "zoo")
    tiny(tmp_path / "zoo", "conv.other", seed=1)
    monkeypatch.setattr(source, "shipped_folder", lambda: tmp_path / "zoo")
    for module in ("command", "publish", "retrain"):
        monkeypatch.setattr(f"daezoo.zoo.{module}.shipped_folder", lambda: tmp_path / "zoo")
    return tmp_path / "zoo"


def test_list(zoo, daezoo_command):
    status, out, _ = daezoo_command("zoo", "list")
    assert status == 0
    assert NAME in out and "conv.other" in out and "here" in out
    status, out, _ = daezoo_command("zoo", "list", "vanilla.*", "--json")
    (listed,) = json.loads(out)
    assert listed["name"] == NAME
    assert listed["where"] == "here"
    for words in (["nothing.*"], ["nothing.*", "--json"]):
        status, _, err = daezoo_command("zoo", "list", *words)
        assert status == 2 and "nothing.*" in err


def test_info(zoo, daezoo_command):
    status, out, _ = daezoo_command("zoo", "info", NAME)
    assert status == 0
    assert yaml.safe_load(out)["weights"]["bytes"] == daezoo.info(NAME).weights.bytes
    status, out, _ = daezoo_command("zoo", "info", NAME, "--json")
    assert json.loads(out)["name"] == NAME
    status, _, err = daezoo_command("zoo", "info", "vanilla.absent")
    assert status == 2 and f"Known: {NAME}" in err


def test_listing_and_downloading_import_no_torch(zoo, tmp_path):
    code = (
        "import sys, daezoo.cli\n"
        "status = daezoo.cli.main(['zoo', *sys.argv[1:], '--json'])\n"
        "heavy = {'torch', 'lightning', 'jsonargparse', 'sklearn', 'fsspec', 'matplotlib'} & sys.modules.keys()\n"
        "sys.exit(str(heavy) if heavy else status)\n"
    )
    for words in (["list"], ["info", NAME], ["download", NAME, "--dest", str(tmp_path / "dest")]):
        command = [sys.executable, "-c", code, *words, "--source", str(zoo)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_download_for_a_machine_without_network(zoo, tmp_path, daezoo_command, monkeypatch):
    dest = tmp_path / "stick"
    with serving(files_of(zoo)) as server:
        status, out, _ = daezoo_command("zoo", "download", NAME, "--dest", str(dest), "--source", server.url)
    assert status == 0 and "verified" in out
    assert sorted(path.name for path in dest.iterdir()) == [f"{NAME}.safetensors", f"{NAME}.yaml"]
    monkeypatch.setenv("DAEZOO_OFFLINE", "1")
    assert daezoo.load(NAME, source=dest).shape == (1, 8, 8)
    status, _, err = daezoo_command("zoo", "download", "conv.other", "--source", str(dest))
    assert status == 2 and "conv.other" in err


def test_download_into_the_cache(zoo, daezoo_command):
    with serving(files_of(zoo)) as server:
        status, out, _ = daezoo_command("zoo", "download", NAME, "--source", server.url, "--json")
        assert status == 0
        (done,) = json.loads(out)
        assert done["in"] == str(cache.place_of(daezoo.info(NAME).weights))
        status, _, err = daezoo_command("zoo", "download", "--source", server.url)
        assert status == 2 and "cannot be listed" in err


def test_import_from_a_folder(zoo, tmp_path, daezoo_command):
    mine = tmp_path / "mine"
    tiny(mine, "vanilla.mine", seed=3)
    status, out, _ = daezoo_command("zoo", "import", str(mine))
    assert status == 0 and "vanilla.mine" in out
    for path in mine.iterdir():
        path.unlink()
    assert daezoo.load("vanilla.mine").shape == (1, 8, 8)
    assert "vanilla.mine" in daezoo.list_models()
    for taken in (NAME, "vanilla.mine"):
        tiny(mine, taken, seed=4)
        status, _, err = daezoo_command("zoo", "import", str(mine), taken)
        assert status == 2 and "other weights" in err
    (source.imported_folder() / "vanilla.newer.yaml").write_text("schema: 99")
    status, out, err = daezoo_command("zoo", "list")
    assert status == 0 and "vanilla.mine" in out and "schema 99" in err
    (source.imported_folder() / "vanilla.newer.yaml").unlink()
    (mine / f"{NAME}.safetensors").write_bytes(b"damaged")
    status, _, err = daezoo_command("zoo", "import", str(mine), NAME)
    assert status == 2
    # the weights of a known entry, carried here
    stick = tmp_path / "stick"
    daezoo_command("zoo", "download", NAME, "--dest", str(stick))
    (zoo / f"{NAME}.safetensors").unlink()
    status, _, err = daezoo_command("zoo", "verify", NAME)
    assert status == 1
    assert daezoo_command("zoo", "import", str(stick))[0] == 0
    assert daezoo_command("zoo", "verify", NAME)[0] == 0


def test_prune(zoo, tmp_path, daezoo_command):
    tiny(tmp_path / "mine", "vanilla.mine", seed=3)
    daezoo_command("zoo", "import", str(tmp_path / "mine"))
    (source.imported_folder() / "vanilla.mine.yaml").unlink()
    status, out, _ = daezoo_command("zoo", "prune", "--json")
    assert status == 0
    assert len(json.loads(out)) == 1
    assert daezoo_command("zoo", "prune")[1].startswith("0 files removed")


def test_verify_says_what_is_wrong_and_goes_on(zoo, daezoo_command):
    status, out, _ = daezoo_command("zoo", "verify")
    assert status == 0
    assert out.count("digest, strict load, golden output") == 2
    assert "2 models checked, 0 failed" in out
    path = zoo / "conv.other.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    status, out, _ = daezoo_command("zoo", "verify", "--json")
    assert status == 1
    first, second = json.loads(out)
    assert first["name"] == "conv.other" and "sha256" in first["failed"] and first["checked"] == []
    assert second["failed"] is None


def test_verify_of_nothing_is_no_success(zoo, tmp_path, daezoo_command):
    (tmp_path / "empty").mkdir()
    for command in ("verify", "download"):
        status, _, err = daezoo_command("zoo", command, "--source", str(tmp_path / "empty"))
        assert status == 2 and "no models" in err
    status, out, _ = daezoo_command("zoo", "verify", NAME, "--metrics")
    assert status == 0 and "metrics skipped: its entry records none" in out
    noise = {"class_path": "daezoo.corruption.Gaussian", "init_args": {"sigma": 0.1}}
    tiny(zoo, metrics=[error_of("nonsense-v9", noise)])
    status, out, _ = daezoo_command("zoo", "verify", NAME, "--metrics")
    assert status == 1 and "nonsense-v9" in out


def test_what_cannot_be_had_does_not_keep_the_rest(zoo, daezoo_command):
    (zoo / "conv.other.safetensors").unlink()
    status, out, err = daezoo_command("zoo", "download")
    assert status == 2
    assert f"{NAME}: 0.00 MB, verified" in out and "conv.other" in err


def test_verify_finds_other_outputs(zoo, daezoo_command):
    text = (zoo / f"{NAME}.yaml").read_text()
    fields = yaml.safe_load(text)
    fields["golden"]["denoise"][3] += 0.01
    (zoo / f"{NAME}.yaml").write_text(yaml.safe_dump(fields))
    status, out, _ = daezoo_command("zoo", "verify", NAME)
    assert status == 1 and "computes something else" in out and "digest, strict load" in out


def test_publish_into_a_folder_and_into_what_fsspec_writes(zoo, tmp_path, daezoo_command):
    for where in (str(tmp_path / "shelf"), f"file://{tmp_path}/file-shelf", "memory://shelf"):
        status, out, err = daezoo_command("zoo", "publish", NAME, where)
        assert status == 0, err
        assert "read back" in out
        assert daezoo.load(NAME, source=where).shape == (1, 8, 8)
    # the only copy is that in the cache, and it stays there whatever comes of reading back
    tiny(tmp_path / "mine", "vanilla.mine", seed=3)
    daezoo_command("zoo", "import", str(tmp_path / "mine"))
    with patch("daezoo.zoo.source.Elsewhere.fetch", side_effect=source.ZooError("lost")):
        assert daezoo_command("zoo", "publish", "vanilla.mine", "memory://shelf")[0] == 2
    assert daezoo.load("vanilla.mine").shape == (1, 8, 8)
    status, _, err = daezoo_command("zoo", "publish", NAME, "http://127.0.0.1:9/x")
    assert status == 2 and "HTTP" in err


@pytest.mark.parametrize(
    "words",
    [[], ["fly"], ["info"], ["list", "--colour"], ["info", NAME, "more"], ["export", "x"], ["publish", NAME]],
)
def test_a_command_line_that_is_none(zoo, daezoo_command, words):
    status, _, err = daezoo_command("zoo", *words)
    assert status == 2
    assert err.startswith("daezoo: error:") and "--help" in err


def test_help(daezoo_command):
    status, out, _ = daezoo_command("zoo", "--help")
    assert status == 0
    for name in ("list", "info", "download", "verify", "export", "publish", "import", "prune", "retrain"):
        assert name in out
        assert "--json" in daezoo_command("zoo", name, "--help")[1]


def test_a_name_of_the_zoo_is_judged_like_a_run(zoo, daezoo_command, workplace):
    status, out, err = daezoo_command("evaluate", NAME, "--json")
    assert status == 0, err
    assert json.loads(out)["target"] == NAME
    status, out, err = daezoo_command("probe", "conv.other", "--source", str(zoo), "--json")
    assert status == 0, err
    assert json.loads(out)["accuracy"] > 0.2
    status, _, err = daezoo_command("noise-grid", NAME, "conv.other", "--out", str(workplace / "grid"))
    assert status == 0, err
    assert list(workplace.glob("*probe*")) == []  # there is no run folder to keep it in
    status, _, err = daezoo_command("report", NAME)
    assert status == 2 and "run folder" in err


def test_a_killed_download_goes_on(zoo, tmp_path):
    entry = daezoo.info(NAME)
    content = (zoo / entry.weights.file).read_bytes()

    def slowly(handler):
        if handler.path.endswith(".yaml") or handler.headers.get("Range"):
            return files_of(zoo)(handler)
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content[:200])
        handler.wfile.flush()
        time.sleep(20)

    with serving(slowly) as server:
        environment = {**os.environ, "DAEZOO_CACHE": str(tmp_path / "cache")}
        command = [sys.executable, "-m", "daezoo", "zoo", "download", NAME, "--source", server.url]
        process = subprocess.Popen(command, env=environment, cwd=ROOT)
        part = cache.partial_of(entry.weights)
        deadline = time.monotonic() + 60
        while len(server.asked) < 2 or not part.is_file():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        while not part.stat().st_size:
            time.sleep(0.05)
        process.kill()
        process.wait()
        done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert server.asked[-1] == (f"/{entry.weights.file}", "bytes=200-")
    assert cache.get(entry.weights) == content
    assert torch.isfinite(daezoo.load(NAME, source=zoo).encode(torch.rand(1, 1, 8, 8))).all()
