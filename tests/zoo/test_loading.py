import json
import pickle
import random
import struct
import sys
import warnings
import zipfile

import numpy as np
import pytest
import safetensors.torch
import torch

from tiny_zoo import NAME, error_of, fields_of, model_of, put, serving, files_of, tiny, weights_of  # isort: skip

import daezoo
from daezoo.models import ConvDAE, VanillaDAE
from daezoo.zoo import source
from daezoo.zoo.entry import ZooError
from daezoo.zoo.loading import to_bytes


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DAEZOO_CACHE", str(tmp_path / "cache"))
    for name in ("DAEZOO_SOURCE", "DAEZOO_OFFLINE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def zoo(tmp_path):
    return tmp_path / "zoo"


def hostile(zoo, content, dtype="float32", **changes):
    """An entry whose digest is that of a hostile file, so that only what reads the file can refuse it."""
    model = model_of()
    put(zoo, fields_of(NAME, model, content, dtype) | changes, content)
    with pytest.raises(ZooError) as raised:
        daezoo.load(NAME, source=zoo)
    return str(raised.value)


def header(content):
    """The header of a safetensors file, and the rest."""
    (size,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + size]), content[8 + size :]


def good():
    return to_bytes(model_of().state_dict(), torch.float32, {})


def test_by_every_way_it_is_the_same_model(zoo, monkeypatch):
    tiny(zoo)
    x = torch.rand(3, 1, 8, 8)
    expected = model_of().encode(x)
    monkeypatch.setattr(source, "shipped_folder", lambda: zoo)
    ways = [(NAME, None), (NAME, zoo), (NAME, str(zoo)), (NAME, f"file://{zoo}"), (zoo / f"{NAME}.yaml", None),
            (zoo / f"{NAME}.safetensors", None)]  # fmt: skip
    for name, where in ways:
        model = daezoo.load(name, source=where)
        assert not model.training
        assert torch.equal(model.encode(x), expected)
    monkeypatch.setenv("DAEZOO_SOURCE", str(zoo))
    assert daezoo.list_models("vanilla.*") == [NAME]
    assert daezoo.list_models("conv.*") == []
    assert daezoo.info(NAME).weights.parameters == 64 * 4 + 4 + 64


def test_half_precision_is_read_as_float32(zoo):
    model = model_of()
    content = to_bytes(model.state_dict(), torch.float16, {})
    put(zoo, fields_of(NAME, model, content, "float16"), content)
    loaded = daezoo.load(NAME, source=zoo)
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    for ours, theirs in zip(loaded.parameters(), model.parameters(), strict=True):
        assert torch.equal(ours, theirs.half().float())


def test_loading_leaves_the_global_generator_alone(zoo):
    tiny(zoo)
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    daezoo.load(NAME, source=zoo)
    assert torch.equal(torch.rand(2), expected)


def test_the_model_knows_its_shape_and_scale(zoo):
    tiny(zoo)
    model = daezoo.load(NAME, source=zoo)
    assert model.shape == (1, 8, 8)
    assert model.value_range == (0.0, 1.0)
    for call in (model.encode, model.denoise):
        with pytest.raises(ValueError, match=r"batch, 1, 8, 8.*\(2, 1, 9, 9\)"):
            call(torch.rand(2, 1, 9, 9))
        with pytest.raises(ValueError, match=r"\[0, 1\].*uint8.*255"):
            call(torch.zeros(2, 1, 8, 8, dtype=torch.uint8))
        with pytest.raises(ValueError, match=r"\[0, 1\].*from 0 to 255"):
            call(torch.linspace(0, 255, 64).view(1, 1, 8, 8))
        with pytest.raises(ValueError, match="nan"):
            call(torch.full((1, 1, 8, 8), torch.nan))
        with pytest.raises(ValueError, match=r"float32, got torch.float64.*x.to"):
            call(torch.rand(2, 1, 8, 8, dtype=torch.float64))
    noisy = torch.randn(2, 1, 8, 8) * 2
    assert torch.isfinite(model.denoise(noisy)).all()  # noise may leave the range
    with pytest.warns(UserWarning, match=r"\[0, 1\].*from -1 to 1.*rescale"):
        model.encode(torch.linspace(-1, 1, 64).view(1, 1, 8, 8))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.isfinite(model.denoise(noisy.bfloat16())).all()
    assert torch.isfinite(model.denoise(torch.rand(2, 1, 8, 8), level=torch.tensor([0.1, 0.2]))).all()
    assert torch.func.vmap(lambda one: model.encode(one[None])[0])(torch.rand(3, 1, 8, 8)).shape == (3, 4)


