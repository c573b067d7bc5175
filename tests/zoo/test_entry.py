import pytest
import yaml
from pydantic import ValidationError
from tiny_zoo import NAME, fields_of, model_of, tiny

import daezoo
from daezoo.zoo.entry import SCHEMA, Classifier, ZooError, check_name, parse, read, read_all, write


@pytest.fixture
def fields():
    return fields_of(NAME, model_of(), b"content")


def refused(fields, said):
    with pytest.raises(ZooError, match=said):
        parse(yaml.safe_dump(fields), "the entry")


def test_an_entry_reads_as_it_was_written(tmp_path, fields):
    entry = parse(yaml.safe_dump(fields), "it")
    write(entry, tmp_path)
    assert read(tmp_path / f"{NAME}.yaml") == entry
    assert read_all(tmp_path, "vanilla.*") == [entry]
    assert read_all(tmp_path, "conv.*") == []
    assert entry.family == "vanilla"


@pytest.mark.parametrize(
    "name",
    [
        "../up.x",
        "/etc.passwd",
        "a/b.c",
        "a.b/../c",
        "A.b",
        "a",
        "a.",
        ".b",
        "a.b.c",
        "a.b\n",
        "a. b",
        "..",
        "a\\b.c",
        "a.b\x00",
        "",
    ],
)
def test_names_that_are_none(name, fields, tmp_path):
    with pytest.raises(ZooError, match=r"family\.tag"):
        check_name(name)
    with pytest.raises(ValueError, match=r"family\.tag|no checkpoint|Is it a run folder"):
        daezoo.load(name, source=tmp_path)
    with pytest.raises(ZooError, match=r"family\.tag"):
        daezoo.info(name, source=tmp_path)
    refused(fields | {"name": name}, "no zoo entry|family")


def test_weights_are_named_after_the_entry(fields):
    for file in ("../x.safetensors", "/x.safetensors", "other.safetensors", f"{NAME}.ckpt"):
        refused(fields | {"weights": fields["weights"] | {"file": file}}, "weights.file must be")


def test_a_file_is_named_after_its_entry(tmp_path, fields):
    (tmp_path / "vanilla.other.yaml").write_text(yaml.safe_dump(fields))
    with pytest.raises(ZooError, match=f"must be called {NAME}.yaml"):
        daezoo.load("vanilla.other", source=tmp_path)


def test_a_newer_schema_says_to_upgrade(fields):
    refused(fields | {"schema": SCHEMA + 1}, f"has schema {SCHEMA + 1}, newer than {SCHEMA}.*pip install --upgrade")
    for schema in (0, -1, "1", None, True, [1], 1.5):
        refused(fields | {"schema": schema}, "schema")


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['touch executed']",
        "schema: !!python/name:os.system",
        "schema: 1\nname: !other x",
        "a: &a [1]\nb: *a",
        "&a [*a]",
        "schema: 1\nname: [",
        "\x00",
        "",
        "- 1",
        "5",
        "schema: 1",
        "? [1, 2]\n: 3",
        "? {a: 1}\n: 3",
        "schema: 2001-99-99",
        "[" * 5000,
        "{schema: " * 3000,
        b"\xff\xfe\xfa",
        "a: b" * 2**18,
    ],
)
def test_what_is_no_plain_yaml_of_an_entry(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ZooError, match=r"the entry (is no zoo entry|has schema)"):
        parse(text, "the entry")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (("more",), 1, "more"),
        (("weights", "sha256"), "0" * 63, "sha256"),
        (("weights", "sha256"), "A" * 64, "sha256"),
        (("weights", "bytes"), 0, "bytes"),
        (("weights", "bytes"), "12", "bytes"),
        (("weights", "dtype"), "float64", "dtype"),
        (("weights", "parameters"), 1.5, "parameters"),
        (("input", "shape"), [], "shape"),
        (("input", "shape"), [0, 8], "shape"),
        (("input", "low"), float("nan"), "finite"),
        (("golden", "encode"), [float("inf")], "finite"),
        (("golden", "tolerance"), 0.0, "tolerance"),
        (("urls",), ["file:///etc/passwd"], "urls"),
        (("urls",), ["/etc/passwd"], "urls"),
        (("urls",), "https://x", "urls"),
        (("model", "class_path"), "../x", "class_path"),
        (("model", "class_path"), "x", "class_path"),
        (("status",), "best", "status"),
        (("licence", "data"), None, "licence"),
    ],
)
def test_a_field_that_does_not_fit_is_named(fields, place, value, said):
    inner = fields
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    refused(fields, said)


@pytest.mark.parametrize("field", ["name", "weights", "golden", "licence", "training"])
def test_a_field_that_is_missing_is_named(fields, field):
    del fields[field]
    refused(fields, field)


def test_a_file_that_cannot_be_read(tmp_path):
    (tmp_path / f"{NAME}.yaml").mkdir()
    with pytest.raises(ZooError, match="cannot be read"):
        read(tmp_path / f"{NAME}.yaml")
    entry = tiny(tmp_path / "zoo")
    assert read(tmp_path / "zoo" / f"{NAME}.yaml") == entry


@pytest.mark.parametrize("labels", [[3, 1], [1, 1], [0], [0, 2**63], ["a", "b"]])
def test_labels_of_a_classifier_are_different_integers_in_order(labels):
    classifier = {"command": "daezoo finetune RUN", "commit": None, "seed": 0, "epochs": 1, "seconds": 1.0}
    classifier |= {"hardware": "none", "precision": "32-true"}
    assert Classifier.model_validate({**classifier, "labels": [-2, 0, 7]}).labels == [-2, 0, 7]
    with pytest.raises(ValidationError):
        Classifier.model_validate({**classifier, "labels": labels})
