"""What the columns of a row run: our command line, and what it is measured against."""

from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode
from torchvision.transforms import ToTensor

from benchmarks.pace import Pace, Turns, Work
from benchmarks.rows import Row, precision
from benchmarks.system import device
from daezoo import cli
from daezoo.losses import CrossEntropy
from daezoo.models import DenoisingAutoencoder, StackedDAE

Corrupt = Callable[[Tensor], Tensor]


def corruption(row: Row) -> Corrupt:
    """The row's corruption, in the one line that anybody would write."""
    noise = row.build()[1]
    if noise.level_name == "sigma":
        return lambda clean: clean + noise.sigma * torch.randn_like(clean)
    return lambda clean: clean.masked_fill(torch.rand_like(clean) < noise.ratio, 0.0)


def criterion(model: DenoisingAutoencoder) -> Callable[[Tensor, Tensor], Tensor]:
    """The model's loss, from torch's own functions."""
    if isinstance(model.loss, CrossEntropy):
        return lambda output, clean: (
            F.binary_cross_entropy_with_logits(output.float(), clean, reduction="sum") / len(clean)
        )
    return lambda output, clean: F.mse_loss(output.float(), clean, reduction="sum") / len(clean)


def objective(row: Row, model: DenoisingAutoencoder) -> Callable[[Tensor, int], Tensor]:
    """Loss of a clean batch in a phase of training, from torch's own functions."""
    corrupt, reconstruction = corruption(row), criterion(model)

    def loss(clean: Tensor, phase: int) -> Tensor:
        if not isinstance(model, StackedDAE) or phase >= model.depth:
            return reconstruction(model(corrupt(clean)), clean)
        active, codes = model.network.layers[phase], clean.flatten(1)
        with torch.no_grad():
            for below in model.network.layers[:phase]:
                codes = below.encode(codes)
            codes = codes.float()
        output = active(corrupt(codes))
        if phase == 0:
            return reconstruction(output, codes)
        return F.mse_loss(output.float(), codes, reduction="sum") / len(codes)

    return loss


