"""What the study `vincent2010` found, beside what was published: tables and plots from its rows."""

from collections.abc import Callable, Mapping, Sequence
from math import sqrt
from statistics import mean

from matplotlib.figure import Figure

from daezoo.studies.markdown import Rows, grouped, of, spread, table

PUBLISHED = {
    "mnist": {"svm": 1.40, "sae": 1.40, "sdae": 1.28},
    "basic": {"svm": 3.03, "sae": 3.46, "sdae": 2.84},
    "rot": {"svm": 11.11, "sae": 10.30, "sdae": 9.53, "sdae-sp": 8.76},
    "bg-rand": {"svm": 14.58, "sae": 11.28, "sdae": 10.30, "sdae-sp": 8.52},
    "bg-img": {"svm": 22.61, "sae": 23.00, "sdae": 16.68},
    "rot-bg-img": {"svm": 55.18, "sae": 51.93, "sdae": 43.76},
    "rect": {"svm": 2.15, "sae": 2.41, "sdae": 1.99},
    "rect-img": {"svm": 24.04, "sae": 24.05, "sdae": 21.59},
    "convex": {"svm": 19.13, "sae": 18.41, "sdae": 19.06},
}
"""Test errors in %: Vincent et al. (2010), Table 3, convex as recalled; sdae-sp is their salt and pepper with full
emphasis."""
RATIOS = dict(zip(PUBLISHED, (0.25, 0.1, 0.25, 0.4, 0.25, 0.25, 0.1, 0.25, 0.1), strict=True))
"""ν of the published SDAE-3."""
USUAL = {"smoke": 32, "minutes": 500, "full": 1000}
"""Units of a layer, by budget."""
OTHERS = ("bg-img", "rot-bg-img", "rect-img")
"""Problems with other photographs than the published ones."""

INTRODUCTION = """## Stacked denoising autoencoders: the table of 2010

`daezoo reproduce vincent2010`. Test error in %. The problems are made anew as their paper describes them: mnist is
MNIST, the others are generated, bg-img, rot-bg-img and rect-img with other photographs, so that only the ordering of
methods can be compared there. Of two ways to put a digit on a background, that one was taken under which a support
vector machine's error is near the published one. What is picked is picked on the validation split, with seed 0; no
test error had a part in it, but the recipes themselves were found in trials whose test errors were seen (DECISIONS.md
names them). Each configuration met the test split once. Mean ± standard deviation over seeds, of pretraining and
fine-tuning; in brackets the 95 % interval of one test split (Wilson). All stacks of the tables have three layers.
Published numbers are those of Vincent et al. (2010), Table 3, of convex as recalled; its networks had one to three
layers of 1,000 to 3,000 units, picked on the validation split, ours have the width that is said. A problem of two
classes is guessed with an error of 50: a network that has it never began to learn.
"""
BUDGET = {
    "full": "The published sizes: 50,000 / 10,000 / 10,000 samples of mnist, 10,000 / 2,000 / 50,000 of the variations "
    "and of rect-img, 1,000 / 200 / 50,000 of rect, 6,000 / 2,000 / 50,000 of convex.",
    "minutes": "No more than 10,000 / 2,000 / 10,000 samples, few epochs, and the published ν: for the ordering alone.",
    "smoke": "A few samples and steps: that it runs, nothing else.",
}
CLASSIC = """### {budget}: the classic recipe

{said} Logistic units, tied weights, cross-entropy, plain SGD, masking of pixels and of codes, {width} units a layer.
SAE is the same without noise, MLP without pretraining; "emphasis" is salt and pepper under full emphasis. ν is picked
where there are several rows of it in the CSV. A result is in the band if it is no higher than the published one by more
than that one's own 95 % half-width at our test size. The last but two columns say what is below what, and whether that
is SDAE < SAE < MLP, where 2010 had it so.
"""
MODERN = """### {budget}: the recipe of today

{said} Rectified units, AdamW, {width} units a layer, pretrained under the noise named; fine-tuned with dropout and
label smoothing on clean inputs ("light"), on inputs moved against the classifier ("adversarial"), on such that were
masked before, with more dropout ("strong"), or under salt and pepper ("noisy"), of which validation picks in the full
budget.
What it has to beat is the published SDAE-3.
"""
MACHINES = """### {budget}: support vector machines

{said} One against one, γ and C picked on the validation split among fits to at most 10,000 training samples; on pixels,
and on the codes of each layer after pretraining alone. "rows" is how many test samples the machine with a radial basis
function saw. Published for rot, linear: 43.47 on pixels, 10.00 on layer 3.
"""
NOISE_PLOT = """
Seed 0, with intervals; what errs more than twice as often as the best of its panel lies outside.

![Test error over the noise of pretraining](images/vincent2010-noise.png)
"""
DEPTH_PLOT = """
![Test error over depth and width, on rot](images/vincent2010-depth.png)
"""
PICTURES = """Filters of the first layer of the classic recipe on basic, without noise and with masking of 0.25 and 0.5:
![Filters of the first layer](images/vincent2010-filters-{budget}.png)

Samples from the codes of test images of basic down, each layer drawn from its Bernoulli distribution and the lowest
shown as means:
![Samples by top-down Bernoulli sampling, by both stacks](images/vincent2010-samples-{budget}.png)
"""


