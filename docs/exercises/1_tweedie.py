"""Exercise 1: derive Tweedie's formula, E[x | x̃] = x̃ + σ² ∇ log p_σ(x̃), and check it on a mixture of Gaussians.

The noise is x̃ = x + σε, so that q(x̃ | x) = N(x̃; x, σ²I), and the density of noisy points is

    p_σ(x̃) = ∫ p(x) q(x̃ | x) dx.

Only q depends on x̃, and the gradient of a Gaussian is the Gaussian times a line: ∇q(x̃ | x) = q(x̃ | x) (x − x̃) / σ². So

    ∇p_σ(x̃) = ∫ p(x) q(x̃ | x) (x − x̃) / σ² dx.

Divide by p_σ(x̃). On the left stands ∇ log p_σ(x̃); on the right, p(x) q(x̃ | x) / p_σ(x̃) is p(x | x̃), by Bayes' rule:

    ∇ log p_σ(x̃) = ∫ p(x | x̃) (x − x̃) / σ² dx = (E[x | x̃] − x̃) / σ².

Nothing was assumed of p. The left side is a matter of noisy points alone: whoever knows how they are distributed can
denoise them, and whoever can denoise them best, as a DAE trained with squared error learns to, knows their score.

Check it: find E[x | x̃] by a sum over a fine grid of x, and ∇ log p_σ by automatic differentiation. Expect: they agree
to the last digits of float64 at every σ; with σ in the place of σ² they do not. Then know p by drawn points alone, as a
network does: the mean of those, weighted by q(x̃ | x), is off by an error that halves with four times as many.
"""

import torch
from matplotlib.figure import Figure
from shared import options_of

from daezoo.densities import GaussianMixture, empirical
from daezoo.figures import save

MIXTURE = GaussianMixture([0.3, 0.5, 0.2], [[-1.0], [0.2], [1.5]], [0.3, 0.2, 0.6])


def main(args: list[str] | None = None) -> None:
    """Check the formula, print the table, draw the figure."""
    options = options_of("Tweedie's formula on a mixture.", "tweedie.png", args)
    noisy = torch.linspace(-2.5, 3.0, 111, dtype=torch.float64)[:, None].requires_grad_()
    grid = torch.arange(-10, 10, 0.01, dtype=torch.float64)[:, None]
    draw, repetitions = torch.Generator().manual_seed(0), 20 if options.quick else 400
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    print("  σ   largest |grid − Tweedie|   expected   with σ for σ²   error of 250 drawn   of 1000   ratio   expected")
    for sigma in (0.2, 0.4, 0.8):
        log_prob = MIXTURE.log_prob(noisy, sigma)
        (score,) = torch.autograd.grad(log_prob.sum(), noisy)
        points = noisy.detach()
        formula, wrong = points + sigma**2 * score, points + sigma * score
        posterior = (MIXTURE.log_prob(grid) - (points - grid.T).square() / (2 * sigma**2)).softmax(1)
        summed = posterior @ grid
        off, far = ((summed - other).abs().max() for other in (formula, wrong))
        likely = (points[:, 0] > -1.5) & (points[:, 0] < 2)
        rms = []
        for count in (250, 1000):
            drawn = [empirical(MIXTURE.sample(count, draw)).posterior_mean(points, sigma) for _ in range(repetitions)]
            rms.append((torch.stack(drawn) - formula)[:, likely].square().mean().sqrt())
        few, many = rms
        print(f"{sigma:3}   {off:24.0e}   {0:8}   {far:13.2f}   {few:18.4f}   {many:7.4f}   {few / many:5.2f}   {2:8}")
        left.plot(points, log_prob.detach().exp(), label=f"σ = {sigma}")
        right.plot(points, formula, label=f"σ = {sigma}")
        right.plot(points[::6], summed[::6], "k.", markersize=3)
    left.plot(points, MIXTURE.log_prob(points).exp(), "0.6", linestyle=":", label="no noise")
    left.set(title="density of noisy points, p_σ", xlabel="x̃")
    right.plot(points, points, "0.6", linestyle=":", label="identity")
    right.set(title="best denoiser: formula (lines), grid (dots)", xlabel="x̃", ylabel="E[x | x̃]")
    left.legend()
    right.legend()
    save(figure, options.out)
    print(options.out)


if __name__ == "__main__":
    main()
