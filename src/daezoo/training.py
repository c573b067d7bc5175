"""`daezoo fit|validate|test|predict`: LightningCLI, plus run folders and exact resume."""

import importlib.util
import os
import shlex
import sys
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import yaml
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only  # type: ignore[attr-defined]
from PIL import Image

import daezoo.data
import daezoo.learned_noise
import daezoo.likelihoods
import daezoo.models  # noqa: F401  (imported so that --model StackedDAE is a known name)
from daezoo import figures, hardware, runs
from daezoo.checkpoint import AtomicCheckpointIO, load_model, read
from daezoo.data.base import DenoisingDataModule
from daezoo.evaluation.features import classes_of
from daezoo.evaluation.restoration import evaluate
from daezoo.files import write_atomically, write_text
from daezoo.finite import Finite, NotFinite
from daezoo.models import PreconditionedDAE
from daezoo.models.base import DenoisingAutoencoder
from daezoo.parser import Parser, read_configuration
from daezoo.quiet import quieten
from daezoo.recording import EpochLines, RunRecorder
from daezoo.report import print_restoration
from daezoo.resuming import check_checkpoint, check_same, is_finished, resume_arguments
from daezoo.stopping import Stopped, Stopping, end_together
from daezoo.zoo import loading


def number_seed(seed: bool | int) -> int:
    """The seed of the data; it must be a number, because a run has to be repeatable."""
    if isinstance(seed, bool):
        raise ValueError(f"seed_everything must be a number, got {seed}.")
    return seed