def bare(row: Row, batches: int, epochs: int, kind: str) -> None:
    """A plain loop: tensors in memory, in float32, on the device; nothing is logged or saved."""
    torch.manual_seed(0)
    place = device()
    model = row.build()[0].to(place)
    low = kind == "bare" and precision() == "bf16"
    if kind == "float32":
        model.to(memory_format=torch.contiguous_format)
    loss, optimizer = objective(row, model), model.configure_optimizers()
    images = torch.rand(batches * row.batch, *row.shape, device=place)
    turns = Turns.current
    for epoch in count():
        for rows in torch.randperm(len(images), device=place).split(row.batch):
            turns.step()
            with torch.autocast(place.type, torch.bfloat16, enabled=low):
                value = loss(images[rows], epoch // epochs)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()


def limit(row: Row, batches: int, epochs: int) -> None:
    """Nothing but arithmetic: matrix products, or convolutions, of as many FLOPs as a step has, in our precision."""
    place = device()
    model = row.build()[0].to(place)
    kind = torch.bfloat16 if precision() == "bf16" else torch.float32
    loss, flops = objective(row, model), {}
    clean = torch.rand(row.batch, *row.shape, device=place)
    for phase in range(4 if isinstance(model, StackedDAE) else 1):
        with FlopCounterMode(display=False) as counter:
            loss(clean, phase).backward()
        flops[phase] = counter.get_total_flops()
    if row.model in ("conv", "residual"):
        image = torch.rand(64, 64, 40, 40, device=place, dtype=kind).to(memory_format=torch.channels_last)
        weight = torch.rand(64, 64, 3, 3, device=place, dtype=kind).to(memory_format=torch.channels_last)
        work, each = partial(F.conv2d, image, weight, padding=1), 2 * 9 * 64 * image.numel()
    else:
        square = torch.rand(1024, 1024, device=place, dtype=kind)
        work, each = partial(torch.mm, square, square), 2 * 1024**3
    turns, owed = Turns.current, 0
    with torch.inference_mode():
        for step in count():
            turns.step()
            owed += flops[min(step // (batches * epochs), len(flops) - 1)]
            while owed > 0:
                work()
                owed -= each


class Items(Dataset[tuple[Tensor, int]]):
    """Images one at a time through Pillow and a transform, as torchvision's data sets give them."""

    def __init__(self, row: Row, samples: int) -> None:
        self.images = np.random.default_rng(0).integers(0, 256, (samples, *row.stored), np.uint8)
        self.transform = ToTensor()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, place: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[place])), 0


class Usual(L.LightningModule):
    """A denoising autoencoder as a tutorial would write it."""

    def __init__(self, row: Row) -> None:
        super().__init__()
        self.model, _ = row.build()
        self.model.to(memory_format=torch.contiguous_format)
        self.corrupt, self.criterion = corruption(row), criterion(self.model)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """The loss, logged as tutorials do."""
        clean, _ = batch
        loss = self.criterion(self.model(self.corrupt(clean)), clean)
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The same as ours."""
        return self.model.configure_optimizers()


def items(row: Row, samples: int) -> None:
    """Lightning's Trainer with its defaults over an ordinary DataLoader, in float32."""
    loader = DataLoader(Items(row, samples), row.batch, shuffle=True)
    trainer = L.Trainer(max_epochs=1_000_000, callbacks=[Pace()], logger=False, enable_checkpointing=False, devices=1)
    trainer.fit(Usual(row), loader)


def pythae(row: Row, samples: int, folder: str) -> None:
    """Pythae's AE and its trainer, with the same layers, optimizer and batches; it corrupts nothing."""
    from pythae.data.datasets import BaseDataset
    from pythae.models import AE, AEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import BaseTrainer, BaseTrainerConfig
    from pythae.trainers.training_callbacks import TrainingCallback

    model, _ = row.build()
    layer = model.network.layers[0]

    class Encoder(BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: Tensor) -> Any:
            return ModelOutput(embedding=self.layer.encode(x.flatten(1)))

    class Decoder(BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, code: Tensor) -> Any:
            return ModelOutput(reconstruction=torch.sigmoid(self.layer.decode(code)).view(-1, *row.shape))

    autoencoder = AE(AEConfig(input_dim=row.shape, latent_dim=layer.weight.shape[0]), Encoder(), Decoder())
    optimizer = model.configure_optimizers()
    settings = BaseTrainerConfig(
        output_dir=folder,
        num_epochs=1_000_000,
        per_device_train_batch_size=row.batch,
        optimizer_cls=type(optimizer).__name__,
        optimizer_params={"weight_decay": optimizer.defaults["weight_decay"]},
        learning_rate=optimizer.defaults["lr"],
    )
    images = torch.rand(samples, *row.shape)
    turns = Turns.current

    class TakeTurns(TrainingCallback):
        def on_train_step_end(self, training_config: Any, **kwargs: Any) -> None:
            turns.step()

    dataset = BaseDataset(images, torch.zeros(samples))
    trainer = BaseTrainer(autoencoder, dataset, None, settings, callbacks=[TakeTurns()])
    turns.step()
    trainer.train()


def work(row: Row, column: str, batches: int, epochs: int, folder: Path) -> Work:
    """What the cell of a column runs.

    Args:
        row: The row.
        column: One of its columns, or options that are added to our command line.
        batches: Batches in an epoch.
        epochs: Epochs of each phase, for a model that has phases.
        folder: An empty folder.
    """
    samples = batches * row.batch
    if column == "ours" or column.startswith("-"):
        options = column.split() if column != "ours" else []
        place = folder / column.replace("/", "_")
        place.mkdir()
        return cli.main, ([*row.command(place / "arrays.npz", place / "runs", batches, epochs), *options],)
    if column in ("bare", "float32"):
        return bare, (row, batches, epochs, column)
    if column == "limit":
        return limit, (row, batches, epochs)
    if column == "pythae":
        return pythae, (row, samples, str(folder / "pythae"))
    if column == "items":
        return items, (row, samples)
    raise ValueError(f"There is no column {column!r}; options begin with a dash.")