def picked(rows: Rows, width: int, **wanted: str) -> Rows:
    """The rows, one for each seed, of the configuration that validation picks with seed 0: three layers of a width."""
    found = of(rows, depth="3", width=str(width), **wanted)
    order = sorted(of(found, seed="0"), key=lambda row: (float(row["valid_error"]), row["noise"], row["tuning"]))
    first = order[0] if order else None
    return of(found, noise=first["noise"], tuning=first["tuning"]) if first else []


def said(rows: Rows) -> str:
    """Mean, deviation and interval of the errors of rows, in %; nothing if there are none."""
    if not rows:
        return ""
    low, high = (100 * mean(float(row[name]) for row in rows) for name in ("low", "high"))
    return f"{spread(rows, 'error')} ({low:.2f} to {high:.2f})"


def error(rows: Rows) -> float:
    """Mean error of rows, in %."""
    return 100 * mean(float(row["error"]) for row in rows)


def command(problem: str, budget: str, recipe: str, found: Mapping[str, Rows]) -> str:
    """What measures rows again, of several methods."""
    methods = [method for method, rows in found.items() if rows]
    seeds = max(int(row["seed"]) for rows in found.values() for row in rows) + 1
    return (
        f"`daezoo reproduce vincent2010 --budget {budget} --recipe {recipe} --problems {problem} "
        f"--methods {','.join(methods)} --seeds {seeds}`"
    )


def ordering(published: Mapping[str, float], found: Mapping[str, Rows]) -> str:
    """What is below what, and whether it is the published order where that is SDAE < SAE; nothing if one is missing."""
    names = {"sdae": "SDAE", "sae": "SAE", "mlp": "MLP"}
    if not all(found[method] for method in names):
        return ""
    order = sorted(names, key=lambda method: error(found[method]))
    text = " < ".join(names[method] for method in order)
    if published["sae"] < published["sdae"]:
        return f"{text} (2010: SAE < SDAE)"
    return f"{text}: {'yes' if order == list(names) else 'no'}"


