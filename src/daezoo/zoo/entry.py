"""What is known of a pretrained model: one YAML file beside its weights, checked against a schema."""

import re
from fnmatch import fnmatchcase
from math import isfinite
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from daezoo.files import write_text

SCHEMA = 1
NAME = re.compile(r"[a-z][a-z0-9_]*\.[a-z0-9][a-z0-9_-]*")
LARGEST_ENTRY = 2**18
"""Bytes of an entry, at most."""
LARGEST_WEIGHTS = 2**32
"""Bytes of weights, at most."""
LARGEST_TOLERANCE = 0.1
"""Of a metric, as a share of its value: more would check nothing."""
TIER = 6_000_000
"""Bytes of all weights together that travel inside the wheel, at most."""


class ZooError(ValueError):
    """Whatever is wrong with an entry, its weights or their source, with the way out."""


def _finite(value: float) -> float:
    if not isfinite(value):
        raise ValueError("must be a finite number")
    return value


def _ascending(labels: list[int]) -> list[int]:
    if sorted(set(labels)) != labels or max(map(abs, labels)) >= 2**63:
        raise ValueError("must be different integers of 64 bits, in ascending order")
    return labels


Finite = Annotated[float, AfterValidator(_finite)]
URL = r"^(https?|hf|s3|gs|az)://\S+$"
Url = Annotated[str, Field(pattern=URL)]


Status = Literal["released", "candidate"]
Dtype = Literal["float16", "float32"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Built(_Part):
    """A class and the arguments of its constructor, as in a configuration file."""

    class_path: str = Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$")
    init_args: dict[str, JsonValue] = Field(default_factory=dict)


class Weights(_Part):
    """The weights' file: `bytes` and `sha256` are of the whole file; `dtype` is that of all floating point tensors."""

    file: str
    bytes: int = Field(ge=1, le=LARGEST_WEIGHTS)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    dtype: Dtype
    parameters: int = Field(ge=1)


class Input(_Part):
    """What the model takes: samples of `shape`, clean values in [low, high]; null where they have no bounds."""

    shape: list[Annotated[int, Field(ge=1)]] = Field(min_length=1)
    low: Finite | None
    high: Finite | None


class Training(_Part):
    """How the weights came about."""

    command: str
    commit: str | None
    seed: int
    epochs: int
    steps: int
    seconds: Finite
    hardware: str
    precision: str
    versions: dict[str, str]


class Classifier(_Part):
    """A linear classifier on the code, and how it was trained together with the encoder, after `training`."""

    labels: Annotated[list[int], Field(min_length=2), AfterValidator(_ascending)]
    command: str
    commit: str | None
    seed: int
    epochs: int
    seconds: Finite
    hardware: str
    precision: str


class Metric(_Part):
    """One number, with what is needed to measure it again.

    Attributes:
        protocol: What was measured how.
        name: accuracy of a linear probe and error of the entry's classifier, in [0, 1]; mse in data units squared; psnr
            in dB; nll, the negative log-likelihood of a sample, in nats.
        value: Of these weights.
        tolerance: How far it may lie elsewhere; on the same hardware with as many threads it is equal.
        baselines: The same number of what has to be beaten.
        corruption: Of the test samples; null where they are clean.
        samples: Test samples.
        hardware: Where it was measured.
        threads: With so many.
    """

    protocol: str
    name: Literal["accuracy", "error", "mse", "psnr", "nll"]
    value: Finite
    tolerance: Finite = Field(gt=0)
    baselines: dict[str, Finite]
    corruption: Built | None
    samples: int = Field(ge=1)
    hardware: str
    threads: int = Field(ge=1)

    @model_validator(mode="after")
    def _means_something(self) -> "Metric":
        if self.tolerance > max(1e-9, LARGEST_TOLERANCE * abs(self.value)):
            raise ValueError(f"tolerance must be no more than a tenth of {self.value:g}, got {self.tolerance:g}")
        if (self.corruption is None) != (self.name in ("accuracy", "error", "nll")):
            raise ValueError("accuracy, error and nll are of clean samples, mse and psnr are of noisy ones")
        return self


class Golden(_Part):
    """Numbers about code and reconstruction of an input that a formula gives, see `daezoo.zoo.golden.golden`.

    Of each: mean, standard deviation, three projections, and values at evenly spread places. A model with a classifier
    has its logits in place of a reconstruction.
    """

    input: Literal["waves-v1"]
    encode: list[Finite] = Field(min_length=5)
    denoise: list[Finite] | None = Field(min_length=5, default=None)
    classify: list[Finite] | None = Field(min_length=5, default=None)
    tolerance: Finite = Field(gt=0, le=0.01)


class Licence(_Part):
    """What may be done with the code, the weights and the data they were trained on."""

    code: str
    weights: str
    data: str


class Entry(_Part):
    """A pretrained model."""

    schema_version: int = Field(alias="schema")
    name: str
    status: Status
    description: str
    model: Built
    data: Built
    input: Input
    weights: Weights
    urls: list[Url]
    training: Training
    classifier: Classifier | None = None
    metrics: list[Metric]
    golden: Golden
    licence: Licence

    @model_validator(mode="after")
    def _golden_fits(self) -> "Entry":
        wanted, other = ("denoise", "classify") if self.classifier is None else ("classify", "denoise")
        if getattr(self.golden, wanted) is None or getattr(self.golden, other) is not None:
            raise ValueError(f"golden must have encode and {wanted}, not {other}")
        return self

    @model_validator(mode="after")
    def _names_fit(self) -> "Entry":
        check_name(self.name)
        if self.weights.file != f"{self.name}.safetensors":
            raise ValueError(f"weights.file must be {self.name}.safetensors, got {self.weights.file!r}")
        return self

    @property
    def family(self) -> str:
        """The part of the name before the dot."""
        return self.name.partition(".")[0]

    def metric(self, name: str) -> Metric | None:
        """The first metric of that name."""
        return next((metric for metric in self.metrics if metric.name == name), None)

    def to_yaml(self) -> str:
        """The text of its file."""
        plain = self.model_dump(by_alias=True)
        for part, name in ((plain, "classifier"), (plain["golden"], "denoise"), (plain["golden"], "classify")):
            if part[name] is None:
                del part[name]
        return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=120, default_flow_style=None)


