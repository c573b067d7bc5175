"""`daezoo report`: what there is to know of a run, on one HTML page that needs no network."""

import json
import math
import platform
import re
import shlex
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib import import_module, metadata, resources
from importlib.util import find_spec
from io import BytesIO, StringIO
from itertools import cycle
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import torch
from matplotlib import rc_context
from matplotlib.figure import Figure
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits
from torch import Tensor
from torch.nn import functional as F

import daezoo
from daezoo import figures
from daezoo.data.splits import rows_at_once, spread, to_unit
from daezoo.evaluation.features import EXAMINED, LEVELS, layer_codes
from daezoo.evaluation.restoration import PROTOCOL, evaluate
from daezoo.evaluation.target import Target, open_target, parse, target_parser
from daezoo.files import write_text
from daezoo.report import percent, probe_protocol
from daezoo.runs import summary_of

INK = "#010203"
"""Stands for the colour of the page's text in what matplotlib draws."""
GREY = "#808080"
"""Reads on white and on black: a picture does not know the colour of the page."""
COLOURS = "#4f86c6 #f0852d #d9485f #3f9f95 #5aa04a #b6992d #9a6fc4 #d977a5 #9d7660 #8a8a8a".split()
"""Told apart from each other, from white and from black."""
LEGEND = 20
"""Classes that a legend can name."""
PACKAGES = ("torch", "lightning", "torchvision", "numpy")
DAMAGED = (ValueError, LookupError, TypeError, AttributeError)
"""What a file raises that is no JSON, or not the JSON that it should be."""


def run(args: list[str]) -> None:
    """Write the page, and print where it is.

    Args:
        args: The command line, without the command.

    Raises:
        ValueError: If the target is no run folder, or an argument does not fit.
    """
    parser = target_parser("report", "One HTML page about a run: numbers, curves, pictures, maps of its codes.")
    parser.add_argument("--out", type=str | None, help="The file to write; RUN/report.html if not given.")
    parser.add_argument(
        "--samples",
        type=int,
        default=2000,
        help="Test samples, evenly spread, in the map of codes and the noise curve.",
    )
    options = parse(parser, args)
    if options.out is not None and Path(options.out).is_dir():
        raise ValueError(f"--out is the file to write, but {options.out} is a folder.")
    if options.samples < 1:
        raise ValueError(f"--samples must be at least 1, got {options.samples}.")
    target = open_target(options)
    if target.run is None:
        raise ValueError(
            f"{options.target} is no run folder: there must be config.yaml and checkpoints/last.ckpt in it."
        )
    path = Path(options.out or target.run / "report.html")
    # a folder's name may hold bytes that are no text
    write_text(
        path, render(target, options.samples, other_data=options.data is not None).encode(errors="replace").decode()
    )
    print(path)


