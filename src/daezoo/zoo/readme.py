"""zoo/README.md, rendered from the entries beside it."""

from collections.abc import Sequence
from pathlib import Path

from daezoo.files import write_text
from daezoo.zoo.entry import Built, Entry, Metric, read_all

HEAD = """# The zoo

Rendered from the entries in this folder by `make zoo-readme`; not typed. One YAML file for each pretrained model says
how it was trained, what it reaches by which protocol, and the sha256 of its weights; `daezoo zoo info NAME` prints it.

```python
import daezoo

model = daezoo.load("{first}")
```

`make zoo` checks digest, strict load and golden output of every model, and `daezoo zoo verify --metrics` measures all
numbers below again where the data is at hand. The command that trained a model is in its entry, and
`daezoo zoo retrain NAME --compare` runs it. A `candidate` was trained on a CPU, though its recipe
wants a GPU: longer, and on more crops.
"""
CARD = """# Denoising autoencoders of daezoo

```python
import daezoo

model = daezoo.load("{{first}}", source="{where}")
```

Beside the weights of each model lies its entry, which says how it was trained and what it reaches by which protocol;
`daezoo zoo verify --source {where}` checks that.
"""
FEATURES = """
## Features

Test accuracy in % of a linear probe by protocol `logreg-v1` (feature maps averaged over a 4 x 4 grid, where the
protocol says so): codes of clean samples, standardised; multinomial logistic regression, L2 strength picked on the
validation split. Beside it the same probe on raw pixels and on the encoder before training.

"""
CLASSIFIERS = """
## Classifiers

Test error in % by protocol `finetune-v1` (clean test samples in float32) of the classifier that `model.classify(x)` is,
fine-tuned together with the encoder; beside it the same network without pretraining, where that was trained. What the
tables around say of these models is of the fine-tuned encoder.

"""
LIKELIHOODS = """
## Likelihood

Negative log-likelihood in nats of binary test images, by protocol `iw-nll-v1`: a bound from k codes of each image,
which more codes make tighter. Beside it the bound from one code, and the same of pixels that do not depend on each
other, each as often white as in the training images.

"""
RESTORATION = """
## Reconstruction

Protocol `reconstruction-v1`: test samples under the noise named, mean over samples, data in [0, 1] (tables
standardised), nothing clipped or quantised. Beside it leaving the noisy input as it is, and predicting the mean
training sample. For folders of pictures, such as `bsd400`, samples are crops of the held-out tenth of the pictures.

"""
LICENCES = """
## Files and licences

"""


def noise(corruption: Built) -> str:
    """A corruption in a few words, such as Masking 0.25."""

    def in_short(value: object) -> str:
        if isinstance(value, dict):
            inner = value.get("init_args", {})
            return "–".join(str(inner[key]) for key in ("low", "high", "start", "stop", "value") if key in inner)
        return f"{value:g}" if isinstance(value, int | float) else str(value)

    level = next(iter(corruption.init_args.values()), None)
    return " ".join([corruption.class_path.rpartition(".")[2], *([] if level is None else [in_short(level)])])


def shown(metric: Metric | None, baseline: str | None = None) -> str:
    """A number, or that of a baseline; nothing if there is none. An accuracy is in %."""
    if metric is None:
        return ""
    value = metric.value if baseline is None else metric.baselines.get(baseline)
    if value is None:
        return ""
    return (
        f"{100 * value:.2f}"
        if metric.name in ("accuracy", "error")
        else f"{value:.{5 if metric.name == 'mse' else 2}f}"
    )


def trained_on(entry: Entry) -> str:
    """Name of the data set, and of the problem if it makes several."""
    path: object = entry.data.init_args.get("path") or entry.data.init_args.get("root")
    kind = entry.data.class_path.rpartition(".")[2].removesuffix("Data")
    if kind in ("Arrays", "Images", "Shards") and isinstance(path, str):
        return Path(path).stem
    problem = entry.data.init_args.get("kind")
    return f"{kind}, {problem}" if problem else kind


def render(entries: Sequence[Entry], head: str = HEAD) -> str:
    """The whole document.

    Args:
        entries: The models.
        head: Its beginning, with {first} for a model's name.
    """
    text = head.format(first=entries[0].name if entries else "family.tag")
    text += FEATURES + _row("name", "data", "trained under", "protocol", "accuracy", "raw pixels", "untrained")
    text += _row(*["---"] * 7)
    for entry in entries:
        if metric := entry.metric("accuracy"):
            trained = noise(Built.model_validate(entry.data.init_args["corruption"]))
            beside = (shown(metric), shown(metric, "raw pixels"), shown(metric, "untrained"))
            text += _row(entry.name, trained_on(entry), trained, metric.protocol, *beside)
    if any(entry.classifier for entry in entries):
        text += CLASSIFIERS + _row("name", "data", "classes", "error", "not pretrained") + _row(*["---"] * 5)
    for entry in entries:
        if entry.classifier and (metric := entry.metric("error")):
            classes = str(len(entry.classifier.labels))
            text += _row(entry.name, trained_on(entry), classes, shown(metric), shown(metric, "not pretrained"))
    if any(entry.metric("nll") for entry in entries):
        text += LIKELIHOODS + _row("name", "data", "protocol", "nll", "evidence lower bound", "independent pixels")
        text += _row(*["---"] * 6)
    for entry in entries:
        if metric := entry.metric("nll"):
            numbers = (shown(metric), shown(metric, "evidence lower bound"), shown(metric, "independent pixels"))
            text += _row(entry.name, trained_on(entry), metric.protocol, *numbers)
    text += RESTORATION + _row(
        "name", "data", "noise", "mse", "noisy input", "training mean", "PSNR (dB)", "noisy input"
    )
    text += _row(*["---"] * 8)
    for entry in entries:
        for corruption in dict.fromkeys(one.corruption.model_dump_json() for one in entry.metrics if one.corruption):
            under = Built.model_validate_json(corruption)
            of = {one.name: one for one in entry.metrics if one.corruption == under}
            mse, psnr = of.get("mse"), of.get("psnr")
            errors = (shown(mse), shown(mse, "noisy input"), shown(mse, "training mean"))
            decibels = (shown(psnr), shown(psnr, "noisy input") or "∞")
            text += _row(entry.name, trained_on(entry), noise(under), *errors, *decibels)
    text += LICENCES + _row("name", "status", "parameters", "file", "weights", "training data") + _row(*["---"] * 6)
    for entry in entries:
        file = f"{entry.weights.bytes / 1e6:.2f} MB, {entry.weights.dtype}"
        licences = (entry.licence.weights, entry.licence.data)
        text += _row(entry.name, entry.status, f"{entry.weights.parameters:,}", file, *licences)
    return text


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |\n"


def write(folder: Path) -> Path:
    """Render a folder's README.md."""
    path = folder / "README.md"
    write_text(path, render(read_all(folder)))
    return path
