"""What the study `family` found: tables from its rows."""

from statistics import mean, stdev

from daezoo.studies.markdown import Rows, grouped, of, spread, table

INTRODUCTION = """## Autoencoders and their relatives

`daezoo reproduce family`. All on the same splits, by the same trainer, and judged alike: mse of test samples under
Gaussian noise of 0.5 and of clean ones; accuracy in % of `logreg-v1` and kNN (cosine, k = 20) on codes of clean
samples, the probe on raw pixels in each table's last line; test error in % of fine-tuning (dropout 0.2, rate 2e-3); the
cosine between codes of clean and noisy samples, in brackets that between those of different samples; effective rank;
Hoyer's sparseness, 1 if one unit alone is active; negative log-likelihood in nats of binary images (protocol
iw-nll-v1), which only variational-binary sees, so that none of its other numbers is to be compared. Seconds of
training, in which several trainings may have shared the machine. Mean ± standard deviation over seeds. Members
"denoising", "stacked", "conv", "variational-denoising", "adversarial" and "hierarchical" train under the noise that is
judged, the others without. Hidden layers are fully connected, rectified and as wide for all, but in conv. Codes are
linear, but of the sparse and contractive members logistic, of the stacked one rectified. PCA is the linear autoencoder.
Budget minutes is 5 epochs of 10,000 images, which few members have converged in. The hierarchical member denoises
through its lower levels too, so that its reconstructions say little of its code; of 2 units, normalised, nothing is
left. Rectified codes of 2 units, the stacked member's, can lose one to all samples.
"""
PICTURES = """
![Codes of two units, by member]({path}maps-{data}-{budget}.png)

![Reconstructions under noise, by member]({path}reconstructions-{data}-{budget}.png)

![From one sample's code to another's]({path}interpolations-{data}-{budget}.png)

![One unit of a code changes]({path}traversals-{data}-{budget}.png)
"""
SHARES = ("accuracy", "knn", "tuned_error")
HEAD = (
    *("member", "mse noisy", "mse clean", "probe", "kNN", "fine-tuned error", "invariance", "rank", "sparseness"),
    *("nll", "seconds", "samples/s", "seeds"),
)


def number(rows: Rows, name: str, digits: int) -> str:
    """Mean and standard deviation over the rows that have it; nothing if none has."""
    values = [float(row[name]) for row in rows if row.get(name)]
    if not values:
        return ""
    return f"{mean(values):,.{digits}f}" + (f" ± {stdev(values):.{digits}f}" if len(values) > 1 else "")


def line(member: str, rows: Rows) -> list[str]:
    """A member's line."""
    shares = [spread(rows, name) if all(row.get(name) for row in rows) else "" for name in SHARES]
    return [
        member,
        *(number(rows, name, 4) for name in ("mse", "mse_clean")),
        *shares,
        f"{number(rows, 'invariance', 3)} ({number(rows, 'between', 3)})",
        number(rows, "effective_rank", 1),
        number(rows, "sparsity", 2),
        number(rows, "nll", 2),
        number(rows, "seconds", 0),
        number(rows, "samples_per_second", 0),
        str(len(rows)),
    ]


def section(rows: Rows) -> str:
    """The section of docs/results.md."""
    parts = [INTRODUCTION]
    for (budget, data), found in grouped(rows, "budget", "data").items():
        for code in sorted({row["code"] for row in found}, key=int):
            some = of(found, code=code)
            lines = [line(member, one) for (member,), one in grouped(some, "member").items()]
            raw = ["raw pixels", "", "", f"{100 * float(some[0]['raw_pixels']):.2f}", *[""] * (len(HEAD) - 4)]
            parts.append(f"### {data}, codes of {code} units, budget {budget}\n\n" + table(HEAD, [*lines, raw]))
        parts.append(PICTURES.format(path="images/family-", data=data, budget=budget))
    return "\n".join(parts)
