"""Exercise 4: which corruption makes the best features? Train a DAE under several, and compare by linear probe.

A linear probe fits a linear classifier to frozen codes of clean digits. Its accuracy means something only beside the
same probe on raw pixels and on the codes of the network before training, and beside how far it moves from seed to seed.
Here a seed is another initialisation, another order and noise of training, and another split into training and test.

Expect: codes of every DAE are one or two points above raw pixels, most of which random units give, too. On so few and
so small digits the corruptions differ from none by no more than two or three standard errors of that difference, and
one seed alone puts them in any order. On MNIST noise makes better features: see docs/results.md.
"""

import lightning as L
import torch
from matplotlib.figure import Figure
from shared import fitted, options_of

from daezoo.corruption import Clean, Corruption, Gaussian, Masking, SaltAndPepper
from daezoo.data import DigitsData
from daezoo.evaluation.features import extract, numbered_classes
from daezoo.evaluation.probe import Part, linear_probe
from daezoo.figures import save
from daezoo.losses import CrossEntropy
from daezoo.models import VanillaDAE

CORRUPTIONS: dict[str, Corruption] = {
    "none": Clean(),
    "masking 0.25": Masking(0.25),
    "Gaussian 0.5": Gaussian(0.5),
    "salt and pepper 0.25": SaltAndPepper(0.25),
}
EXPECTED = {"raw pixels": "below none", "untrained": "near none", "none": ""}


def probed(model: VanillaDAE | None, data: DigitsData) -> float:
    """Test accuracy of a linear probe on a model's codes, in %; with no model, on the pixels."""
    classes, labels = numbered_classes(data)
    splits = data.splits.items()
    parts = [Part(extract(model, split, torch.device("cpu"))[-1], labels[name]) for name, split in splits]
    return 100 * linear_probe(*parts, classes).accuracy


def main(args: list[str] | None = None) -> None:
    """Train and probe, print the table, draw the figure."""
    options = options_of("Corruptions compared by linear probe.", "probing-corruptions.png", args)
    seeds, epochs, width = (range(1), 1, 50) if options.quick else (range(5), 20, 500)
    found: dict[str, list[float]] = {name: [] for name in ("raw pixels", "untrained", *CORRUPTIONS)}
    for seed in seeds:
        for name, corruption in CORRUPTIONS.items():
            L.seed_everything(seed, verbose=False)
            data = DigitsData(corruption=corruption, batch_size=32, seed=seed, split_seed=seed)
            model = VanillaDAE(data.shape, hidden=[width], activation="relu", loss=CrossEntropy())
            data.setup()
            if name == "none":
                found["raw pixels"].append(probed(None, data))
                found["untrained"].append(probed(model.eval(), data))
            found[name].append(probed(fitted(model, data, epochs), data))
    print("codes of a DAE under   test accuracy (%)   standard error   above none, of the same seed   expected")
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axis = figure.subplots()
    for place, (name, values) in enumerate(found.items()):
        scores = torch.tensor(values)
        more = scores - torch.tensor(found["none"])
        error, apart = (one.std() / len(seeds) ** 0.5 if len(seeds) > 1 else torch.nan for one in (scores, more))
        expected = EXPECTED.get(name, "within 3 standard errors")
        difference = f"{more.mean():+.2f} ± {apart:.2f}"
        print(f"{name:20}   {scores.mean():17.2f}   {error:14.2f}   {difference:>28}   {expected}")
        axis.plot(scores.mean(), place, "k|", markersize=14, markeredgewidth=2, label="mean" if place == 0 else None)
    for seed, values in enumerate(zip(*found.values(), strict=True)):
        axis.plot(values, range(len(found)), "o-", linewidth=0.5, markersize=4, label=f"seed {seed}")
    axis.set(yticks=range(len(found)), yticklabels=list(found), xlabel="test accuracy of a linear probe (%)")
    axis.invert_yaxis()
    axis.legend(fontsize=8)
    save(figure, options.out)
    print(options.out)


if __name__ == "__main__":
    main()