class _Loader(yaml.SafeLoader):
    """YAML without tags of its own and without aliases, which can make a small file huge."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not allowed")
        return super().compose_node(parent, index)


def check_name(name: str) -> str:
    """The name, if it is one.

    Raises:
        ZooError: Unless it is family.tag, in small letters, digits, _ and, in the tag, -.
    """
    if not NAME.fullmatch(name):
        raise ZooError(f"A zoo name is family.tag, such as stacked.mnist-mask25, in small letters; got {name!r}.")
    return name


def parse(text: bytes | str, where: str) -> Entry:
    """The entry that a file holds; nothing in it is executed.

    Args:
        text: The file's content.
        where: What it is called in errors.

    Raises:
        ZooError: If it is no entry of a schema that this version reads.
    """
    if len(text) > LARGEST_ENTRY:
        raise ZooError(f"{where} is no zoo entry: it has more than {LARGEST_ENTRY:,} bytes.")
    try:
        plain = yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError, TypeError, LookupError, RecursionError, AttributeError, OverflowError) as error:
        problem = " ".join(str(error).split())
        raise ZooError(f"{where} is no zoo entry: it is no plain YAML ({problem[:300]}).") from None
    if not isinstance(plain, dict) or "schema" not in plain:
        raise ZooError(f"{where} is no zoo entry: it has no field schema.")
    if isinstance(plain["schema"], int) and plain["schema"] > SCHEMA:
        raise ZooError(
            f"{where} has schema {plain['schema']}, newer than {SCHEMA}, the newest this version of daezoo reads. "
            "Upgrade: pip install --upgrade daezoo"
        )
    if plain["schema"] != SCHEMA:
        raise ZooError(f"{where} has schema {plain['schema']!r}; expected {SCHEMA}.")
    try:
        return Entry.model_validate(plain)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        message = f"{place}: {first['msg']}" if place else first["msg"]
        raise ZooError(f"{where} is no zoo entry: {message}.") from None


def read(path: Path) -> Entry:
    """The entry of a file, which is named after it.

    Raises:
        ZooError: If it cannot be read, is no entry, or has another name.
    """
    try:
        with open(path, "rb") as file:
            entry = parse(file.read(LARGEST_ENTRY + 1), str(path))
    except OSError as error:
        raise ZooError(f"{path} cannot be read: {error.strerror or error}.") from None
    if path.stem != entry.name:
        raise ZooError(f"{path} holds the entry {entry.name}; its file must be called {entry.name}.yaml.")
    return entry


def write(entry: Entry, folder: Path) -> None:
    """Write an entry into a folder, whole or not at all."""
    write_text(folder / f"{entry.name}.yaml", entry.to_yaml())


def read_all(folder: Path, pattern: str = "*", named: bool = True) -> list[Entry]:
    """The entries of a folder, by name.

    Args:
        folder: Where.
        pattern: Of the names, as for files: * and ?.
        named: Only files that are named after their entries; any other name is not theirs.
    """
    paths = sorted(folder.glob("*.yaml"))
    if not named:
        return [parse(path.read_bytes(), str(path)) for path in paths]
    return [read(path) for path in paths if NAME.fullmatch(path.stem) and fnmatchcase(path.stem, pattern)]
