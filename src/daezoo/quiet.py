"""Silence for warnings and log lines whose answer is known."""

import logging
import warnings

QUIET = (
    ".*does not have many workers.*",  # batches of data in memory are one index; workers would only slow them down
    ".*LightningCLI's args parameter is intended to run from within Python.*",  # our command line is ours to pass on
    ".*`isinstance\\(treespec, LeafSpec\\)` is deprecated.*",  # Lightning 2.6 with torch 2.15
    ".*`torch.jit.script` is deprecated.*",  # torch 2.15 itself, at its first forward-mode derivative
    ".*callbacks used to create the checkpoint need to be provided.*",  # the recorder is for training only
    ".*module\\(s\\) in eval mode at the start of training.*",  # the encoder of a linear probe, on purpose
    ".*custom batch sampler `EvaluationOrder` for prediction.*",  # it returns every sample once
    ".*your dataloader is not resumable.*",  # its sampler is: it starts where trainer.global_step stands
)


def quieten() -> None:
    """Silence them for this process."""
    for noise in QUIET:
        warnings.filterwarnings("ignore", noise)
    # which hardware it looked for and what else one might install; we say what a run uses ourselves
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric.utilities.seed").setLevel(logging.WARNING)
