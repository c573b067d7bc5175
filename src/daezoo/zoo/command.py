"""`daezoo zoo`: pretrained models on the command line. Nothing heavy is imported to list them or to download one."""

import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from daezoo.zoo import cache, publish, readme, source
from daezoo.zoo.entry import Entry, ZooError, read_all
from daezoo.zoo.source import Folder, Shipped, find, shipped_folder, source_of


class _Parser(ArgumentParser):
    """A parser that says its errors as the other commands do."""

    def error(self, message: str) -> Any:
        """Raise the error."""
        raise ZooError(f"{message}. See {self.prog} --help")


def run(args: list[str]) -> None:
    """Run one command of `daezoo zoo`.

    Args:
        args: The command line, without `zoo`.

    Raises:
        SystemExit: With status 1 if a model is not what its entry says.
        ValueError: If something is wrong with what was asked for.
    """
    options = _parser().parse_args(args)
    options.run(options)


def _parser() -> ArgumentParser:
    parser = _Parser(prog="daezoo zoo", description="Pretrained models.", allow_abbrev=False)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)

    def add(name: str, function: Callable[[Namespace], None], about: str, sources: bool = True) -> ArgumentParser:
        command = commands.add_parser(name, help=about, description=about, allow_abbrev=False)
        command.set_defaults(run=function)
        if sources:
            command.add_argument("--source", help="A folder, file://, https://, hf://ORG/REPO, s3://, …; nothing else.")
        command.add_argument("--json", action="store_true", help="Print JSON.")
        return command

    add("list", _list, "List the models.").add_argument("pattern", nargs="?", default="*", help="Such as stacked.*")
    add("info", _info, "Print all that is known of a model.").add_argument("name")
    command = add("download", _download, "Download models, into the cache or a folder.")
    command.add_argument("names", nargs="*", metavar="NAME", help="All if none is given.")
    command.add_argument("--dest", type=Path, metavar="DIR", help="A folder, to carry to a machine without network.")
    command = add("verify", _verify, "Check digest, strict load and golden output of models; status 1 if one fails.")
    command.add_argument("names", nargs="*", metavar="NAME", help="All if none is given.")
    command.add_argument("--metrics", action="store_true", help="Measure the metrics again, where the data is here.")
    command.add_argument("--root", help="Where the data is, if not in DAEZOO_DATA.")
    command = add("export", _export, "Make a model of a finished run: weights, entry, table.", sources=False)
    command.add_argument("run_folder", type=Path, metavar="RUN")
    command.add_argument("--name", required=True, metavar="FAMILY.TAG")
    command.add_argument("--dest", type=Path, metavar="DIR", help="The checkout's zoo if not given.")
    command.add_argument("--description", help="One line.")
    command.add_argument("--status", choices=["candidate", "released"], default="candidate")
    command.add_argument("--data-licence", help="Of the training data, where daezoo does not know it.")
    command.add_argument("--weights-licence", help="MIT, if the training started from no other weights.")
    command.add_argument("--hardware", help="What the run was trained on, if its summary.json does not say.")
    command.add_argument("--level", type=float, action="append", default=[], help="Measure at this noise level, too.")
    command.add_argument("--dtype", choices=["auto", "float16", "float32"], default="auto")
    command.add_argument("--root", help="Where the data is, if not where the run says.")
    command.add_argument("--force", action="store_true", help="Replace an entry of that name.")
    command = add("publish", _publish, "Copy a model to a folder, hf://ORG/REPO, s3://…, and check it there.")
    command.add_argument("name")
    command.add_argument("destination", metavar="DEST")
    command = add("import", _import, "Take models from a folder or another source into the cache.", sources=False)
    command.add_argument("folder", metavar="FOLDER")
    command.add_argument("names", nargs="*", metavar="NAME", help="All if none is given.")
    command = add("prune", _prune, "Remove from the cache what no entry needs.", sources=False)
    command.add_argument("--all", action="store_true", help="Remove all weights.")
    command = add("retrain", _retrain, "Train a shipped model again by the command in its entry.", sources=False)
    command.add_argument("name")
    command.add_argument("--compare", action="store_true", help="Measure it, and compare; status 1 outside tolerance.")
    command.add_argument("--runs", type=Path, default=Path("runs/retrained"), metavar="DIR")
    command = add("readme", _readme, "Render a zoo folder's README.md.", sources=False)
    command.add_argument("folder", type=Path, nargs="?", help="The checkout's zoo if not given.")
    return parser


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


