"""hf:// against a stand-in of the endpoints of the Hugging Face Hub that it needs."""

import base64
import json

import pytest
import torch
from tiny_zoo import NAME, model_of, send, serving, tiny

import daezoo
from daezoo import push_to_hub
from daezoo.zoo import cache, download
from daezoo.zoo.entry import ZooError


class StandIn:
    """One model repository: listed, read, created and committed to."""

    def __init__(self):
        self.files: dict[str, bytes] = {}
        self.created = []
        self.without_token = set()

    def __call__(self, handler):
        path, here = handler.path.partition("?")[0], f"http://{handler.headers['Host']}"
        if handler.headers.get("Authorization") != "Bearer hf_secret":
            self.without_token.add(path)
        length = int(handler.headers.get("Content-Length") or 0)
        body = handler.rfile.read(length)
        if handler.command == "POST":
            if path == "/api/repos/create":
                self.created.append(json.loads(body))
                return self.json(handler, {"url": f"{here}/me/model", "name": "me/model", "id": "me/model"})
            if path == "/api/validate-yaml":  # of README.md
                return self.json(handler, {"errors": [], "warnings": []})
            if path == "/api/models/me/model/preupload/main":
                files = json.loads(body)["files"]
                modes = [{"path": file["path"], "uploadMode": "regular", "shouldIgnore": False} for file in files]
                return self.json(handler, {"files": modes})
            if path == "/api/models/me/model/commit/main":
                for line in map(json.loads, body.splitlines()):
                    if line["key"] == "file":
                        assert line["value"]["encoding"] == "base64"
                        self.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
                return self.json(handler, {"commitUrl": f"{here}/me/model/commit/1", "commitOid": "1"})
        if path == "/api/models/me/model/tree/main":
            listed = [
                {"type": "file", "oid": "0", "size": len(content), "path": name} for name, content in self.files.items()
            ]
            return self.json(handler, listed)
        name = path.removeprefix("/me/model/resolve/main/")
        if name in self.files:
            return send(handler, self.files[name])
        return send(handler, b"{}", 404, X_Error_Code="RepoNotFound")

    @staticmethod
    def json(handler, value):
        send(handler, json.dumps(value).encode(), Content_Type="application/json")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    monkeypatch.setenv("DAEZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    for name in ("DAEZOO_SOURCE", "DAEZOO_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(download, "PAUSE", 0.001)
    stand_in = StandIn()
    with serving(stand_in) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield stand_in


def test_a_model_is_pushed_and_loaded_by_repository_and_by_name(hub, tmp_path):
    entry = tiny(tmp_path / "zoo")
    pushed = push_to_hub(NAME, "me/model", source=str(tmp_path / "zoo"))
    assert sorted(hub.files) == ["README.md", f"{NAME}.safetensors", f"{NAME}.yaml"]
    assert hub.files[entry.weights.file] == (tmp_path / "zoo" / entry.weights.file).read_bytes()
    assert NAME in hub.files["README.md"].decode()
    assert pushed.urls == [f"hf://me/model/{entry.weights.file}"]
    assert not [path for path in hub.without_token if "me/model" in path or "repos" in path]
    cache.prune(set(), everything=True)
    x = torch.rand(2, 1, 8, 8)
    for model in (daezoo.load("hf://me/model"), daezoo.load(NAME, source="hf://me/model")):
        assert torch.equal(model.encode(x), model_of().encode(x))
    assert daezoo.list_models(source="hf://me/model") == [NAME]


def test_a_private_repository(hub, tmp_path):
    tiny(tmp_path / "zoo")
    push_to_hub(NAME, "me/model", source=str(tmp_path / "zoo"), private=True)
    assert hub.created[0].get("private") is True or hub.created[0].get("visibility") == "private"


def test_a_repository_of_several_models_wants_a_name(hub, tmp_path):
    for name in (NAME, "vanilla.other"):
        tiny(tmp_path / "zoo", name)
        push_to_hub(name, "me/model", source=str(tmp_path / "zoo"))
    with pytest.raises(ZooError, match=r"2 entries.*--source"):
        daezoo.load("hf://me/model")
    assert daezoo.load("vanilla.other", source="hf://me/model").shape == (1, 8, 8)


def test_what_is_not_there_or_not_allowed(hub, monkeypatch):
    with pytest.raises(ZooError, match="hf://me/nothing"):
        daezoo.load("hf://me/nothing")
    with pytest.raises(ZooError, match="404"):
        daezoo.load(NAME, source="hf://me/nothing")
    with pytest.raises(ZooError, match="organisation/repository"):
        daezoo.load(NAME, source="hf://me")
    monkeypatch.setenv("DAEZOO_OFFLINE", "1")
    with pytest.raises(ZooError, match="DAEZOO_OFFLINE"):
        daezoo.load("hf://me/model")


def test_weights_from_the_url_of_an_entry(hub, tmp_path, monkeypatch):
    entry = tiny(tmp_path / "zoo")
    pushed = push_to_hub(NAME, "me/model", source=str(tmp_path / "zoo"))
    cache.prune(set(), everything=True)
    from daezoo.zoo import source

    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / f"{NAME}.yaml").write_text(pushed.to_yaml())
    monkeypatch.setattr(source, "shipped_folder", lambda: alone)
    assert daezoo.load(NAME).shape == (1, 8, 8)
    assert cache.get(entry.weights) is not None