def render(target: Target, samples: int, other_data: bool = False) -> str:
    """The page, the same for the same run: nothing in it depends on when it is made.

    Args:
        target: A run, and the data it is measured on.
        samples: Test samples used, at most.
        other_data: Whether the data is not what the run was trained on.
    """
    folder, model, data = target.run, target.model, target.data
    assert folder is not None
    place = folder.resolve()
    title = f"{type(model).__name__} on {target.data_name}: {place.parent.name}/{place.name}"
    rows = spread(len(data.splits["test"]), samples)
    summary, broken = _summary(folder)
    other = f"Reconstructions, noise and codes are of {target.data_name}, which is not what the run was trained on."
    other = _note(other) if other_data else ""
    with rc_context(_style(INK)):
        probes, features = _probes(folder, target.step)
        sections = {
            "Results": broken + other + _results(target, summary, other_data),
            "Configuration": _configuration(folder, summary),
            "Training": _training(folder / "metrics.csv"),
            "Reconstructions": _reconstructions(target),
            "Noise": _noise(target, rows),
            "Filters": _filters(target),
            "Codes": _codes(target, rows),
            "Linear probe": probes,
            "Features": features,
        }
    names = {name: name.lower().replace(" ", "-") for name in sections}
    template = Template(resources.files("daezoo").joinpath("report_template.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=escape(title),
        nav="\n".join(f'<li><a href="#{names[name]}">{name}</a></li>' for name in sections),
        main="\n".join(
            f'<section aria-labelledby="{names[name]}">\n<h2 id="{names[name]}">{name}</h2>\n{content}\n</section>'
            for name, content in sections.items()
        ),
    )


def _summary(folder: Path) -> tuple[dict[str, Any] | None, str]:
    """The summary, and what the page has to say if it is missing or damaged."""
    try:
        summary = summary_of(folder)
        if summary is not None:
            summary["test"]["mse"]  # all that the page cannot do without
            return summary, ""
    except DAMAGED:
        return None, _note("summary.json is damaged: it is no summary of a run.")
    return None, _note(
        f"This run is not finished: it has no summary.json. The page shows its last checkpoint. To go on: daezoo fit "
        f"--resume {shlex.quote(str(folder))}"
    )


def _results(target: Target, summary: Mapping[str, Any] | None, other_data: bool) -> str:
    facts: dict[str, object] = {"parameters": f"{sum(part.numel() for part in target.model.parameters()):,}"}
    if summary is None:
        return _table(("", ""), facts.items(), text=1)
    test = summary["test"]
    rows = [
        ("denoised", _number(test["mse"], ".5f"), _number(test.get("psnr"), ".2f")),
        (
            "noisy input as it is",
            _number(test.get("mse_noisy_input"), ".5f"),
            _number(test.get("psnr_noisy_input"), ".2f"),
        ),
        ("training mean", _number(test.get("mse_train_mean"), ".5f"), ""),
    ]
    corruption = "" if other_data else f", {target.data.evaluation_corruption}"
    text = _protocol(f"All test samples of the run's own data{corruption}. {PROTOCOL}. Not finite, or not known: –.")
    for name in ("epochs", "steps", "seconds", "samples_per_second", "seed", "device", "world_size", "precision"):
        value = summary.get(name, "–")
        facts[name.replace("_", " ")] = f"{value:,}" if isinstance(value, int | float) else value
    return _table(("", "mse", "psnr (dB)"), rows) + text + _table(("training", ""), facts.items(), text=1)


def _configuration(folder: Path, summary: Mapping[str, Any] | None) -> str:
    config = (folder / "config.yaml").read_text(encoding="utf-8", errors="replace")
    first = config.partition("\n")[0]
    again = f"daezoo fit --config {shlex.quote(str(folder / 'config.yaml'))}"
    versions = {"python": platform.python_version(), "daezoo": daezoo.__version__}
    versions |= {name: metadata.version(name) for name in PACKAGES}
    return (
        f'<pre class="command"><code>{escape(first[2:] if first.startswith("# daezoo ") else again)}</code></pre>\n'
        f"<p>Commit: <code>{escape(str((summary or {}).get('commit') or 'not known'))}</code></p>\n"
        f"<details><summary>config.yaml</summary><pre><code>{escape(config)}</code></pre></details>\n"
        "<details><summary>Versions</summary>"
        + _protocol("Of the environment that made this page, which need not be the one that trained the run.")
        + _table(("package", "version"), versions.items(), text=1)
        + "</details>"
    )


def _training(metrics: Path) -> str:
    if not metrics.is_file():
        return _paragraph("There is no metrics.csv.")
    try:
        drawn = figures.curves(metrics)
    except DAMAGED:
        return _note("metrics.csv is damaged: it is no table of numbers.")
    # drawn again, one by one: on a phone the text of three panels side by side is too small
    panels = [
        (axis.get_title(), {str(line.get_label()): line.get_xydata() for line in axis.lines}) for axis in drawn.axes
    ]
    charts = [_chart(f"curve{k}", name, lines, "step", "") for k, (name, lines) in enumerate(panels) if lines]
    return _panels(charts) if charts else _paragraph("Nothing was logged.")


def _reconstructions(target: Target) -> str:
    data = target.data
    labels = [label for label, _ in figures.levels(data.evaluation_corruption)]
    with rc_context(_style(GREY)):
        drawn = figures.reconstructions(target.model, data, columns=6)
        for axis in drawn.axes:
            axis.yaxis.label.set_fontsize(14)  # to be read on a phone
            axis.spines[:].set_visible(False)
        text = "Test samples. Rows from the top: clean; then, for each level, noisy and denoised: " + ", ".join(labels)
        return _picture(drawn, f"{text}.")


def _filters(target: Target) -> str:
    weights = target.model.filters()
    if weights is None:
        return _paragraph("This model has no filters that could be shown as pictures.")
    shown = f"the 200 of {len(weights):,} filters with the largest norm" if len(weights) > 200 else "all filters"
    text = f"First layer: {shown}, each scaled to its own range."
    return _picture(figures.filters(weights), text)


def _noise(target: Target, rows: Tensor) -> str:
    """Reconstruction error over the noise level, beside the identity and the training mean."""
    data, mean = target.data, target.data.splits["train"].mean()
    corruption, test = data.evaluation_corruption, data.splits["test"]
    kind, level = type(corruption).__name__, corruption.level
    levels = {0.0, *LEVELS, *level.bounds} if level is not None else set()
    chosen = [(f"{x:g}", x, corruption.at(x)) for x in sorted({round(x, 6) for x in levels}) if x <= corruption.highest]
    mean_psnr = [
        -10 * (to_unit(test.__getitems__(some).clean) - mean).square().flatten(1).mean(1).double().log10()
        for some in rows.split(data.batch_size)
    ]
    constant = float(torch.cat(mean_psnr).mean())
    lines: dict[str, dict[str, list[tuple[float, float]]]] = {"mse": {}, "psnr": {}}
    table = []
    for label, place, noise in chosen or [("as it is", math.nan, corruption)]:
        some = (data.evaluation_batch(test.__getitems__(part), "test", noise) for part in rows.split(data.batch_size))
        found = evaluate(target.model, some, mean) | {"psnr_train_mean": constant}
        shown = {"denoised": "", "noisy input": "_noisy_input", "training mean": "_train_mean"}
        for measure, series in lines.items():
            for name, suffix in shown.items():
                series.setdefault(name, []).append((place, found[measure + suffix]))
        cells = [
            (measure, suffix, ".5f" if measure == "mse" else ".2f") for measure in lines for suffix in shown.values()
        ]
        table.append((label, *(_number(found[measure + suffix], spec) for measure, suffix, spec in cells)))
    heads = [
        f"{measure}, {name}" for measure in ("mse", "psnr") for name in ("denoised", "noisy input", "training mean")
    ]
    where = f"{kind} {corruption.level_name}" if chosen else kind
    body = _table((where, *heads), table)
    text = f"{len(rows):,} test samples, evenly spread, the same for every level. {PROTOCOL}. Not finite: –."
    if not chosen:
        return _paragraph(f"{kind} has no single level, so there is no curve over it.") + body + _protocol(text)
    named = {"mse": "mse", "psnr": "psnr (dB)"}
    charts = [_chart(f"noise-{key}", named[key], series, where, "") for key, series in lines.items()]
    return _panels(charts) + body + _protocol(text)


@torch.inference_mode()
def _codes(target: Target, rows: Tensor) -> str:
    """Maps of test samples' codes in two dimensions, coloured by class."""
    model, test = target.model, target.data.splits["test"]
    found, labels = [], []
    for some in rows.split(rows_at_once(test[0].clean.numel(), 512)):
        sample = test.__getitems__(some)
        found.append(layer_codes(model, to_unit(sample.clean.to(model.device)))[-1].double().cpu())
        labels.append(sample.label.cpu())
    codes, classes = torch.cat(found), torch.cat(labels).numpy()
    if len(codes) < 3:
        return _paragraph(f"A map needs three test samples or more; there are {len(codes)}.")
    if not codes.isfinite().all():
        return _note("Codes are not finite, so there is no map of them.")
    if bool((codes == codes[0]).all()):
        return _note("All codes are equal, so there is no map of them.")
    maps = _maps(F.pad(codes, (0, max(0, 2 - codes.shape[1]))).numpy())
    text = (
        f"Codes of {len(codes):,} clean test samples, evenly spread; {codes.shape[1]:,} features, pooled as for the "
        "linear probe, neither centred on the training samples nor scaled. t-SNE and UMAP start from the first 50 "
        "principal components; distances between their groups mean little. "
    )
    known = len(np.unique(classes[classes >= 0]))
    text += (
        f"One colour for each of {known} classes." if known else "The samples have no labels, so there is one colour."
    )
    return _panels([_map(name, points, classes, axes) for name, (points, axes) in maps.items()]) + _protocol(text)


def _maps(codes: np.ndarray) -> dict[str, tuple[np.ndarray, tuple[str, str]]]:
    """Points (N, 2) and names of the axes, for each method that is installed."""
    # one thread: the sums of several come in an order that nobody knows
    with threadpool_limits(1):
        pca = PCA(min(50, *codes.shape), svd_solver="full")
        components = pca.fit_transform(codes)
        shares = [
            f"component {k + 1}, {share:.1%} of the variance" for k, share in enumerate(pca.explained_variance_ratio_)
        ]
        maps = {"PCA": (components[:, :2], (shares[0], shares[1]))}
        perplexity = min(30.0, (len(codes) - 1) / 3)
        found = TSNE(perplexity=perplexity, init=_start(components), random_state=0, n_jobs=1).fit_transform(components)
        maps[f"t-SNE, perplexity {perplexity:.3g}"] = found, ("", "")
        if find_spec("umap"):
            umap = import_module("umap").UMAP(n_neighbors=min(15, len(codes) - 1), random_state=0, n_jobs=1)
            maps["UMAP"] = umap.fit_transform(components), ("", "")
    return maps


def _start(components: np.ndarray) -> np.ndarray:
    return (components[:, :2] / components[:, 0].std() * 1e-4).astype(np.float32)


def _map(name: str, points: np.ndarray, classes: np.ndarray, axes: tuple[str, str]) -> str:
    figure = Figure(figsize=(4.6, 4.8), layout="constrained")
    axis = figure.subplots()
    known = np.unique(classes)
    for label, colour in zip(known, cycle(COLOURS), strict=False):
        some = points[classes == label]
        marker = ".x+^v"[int(np.searchsorted(known, label)) // len(COLOURS) % 5]
        text = str(label) if label >= 0 else "no label"
        axis.plot(some[:, 0], some[:, 1], marker, color=colour, markersize=4, alpha=0.8, label=text)
    axis.set(xlabel=axes[0], ylabel=axes[1])
    if not axes[0]:
        axis.set(xticks=[], yticks=[])
    if 1 < len(known) <= LEGEND:
        axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=5, markerscale=2)
    return _vector(figure, f"map-{name.partition(',')[0].lower()}", name, f"Map of the codes by {name}")


def _probes(folder: Path, step: int) -> tuple[str, str]:
    """Every probe's accuracies, and what it says of the features."""
    parts = []
    for number, path in enumerate(sorted(folder.glob("probe-*.json"))):
        try:
            result = json.loads(path.read_text())
            old = f"This is of training step {result['step']:,}, and the checkpoint is of step {step:,}: probe again."
            part = ("" if result["step"] == step else _note(old)) + _accuracies(result), _numbers(result, number)
        except DAMAGED:
            part = (_note(f"{path.name} is damaged: it is no result of daezoo probe."),) * 2
        parts.append(tuple(f"<h3>{escape(path.name)}</h3>\n{half}" for half in part))
    if not parts:
        command = f"<code>daezoo probe {escape(shlex.quote(str(folder)))}</code>"
        return (f"<p>Not measured yet. This does it: {command}</p>",) * 2
    return "\n".join(part[0] for part in parts), "\n".join(part[1] for part in parts)


def _accuracies(result: Mapping[str, Any]) -> str:
    rows = []
    for layer in result["layers"]:
        compared = {f"codes, {layer['protocol']}": "accuracy", "codes before training": "untrained"}
        compared[f"codes, kNN (cosine, k={result['k']})"] = "knn"
        for name, key in compared.items():
            interval = layer["interval" if key == "accuracy" else f"{key}_interval"]
            rows.append((name, *percent(layer[key], interval), layer["layer"], layer["features"]))
    rows.append(("raw pixels", *percent(result["raw_pixels"], result["raw_pixels_interval"]), "", ""))
    tested = f"{result['samples']['test']:,} test samples, {result['classes']} classes"
    text = f"{result['model']} on {result['data']}: {tested}."
    protocol = f"{probe_protocol(result)}."
    head = ("classifier", "accuracy (%)", "95 % interval", "layer", "features")
    return _paragraph(text) + _table(head, rows) + _protocol(protocol)


def _numbers(result: Mapping[str, Any], number: int) -> str:
    rows, charts, head = (
        [],
        [],
        ["layer", "effective rank", "dead", "saturated", "mean activation", "different samples"],
    )
    for layer in result["layers"]:
        codes, curve = layer["codes"], layer["codes"]["invariance"]
        between = codes["cosine_between_samples"]
        row = [(codes["effective_rank"], ".1f"), (codes["dead"], ".1%"), (codes["saturated"], ".1%")]
        row += [(codes["mean_activation"], ".3g"), (between, ".3f"), *((one["cosine"], ".3f") for one in curve)]
        rows.append((layer["layer"], *(_number(value, spec) for value, spec in row)))
        points = [(one["level"], one["cosine"]) for one in curve if None not in (one["level"], one["cosine"])]
        if points and between is not None:
            series = {
                "clean and noisy": points,
                "different samples": [(points[0][0], between), (points[-1][0], between)],
            }
            name = f"Cosine of codes, layer {layer['layer']}"
            charts.append(
                _chart(f"invariance{number}-{layer['layer']}", name, series, f"{codes['corruption']} level", "")
            )
    first = result["layers"][0]["codes"]
    head += [
        first["corruption"] if one["level"] is None else f"{first['corruption']} {one['level']:g}"
        for one in first["invariance"]
    ]
    text = (
        f"Test samples. Effective rank: exp of the entropy of the singular values' shares (Roy and Vetterli, 2007), of "
        f"at most {EXAMINED:,} centred codes. Dead: share of units equal for every sample. Saturated: share of "
        "activations of logistic units below 0.05 or above 0.95. Last columns: mean cosine of the codes of different "
        "samples, and of a clean sample and a noisy one at each level (invariance). Not known: –."
    )
    return _panels(charts) + _table(head, rows) + _protocol(text)


def _style(ink: str) -> Any:
    """How matplotlib draws, in a colour for lines and letters."""
    inked = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color", "grid.color")
    clear = dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), "none")
    plain = {"legend.frameon": False, "grid.alpha": 0.2, "axes.spines.top": False, "axes.spines.right": False}
    return {**dict.fromkeys(inked, ink), **clear, **plain, "svg.fonttype": "none", "svg.hashsalt": "daezoo"}