def _print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    table = Table()
    for name in header:
        table.add_column(name, justify="right" if name in ("parameters", "MB", "accuracy", "mse") else "left")
    for row in rows:
        table.add_row(*row)
    # in a pipe or a file nothing is cut off
    console = Console()
    (console if console.is_terminal else Console(width=200)).print(table)


def _where(entry: Entry, opened: source.Source) -> str:
    folders = [opened.path] if isinstance(opened, Folder) else []
    if isinstance(opened, Shipped):
        folders = [shipped_folder(), source.imported_folder()]
    if any((folder / entry.weights.file).is_file() for folder in folders):
        return "here"
    return "cached" if cache.place_of(entry.weights).is_file() else "to download"


def _list(options: Namespace) -> None:
    opened = source_of(options.source)
    entries = opened.entries(options.pattern)
    if not entries:
        raise ZooError(f"No model matches {options.pattern!r} in {opened.where}.")
    if options.json:
        _print_json([{**entry.model_dump(by_alias=True), "where": _where(entry, opened)} for entry in entries])
        return
    rows = []
    for entry in entries:
        accuracy, mse = entry.metric("accuracy"), entry.metric("mse")
        size = f"{entry.weights.bytes / 1e6:.2f}"
        numbers = [f"{100 * accuracy.value:.2f} %" if accuracy else "", f"{mse.value:.5f}" if mse else ""]
        rows.append([entry.name, readme.trained_on(entry), f"{entry.weights.parameters:,}", size, *numbers])
        rows[-1] += [entry.status, _where(entry, opened)]
    _print_table(["name", "data", "parameters", "MB", "accuracy", "mse", "status", "weights"], rows)
    print("accuracy: linear probe on codes of clean test samples; mse: test samples under the training noise.")
    print("Protocols and baselines: daezoo zoo info NAME")


def _info(options: Namespace) -> None:
    entry = find(options.name, options.source).entry
    if options.json:
        _print_json(entry.model_dump(by_alias=True))
    else:
        print(entry.to_yaml(), end="")


@contextmanager
def _bar(wanted: bool) -> Any:
    """A progress bar on stderr, if somebody watches: a function of name, total bytes and bytes that are there."""
    if not (wanted and sys.stderr.isatty()):
        yield None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        tasks: dict[str, Any] = {}

        def show(name: str, total: int, there: int) -> None:
            if name not in tasks:
                tasks[name] = progress.add_task(name, total=total)
            progress.update(tasks[name], completed=there)

        yield show


def _names(options: Namespace) -> list[str]:
    names = options.names or source_of(options.source).names()
    if not names:
        raise ZooError(f"There are no models in {source_of(options.source).where}.")
    return names


def _download(options: Namespace) -> None:
    done, failed = [], []
    with _bar(not options.json) as show:
        for name in _names(options):
            try:
                one = _download_one(name, options, show)
            except ZooError as error:  # the others may be had
                failed.append(str(error))
                continue
            done.append(one)
            if not options.json:
                print(f"{one['name']}: {one['bytes'] / 1e6:.2f} MB, verified, in {one['in']}", flush=True)
    if options.json:
        _print_json(done)
    if failed:
        raise ZooError(" ".join(failed))


def _download_one(name: str, options: Namespace, show: Callable[[str, int, int], None] | None) -> dict[str, Any]:
    entry, place = find(name, options.source)

    def progress(there: int) -> None:
        if show:
            show(entry.name, entry.weights.bytes, there)

    content = place.weights(entry, progress)
    if options.dest:
        publish.keep(entry, content, options.dest)
        path = str(options.dest / entry.weights.file)
    else:
        path = str(cache.place_of(entry.weights)) if _where(entry, place) == "cached" else place.where
    return {"name": entry.name, "bytes": entry.weights.bytes, "sha256": entry.weights.sha256, "in": path}


