"""The command line. Nothing heavy is imported before a command needs it."""

import sys
from importlib import import_module

from daezoo import __version__

HELP = f"""daezoo {__version__}: denoising autoencoders on PyTorch Lightning

usage: daezoo COMMAND [OPTIONS]

commands:
  fit        train a model: --config trainer.yaml --config data.yaml --config model.yaml, a later file wins;
             or go on with a run: --resume RUN_DIR
  validate   run the validation split through a checkpoint: --ckpt_path FILE
  test       run the test split through a checkpoint: --ckpt_path FILE
  predict    denoise the test split with a checkpoint, into denoised.npz beside it: --ckpt_path FILE
  evaluate   reconstruction error of a run or checkpoint: RUN_OR_CKPT [--corruption NAME] [--level X] [--json];
             of whole pictures: --protocol kair-gray-v1 --sigma 15,25,50 --data images --data.root DIR
  probe      linear probe of an encoder beside its baselines: RUN_OR_CKPT [--data NAME] [--layer last|all|K] [--json]
  finetune   train an encoder and a classifier end to end: RUN_OR_CKPT [--data NAME] [--labels-per-class N] [--json]
  anomaly    classes that training left out, told from the others: RUN_OR_CKPT [--data NAME] [--anomalous 3] [--json]
  noise-grid noise trained with against noise tested with, as table, CSV and heat maps: RUN_OR_DIR…
  denoise    a picture, or a folder of them: MODEL INPUT OUTPUT [--sigma auto|25] [--force]
  inpaint    fill the holes of a picture: MODEL INPUT MASK OUTPUT [--force]
  impute     fill the empty cells of a table: MODEL INPUT OUTPUT [--force]
  sample     samples of what a model has learned: MODEL [--n 64] [--out grid.png] [--known top-half] [--quality]
  encode     codes as .parquet or .npy: RUN_OR_CKPT OUTPUT [--data NAME | --table FILE] [--split test] [--force]
  reproduce  train and judge all models of a study, and render docs/results.md: STUDY [--seeds N]; anomaly; imputation;
             patches; restoration; matrix; samples; family [--data …] [--members …] [--budget …];
             vincent2010 [--problems …] [--methods …] [--recipe classic|modern] [--budget smoke|minutes|full]
  theory     what theory says of denoisers, checked: check [RUN_OR_CKPT] [--sigma X] [--quick] [--json]
  zoo        pretrained models: list, info, download, verify, export, publish, import, prune, retrain
  report     one page, report.html, of all there is to see of a run: RUN

daezoo COMMAND --help lists a command's options.
"""
LIGHTNING = ("fit", "validate", "test", "predict")
OWN = {
    "anomaly": "daezoo.evaluation.anomaly_command",
    "evaluate": "daezoo.evaluation.command",
    "denoise": "daezoo.restoring",
    "encode": "daezoo.encoding",
    "finetune": "daezoo.finetuning",
    "impute": "daezoo.imputing",
    "inpaint": "daezoo.inpainting",
    "noise-grid": "daezoo.evaluation.noise_grid_command",
    "probe": "daezoo.evaluation.probe_command",
    "sample": "daezoo.sampling_command",
    "report": "daezoo.html_report",
    "reproduce": "daezoo.studies.command",
    "theory": "daezoo.theory",
    "zoo": "daezoo.zoo.command",
}
"""Commands, and the modules whose `run` runs them."""


def main(args: list[str] | None = None) -> int:
    """Run one command.

    Args:
        args: The command line; that of the process if None.

    Returns:
        The exit status: 0, or 2 for anything wrong with what was asked for.
    """
    args = sys.argv[1:] if args is None else args
    if not args or args[0] in ("-h", "--help"):
        print(HELP, end="")
        return 0
    if args[0] == "--version":
        print(__version__)
        return 0
    if args[0] not in (*LIGHTNING, *OWN):
        print(f"daezoo: error: there is no command {args[0]!r}. See daezoo --help", file=sys.stderr)
        return 2
    try:
        from daezoo.errors import one_paragraph

        with one_paragraph():
            if args[0] in OWN:
                import_module(OWN[args[0]]).run(args[1:])
            else:
                from daezoo.training import run

                run(args)
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130
    return 0
