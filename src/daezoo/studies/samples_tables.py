"""The tables of the study `samples`."""

from daezoo.evaluation.sample_quality import PROTOCOL
from daezoo.studies.markdown import Rows, grouped, table

HEAD = f"""## Samples

`daezoo reproduce samples`: what `daezoo sample` draws, judged as by `--quality`, in the codes of `stacked.mnist-best`
and `stacked.fashion-mask25`; beside it as many training samples, which is what the best sampler would reach. All are
held against grey pictures, those of models of binary ones too. Seconds are of one thread of a machine that others used
too. A chain starts from training samples and takes 100 steps, of which the last mean counts. Published by Parzen
windows, with samples and widths of their own: one layer without walkback about 50 nats, with walkback about 150 (Bengio
et al., 2013, by their code), GSN 214, DBN 138, GAN 225. Windows favour blurred samples, such as those of a chain under
strong noise: weigh them with the Fréchet distance, and look.
Protocol {PROTOCOL}.
"""
COMPLETED = """Pictures of the test split of which only a part is known, four samples of each; the share that the
classifier takes for the class of the whole picture, of pictures that it classifies right when whole: by one sample, and
by the mean probability of the four. What is missing can be ambiguous: half of a 4 may be that of a 9. So a classifier,
one hidden layer of 1,000 units fitted to what is known of the training pictures, says what can be expected: by one, its
mean probability of the right class, which samples from its posterior would reach; by four, how often that class is its
likeliest. Clothes have no classifier in the zoo. mse: of the mean of the four.
"""
SHARES = ("classified_right", "classified_right_together")
METRICS = ("parzen_nats", "parzen_sigma", "frechet", "confidence", "nearest")


def section(rows: Rows) -> str:
    """Section of the study."""
    parts, free = [HEAD], [row for row in rows if not row["known"]]
    lines = []
    for (target,), same in grouped(free, "target").items():
        lines += [_line(f"{target}, {row['sampler']}", row, "") for row in same]
        last = same[-1]
        beside = [row for row in free if _data(row) == _data(last)]
        if beside[-1] is last:
            lines.append(_line(f"training samples of {_data(last)}", last, "training_"))
    head = ["", "samples", "Parzen (nats)", "width", "Fréchet", "confidence", "nearest", "seconds"]
    parts.append(table(head, lines))
    for row in free:
        what, file = f"{row['target']}, {row['sampler']}", _file(row)
        near = file.replace(".png", "-nearest.png")
        parts += [f"![{what}](images/{file})\n", "The first 16, above their nearest training samples:\n"]
        parts.append(f"![nearest training samples](images/{near})\n")
    if known := [row for row in rows if row["known"]]:
        lines = [
            [
                f"{row['known']}: {_how(row)}",
                row["of_pictures"],
                *(f"{100 * float(row[name]):.1f} %" if row[name] else "" for name in SHARES),
                f"{float(row['mse_of_mean']):.4f}" if row.get("mse_of_mean") else "",
                row["seconds"],
            ]
            for row in known
        ]
        parts += [COMPLETED, table(["", "pictures", "by one", "by four", "mse", "seconds"], lines)]
        parts += [f"![{row['known']}: {_how(row)}](images/{_file(row)})\n" for row in known if row.get("mse_of_mean")]
    return "\n".join(parts)


def _how(row: dict[str, str]) -> str:
    return "a classifier" if row["sampler"] == "none" else f"{row['target']}, {row['sampler']}"


def _data(row: dict[str, str]) -> str:
    return row["target"].partition(".")[2].partition("-")[0]


def file_of(*trial: str) -> str:
    """The name of a trial's picture: of target, sampler and what is known, if anything is."""
    return f"samples-{'-'.join(filter(None, trial)).replace('.', '-')}.png"


def _file(row: dict[str, str]) -> str:
    return file_of(row["target"], row["sampler"], row["known"])


def _line(name: str, row: dict[str, str], prefix: str) -> list[str]:
    values = {key: row[f"{prefix}{key}"] for key in (*METRICS, "parzen_standard_error")}
    nats = f"{float(values['parzen_nats']):.1f} ± {float(values['parzen_standard_error']):.1f}"
    others = (f"{float(values[key]):.3g}" if values[key] else "" for key in METRICS[1:])
    return [name, row["n"], nats, *others, "" if prefix else row["seconds"]]
