"""Exercise 2: train the same DAE with masking noise and with Gaussian noise on digits, and compare reconstructions.

A DAE does not learn to remove noise as such, it learns E[x | x̃] under the noise it was trained with. So ask each of the
two to undo both kinds of noise.

Expect: each is better than the other on the noise it knows, clearly better there than the noisy input as it is and than
the training mean, and worse than at home on the other noise. In the figure, the direction r(x̃) − x̃ of the one trained
with masking is nearly all red: masking only takes away. That of the other has both signs, since noise has both.
"""

import lightning as L
import torch
from matplotlib.figure import Figure
from shared import fitted, options_of

from daezoo.corruption import Corruption, Gaussian, Masking
from daezoo.data import DigitsData
from daezoo.evaluation.restoration import evaluate
from daezoo.figures import save
from daezoo.losses import CrossEntropy
from daezoo.models import VanillaDAE
from daezoo.optim import AdamW
from daezoo.score_figures import denoising_direction

NOISES: dict[str, Corruption] = {"masking 0.5": Masking(0.5), "Gaussian 0.5": Gaussian(0.5)}


def trained(corruption: Corruption, epochs: int) -> tuple[VanillaDAE, DigitsData]:
    """A model trained under a corruption, and its data."""
    L.seed_everything(0, verbose=False)
    data = DigitsData(corruption=corruption, batch_size=32)
    model = VanillaDAE(data.shape, hidden=[500], activation="relu", loss=CrossEntropy(), optimizer=AdamW(1e-3))
    return fitted(model, data, epochs), data


def main(args: list[str] | None = None) -> None:
    """Train both, print the table, draw the figure."""
    options = options_of("A DAE with masking and one with Gaussian noise.", "masking-and-gaussian.png", args)
    figure = Figure(figsize=(9, 6.6), layout="constrained")
    print("mse on the test digits under   " + "   ".join(NOISES) + "   expected")
    for (name, corruption), part in zip(NOISES.items(), figure.subfigures(2, 1), strict=True):
        model, data = trained(corruption, 1 if options.quick else 60)
        mean = data.splits["train"].mean()
        found = [evaluate(model, data.evaluation_batches("test", other), mean) for other in NOISES.values()]
        row = "   ".join(f"{one['mse']:{len(other)}.4f}" for one, other in zip(found, NOISES, strict=True))
        print(f"{'trained with ' + name:28}   {row}   lowest of its column: {name}")
        batch = data.evaluation_batch(data.splits["test"].__getitems__(torch.arange(10)), "test")
        part.suptitle(f"trained and tested with {name}", fontsize=10)
        denoising_direction(model, batch, on=part)
    for name, key in (("noisy input as it is", "mse_noisy_input"), ("training mean", "mse_train_mean")):
        row = "   ".join(f"{one[key]:{len(other)}.4f}" for one, other in zip(found, NOISES, strict=True))
        print(f"{name:28}   {row}   above the model of its column")
    save(figure, options.out)
    print(options.out)


if __name__ == "__main__":
    main()