class Evil:
    def __reduce__(self):
        return exec, ("raise SystemExit('executed')",)


def test_a_pickle_is_never_read(zoo, tmp_path):
    assert "pickle" in hostile(zoo, pickle.dumps({"weight": Evil()}))
    torch.save({"weight": torch.zeros(3)}, tmp_path / "zip")
    assert zipfile.is_zipfile(tmp_path / "zip")
    assert "zip" in hostile(zoo, (tmp_path / "zip").read_bytes())


@pytest.mark.parametrize("size", [2**60, 2**63, 2**64 - 1, 10**9])
def test_a_header_that_announces_too_much(zoo, size):
    assert "safetensors" in hostile(zoo, struct.pack("<Q", size) + good()[8:])


@pytest.mark.parametrize("content", [b"\x00", b"{}", b"\x00" * 8, b"\x02" + b"\x00" * 7 + b"{}", b"x" * 1000])
def test_no_safetensors_file(zoo, content):
    assert NAME in hostile(zoo, content)


def test_offsets_that_overlap_or_lead_out_of_the_file(zoo):
    head, data = header(good())
    names = [name for name in head if name != "__metadata__"]
    for offsets in ([0, len(data) * 2], [10, 2], head[names[1]]["data_offsets"]):
        text = json.dumps({**head, names[0]: {**head[names[0]], "data_offsets": offsets}}).encode()
        assert "safetensors" in hostile(zoo, struct.pack("<Q", len(text)) + text + data)


def test_tensors_that_are_missing_extra_or_renamed(zoo):
    state = model_of().state_dict()
    first = next(iter(state))
    others = {name: tensor for name, tensor in state.items() if name != first}
    for tensors, said in [
        (others, f"missing {first}; unexpected nothing"),
        ({**state, "more": torch.zeros(1)}, "missing nothing; unexpected more"),
        ({**others, "renamed": state[first]}, f"missing {first}; unexpected renamed"),
        ({}, "missing"),
    ]:
        assert said in hostile(zoo, safetensors.torch.save(tensors))


def test_tensors_of_another_shape_or_type(zoo):
    state = model_of().state_dict()
    first = next(iter(state))
    for tensor in (state[first][:, :-1], state[first].flatten(), state[first].double(), state[first].half(),
                   state[first].to(torch.int32)):  # fmt: skip
        message = hostile(zoo, safetensors.torch.save({**state, first: tensor.contiguous()}))
        assert first in message
        assert "expected torch.float32" in message


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_weights_that_are_not_finite(zoo, value):
    state = {name: tensor.clone() for name, tensor in model_of().state_dict().items()}
    next(iter(state.values())).view(-1)[-1] = value
    assert "not all finite" in hostile(zoo, safetensors.torch.save(state))


def test_a_model_that_is_a_lie_takes_no_memory(zoo):
    model = {"class_path": "daezoo.models.VanillaDAE", "init_args": {"shape": [1, 8, 8], "hidden": [10**10]}}
    assert "expected torch.float32 (10000000000," in hostile(zoo, good(), model=model)


