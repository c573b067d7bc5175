"""Exercise 3: train a small DAE on points of a spiral, and draw the direction r(x̃) − x̃ in which it moves noisy points.

Theory says what it should be: the best denoiser moves x̃ by σ² ∇ log p_σ(x̃), uphill on the density of *noisy* points. Of
the spiral that is known, so the arrows of the network can be put beside the true ones.

Expect: before training the arrows are those of a round Gaussian and have little to do with the spiral. After it they
are off by a few per cent of their length, and the mean squared error is barely above the least there can be, the Bayes
risk; it is below it only by chance. Denoised again and again at falling σ, points come to the spiral from far away.
"""

import lightning as L
import torch
from matplotlib.figure import Figure
from shared import fitted, options_of

from daezoo.corruption import Gaussian
from daezoo.data import DensityData
from daezoo.figures import save
from daezoo.models import PreconditionedDAE
from daezoo.optim import AdamW
from daezoo.sampling import ladder
from daezoo.schedule import LogUniform
from daezoo.score_figures import paths, vector_field

SIGMA = 0.1


@torch.inference_mode()
def print_errors(name: str, model: PreconditionedDAE, data: DensityData, count: int) -> None:
    """Print how far a model is from the best denoiser, at three noise levels."""
    for sigma in (0.05, SIGMA, 0.4):
        draw = torch.Generator().manual_seed(0)
        clean = data.density.sample(count, draw).float()
        noisy = Gaussian(sigma)(clean, draw).noisy
        denoised, truth = model.denoise(noisy, sigma), sigma**2 * data.density.score(noisy, sigma)
        off = ((denoised - noisy - truth).square().sum() / truth.square().sum()).sqrt()
        risk, least = (denoised - clean).square().sum(1).mean(), data.density.posterior_variance(noisy, sigma).mean()
        print(f"{name:9}   {sigma:4}   {100 * off:26.1f} %   {risk:11.5f}   {least:21.5f}")


def main(args: list[str] | None = None) -> None:
    """Train, print the table, draw the figure."""
    options = options_of("The direction field of a small DAE on a spiral.", "direction-field.png", args)
    steps, count = (100, 100) if options.quick else (4_000, 4_000)
    L.seed_everything(0, verbose=False)
    data = DensityData("spiral", corruption=Gaussian(LogUniform(0.02, 2.0)), batch_size=256)
    model = PreconditionedDAE(data.shape, data_std=0.46, optimizer=AdamW(2e-3, schedule="cosine"))
    print("model          σ   off σ² ∇ log p_σ, rms of it   mse, summed   expected: Bayes risk")
    print_errors("untrained", model.eval(), data, count)
    print_errors("trained", fitted(model, data, steps=steps), data, count)
    figure = Figure(figsize=(15, 5.4), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(2, 1))
    vector_field(model.denoise, data.density, SIGMA, on=left)
    draw = torch.Generator().manual_seed(1)
    starts = Gaussian(0.3)(data.density.sample(50, draw).float(), draw).noisy
    paths(model.denoise, starts, ladder(0.02, 0.3, 10)[:-1], data.density, on=right)
    save(figure, options.out)
    print(options.out)


if __name__ == "__main__":
    main()
