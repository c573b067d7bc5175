"""Exercise 5: sample from a DAE by its chain, x̃ ~ q(· | x), x ~ p(· | r(x̃)), with and without walkback training.

Without walkback, a DAE has only seen corrupted *digits*; its chain comes to places that no digit was corrupted into,
and nothing says that it comes back. Walkback trains on where the chain goes.

Whether it helps depends on the noise: on digits of 8 x 8, of which much of it leaves little, it was seen to do harm at
ratios of 0.3 and 0.5 and to help at 0.1, one seed each, so do not expect a gain here: find out, and try others. Parzen
windows around the samples say how likely test digits are, in nats: more is better, and training digits themselves show
what could be reached. The estimate is kind to blur, so look at the picture too.
"""

import argparse
from pathlib import Path

import lightning as L
import torch
from matplotlib.figure import Figure
from training import trained

from daezoo.corruption import SaltAndPepper
from daezoo.data import DigitsData
from daezoo.evaluation.sample_quality import parzen
from daezoo.figures import save, tiled
from daezoo.losses import CrossEntropy
from daezoo.models import VanillaDAE
from daezoo.sampling import chain
from daezoo.walkback import Walkback

NOISE = SaltAndPepper(0.4)
SHOWN = 12
"""Chains in the picture."""


def main(args: list[str] | None = None) -> None:
    """Train, print the table, draw the figure."""
    parser = argparse.ArgumentParser(description="Chains with and without walkback training.")
    parser.add_argument("--quick", action="store_true", help="Train for a second only, and take few steps.")
    parser.add_argument("--out", type=Path, default=Path("walkback.png"), help="Where the figure goes.")
    options = parser.parse_args(args)
    steps, taken = (20, 5) if options.quick else (6000, 100)
    figure = Figure(figsize=(10, 6), layout="constrained")
    print("training    Parzen, nats   standard error   width")
    for axis, (name, penalties) in zip(
        figure.subplots(1, 2), {"standard": [], "walkback": [Walkback(steps=4)]}.items(), strict=True
    ):
        L.seed_everything(0, verbose=False)
        data = DigitsData(corruption=NOISE, batch_size=64)
        model = VanillaDAE(data.shape, [400], "tanh", loss=CrossEntropy(), penalties=penalties)
        model = trained(model, data, steps)
        train, valid, test = (data.splits[split].clean[data.splits[split].rows] for split in ("train", "valid", "test"))
        seen: list[torch.Tensor] = [train]
        samples = chain(model, NOISE, train, taken, True, torch.Generator().manual_seed(0), seen.append)
        found = parzen(samples, valid, test)
        print(f"{name:11} {found.nats:12.1f} {found.standard_error:16.1f} {found.sigma:7.3f}")
        every = [mean[:SHOWN] for mean in seen[:: max(1, taken // 12)]]
        axis.imshow(tiled(torch.cat(every), SHOWN), cmap="gray", vmin=0, vmax=1)
        axis.set(title=f"{name}: every {max(1, taken // 12)}th step of {SHOWN} chains", xticks=[], yticks=[])
    found = parzen(train, valid, test)
    print(f"{'(digits)':11} {found.nats:12.1f} {found.standard_error:16.1f} {found.sigma:7.3f}")
    save(figure, options.out)
    print(options.out)


if __name__ == "__main__":
    main()