def test_publishing_keeps_the_address_in_the_entry_of_the_checkout(hub, tmp_path, monkeypatch, daezoo_command):
    zoo = tmp_path / "zoo"
    entry = tiny(zoo)
    (tmp_path / "pyproject.toml").touch()
    for module in ("source", "publish"):
        monkeypatch.setattr(f"daezoo.zoo.{module}.shipped_folder", lambda: zoo)
    for _ in range(2):  # again changes nothing
        status, _, err = daezoo_command("zoo", "publish", NAME, "hf://me/model")
        assert status == 0, err
    assert daezoo.info(NAME).urls == [f"hf://me/model/{entry.weights.file}"]
    assert NAME in (zoo / "README.md").read_text()


def test_a_foreign_entry_does_not_replace_that_of_the_checkout(hub, tmp_path, monkeypatch, daezoo_command):
    zoo, other = tmp_path / "zoo", tmp_path / "other"
    tiny(zoo)
    tiny(other, seed=5)
    (tmp_path / "pyproject.toml").touch()
    for module in ("source", "publish"):
        monkeypatch.setattr(f"daezoo.zoo.{module}.shipped_folder", lambda: zoo)
    before = (zoo / f"{NAME}.yaml").read_bytes()
    assert daezoo_command("zoo", "publish", str(other / f"{NAME}.yaml"), "hf://me/model")[0] == 0
    monkeypatch.setenv("DAEZOO_SOURCE", str(other))
    assert daezoo_command("zoo", "publish", NAME, "hf://me/model")[0] == 0
    assert (zoo / f"{NAME}.yaml").read_bytes() == before


def test_the_card_of_a_repository_names_all_its_models(hub, tmp_path):
    for name in (NAME, "conv.other"):
        tiny(tmp_path / "zoo", name)
        push_to_hub(name, "me/model", source=str(tmp_path / "zoo"))
    card = hub.files["README.md"].decode()
    assert 'daezoo.load("conv.other", source="hf://me/model")' in card
    assert NAME in card and "make zoo" not in card


def test_the_noise_grid_takes_a_repository(hub, tmp_path, daezoo_command, workplace):
    tiny(tmp_path / "zoo")
    push_to_hub(NAME, "me/model", source=str(tmp_path / "zoo"))
    status, _, err = daezoo_command("noise-grid", "hf://me/model", "--samples", "20", "--json")
    assert status == 0, err