@pytest.mark.parametrize(
    "model",
    [
        {"class_path": "os.system", "init_args": {"command": "touch executed"}},
        {"class_path": "antigravity.Flight", "init_args": {}},
        {"class_path": "daezoo.files.write_text", "init_args": {"path": "executed", "text": ""}},
        {"class_path": "daezoo.corruption.Masking", "init_args": {}},
        {"class_path": "daezoo.no.Such", "init_args": {}},
        {
            "class_path": "daezoo.models.VanillaDAE",
            "init_args": {"shape": [1, 8, 8], "loss": {"class_path": "antigravity.Loss", "init_args": {}}},
        },
        {
            "class_path": "daezoo.models.VanillaDAE",
            "init_args": {
                "shape": [1, 8, 8],
                "loss": {"class_path": "subprocess.Popen", "init_args": {"args": "true"}},
            },
        },
        {"class_path": "daezoo.models.VanillaDAE", "init_args": {"shape": [1, 8, 8], "loss": "canary.Loss"}},
        {"class_path": "daezoo.models.VanillaDAE", "init_args": {"shape": [1, 8, 8], "penalties": ["canary.Loss"]}},
        {"class_path": "daezoo.models.VanillaDAE", "init_args": {"shape": [1, 8, 8], "loss": "canary.yaml"}},
        {
            "class_path": "daezoo.models.VanillaDAE",
            "init_args": {"shape": [1, 8, 8], "loss": '{"class_path": "canary.Loss"}'},
        },
        {
            "class_path": "daezoo.models.VanillaDAE",
            "init_args": {"shape": [1, 8, 8], "optimizer": {"class_path": "canary.Loss"}},
        },
        {
            "class_path": "daezoo.models.VanillaDAE",
            "init_args": {
                "shape": [1, 8, 8],
                "loss": {"class_path": "daezoo.training.DaezooCLI", "init_args": {"args": ["fit"]}},
            },
        },
        {"class_path": "daezoo.__main__.main", "init_args": {}},
        {"class_path": "daezoo.models.VanillaDAE", "init_args": {"shape": [1, 8, 8], "wings": 2}},
        {"class_path": "daezoo.models.VanillaDAE", "init_args": {"shape": [1, 8, 8], "hidden": "many"}},
        {"class_path": "daezoo.models.VanillaDAE", "init_args": {"shape": [1, 8, 8], "hidden": [-3]}},
        {"class_path": "daezoo.models.VanillaDAE", "init_args": {}},
        {"class_path": "daezoo.models.VanillaDAE", "init_args": {"shape": [1, 9, 9], "hidden": [4]}},
    ],
)
def test_only_models_are_built(zoo, model, canary):
    assert hostile(zoo, good(), model=model)
    assert canary()


