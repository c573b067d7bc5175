"""Exercise 2: train one DAE under masking and one under Gaussian noise, and let each denoise both.

Expect: each is the better one under its own noise, and both are far better than the noisy input as it is. Under the
other's noise a DAE still helps: what it has learnt is where digits lie, not the noise alone.
"""

import argparse
from pathlib import Path

import lightning as L
from matplotlib.figure import Figure
from training import trained

from daezoo.corruption import Gaussian, Masking
from daezoo.data import DigitsData
from daezoo.evaluation.restoration import evaluate
from daezoo.figures import save
from daezoo.losses import CrossEntropy
from daezoo.models import VanillaDAE
from daezoo.score_figures import denoising_direction

NOISES = {"masking 0.4": Masking(0.4), "Gaussian 0.4": Gaussian(0.4)}


def main(args: list[str] | None = None) -> None:
    """Train, print the table, draw the figure."""
    parser = argparse.ArgumentParser(description="Masking and Gaussian noise.")
    parser.add_argument("--quick", action="store_true", help="Train for a second only.")
    parser.add_argument("--out", type=Path, default=Path("masking-and-gaussian.png"), help="Where the figure goes.")
    options = parser.parse_args(args)
    figure = Figure(figsize=(9, 6.4), layout="constrained")
    print("trained under   tested under   mse      noisy input   training mean")
    for (name, noise), part in zip(NOISES.items(), figure.subfigures(2, 1), strict=True):
        L.seed_everything(0, verbose=False)
        data = DigitsData(corruption=noise, batch_size=64)
        model = trained(VanillaDAE(data.shape, [256], "relu", loss=CrossEntropy()), data, 20 if options.quick else 3000)
        for tested, other in NOISES.items():
            found = evaluate(model, data.evaluation_batches("test", other), data.splits["train"].mean())
            numbers = (f"{found[key]:.4f}" for key in ("mse", "mse_noisy_input", "mse_train_mean"))
            print(f"{name:15} {tested:14} {'   '.join(numbers)}")
        denoising_direction(model, next(data.evaluation_batches("test")), on=part)
        part.suptitle(name)
    save(figure, options.out)
    print(options.out)


if __name__ == "__main__":
    main()
