"""`daezoo theory check`: what theory says of denoisers, held against computations that do not use it.

x clean, x̃ = x + σε noisy, D its dimensions, p_σ its density, r a denoiser, J its Jacobian, r* the best denoiser. First
come the formulas, a line each; the checks find by quadrature, autograd, training or sampling what they say, in float64,
and the same in every run. See Bishop (1995), Vincent (2011), Alain and Bengio (2014).
"""

from collections.abc import Callable, Iterator
from functools import partial
from math import inf, log, log2, pi, prod, sqrt
from typing import NamedTuple

import torch
from numpy.polynomial.hermite_e import hermegauss
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.func import jacrev, vmap

from daezoo.batch import Batch
from daezoo.corruption import Gaussian
from daezoo.data.base import DenoisingDataModule
from daezoo.data.splits import spread
from daezoo.densities import GaussianMixture, circle, empirical
from daezoo.evaluation.target import Target, open_target, parse, target_parser
from daezoo.files import to_json
from daezoo.hardware import exact_float32
from daezoo.learned_noise import sigma_of
from daezoo.models import VanillaDAE
from daezoo.randomness import generator
from daezoo.schedule import Fixed, Progressive

Map = Callable[[Tensor], Tensor]
LINE = GaussianMixture([0.3, 0.5, 0.2], [[-1.0], [0.2], [1.5]], [0.3, 0.2, 0.6])
PLANE = GaussianMixture([1, 3], [[0.0, 1.0], [1.0, -0.5]], [0.3, 0.5])
HALVED = (0.04, 0.02, 0.01)
"""Noise levels that go to 0, for orders of convergence."""
SAMPLES, JUDGED = 10_000, 1_000
"""Training samples that the optimal denoiser knows, and noisy samples that it is asked about, at the most."""
PROBED, PROBES = 16, 64
"""Noisy samples at which the Jacobian is probed, and pairs of directions at each."""


def tweedie(noisy: Tensor, score: Tensor, sigma: float) -> Tensor:
    """E[x | x̃] = x̃ + σ² ∇ log p_σ(x̃), Tweedie's formula."""
    return noisy + sigma**2 * score


def score_of(denoised: Tensor, noisy: Tensor, sigma: float) -> Tensor:
    """s_r(x̃) = (r(x̃) − x̃)/σ², which is ∇ log p_σ(x̃) for the best denoiser (Vincent, 2011)."""
    return (denoised - noisy) / sigma**2


def denoising_objective(denoised: Tensor, clean: Tensor, sigma: float) -> Tensor:
    """‖s_r(x̃) − ∇ log q(x̃ | x)‖² = ‖r(x̃) − x‖²/σ⁴: denoising score matching is a DAE's loss (Vincent, 2011)."""
    return (denoised - clean).square().sum(-1) / sigma**4


def matching_constant(dimensions: int, fisher: Tensor, sigma: float) -> Tensor:
    """E‖∇ log q(x̃ | x)‖² − E‖∇ log p_σ‖² = D/σ² − E‖∇ log p_σ‖²: of denoising above explicit score matching."""
    return dimensions / sigma**2 - fisher


def small_noise(r: Map, x: Tensor) -> Tensor:
    """The limit of (E‖r(x + σε) − x‖² − ‖r(x) − x‖²)/σ² = ‖J‖²_F − ⟨x − r(x), Δr(x)⟩ at points (batch, D).

    Bishop (1995) has the Tikhonov form, Alain and Bengio (2014) that of autoencoders. J is that of r = g∘f, not of f.
    """
    laplacian = vmap(jacrev(jacrev(r)))(x).diagonal(dim1=-2, dim2=-1).sum(-1)
    return vmap(jacrev(r))(x).square().sum((-2, -1)) - ((x - r(x)) * laplacian).sum(-1)


def encoder_norm(f: Map, x: Tensor) -> Tensor:
    """‖J_f(x)‖²_F of an encoder, (batch,): often quoted in the place of `small_noise`, and wrong there."""
    return vmap(jacrev(f))(x).square().sum((-2, -1))


def bayes_risk(dimensions: int, fisher: Tensor, sigma: float) -> Tensor:
    """E‖r*(x̃) − x‖² = σ²D − σ⁴ E‖∇ log p_σ‖²."""
    return dimensions * sigma**2 - sigma**4 * fisher