def _verify(options: Namespace) -> None:
    from daezoo.report import say
    from daezoo.zoo.verify import verify

    verdicts = []
    for name in _names(options):
        verdict = verify(name, options.source, options.metrics, options.root, say)
        verdicts.append(verdict)
        if not options.json:
            state = "ok" if verdict.holds else "FAILED"
            print(f"{verdict.name}: {state}; checked: {', '.join(verdict.checked) or 'nothing'}", flush=True)
            for row in verdict.metrics:
                mark = "" if row["holds"] else "  OUTSIDE"
                print(
                    f"  {row['name']} {row['measured']:.6g}, entry {row['value']:.6g} ± {row['tolerance']:.2g}, "
                    f"{row['protocol']}{mark}"
                )
            if verdict.skipped:
                print(f"  metrics skipped: {verdict.skipped}")
            if verdict.failed:
                print(f"  {verdict.failed}")
    failed = sum(not verdict.holds for verdict in verdicts)
    skipped = sum(verdict.skipped is not None for verdict in verdicts)
    if options.json:
        _print_json([verdict._asdict() for verdict in verdicts])
    else:
        metrics = f", metrics of {skipped} skipped" if options.metrics else ""
        print(f"{len(verdicts)} models checked, {failed} failed{metrics}")
    if failed:
        raise SystemExit(1)


def _own_zoo(folder: Path | None) -> Path:
    if folder is not None:
        return folder
    if not (shipped_folder().parent / "pyproject.toml").is_file():
        raise ZooError("This is no checkout of daezoo, so say which folder.")
    return shipped_folder()


def _export(options: Namespace) -> None:
    from daezoo.zoo.export import export

    folder = _own_zoo(options.dest)
    entry = export(
        options.run_folder,
        options.name,
        folder,
        description=options.description,
        status=options.status,
        data_licence=options.data_licence,
        weights_licence=options.weights_licence,
        hardware=options.hardware,
        levels=options.level,
        dtype=options.dtype,
        root=options.root,
        force=options.force,
    )
    readme.write(folder)
    if options.json:
        _print_json(entry.model_dump(by_alias=True))
        return
    for metric in entry.metrics:
        beside = ", ".join(f"{name} {value:.5g}" for name, value in metric.baselines.items())
        print(f"{metric.name} {metric.value:.5g} ({metric.protocol}; {beside})")
    print(f"{folder / entry.weights.file}: {entry.weights.bytes:,} bytes, {entry.weights.dtype}; {entry.name}.yaml")


def _publish(options: Namespace) -> None:
    entry = publish.publish(options.name, options.destination, options.source)
    if options.json:
        _print_json(entry.model_dump(by_alias=True))
    else:
        print(f"{entry.name} is in {options.destination}, read back and verified")


def _import(options: Namespace) -> None:
    entries = publish.import_from(options.folder, options.names)
    if options.json:
        _print_json([entry.name for entry in entries])
        return
    for entry in entries:
        print(f"{entry.name}: {entry.weights.bytes / 1e6:.2f} MB, verified, in {cache.place_of(entry.weights)}")


def _prune(options: Namespace) -> None:
    kept = {
        entry.weights.sha256 for entry in [*Shipped().entries("*"), *read_all(cache.folder() / "entries", named=False)]
    }
    removed = cache.prune(kept, options.all)
    if options.json:
        _print_json([str(path) for path in removed])
        return
    for path in removed:
        print(path)
    print(f"{len(removed)} files removed from {cache.folder()}")


def _retrain(options: Namespace) -> None:
    from daezoo.zoo.retrain import compare, retrain, shipped

    entry = shipped(options.name)
    folder = retrain(entry, options.runs)
    found = compare(entry, folder) if options.compare else []
    if options.json:
        _print_json({"name": entry.name, "run": str(folder), "metrics": [one.as_row() for one in found]})
    else:
        rows = [[one.metric.name, f"{one.metric.value:.6g}", f"{one.value:.6g}", _said(one.holds)] for one in found]
        if found:
            _print_table(["metric", "entry", "trained again", "within tolerance"], rows)
        print(folder)
    if not all(one.holds for one in found):
        raise SystemExit(1)


def _said(holds: bool) -> str:
    return "yes" if holds else "no"


def _readme(options: Namespace) -> None:
    path = readme.write(_own_zoo(options.folder))
    if options.json:
        _print_json(str(path))
    else:
        print(path)
