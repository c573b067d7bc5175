"""`daezoo evaluate`: reconstruction error of a run or a checkpoint."""

from dataclasses import asdict
from typing import Literal

import torch
from jsonargparse import Namespace
from torch import Tensor

from daezoo.corruption import Corruption, Recorded
from daezoo.data import ImagesData, PairsData
from daezoo.evaluation import baselines, kair, likelihood
from daezoo.evaluation.restoration import PROTOCOL, evaluate
from daezoo.evaluation.target import open_target, parse, target_parser
from daezoo.files import to_json
from daezoo.hardware import exact_float32
from daezoo.report import print_likelihood, print_pictures, print_restoration
from daezoo.restoring import check_told, errors_of, opened


def run(args: list[str]) -> None:
    """Evaluate, and print a table or JSON.

    Args:
        args: The command line, without the command.
    """
    parser = target_parser("evaluate", "Reconstruction error on the test split, or of whole pictures.")
    parser.add_subclass_arguments(
        Corruption, "corruption", required=False, help="Another corruption than the trained one."
    )
    parser.add_argument("--level", type=float | None, help="Another noise level: sigma, ratio, gain or strength.")
    parser.add_argument(
        "--protocol",
        type=Literal["kair-gray-v1", "kair-color-v1"] | None,
        help="Restore all pictures of --data images --data.root DIR, as the published denoisers are compared.",
    )
    parser.add_argument("--sigma", type=str | None, help="Noise levels of the protocol, of values in 0..255: 15,25,50.")
    parser.add_argument("--baselines", action="store_true", help="Beside it, of whole pictures, what learns nothing.")
    parser.add_argument(
        "--likelihood",
        type=int | None,
        help="Negative log-likelihood instead, from so many codes of each sample: 5000.",
    )
    parser.add_argument("--json", action="store_true", help="Print JSON instead of a table.")
    options = parse(parser, args)
    if options.likelihood is not None:
        in_nats(options)
    elif options.protocol is None and options.sigma is None and not options.baselines:
        on_the_test_split(options)
    else:
        on_pictures(options)


def on_the_test_split(options: Namespace) -> None:
    """Evaluate on the test split."""
    target = open_target(options)
    model, data = target.model, target.data
    corruption = options.corruption or data.evaluation_corruption
    if options.level is not None:
        corruption = corruption.at(options.level)
    metrics = evaluate(model, data.evaluation_batches("test", corruption), data.splits["train"].mean())
    if options.json:
        described = {
            "target": target.name,
            "model": type(model).__name__,
            "data": type(data).__name__,
            "corruption": str(corruption),
            "samples": len(data.splits["test"]),
            "protocol": PROTOCOL,
        }
        print(to_json(described | metrics))
    else:
        print_restoration(metrics, type(model).__name__, len(data.splits["test"]), corruption)


def in_nats(options: Namespace) -> None:
    """Evaluate the likelihood of the clean test split.

    Raises:
        ValueError: If there are options for noise, or the model has no likelihood.
    """
    strange = [name for name in ("corruption", "level", "protocol", "sigma") if options[name] is not None]
    if strange or options.baselines:
        raise ValueError(f"--likelihood is of clean samples: leave --{(strange or ['baselines'])[0]} out.")
    target = open_target(options)
    found = likelihood.estimate(target.model, target.data, options.likelihood)
    data = f"{type(target.data).__name__}, binarise {getattr(target.data, 'binarise', None)}"
    described = {"target": target.name, "model": type(target.model).__name__, "data": data, **found}
    if options.json:
        print(to_json(described))
    else:
        print_likelihood(described)


@torch.inference_mode()
@exact_float32()
def on_pictures(options: Namespace) -> None:
    """Evaluate on whole pictures, by a protocol.

    Raises:
        ValueError: If options are lacking, or the model restores no pictures of any size.
    """
    if options.protocol is None:
        raise ValueError(
            "--sigma and --baselines are for --protocol kair-gray-v1 or kair-color-v1; for the test split, say --level."
        )
    if options.corruption is not None or options.level is not None:
        raise ValueError(f"{options.protocol} has its own noise: leave --corruption and --level out, and pass --sigma.")
    if not isinstance(options.data, ImagesData) or isinstance(options.data, PairsData):
        raise ValueError(f"{options.protocol} is for pictures: pass --data images --data.root DIR.")
    sigmas = levels(options.sigma)
    model, noise = opened(options)
    check_told(model, noise)
    unknown = isinstance(noise, Recorded)  # of a level that nobody knows, and that counts as 0
    colors = 1 if options.protocol == kair.PROTOCOLS[1] else 3
    if model.shape[0] != colors:
        raise ValueError(
            f"{options.protocol} is for models of {colors} channels, {options.target} has {model.shape[0]}."
        )
    pictures = options.data.whole(colors == 3)

    def denoise(noisy: Tensor, sigma: float) -> Tensor:
        return model.denoise(noisy.to(model.device), 0.0 if unknown else sigma)

    beside = list(baselines.METHODS) if options.baselines else ["noisy input"]
    results = []
    for sigma in sigmas:
        with errors_of(options.device):
            restored = kair.judge(denoise, pictures, sigma)
        others = {name: kair.judge(baselines.denoiser(name), pictures, sigma) for name in beside}
        results.append(
            {
                "sigma": sigma,
                "mean": kair.means(restored.values()),
                "baselines": {name: kair.means(scores.values()) for name, scores in others.items()},
                "pictures": {name: asdict(scores) for name, scores in restored.items()},
            }
        )
    said = kair.PROTOCOL.format(name=options.protocol)
    if options.json:
        print(to_json({"target": options.target, "data": str(options.data.root), "protocol": said, "results": results}))
    else:
        print_pictures(results, options.target, said)


def levels(text: str | None) -> list[float]:
    """The noise levels in a list with commas.

    Raises:
        ValueError: If one is no number from 0 to 255, or there are none.
    """
    try:
        found = [float(part) for part in (text or "").split(",")]
    except ValueError:
        found = []
    if not found or not all(0 <= sigma <= 255 for sigma in found):
        raise ValueError(
            f"--sigma takes noise levels from 0 to 255, with commas between, such as 15,25,50; got {text!r}."
        )
    return list(dict.fromkeys(found))
