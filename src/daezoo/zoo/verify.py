"""Whether pretrained models are what their entries say."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from daezoo.checkpoint import load_model
from daezoo.data.location import DataMissing
from daezoo.zoo.entry import Entry
from daezoo.zoo.golden import check_golden
from daezoo.zoo.loading import as_checkpoint
from daezoo.zoo.measure import again, opened
from daezoo.zoo.source import find


class Verdict(NamedTuple):
    """What came of checking one model.

    Attributes:
        name: Of the model.
        checked: What was checked, in order, and found good.
        failed: What is wrong; None if nothing is.
        skipped: Why the metrics were not measured; None if they were, or were not asked for.
        metrics: Each metric, recorded and measured again.
    """

    name: str
    checked: list[str]
    failed: str | None = None
    skipped: str | None = None
    metrics: Sequence[dict[str, Any]] = ()

    @property
    def holds(self) -> bool:
        """Whether nothing is wrong."""
        return self.failed is None


def verify(
    name: str,
    source: str | None = None,
    metrics: bool = False,
    root: str | None = None,
    say: Callable[[str], None] | None = None,
) -> Verdict:
    """Check a pretrained model: digest, strict load, golden output and, if asked for, its metrics.

    Args:
        name: As for `daezoo.load`.
        source: Likewise.
        metrics: Measure the metrics again, too.
        root: Where its data is, if not where its entry says.
        say: Told what is being done.
    """
    checked: list[str] = []
    try:
        entry, _ = find(name, source)
        path, contents = as_checkpoint(name, source)
        checked.append("digest")
        model = load_model(path, contents)
        checked.append("strict load")
        check_golden(model, entry.golden, entry.name)
        checked.append("golden output")
    except ValueError as error:
        return Verdict(name, checked, str(error))
    return _with_metrics(entry, name, source, root, checked, say) if metrics else Verdict(entry.name, checked)


def _with_metrics(
    entry: Entry,
    name: str,
    source: str | None,
    root: str | None,
    checked: list[str],
    say: Callable[[str], None] | None,
) -> Verdict:
    if not entry.metrics:
        return Verdict(entry.name, checked, skipped="its entry records none")
    try:
        found = again(entry.metrics, opened(name, source, root), say)
    except DataMissing as error:
        return Verdict(entry.name, checked, skipped=f"its data is absent: {error}")
    except ValueError as error:
        return Verdict(entry.name, checked, str(error))
    rows = [one.as_row() for one in found]
    far = [
        f"{one.metric.name} ({one.metric.protocol}) is {one.value:.6g}, the entry says {one.metric.value:.6g} ± "
        f"{one.metric.tolerance:.2g}"
        for one in found
        if not one.holds
    ]
    if far:
        return Verdict(entry.name, checked, "; ".join(far), metrics=rows)
    return Verdict(entry.name, [*checked, "metrics"], metrics=rows)