class DaezooCLI(LightningCLI):
    """LightningCLI for denoising autoencoders, in subclass mode.

    Args:
        args: The command line.
        resume: Run folder to go on with; `auto` for that of the given name, if it has begun.
    """

    def __init__(self, args: list[str], resume: Path | Literal["auto"] | None = None) -> None:
        self.auto = resume == "auto"
        self.resume = None if isinstance(resume, str) else resume
        self.command = shlex.join(["daezoo", *args])
        self.called = args[0]
        self.recorder: RunRecorder | None = None
        self.finite = Finite()
        self.lock: int | None = None
        super().__init__(
            DenoisingAutoencoder,
            DenoisingDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            save_config_callback=None,
            seed_everything_default=0,
            trainer_defaults={"use_distributed_sampler": False},
            auto_configure_optimizers=False,
            parser_class=Parser,
            args=args,
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Our own arguments, and what the model takes from the data."""
        parser.add_argument("--name", type=str | None, help="Name of the run folder; the next integer if not given.")
        parser.add_argument("--runs", type=str, default="runs", help="Folder that holds the run folders.")
        parser.add_argument(
            "--logger", type=Literal["wandb", "tensorboard"] | None, help="A logger beside metrics.csv."
        )
        parser.add_argument(
            "--compile",
            type=Literal["default", "reduce-overhead", "max-autotune"] | None,
            help="torch.compile the network, in this mode. For GPUs: on CPUs it was measured to gain nothing.",
        )
        parser.add_argument(
            "--resume",
            type=str | None,
            help="Run folder to go on with; only --trainer.* and --force beside it. Or auto, beside the whole command "
            "line: go on with the run of --name if it has begun, else begin it.",
        )
        parser.add_argument(
            "--start_from", type=str | None, help="Weights to begin with: of a zoo name, a run folder or a checkpoint."
        )
        parser.add_argument("--pictures", type=bool, default=True, help="Draw reconstructions, filters and curves.")
        parser.add_argument("--checkpoint_every_n_steps", type=int, default=500, help="Also at every epoch's end.")
        parser.add_argument(
            "--not_finite",
            type=Literal["stop", "skip"],
            default="stop",
            help="What to do where loss or gradients are not finite: stop, or skip the step.",
        )
        parser.add_argument("--force", action="store_true", help="With --resume: even if the data was changed.")
        parser.link_arguments("seed_everything", "data.init_args.seed", compute_fn=number_seed)
        parser.link_arguments("data.shape", "model.init_args.shape", apply_on="instantiate")

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """The one that was called: each takes as long to describe as to parse.

        A fit goes on only with --resume: --ckpt_path would also change class and arguments.
        """
        skipped = LightningCLI.subcommands()[self.called]
        return {self.called: skipped | {"ckpt_path"} if self.called == "fit" else skipped}

    def _parse_ckpt_path(self) -> None:
        path = self.options.get("ckpt_path")
        if path:
            read(Path(path))  # which says what is wrong with it
        super()._parse_ckpt_path()

    def before_instantiate_classes(self) -> None:
        """Refuse to measure a model that nobody trained, and options that would do nothing."""
        if self.subcommand != "fit" and self.options.compile:
            raise ValueError(f"--compile is for fit; daezoo {self.subcommand} does not compile.")
        if self.auto and self.options.name is None:
            raise ValueError("--resume auto goes on with the run of a name, or begins it: pass --name NAME.")
        if self.options.force and self.resume is None and not self.auto:
            raise ValueError("--force is for --resume RUN: to go on although the data was changed.")
        if self.subcommand != "fit" and self.options.start_from is not None:
            raise ValueError(f"--start_from is for fit; daezoo {self.subcommand} measures the model of --ckpt_path.")
        if self.subcommand != "fit" and not (self.options.ckpt_path or self.options.trainer.fast_dev_run):
            raise ValueError(f"daezoo {self.subcommand} needs a trained model: --ckpt_path FILE.")

    @property
    def options(self) -> Any:
        """The parsed configuration of the subcommand."""
        return self.config[self.config.subcommand]

    def instantiate_trainer(self, **kwargs: Any) -> Any:
        """The trainer, with what follows from model and machine filled in, and written into the configuration."""
        chosen = self.options.trainer
        if chosen.max_epochs is None and chosen.max_steps < 0 and hasattr(self.model, "total_epochs"):
            chosen.max_epochs = self.model.total_epochs
        if chosen.precision is None:
            chosen.precision = hardware.default_precision(chosen.accelerator)
            if chosen.precision == "bf16-mixed" and is_first_process():
                feature = min(hardware.cpu_features())
                print(
                    f"Precision bf16-mixed: this CPU has {feature}. For float32: --trainer.precision 32-true",
                    flush=True,
                )
        kwargs |= {key: chosen[key] for key in ("max_epochs", "precision")}
        configured = self._get(self.config_init, "trainer")
        kwargs["plugins"] = [*(configured.plugins or []), AtomicCheckpointIO()]
        kwargs["callbacks"] = list(configured.callbacks or [])
        if configured.logger is None:
            kwargs["logger"] = False  # Lightning's default would write a folder of its own
        if self.subcommand == "fit":
            self.finite, stopping = Finite(self.options.not_finite), Stopping()
            self.recorder = RunRecorder(self.options.checkpoint_every_n_steps, stopping)
            kwargs["callbacks"] += [self.finite, stopping, self.recorder]
            if not sys.stdout.isatty():
                kwargs["callbacks"].append(EpochLines())
        if configured.enable_progress_bar is None:
            kwargs["enable_progress_bar"] = sys.stdout.isatty()
            if sys.stdout.isatty():
                kwargs["callbacks"].append(RichProgressBar(refresh_rate=20, leave=True))
        return super().instantiate_trainer(**kwargs)

    def before_fit(self) -> None:
        """Check everything that can be checked, then claim the run folder; nothing is written before."""
        assert self.recorder is not None
        runs.commit()  # of the code that is loaded, whatever comes later
        model, data = self._names()
        parent = Path(self.options.runs) / f"{model}-{data}"
        if self.auto and (parent / self.options.name / "config.yaml").is_file():
            self.resume = parent / self.options.name
            check_same(self.resume, self.config_text())
            if is_finished(self.resume):
                raise SystemExit(0)
        self.model.check_trainer(self.trainer)
        self.model.check_corruption(self.datamodule.corruption)
        if self.options.logger == "tensorboard" and not importlib.util.find_spec("tensorboard"):
            raise ValueError("--logger tensorboard needs the package tensorboard: pip install tensorboard")
        if is_first_process():
            self.datamodule.prepare_data()
            self.datamodule.setup("fit")
            self.datamodule.check_trainer(self.trainer)
            self.model.check_batch(next(self.datamodule.evaluation_batches("train")))
            if isinstance(self.model, PreconditionedDAE) and self.model.classes:
                self.model.check_labels(classes_of(self.datamodule.splits["train"]))
        begun = self.resume is not None and (self.resume / "checkpoints" / "last.ckpt").is_file()
        if self.options.start_from is not None and not begun:
            self._start_from(self.options.start_from)
        self.model.compile_mode = self.options.compile
        if self.trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        if not is_first_process():
            self.recorder.folder = Path()  # other processes take part in saving, but write nothing
            return
        if self.auto and (parent / self.options.name).is_dir():  # perhaps killed before it had a configuration
            folder = parent / self.options.name
        else:
            folder = self.resume or runs.claim(parent, self.options.name)
        self.recorder.folder = folder
        self.finite.checkpoint = folder / "checkpoints" / "last.ckpt"
        check_checkpoint(
            self.finite.checkpoint, self.model, self.datamodule, self.trainer.max_epochs, self.options.force
        )
        self.lock = runs.lock(folder)
        write_text(folder / "config.yaml", f"{self._first_line(folder)}\n{self.config_text()}")
        self.trainer.loggers += self._loggers(folder)
        what = f"{type(self.model).__name__} on {type(self.datamodule).__name__}"
        size = sum(parameter.numel() for parameter in self.model.parameters())
        print(f"{'Resuming' if self.resume else 'Training'} {what}, {size:,} parameters, in {folder}", flush=True)

    def _start_from(self, target: str) -> None:
        """Give the model the weights of another.

        Raises:
            ValueError: If they do not fit.
        """
        path, checkpoint = loading.open_target(target)
        other = load_model(path, checkpoint)
        if type(other) is not type(self.model) or other.classifier is not None:
            what = f"a {type(other).__name__}{' that was fine-tuned to classify' * (other.classifier is not None)}"
            raise ValueError(f"{target} is {what}; its weights cannot begin a {type(self.model).__name__}.")
        try:
            self.model.load_state_dict(other.state_dict())
        except RuntimeError as error:
            settings = {name for name, value in other.hparams.items() if self.model.hparams.get(name) != value}
            raise ValueError(
                f"The weights of {target} do not fit this model: its settings differ, {', '.join(sorted(settings))}."
            ) from error

    def _first_line(self, folder: Path) -> str:
        """The command that started the run, as a comment."""
        config = folder / "config.yaml"
        first = config.read_text().partition("\n")[0] if config.is_file() else ""
        # a value over several lines, or a run of an older version, must not become a comment that is none
        return first if first.startswith("# daezoo ") else f"# {' '.join(self.command.splitlines())}"

    def config_text(self) -> str:
        """The whole configuration, with what the model took from the data, as YAML."""
        parser = self._parser(self.subcommand)
        config = yaml.safe_load(parser.dump(self.options, skip_none=False, skip_link_targets=False, format="yaml"))
        config.pop("config", None)
        config.pop("force", None)
        config["model"]["init_args"]["shape"] = list(self.datamodule.shape)
        return yaml.safe_dump(config, sort_keys=False)

    def _names(self) -> tuple[str, str]:
        """What the run is called after: the configuration files that named the classes, else the classes."""
        names = {
            "model": type(self.model).__name__.removesuffix("DAE").lower(),
            "data": type(self.datamodule).__name__.removesuffix("Data").lower(),
        }
        for path in self.options.config or []:
            content = read_configuration(Path(str(path)))
            named = [key for key in names if "class_path" in (content.get(key) or {})]
            if len(named) == 1:  # a file with both is a whole run's, and its name says nothing of either
                names[named[0]] = Path(str(path)).stem
        return names["model"], names["data"]

    def _loggers(self, folder: Path) -> list[Logger]:
        if self.options.logger == "tensorboard":
            return [TensorBoardLogger(folder, name=None, version="tensorboard")]
        if self.options.logger == "wandb":
            import wandb

            offline = not (os.environ.get("WANDB_MODE") or wandb.login(prompt=False))
            mode: dict[str, Any] = {"mode": "offline"} if offline else {}
            if offline:
                print("wandb: not logged in, so this run is logged offline; send it later with wandb sync")
            project = folder.parent.name
            return [WandbLogger(name=folder.name, save_dir=folder, project=project, offline=offline, **mode)]
        return []

    def fit(self, **kwargs: Any) -> None:
        """Train, from the run's last checkpoint if it is resumed."""
        assert self.recorder is not None
        last = self.resume / "checkpoints" / "last.ckpt" if self.resume else None
        if last and last.is_file():
            kwargs["ckpt_path"] = last
        try:
            self.trainer.fit(**kwargs)
        except NotFinite as error:
            if not is_first_process():
                raise SystemExit(0) from error  # the first process says it
            raise ValueError(f"{error}{self._way_on()}") from error
        except Exception as error:
            # a loading process that dies while it hands over a batch breaks the connection first
            broken = isinstance(error, ConnectionError | EOFError) and self.datamodule.num_workers > 0
            if broken or str(error).startswith("DataLoader worker"):
                raise ValueError(
                    "A process that loads data was killed, most likely because memory ran out. Lower "
                    f"--data.num_workers, now {self.datamodule.num_workers}, or --data.batch_size.{self._way_on()}"
                ) from error
            if isinstance(error, OSError):
                raise ValueError(f"{error}.{self._way_on()}") from error
            raise RuntimeError(f"Training failed.{self._way_on()}") from error
        except Stopped as stopped:
            if is_first_process():
                step = self.trainer.global_step
                print(f"Stopped by {stopped.signal.name} after step {step}, saved.{self._way_on()}", file=sys.stderr)
            raise
        except SystemExit:  # Lightning's answer to Ctrl-C before or after the steps, or pressed twice
            print(f"Interrupted.{self._way_on()}", file=sys.stderr)
            raise SystemExit(130) from None
        finally:
            if self.lock is not None:
                os.close(self.lock)

    def predict(self, **kwargs: Any) -> None:
        """Denoise the test split, and write it beside the checkpoint."""
        denoised: Any = self.trainer.predict(**kwargs)
        if self.options.ckpt_path and denoised:
            path = Path(self.options.ckpt_path).with_name("denoised.npz")
            arrays = torch.cat(denoised).float().cpu().numpy()
            write_atomically(path, lambda file: np.savez(file, denoised=arrays))
            print(f"{path}: denoised, {arrays.shape}")

    def _way_on(self) -> str:
        folder = self.recorder.folder if self.recorder and is_first_process() else None
        return f" To go on: daezoo fit --resume {folder}" if folder else ""

    def after_fit(self) -> None:
        """Measure, write summary and pictures, print the table; on one process, from the last checkpoint."""
        assert self.recorder is not None
        folder = self.recorder.folder
        if folder is None or not is_first_process():
            return
        last = folder / "checkpoints" / "last.ckpt"
        if not last.is_file():
            raise ValueError(f"Nothing was trained, so {folder} has no checkpoint. Set --trainer.max_epochs above 0.")
        checkpoint = read(last)
        # what the last checkpoint holds is what everybody else will load
        self.model.load_state_dict(checkpoint["state_dict"])
        self.model.eval()
        timings = checkpoint["callbacks"][self.recorder.state_key]
        splits = self.datamodule.splits
        metrics = evaluate(self.model, self.datamodule.evaluation_batches("test"), splits["train"].mean())
        # a resumed run is called what its folder says; a folder that was moved says nothing
        parent = folder.resolve().parent.name
        model, data = parent.rsplit("-", 1) if self.resume and "-" in parent else self._names()
        summary = {
            "model": model,
            "data": data,
            "seed": self.options.seed_everything,
            "epochs": checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"],
            "steps": checkpoint["global_step"],
            "seconds": round(timings["seconds"], 3),
            "samples_per_second": round(timings["samples"] / timings["batch_seconds"], 1),
            "parameters": sum(parameter.numel() for parameter in self.model.parameters()),
            "device": str(self.trainer.strategy.root_device),
            "hardware": hardware.describe(self.trainer.strategy.root_device),
            "world_size": self.trainer.world_size,
            "precision": self.trainer.precision,
            "commit": runs.commit(),
            **({"skipped_steps": self.finite.skipped} if self.finite.skipped else {}),
            "checkpoint": str(last.relative_to(folder)),
            "test": metrics,
        }
        corruption = self.datamodule.evaluation_corruption
        print_restoration(metrics, type(self.model).__name__, len(splits["test"]), corruption)
        names = figures.save_all(folder, self.model, self.datamodule) if self.options.pictures else []
        for logger in self.trainer.loggers:
            if isinstance(logger, WandbLogger):
                if names:
                    logger.log_image("reconstructions", [str(folder / "reconstructions.png")])
                logger.experiment.finish()
            elif isinstance(logger, TensorBoardLogger):
                if names:
                    with Image.open(folder / "reconstructions.png") as picture:
                        pixels = np.asarray(picture.convert("RGB"))
                    logger.experiment.add_image("reconstructions", pixels, dataformats="HWC")
                logger.finalize("success")
        runs.write_summary(folder, summary)
        print(f"{folder}: {', '.join(['summary.json', *names])}")


def is_first_process() -> bool:
    """Whether this is the process that writes, as far as is known before a trainer exists."""
    return getattr(rank_zero_only, "rank", 0) == 0


def run(args: list[str]) -> DaezooCLI | None:
    """Run fit, validate, test or predict; None if there was nothing to do.

    Args:
        args: The command line, the subcommand first. `fit --resume DIR` goes on with a run, and
            `fit --resume auto` with that of the given name, if it has begun.
    """
    quieten()
    end_together()
    resume: Path | Literal["auto"] | None = None
    args = [part for arg in args for part in (arg.split("=", 1) if arg.startswith("--resume=") else [arg])]
    if args[0] == "fit" and "--resume" in args:
        at = args.index("--resume")
        if at + 1 == len(args):
            raise ValueError("--resume needs a run folder, or auto.")
        others = [*args[1:at], *args[at + 2 :]]
        if args[at + 1] == "auto":
            resume, args = "auto", ["fit", *others]
        else:
            resume = Path(args[at + 1])
            resumed = resume_arguments(resume, others)
            if resumed is None:
                return None
            args = resumed
    return DaezooCLI(args, resume)