def _chart(name: str, caption: str, series: Mapping[str, Any], xlabel: str, ylabel: str) -> str:
    """Lines over a common axis; dashes tell them apart where colours do not."""
    figure = Figure(figsize=(4.6, 3.2), layout="constrained")
    axis = figure.subplots()
    for (label, points), dash, colour in zip(series.items(), cycle(("-", "--", ":")), cycle(COLOURS), strict=False):
        x, y = np.asarray(points, dtype=float).T
        marker = "o" if len(x) < 12 else ""
        axis.plot(x, np.where(np.isfinite(y), y, np.nan), dash, color=colour, marker=marker, markersize=4, label=label)
    axis.set(xlabel=xlabel, ylabel=ylabel)
    axis.grid()
    axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, columnspacing=1, handlelength=1.6)
    return _vector(figure, name, caption, f"{caption} over {xlabel}: {', '.join(series)}")


def _vector(figure: Figure, name: str, caption: str, alt: str) -> str:
    """A figure as SVG in the page's colours, with ids of its own."""
    file = StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    drawn = file.getvalue()
    drawn = re.sub(r"<metadata>.*?</metadata>", "", drawn[drawn.index("<svg") :], flags=re.DOTALL)
    drawn = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{name}-", drawn).replace(INK, "currentColor")
    drawn = drawn.replace("<svg ", f'<svg role="img" aria-label="{escape(alt)}" ', 1)
    return f"<figure>\n<figcaption>{escape(caption)}</figcaption>\n{drawn}</figure>\n"


