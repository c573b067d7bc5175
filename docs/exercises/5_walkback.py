"""Exercise 5: train with and without walkback, run the chains of both, and compare the likelihood of their samples.

The chain x̃ ~ q(x̃ | x), x ~ p(x | x̃), and again, samples from what a DAE learned (Bengio et al., 2013). A DAE sees
noise around data only: where its own chain strays to, it was never trained. Walkback trains it there, too: it corrupts
and denoises the reconstruction again, a geometric number of times, and asks for the first x each time.

Chains start at training digits and run for 100 steps. `parzen` gives the mean log-density of test digits under windows
around 1,000 samples; beside it, the variance of samples, which should be that of digits.

Expect: of weak noise, 5 % of the pixels, the plain chain strays and stays away, and walkback wins by far. Of strong
noise, 30 %, it loses: a few steps away little of x is left, and the best guess of it is near the mean of all digits, so
that samples vary too little. Walkback is for chains that move slowly.
"""

import lightning as L
import torch
from shared import fitted, options_of
from torch import Tensor
from torch.nn import functional as F

from daezoo.corruption import SaltAndPepper
from daezoo.data import DigitsData
from daezoo.evaluation.sample_quality import parzen
from daezoo.figures import save
from daezoo.losses import CrossEntropy
from daezoo.models import VanillaDAE
from daezoo.optim import AdamW
from daezoo.sampling import chain
from daezoo.studies.family_figures import strips
from daezoo.walkback import Walkback

SHOWN = (0, 1, 2, 3, 4, 5, 7, 10, 15, 20, 30, 50, 70, 100)
TRAININGS = {"standard": [], "walkback": [Walkback(steps=5, continued=0.5)]}


def main(args: list[str] | None = None) -> None:
    """Train, run the chains, print the table, draw the figure."""
    options = options_of("Chains with and without walkback.", "walkback.png", args)
    seeds, epochs, steps = (range(1), 1, 10) if options.quick else (range(3), 40, 100)
    digits = DigitsData()
    digits.setup()
    train, valid, test = (split.__getitems__(torch.arange(len(split))).clean for split in digits.splits.values())
    rows: list[tuple[str, Tensor]] = []
    print("noise   training             nats of each seed   mean   variance of samples   expected: nats")
    for ratio, better in ((0.05, "walkback"), (0.3, "standard")):
        for name, penalties in TRAININGS.items():
            found, spread = [], 0.0
            for seed in seeds:
                L.seed_everything(seed, verbose=False)
                data = DigitsData(corruption=SaltAndPepper(ratio), batch_size=32, seed=seed)
                learning = {"penalties": penalties, "optimizer": AdamW(1e-3, schedule="cosine")}
                model = VanillaDAE(data.shape, hidden=[500], activation="tanh", loss=CrossEntropy(), **learning)
                model, draw, places = fitted(model, data, epochs), torch.Generator().manual_seed(seed), [train[:1000]]
                samples = chain(model, data.corruption, places[0], steps, generator=draw, watch=places.append)
                found.append(parzen(samples, valid, test).nats)
                spread += samples.var(0).mean().item() / len(seeds)
            nats = " ".join(f"{one:.1f}" for one in found)
            print(
                f"{ratio:5}   {name:8}   {nats:>27}   {sum(found) / len(found):4.1f}   {spread:19.3f}   "
                + ("higher of the two" if name == better else "lower of the two")
            )
            shown = F.pad(torch.stack([places[min(step, steps)][:2] for step in SHOWN]), (0, 1), value=0.5)
            rows += [(f"{name}, noise {ratio}", chains) for chains in shown.unbind(1)]
    reference = parzen(train[:1000], valid, test).nats
    print(f"        1,000 training digits   {'':14}   {reference:4.1f}   {train.var(0).mean():19.3f}")
    figure = strips(rows)
    figure.axes[-1].set_xticks([9 * place + 3.5 for place in range(len(SHOWN))], [f"step {step}" for step in SHOWN])
    figure.axes[-1].tick_params(length=0, labelsize=7)
    save(figure, options.out)
    print(options.out)


if __name__ == "__main__":
    main()