def classic(rows: Rows, budget: str, width: int) -> str:
    """The table of the classic recipe."""
    lines = []
    for problem, published in PUBLISHED.items():
        found = {
            method: picked(rows, width, problem=problem, recipe="classic", method=method)
            for method in ("sdae", "sae", "mlp", "sdae-sp")
        }
        if not any(found.values()):
            continue
        sdae, sae, mlp, emphasis = found.values()
        high = in_band = ""
        if sdae and problem not in OTHERS:
            share = published["sdae"] / 100
            limit = 100 * (share + 1.96 * sqrt(share * (1 - share) / int(sdae[0]["test"])))
            high, in_band = f"{limit:.2f}", "yes" if error(sdae) <= limit else "no"
        lines.append(
            [
                problem,
                f"{published['sdae']:.2f} ({RATIOS[problem]:g})",
                f"{said(sdae)}{noise(sdae)}",
                high,
                in_band,
                f"{published['sae']:.2f}",
                said(sae),
                said(mlp),
                ordering(published, found),
                f"{said(emphasis)}{noise(emphasis)}",
                f"{published['sdae-sp']:.2f}" if "sdae-sp" in published else "",
                str(max(map(len, found.values()))),
                command(problem, budget, "classic", found),
            ]
        )
    if not lines:
        return ""
    head = ["problem", "SDAE-3 2010 (ν)", "SDAE (ν)", "band up to", "in it", "SAE-3 2010", "SAE", "MLP", "order"]
    head += ["emphasis (ν)", "2010", "seeds", "command"]
    return CLASSIC.format(budget=budget, said=BUDGET[budget], width=width) + "\n" + table(head, lines)


def noise(rows: Rows) -> str:
    """The level of a configuration's noise, in brackets."""
    return f", {rows[0]['noise'].partition(' ')[2]}" if rows else ""


def modern(rows: Rows, budget: str, width: int) -> str:
    """The table of the modern recipe."""
    lines = []
    for problem, published in PUBLISHED.items():
        methods = ("sdae", "sae", "mlp")
        found = {m: picked(rows, width, problem=problem, recipe="modern", method=m) for m in methods}
        if not found["sdae"]:
            continue
        sdae = found["sdae"]
        better = "" if problem in OTHERS else "yes" if error(sdae) < published["sdae"] else "no"
        lines.append(
            [
                problem,
                f"{published['sdae']:.2f}",
                said(sdae),
                better,
                f"{sdae[0]['noise']}, {sdae[0]['tuning']}",
                *(said(found[method]) for method in methods[1:]),
                str(max(map(len, found.values()))),
                command(problem, budget, "modern", found),
            ]
        )
    if not lines:
        return ""
    head = ["problem", "SDAE-3 2010", "SDAE", "better", "noise, fine-tuning", "SAE", "MLP", "seeds", "command"]
    return MODERN.format(budget=budget, said=BUDGET[budget], width=width) + "\n" + table(head, lines)


def machines(rows: Rows, budget: str) -> str:
    """The table of support vector machines."""
    lines = []
    svm = [row for row in rows if row["method"].startswith("svm")]
    order = list(PUBLISHED)
    groups = grouped(
        sorted(svm, key=lambda row: order.index(row["problem"])), "problem", "recipe", "noise", "width", "depth"
    )
    for (problem, recipe, noise, width, layer), one in groups.items():
        linear, rbf = of(one, method="svm-linear"), of(one, method="svm-rbf")
        features = f"layer {layer} of {width} units, {recipe}, {noise}" if recipe else "pixels"
        published = "" if recipe else f"{PUBLISHED[problem]['svm']:.2f}"
        rows_seen = rbf[0]["test"] if rbf else ""
        again = (
            f"`daezoo reproduce vincent2010 --budget {budget} --recipe {recipe or 'classic'} --problems {problem} "
            "--methods svm`"
        )
        lines.append([problem, features, said(linear), said(rbf), rows_seen, published, again])
    if not lines:
        return ""
    head = ["problem", "features", "linear", "rbf", "rows", "rbf 2010, pixels", "command"]
    return MACHINES.format(budget=budget, said=BUDGET[budget]) + "\n" + table(head, lines)


def section(rows: Rows) -> str:
    """Section of the study."""
    parts = [INTRODUCTION]
    for (budget,), one in grouped(rows, "budget").items():
        width = USUAL[budget]
        parts += [classic(one, budget, width), modern(one, budget, width), PICTURES.format(budget=budget)]
        parts.append(machines(one, budget))
    return "\n".join(part for part in [*parts, NOISE_PLOT, DEPTH_PLOT] if part)


def largest(rows: Rows) -> tuple[Rows, str]:
    """The rows of the largest budget there is, and its width."""
    budget = next((budget for budget in ("full", "minutes") if of(rows, budget=budget)), "full")
    return of(rows, budget=budget, recipe="classic", seed="0"), str(USUAL[budget])