@pytest.fixture
def canary(tmp_path, monkeypatch):
    """Whether neither a module of nobody's was imported, nor anything written; in a folder that holds such a module."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "canary.py").write_text("open('executed', 'w').close()\nclass Loss: pass\n")
    (tmp_path / "canary.yaml").write_text("class_path: canary.Loss\n")
    return lambda: not ({"canary", "antigravity"} & sys.modules.keys() or (tmp_path / "executed").exists())


@pytest.mark.parametrize("command", ["verify", "probe", "evaluate", "retrain"])
def test_nothing_is_imported_for_data_or_metrics_or_commands_of_others(zoo, canary, daezoo_command, command):
    evil = {"class_path": "canary.Loss", "init_args": {}}
    data = {"class_path": "daezoo.data.DigitsData", "init_args": {"corruption": evil}}
    noise = {"class_path": "daezoo.corruption.Gaussian", "init_args": {"sigma": 0.1}}
    for changed, corruption in (
        (data, noise),
        ({"class_path": "canary.Loss", "init_args": {}}, noise),
        ({**data, "init_args": {"corruption": "canary.Loss"}}, noise),
        ({**data, "init_args": {}}, evil),
    ):
        metrics = [error_of("reconstruction-v1", corruption)]
        tiny(zoo, data=changed, metrics=metrics)
        where = [NAME, "--source", str(zoo)]
        words = {"verify": ["zoo", "verify", *where, "--metrics"], "retrain": ["zoo", "retrain", NAME]}
        status, out, err = daezoo_command(*words.get(command, [command, *where]))
        # measuring something else than a metric of the entry is allowed
        assert status != 0 or (command in ("probe", "evaluate") and corruption == evil), (out, err)
        sys.path.insert(0, ".")
        assert canary()


def test_other_models_of_the_package_load_as_strictly(zoo):
    with torch.random.fork_rng():
        model = ConvDAE([1, 8, 8], channels=[3], code=None, kernel=3, batch_norm=True).eval()
    content = to_bytes(model.state_dict(), torch.float16, {})
    fields = fields_of("conv.tiny", model_of(), content, "float16")
    arguments = {"shape": [1, 8, 8], "channels": [3], "code": None, "kernel": 3, "batch_norm": True}
    put(zoo, fields | {"model": {"class_path": "daezoo.models.ConvDAE", "init_args": arguments}}, content)
    loaded = daezoo.load("conv.tiny", source=zoo)
    counted = [buffer for name, buffer in loaded.named_buffers() if name.endswith("num_batches_tracked")]
    assert counted[0].dtype == torch.int64  # half precision is for floating point alone
    x = torch.rand(2, 1, 8, 8)
    assert torch.allclose(loaded.denoise(x), model.denoise(x), atol=1e-2)


def mutated(content, rng):
    """The content with some bytes flipped, cut, added or moved."""
    changed = bytearray(content)
    for _ in range(rng.choice([1, 1, 1, 2, 8])):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    kind = rng.random()
    if kind < 0.05:
        return bytes(changed[: rng.randrange(len(changed))])
    if kind < 0.1:
        return bytes(changed) + rng.randbytes(rng.randrange(1, 9))
    return bytes(changed)


def fuzz(zoo, count):
    rng = random.Random(0)
    content = good()
    tiny(zoo)
    path = zoo / f"{NAME}.safetensors"
    for _ in range(count):
        other = mutated(content, rng)
        if other == content:
            continue
        path.write_bytes(other)
        with pytest.raises(ZooError):
            daezoo.load(NAME, source=zoo)


def fuzz_reader(zoo, count):
    """As above, with entries whose digests are those of the mutated files: refused, or weights of the right kind."""
    rng = random.Random(1)
    content = good()
    model = model_of()
    fields = fields_of(NAME, model, content)
    (size,) = struct.unpack("<Q", content[:8])
    refused = 0
    for turn in range(count):
        other = mutated(content[: 8 + size], rng) + content[8 + size :] if turn % 2 else mutated(content, rng)
        if not other:
            continue
        put(zoo, fields | {"weights": weights_of(NAME, other)}, other)
        try:
            loaded = daezoo.load(NAME, source=zoo)
        except ZooError:
            refused += 1
        else:
            assert all(parameter.isfinite().all() for parameter in loaded.parameters())
    assert refused > count / 10


def fuzz_entry(zoo, count):
    """Mutated entries: refused, or still an entry."""
    rng = random.Random(2)
    tiny(zoo)
    path = zoo / f"{NAME}.yaml"
    text = path.read_bytes()
    refused = 0
    for _ in range(count):
        path.write_bytes(mutated(text, rng))
        try:
            with warnings.catch_warnings(action="ignore"):
                daezoo.load(NAME, source=zoo)
        except ZooError:
            refused += 1
    assert refused > count / 10


@pytest.mark.parametrize("check", [fuzz, fuzz_reader, fuzz_entry])
def test_flipped_bytes(zoo, check):
    check(zoo, 40)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("check", [fuzz, fuzz_reader, fuzz_entry])
def test_ten_thousand_mutations(zoo, check):
    check(zoo, 10_000)


def test_an_explicit_source_that_fails_is_not_replaced(zoo, tmp_path, monkeypatch):
    entry = tiny(zoo)
    monkeypatch.setattr(source, "shipped_folder", lambda: zoo)
    (tmp_path / "empty").mkdir()
    for where in (tmp_path / "empty", tmp_path / "absent", "memory://empty", f"file://{tmp_path}/empty"):
        with pytest.raises(ZooError, match=str(where).removeprefix("file://")):
            daezoo.load(NAME, source=where)
        monkeypatch.setenv("DAEZOO_SOURCE", str(where))
        with pytest.raises(ZooError, match=str(where).removeprefix("file://")):
            daezoo.load(NAME)
        monkeypatch.delenv("DAEZOO_SOURCE")
    half = tmp_path / "half"
    tiny(half)
    (half / entry.weights.file).write_bytes(b"damaged")
    with pytest.raises(ZooError, match="has 7 bytes"):
        daezoo.load(NAME, source=half)
    (half / entry.weights.file).unlink()
    with pytest.raises(ZooError, match="lacks the weights"):
        daezoo.load(NAME, source=half)


def test_weights_from_the_first_url_that_works(zoo, tmp_path, monkeypatch):
    entry = tiny(zoo)
    alone = tmp_path / "alone"
    monkeypatch.setattr(source, "shipped_folder", lambda: alone)
    monkeypatch.setattr("daezoo.zoo.download.PAUSE", 0.001)
    with serving(files_of(zoo)) as server:
        urls = [f"{server.url}/gone", f"{server.url}/{entry.weights.file}"]
        tiny(alone, urls=urls)
        (alone / entry.weights.file).unlink()
        assert daezoo.load(NAME).shape == (1, 8, 8)
        assert [path for path, _ in server.asked] == ["/gone", f"/{entry.weights.file}"]
        daezoo.load(NAME)
        assert len(server.asked) == 2  # from the cache


def test_weights_that_are_nowhere_say_where_they_were_looked_for(zoo, monkeypatch):
    entry = tiny(zoo)
    monkeypatch.setattr(source, "shipped_folder", lambda: zoo)
    (zoo / entry.weights.file).unlink()
    with pytest.raises(ZooError) as raised:
        daezoo.load(NAME)
    for said in (str(zoo), "cache", "no urls", entry.weights.sha256, "zoo import"):
        assert said in str(raised.value)


def test_anything_that_fsspec_opens_is_a_source(zoo, monkeypatch):
    import fsspec

    entry = tiny(zoo)
    memory = fsspec.filesystem("memory")
    for path in zoo.iterdir():
        memory.pipe(f"/tiny-zoo/{path.name}", path.read_bytes())
    assert daezoo.list_models(source="memory://tiny-zoo") == [NAME]
    assert daezoo.load(NAME, source="memory://tiny-zoo").shape == (1, 8, 8)
    monkeypatch.setenv("DAEZOO_CACHE", str(zoo / "another"))
    memory.pipe(f"/tiny-zoo/{entry.weights.file}", b"damaged")
    with pytest.raises(ZooError, match=r"memory://tiny-zoo.*7 bytes"):
        daezoo.load(NAME, source="memory://tiny-zoo")
    with pytest.raises(ZooError, match=r"nonsense://x.*fsspec"):
        daezoo.load(NAME, source="nonsense://x")


@pytest.mark.parametrize("size", [2**33, 2**60, 10**30])
def test_weights_that_are_too_large_to_be_true(zoo, size):
    with pytest.raises(ZooError, match=r"weights\.bytes"):
        tiny(zoo, weights=weights_of(NAME, good()) | {"bytes": size})


def test_the_range_is_that_of_the_entry(zoo):
    tiny(zoo, input={"shape": [1, 8, 8], "low": -1.0, "high": 1.0})
    assert daezoo.load(NAME, source=zoo).value_range == (-1.0, 1.0)
    tiny(zoo, input={"shape": [1, 8, 8], "low": None, "high": None})
    assert daezoo.load(NAME, source=zoo).value_range is None
    tiny(zoo, input={"shape": [1, 9, 9], "low": None, "high": None})
    with pytest.raises(ZooError, match="says shape"):
        daezoo.load(NAME, source=zoo)


def test_other_yaml_files_beside_entries_are_left_alone(zoo, tmp_path):
    tiny(zoo)
    (zoo / "docker-compose.yaml").write_text("services: {}")
    assert daezoo.list_models(source=zoo) == [NAME]
    (tmp_path / "a b").symlink_to(zoo)
    assert daezoo.list_models(source=f"file://{tmp_path}/a%20b") == [NAME]
    with pytest.raises(ZooError, match="Leave one out"):
        daezoo.load(zoo / f"{NAME}.yaml", source=zoo)


def test_what_is_no_name_is_a_run_or_a_checkpoint(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="no checkpoint or run folder runs/absent"):
        daezoo.load("runs/absent")
    with pytest.raises(ValueError, match=r"no checkpoint or run folder last\.ckpt"):
        daezoo.load("last.ckpt")
    with pytest.raises(ZooError, match=r"no pretrained model vanilla\.absent"):
        daezoo.load("vanilla.absent")
    (tmp_path / "vanilla.here").mkdir()  # a folder of that name is meant
    with pytest.raises(ValueError, match="has no checkpoint"):
        daezoo.load("vanilla.here")


def test_equal_on_every_load_and_of_the_class_it_was(zoo):
    tiny(zoo)
    first, second = (daezoo.load(NAME, source=zoo) for _ in range(2))
    assert type(first) is VanillaDAE
    x = torch.from_numpy(np.random.default_rng(0).random((2, 1, 8, 8), np.float32))
    assert torch.equal(first.denoise(x), second.denoise(x))