def identity_excess(fisher: Tensor, sigma: float) -> Tensor:
    """σ⁴ E‖∇ log p_σ‖² > 0: how far the loss of the identity, σ²D, is above the Bayes risk."""
    return sigma**4 * fisher


def principal_directions(covariance: Tensor, code: int) -> Tensor:
    """The eigenvectors of the `code` largest eigenvalues, (D, code): what the decoder of a linear DAE spans."""
    return torch.linalg.eigh(covariance).eigenvectors[:, -code:]


def shrinkage(variances: Tensor, sigma: float) -> Tensor:
    """s²/(s² + σ²): by how much the best linear denoiser scales a direction of variance s² that it keeps."""
    return variances / (variances + sigma**2)


def projection(noisy: Tensor, radius: float) -> Tensor:
    """R x̃/‖x̃‖: the nearest point of a circle, and the limit of r*(x̃) as σ → 0."""
    return radius * noisy / noisy.norm(dim=-1, keepdim=True)


def shortfall(distance: float) -> float:
    """The limit of (R − ‖r*(x̃)‖)/σ² = 1/(2ρ) at distance ρ from a circle's centre: 1/(2R) on the circle itself.

    The angle between x and x̃ is von Mises distributed with κ = Rρ/σ², so ‖r*‖ = R I₁(κ)/I₀(κ), and
    I₁(κ)/I₀(κ) = 1 − 1/(2κ) − 1/(8κ²) − …; the next term is σ²/(8Rρ²).
    """
    return 1 / (2 * distance)


def linear_risk(gain: float, mean_square: float, sigma: float) -> float:
    """E(ax̃ − x)² = (1 − a)² E x² + a²σ² in one dimension."""
    return (1 - gain) ** 2 * mean_square + gain**2 * sigma**2


def half_interval(errors: Tensor) -> Tensor:
    """1.96 s/√n: half of the 95 % interval of the mean of errors (…, n)."""
    return 1.96 * errors.std(-1) / sqrt(errors.shape[-1])


class Check(NamedTuple):
    """A row of the table.

    Attributes:
        name: What is checked.
        measured: Found without the formula; of several points, where it is furthest from the expected.
        expected: What the formula says.
        error: The distance of the two.
        tolerance: What it may be; of what has to differ, what it has to exceed.
        order: Of convergence in σ, by the last halving.
        ok: None of what is only reported.
    """

    name: str
    measured: float
    expected: float
    error: float
    tolerance: float | None = None
    order: float | None = None
    ok: bool | None = None


def compared(name: str, measured: Tensor | float, expected: Tensor | float, tolerance: Tensor | float) -> Check:
    """A check of equality, in all points."""
    pair = (torch.as_tensor(value, dtype=torch.float64) for value in (measured, expected))
    found, wanted = (value.flatten() for value in torch.broadcast_tensors(*pair))
    worst = (found - wanted).abs().argmax()
    error, allowed = (found - wanted).abs()[worst].item(), float(tolerance)
    return Check(name, found[worst].item(), wanted[worst].item(), error, allowed, ok=error <= allowed)


def converging(name: str, measured: list[float], expected: float, tolerance: float, wrong: bool = False) -> Check:
    """A check of values at the σ of HALVED against their limit, which they approach as σ² does; or not, if wrong."""
    *_, before, error = (abs(value - expected) for value in measured)
    order = log2(before / error) if min(before, error) > 0 else inf
    ok = error > tolerance if wrong else error <= tolerance and abs(order - 2) < 0.1
    return Check(name, measured[-1], expected, error, tolerance, order, ok)


def gradient(function: Map, x: Tensor) -> Tensor:
    """Of a function of each point, by autograd."""
    x = x.detach().requires_grad_()
    return torch.autograd.grad(function(x).sum(), x)[0]