def _grid(names: Sequence[str]) -> tuple[Figure, list]:
    figure = Figure(figsize=(11, 3 * -(-len(names) // 3)), layout="constrained")
    axes = list(figure.subplots(-(-len(names) // 3), 3, squeeze=False).flat)
    for axis in axes[len(names) :]:
        axis.set_axis_off()
    return figure, axes


def plot_noise(rows: Rows) -> Figure | None:
    """Test error over ν, a panel for each problem that was learnt under several; None if there is none."""
    found_rows, width = largest(rows)
    lines: dict[str, dict[str, list[tuple[float, float, float, float]]]] = {}
    for row in of(found_rows, depth="3", width=width):
        problem, method, noise = row["problem"], row["method"], row["noise"]
        if method not in ("sae", "sdae", "sdae-sp"):
            continue
        wrong, least, most = (100 * float(row[name]) for name in ("error", "low", "high"))
        point = (float(noise.partition(" ")[2] or 0), wrong, wrong - least, most - wrong)
        for name in ("sdae", "sdae-sp") if method == "sae" else (method,):
            lines.setdefault(problem, {}).setdefault(name, []).append(point)
    lines = {problem: found for problem, found in lines.items() if len(found.get("sdae", ())) > 2}
    if not lines:
        return None
    figure, axes = _grid(list(lines))
    for (problem, found), axis in zip(lines.items(), axes, strict=False):
        for method, points in found.items():
            if len(points) > 1:
                x, y, *bars = zip(*sorted(points), strict=True)
                label = {"sdae": "masking", "sdae-sp": "salt and pepper, emphasis"}[method]
                axis.errorbar(x, y, bars, marker="o", capsize=3, label=label)
        axis.axhline(PUBLISHED[problem]["sdae"], color="gray", linestyle=":", label="SDAE-3, 2010")
        axis.set(title=problem, xlabel="ν", ylabel="test error (%)")
        axis.grid(alpha=0.3)
        lowest = min(point[1] for points in found.values() for point in points)
        axis.set_ylim(top=min(axis.get_ylim()[1], 2 * lowest))
    lines_of = {line.get_label(): line for axis in axes for line in axis.get_legend_handles_labels()[0]}
    figure.legend(lines_of.values(), lines_of.keys(), loc="outside upper center", ncols=3, fontsize=8)
    return figure


def plot_depth(rows: Rows) -> Figure | None:
    """Test error over depth, a line for each width, a panel for each method; None if there is one depth only."""
    swept = [row for row in of(largest(rows)[0], problem="rot") if row["method"] in ("sdae", "sae", "mlp")]
    if len({row["depth"] for row in swept}) < 2:
        return None
    figure, axes = _grid(("sdae", "sae", "mlp"))
    chosen = {row["noise"] for row in swept if row["method"] == "sdae" and row["depth"] != "3"}
    for (method,), one in grouped(swept, "method").items():
        axis = axes[("sdae", "sae", "mlp").index(method)]
        kept = [row for row in one if method != "sdae" or row["noise"] in chosen]
        for (width,), same in sorted(grouped(kept, "width").items(), key=lambda item: int(item[0][0])):
            points = sorted((int(row["depth"]), 100 * float(row["error"])) for row in same)
            axis.plot(*zip(*points, strict=True), marker="o", label=f"{width} units")
        axis.set(title={"sdae": "SDAE", "sae": "SAE", "mlp": "MLP"}[method], xlabel="layers", ylabel="test error (%)")
        axis.set_xticks([1, 2, 3])
        axis.grid(alpha=0.3)
    low = min(axis.get_ylim()[0] for axis in axes)
    high = max(axis.get_ylim()[1] for axis in axes)
    for axis in axes:
        axis.set_ylim(low, high)
    next(axis for axis in axes if axis.lines).legend(fontsize=8)
    return figure


PLOTS: dict[str, Callable[[Rows], Figure | None]] = {
    "vincent2010-noise": plot_noise,
    "vincent2010-depth": plot_depth,
}
"""Pictures in docs/images."""
