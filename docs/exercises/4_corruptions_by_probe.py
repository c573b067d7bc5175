"""Exercise 4: which corruption makes the best features? Ask a linear classifier of the codes.

Train the same DAE without noise, under masking, Gaussian noise, and salt and pepper, and classify its codes of clean
digits by logistic regression, whose strength is picked on the validation split.

Expect: on 1,257 digits of 8 x 8 noise need not win: in one such comparison of three seeds no noise was best, and all of
them lay within the interval of one test split.
One test digit is 0.28 %. A comparison needs more data (`daezoo reproduce corruptions`), and several seeds.
"""

import argparse
from pathlib import Path

import lightning as L
import torch
from matplotlib.figure import Figure
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn
from training import trained

from daezoo.corruption import Clean, Gaussian, Masking, SaltAndPepper
from daezoo.data import DigitsData
from daezoo.figures import save
from daezoo.losses import CrossEntropy
from daezoo.models import VanillaDAE

NOISES = {"none": Clean(), "masking": Masking(0.4), "Gaussian": Gaussian(0.4), "salt and pepper": SaltAndPepper(0.2)}


@torch.inference_mode()
def accuracy(encode: nn.Module, data: DigitsData) -> float:
    """Test accuracy in % of logistic regression on codes, its strength picked on the validation split."""
    codes, labels = {}, {}
    for name, split in data.splits.items():
        sample = split.__getitems__(torch.arange(len(split)))
        codes[name], labels[name] = encode(sample.clean).flatten(1).numpy(), sample.label.numpy()
    fitted = [
        make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=2000)).fit(
            codes["train"], labels["train"]
        )
        for strength in (0.001, 0.01, 0.1, 1.0)
    ]
    best = max(fitted, key=lambda model: model.score(codes["valid"], labels["valid"]))
    return 100 * best.score(codes["test"], labels["test"])


def main(args: list[str] | None = None) -> None:
    """Train, print the table, draw the figure."""
    parser = argparse.ArgumentParser(description="Corruptions compared by linear probe.")
    parser.add_argument("--quick", action="store_true", help="One seed, trained for a second.")
    parser.add_argument("--out", type=Path, default=Path("corruptions-by-probe.png"), help="Where the figure goes.")
    options = parser.parse_args(args)
    seeds, steps = (1, 20) if options.quick else (5, 2000)
    pixels = DigitsData(batch_size=64)
    pixels.setup()
    figure = Figure(figsize=(6, 4), layout="constrained")
    axis = figure.subplots()
    print("noise             mean accuracy   spread over seeds")
    for place, (name, noise) in enumerate(NOISES.items()):
        found = []
        for seed in range(seeds):
            L.seed_everything(seed, verbose=False)
            data = DigitsData(corruption=noise, batch_size=64, seed=seed)
            model = trained(VanillaDAE(data.shape, [256], "relu", loss=CrossEntropy()), data, steps)
            found.append(accuracy(model.encode, data))
        values = torch.tensor(found)
        print(f"{name:15} {values.mean():13.2f} % {values.std(correction=0):17.2f}")
        axis.plot([place] * seeds, found, "k.")
    raw = accuracy(nn.Identity(), pixels)
    print(f"{'(pixels)':15} {raw:13.2f} %")
    axis.axhline(raw, color="0.6", linestyle=":", label="pixels")
    axis.set(xticks=range(len(NOISES)), xticklabels=list(NOISES), ylabel="accuracy in %, one dot a seed")
    axis.legend()
    save(figure, options.out)
    print(options.out)


if __name__ == "__main__":
    main()