class Network:
    """A random autoencoder r = g∘f, f(x) = tanh(Wx + b) and g linear."""

    def __init__(self, dimensions: int, code: int, *key: int | str) -> None:
        draw = partial(torch.randn, generator=generator("theory", *key), dtype=torch.float64)
        weights = draw(dimensions, code) / sqrt(dimensions), draw(code, dimensions) / sqrt(code)
        self.weights = weights[0], draw(code), weights[1], draw(dimensions)

    def encode(self, x: Tensor) -> Tensor:
        """f(x)."""
        return (x @ self.weights[0] + self.weights[1]).tanh()

    def __call__(self, x: Tensor) -> Tensor:
        """r(x)."""
        return self.encode(x) @ self.weights[2] + self.weights[3]


class Quadrature:
    """Expectations over LINE and its noise by the trapezoidal rule, and the score by autograd."""

    def __init__(self, sigma: float) -> None:
        self.points = torch.arange(-10, 10, 0.04, dtype=torch.float64)[:, None]
        noise = -(self.points - self.points.T).square() / (2 * sigma**2) - log(2 * pi * sigma**2) / 2
        self.joint = (LINE.log_prob(self.points)[:, None] + noise).exp() * 0.04**2  # of clean in rows, noisy in columns
        self.noisy = self.joint.sum(0)
        self.score = gradient(partial(LINE.log_prob, sigma=sigma), self.points)
        self.fisher = self.noisy @ self.score.square().sum(-1)


def levels(quick: bool) -> tuple[float, ...]:
    """The σ at which equalities are checked."""
    return (0.4,) if quick else (0.2, 0.4, 0.8)


def noisy_points(sigma: float) -> Tensor:
    """Of PLANE."""
    draw = generator("theory", "points")
    return Gaussian(sigma)(PLANE.sample(50, draw), draw).noisy