def _picture(figure: Figure, caption: str) -> str:
    """A figure as PNG inside the page."""
    file = BytesIO()
    figure.savefig(file, format="png", dpi=120, bbox_inches="tight", metadata={"Software": None})
    source = f"data:image/png;base64,{b64encode(file.getvalue()).decode()}"
    said = escape(caption)
    return f'<figure>\n<img src="{source}" alt="{said}">\n<figcaption>{said}</figcaption>\n</figure>\n'


def _panels(charts: Iterable[str]) -> str:
    return f'<div class="panels">\n{"".join(charts)}</div>\n'


def _paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>\n"


def _note(text: str) -> str:
    return f'<p class="note">{escape(text)}</p>\n'


def _protocol(text: str) -> str:
    return f'<p class="protocol">{escape(text)}</p>\n'


def _number(value: float | None, spec: str) -> str:
    return "–" if value is None or not math.isfinite(value) else format(value, spec)


def _table(head: Sequence[str], rows: Iterable[Sequence[object]], text: int = 0) -> str:
    """A table that scrolls by itself; the first `text` columns after the first are text."""
    kind = ' class="text"'
    heads = "".join(f'<th scope="col" class="fold">{escape(name)}</th>' for name in head)
    body = "\n".join(
        f'<tr><th scope="row">{escape(str(first))}</th>'
        + "".join(f"<td{kind if k < text else ''}>{escape(str(cell))}</td>" for k, cell in enumerate(cells))
        + "</tr>"
        for first, *cells in rows
    )
    shown = f"<thead><tr>{heads}</tr></thead>\n" if any(head) else ""
    return f'<div class="wide" tabindex="0"><table>\n{shown}<tbody>\n{body}\n</tbody>\n</table></div>\n'