def log_joint(noisy: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
    """The logarithm of p(x) q(x̃ | x) of PLANE, but for a constant, (batch, points), and the x, a grid to sum over."""
    axis = torch.arange(-5, 5, 0.08, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    return PLANE.log_prob(grid) - (noisy[:, None] - grid).square().sum(-1) / (2 * sigma**2), grid


def log_noisy(noisy: Tensor, sigma: float) -> Tensor:
    """The logarithm of p_σ of PLANE, but for a constant, (batch,)."""
    return log_joint(noisy, sigma)[0].logsumexp(1)


def check_tweedie(quick: bool) -> Iterator[Check]:
    """The posterior mean by quadrature, against the score by autograd of the closed form of p_σ."""
    for sigma in levels(quick):
        noisy = noisy_points(sigma)
        joint, grid = log_joint(noisy, sigma)
        expected = tweedie(noisy, gradient(partial(PLANE.log_prob, sigma=sigma), noisy), sigma)
        yield compared(f"Tweedie's formula, σ = {sigma}", joint.softmax(1) @ grid, expected, 1e-10)


def check_score(quick: bool) -> Iterator[Check]:
    """The score by autograd of p_σ by quadrature, against the best denoiser in closed form."""
    for sigma in levels(quick):
        noisy = noisy_points(sigma)
        score = gradient(partial(log_noisy, sigma=sigma), noisy)
        expected = score_of(PLANE.posterior_mean(noisy, sigma), noisy, sigma)
        yield compared(f"score from the best denoiser, σ = {sigma}", score, expected, 1e-10)


def check_score_matching(quick: bool) -> Iterator[Check]:
    """Denoising less explicit score matching, by quadrature: the same for all denoisers, and the constant."""
    for sigma in levels(quick):
        line, gaps = Quadrature(sigma), []
        for number in range(5):
            denoised = Network(1, 8, "matching", number)(line.points)
            denoising = (line.joint * denoising_objective(denoised, line.points[:, None], sigma)).sum()
            explicit = (score_of(denoised, line.points, sigma) - line.score).square().sum(-1)
            gaps.append(denoising - line.noisy @ explicit)
        gap, name = torch.stack(gaps), f"DAE less score matching, of 5 denoisers, σ = {sigma}"
        yield compared(f"{name}: spread", gap.max() - gap.min(), 0, 1e-9)
        yield compared(f"{name}: constant", gap, matching_constant(1, line.fisher, sigma), 1e-9)


def check_small_noise(quick: bool) -> Iterator[Check]:
    """The excess loss by Gauss-Hermite quadrature, over σ², against its limit and the one that is often quoted."""
    network = Network(3, 2, "small noise")
    x = torch.randn(8, 3, generator=generator("theory", "clean"), dtype=torch.float64)
    nodes, weights = (torch.from_numpy(part) for part in hermegauss(10))
    noise, weight = (torch.cartesian_prod(*[part] * 3) for part in (nodes, weights / sqrt(2 * pi)))
    excess = []
    for sigma in HALVED:
        loss = (network(x[:, None] + sigma * noise) - x[:, None]).square().sum(-1) @ weight.prod(1)
        excess.append((loss - (network(x) - x).square().sum(-1)).mean().item() / sigma**2)
    limit, wrong = small_noise(network, x).mean().item(), encoder_norm(network.encode, x).mean().item()
    yield converging("excess loss over σ², σ → 0", excess, limit, 1e-3)
    name = "… with the encoder's Jacobian (wrong): differs, as it must"
    yield converging(name, excess, wrong, 0.1, wrong=True)


def check_bayes_risk(quick: bool) -> Iterator[Check]:
    """A trained `VanillaDAE` on fresh noisy points, against the least error that there can be."""
    noise, steps, share = Gaussian(0.4), 200 if quick else 1500, 0.03 if quick else 0.01
    draw = generator("theory", "training")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = VanillaDAE([1], hidden=[32, 32], activation="relu", tied=False).double()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        clean = LINE.sample(512, draw)
        optimizer.zero_grad()
        (model(noise(clean, draw).noisy) - clean).square().mean().backward()
        optimizer.step()
        schedule.step()
    clean = LINE.sample(100_000 if quick else 1_000_000, draw)
    with torch.no_grad():
        errors = (model(noise(clean, draw).noisy) - clean).square().sum(-1)
    expected = bayes_risk(1, Quadrature(0.4).fisher, 0.4)
    name = f"risk of a trained network, to {100 * share:.0f} % and its interval"
    yield compared(name, errors.mean(), expected, share * errors.mean() + half_interval(errors))


def check_pca(quick: bool) -> Iterator[Check]:
    """A linear DAE at the minimum of its exact loss on a Gaussian, tr((I − A)Σ(I − A)ᵀ) + σ²‖A‖²_F, against PCA."""
    draw = partial(torch.randn, generator=generator("theory", "pca"), dtype=torch.float64)
    basis, one = torch.linalg.qr(draw(6, 6)).Q, torch.eye(6, dtype=torch.float64)
    covariance = (basis * torch.tensor([0.1, 0.25, 0.5, 1.0, 2.0, 4.0])) @ basis.T
    top = principal_directions(covariance, 2)
    for sigma in (0.0, 0.7):
        factors = [draw(6, 2).requires_grad_(), draw(2, 6).requires_grad_()]
        search = partial(torch.optim.LBFGS, max_iter=1000, line_search_fn="strong_wolfe")
        optimizer = search(factors, tolerance_grad=1e-13, tolerance_change=0)

        def loss(factors: list[Tensor] = factors, sigma: float = sigma) -> Tensor:
            whole = factors[0] @ factors[1]
            risk = ((one - whole) @ covariance @ (one - whole).T).trace() + sigma**2 * whole.square().sum()
            for factor, slope in zip(factors, torch.autograd.grad(risk, factors), strict=True):
                factor.grad = slope
            return risk

        optimizer.step(loss)
        decoder, encoder = (factor.detach() for factor in factors)
        spanned = torch.linalg.qr(decoder).Q
        sine = torch.linalg.matrix_norm(spanned - top @ (top.T @ spanned), 2)
        yield compared(f"linear DAE and PCA, sine of the largest angle, σ = {sigma}", sine, 0, 1e-6)
        expected = (top * shrinkage((top.T @ covariance @ top).diagonal(), sigma)) @ top.T
        yield compared(f"linear DAE, its matrix, σ = {sigma}", decoder @ encoder, expected, 1e-6)


def check_curve(quick: bool) -> Iterator[Check]:
    """The best denoiser of a circle, summed over 2,000 of its points, against projection and curvature."""
    radius, angle = 1.5, torch.linspace(0, 6, 7, dtype=torch.float64)
    density, around = circle(radius), torch.stack([angle.cos(), angle.sin()], 1)
    for distance in (radius, 2.0):
        best = [density.posterior_mean(distance * around, sigma) for sigma in HALVED]
        short = [(radius - one.norm(dim=1).mean().item()) / sigma**2 for one, sigma in zip(best, HALVED, strict=True)]
        name = f"short of a circle of radius {radius} from distance {distance}, over σ²"
        yield converging(name, short, shortfall(distance), 1e-4)
    left = [(one - projection(2.0 * around, radius)).norm(dim=1).max().item() for one in best]
    yield converging("distance from the projection, over that of x̃", [one / (2.0 - radius) for one in left], 0, 1e-3)


def check_sampling(quick: bool) -> Iterator[Check]:
    """The mean error of samples against its expectation, and how often its interval holds it."""
    repetitions, gain, sigma, draw = 500 if quick else 4000, 0.7, 0.4, generator("theory", "sampling")
    clean = LINE.sample(repetitions * 400, draw)
    errors = (gain * Gaussian(sigma)(clean, draw).noisy - clean).square().view(repetitions, 400)
    mean_square = (LINE.weights @ (LINE.sigmas.square() + LINE.means.square().sum(1))).item()
    expected = linear_risk(gain, mean_square, sigma)
    name = f"mean error of {errors.numel():,} samples"
    yield compared(name, errors.mean(), expected, half_interval(errors.flatten()))
    held = ((errors.mean(1) - expected).abs() <= half_interval(errors)).double().mean()
    name = f"share of {repetitions:,} intervals that hold the expectation"
    yield compared(name, held, 0.95, 3 * sqrt(0.95 * 0.05 / repetitions))


def check_identity(quick: bool) -> Iterator[Check]:
    """How far the identity is above the Bayes risk: by the posterior variance, and by the score."""
    for sigma in levels(quick):
        line = Quadrature(sigma)
        mean = line.points.T @ line.joint / line.noisy
        excess, expected = (
            sigma**2 - (line.joint * (line.points - mean).square()).sum(),
            identity_excess(line.fisher, sigma),
        )
        row = compared(f"identity above the Bayes risk, σ = {sigma}", excess, expected, 1e-10)
        yield row._replace(ok=row.ok and row.measured > 0)


CHECKS = (
    *(check_tweedie, check_score, check_score_matching, check_small_noise, check_bayes_risk),
    *(check_pca, check_curve, check_sampling, check_identity),
)


def level_of(target: Target, sigma: float | None) -> float:
    """The σ at which a model is judged: the one given, or that of its training.

    Raises:
        ValueError: If none is given and it was not trained under Gaussian noise of one level, or it is not above 0.
    """
    corruption = target.data.corruption
    level = corruption.level if isinstance(corruption, Gaussian) else None
    if sigma is None and hasattr(target.model, "log_sigma"):
        sigma = sigma_of(target.model).item()
    elif sigma is None and isinstance(level, Fixed | Progressive):
        sigma = level.value if isinstance(level, Fixed) else level.stop
    if sigma is None or not 0 < sigma < inf:
        got = f"a model trained under {corruption}" if sigma is None else f"{sigma:g}"
        raise ValueError(
            f"The optimal denoiser is known under Gaussian noise of one level above 0, got {got}. Say at which level "
            "to judge it: --sigma 0.5"
        )
    return sigma


def noisy_samples(data: DenoisingDataModule, split: str, count: int, sigma: float) -> Batch:
    """So many samples of a split, evenly spread, under Gaussian noise.

    Raises:
        ValueError: If values are missing.
    """
    rows = spread(len(data.splits[split]), count)
    batch = data.evaluation_batch(data.splits[split].__getitems__(rows), split, Gaussian(sigma))
    if batch.observed is not None:
        raise ValueError("The optimal denoiser is known of samples without gaps, but these have missing values.")
    return batch


@torch.enable_grad()
def asymmetry(denoise: Map, noisy: Tensor) -> float:
    """‖J − Jᵀ‖_F/‖J + Jᵀ‖_F over samples (batch, *shape), root mean squares: 0 of a gradient field, as r* is.

    By random directions: E(wᵀJv ∓ vᵀJw)² = ‖J ∓ Jᵀ‖²_F for v, w ~ N(0, I).
    """
    noisy = noisy.detach().requires_grad_()
    denoised, draw, odd, even = denoise(noisy), generator("theory", "directions"), 0.0, 0.0
    for _ in range(PROBES):
        v, w = (torch.randn(noisy.shape, generator=draw).to(noisy) for _ in range(2))
        pulled = (torch.autograd.grad(denoised, noisy, one, retain_graph=True)[0] for one in (w, v))
        one, other = ((part * to).flatten(1).sum(1).double() for part, to in zip(pulled, (v, w), strict=True))
        odd, even = odd + (one - other).square().sum().item(), even + (one + other).square().sum().item()
    return sqrt(odd / even) if even else inf


@torch.no_grad()
@exact_float32()
def report(target: Target, sigma: float) -> Iterator[Check]:
    """A trained model beside the optimal denoiser of its training samples, as they are without augmentation.

    That denoiser, the posterior mean, is what squared error and cross-entropy train for.
    """
    model, data = target.model, target.data
    train = noisy_samples(data, "train", min(SAMPLES, 2**26 // prod(data.shape)), sigma)
    test, some = noisy_samples(data, "test", JUDGED, sigma), spread(len(train.clean), JUDGED)
    best = empirical(train.clean)
    for split, noisy, clean in (("training", train.noisy[some], train.clean[some]), ("test", test.noisy, test.clean)):
        parts = [model.denoise(part.to(model.device), sigma).cpu() for part in noisy.split(data.batch_size)]
        denoised, optimal = torch.cat(parts).flatten(1), best.posterior_mean(noisy.flatten(1), sigma)
        mse, least = ((guess - clean.flatten(1)).square().mean().item() for guess in (denoised, optimal))
        apart = (denoised - optimal).square().mean().item()
        where = f"{len(noisy):,} noisy {split} samples, σ = {sigma:.4g}"
        yield Check(f"mse on {where}; the optimal denoiser's", mse, least, abs(mse - least))
        yield Check(f"… mean squared distance from the optimal denoiser of {len(train.clean):,}", apart, 0.0, apart)
    unlike = asymmetry(partial(model.denoise, level=sigma), test.noisy[:PROBED].to(model.device))
    yield Check(f"asymmetry of the Jacobian, by {PROBES} random pairs of directions", unlike, 0.0, unlike)


def print_checks(checks: list[Check]) -> None:
    """Print the table."""
    table = Table("check", *(name for name in Check._fields[1:]))
    for column in table.columns[1:-1]:
        column.justify = "right"
    said = {True: "ok", False: "FAILED", None: "–"}
    for row in checks:
        shown = zip(row[1:-1], (".6g", ".6g", ".1e", ".1e", ".2f"), strict=True)
        table.add_row(row.name, *("" if value is None else f"{value:{kind}}" for value, kind in shown), said[row.ok])
    console = Console()
    (console if console.is_terminal else Console(width=160)).print(table)  # in a pipe or a file nothing is cut off


def run(args: list[str]) -> None:
    """Check, and print a table or JSON.

    Args:
        args: The command line, without `theory`.

    Raises:
        SystemExit: With status 1 if a check fails.
        ValueError: If something is wrong with what was asked for.
    """
    if args[:1] not in (["check"], ["-h"], ["--help"]):
        raise ValueError(f"daezoo theory has one command, check; got {' '.join(args) or 'none'}.")
    parser = target_parser("theory check", "What theory says of denoisers, checked; and a model beside it.", False)
    parser.add_argument("--sigma", type=float | None, help="Noise level to judge the model at, if not its training's.")
    parser.add_argument("--quick", action="store_true", help="Fewer noise levels, training steps and samples.")
    parser.add_argument("--json", action="store_true", help="Print JSON instead of a table.")
    options = parse(parser, args[args[0] == "check" :])
    if options.target is None and options.sigma is not None:
        raise ValueError("--sigma is for a model: name a run folder, a checkpoint or a model of the zoo with it.")
    target = None if options.target is None else open_target(options)
    reported = [] if target is None else list(report(target, level_of(target, options.sigma)))
    checks = [row for check in CHECKS for row in check(options.quick)] + reported
    if options.json:
        print(to_json({"target": options.target, "checks": [row._asdict() for row in checks]}))
    else:
        print_checks(checks)
    if any(row.ok is False for row in checks):
        raise SystemExit(1)
