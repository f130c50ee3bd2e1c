"""The commands of `aesthetics-ops` that train on a version, and that say which photos a training got.

Each takes the parsed flags, and returns a JSON document and the lines that say the same.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from aesthetics_ops.dataset.documents import parse_json
from aesthetics_ops.errors import SettingsError
from aesthetics_ops.shell import counted
from aesthetics_ops.store import open_store
from aesthetics_ops.training_settings import TrainingSettings

__all__ = ["add_training_commands"]

_LONGEST_RUN: Final = 500
Command = Callable[[argparse.Namespace], tuple[Any, list[str]]]


def add_training_commands(command: Callable[[str, Command, str], argparse.ArgumentParser]) -> None:
    """Add the commands to the command line.

    Args:
        command: adds one, by its name, the function that runs it, and what its help says.
    """
    train = command(
        "train", _train, "Train on a version, once, and leave model, metrics and receipt: what the DAG does."
    )
    train.add_argument("--version", dest="of_version", metavar="V", help="by default the one that LATEST names")
    fields = TrainingSettings.model_fields
    for name, metavar in (("train", "MODULE:FUNCTION"), ("url", "URL"), ("seed", "N"), ("directory", "DIR")):
        train.add_argument(f"--{name}", metavar=metavar, help=fields[name].description)
    train.add_argument("--keep-pins", metavar="N", help=fields["keep_pins"].description)
    train.add_argument("--options", metavar="JSON", help=fields["options"].description)
    train.add_argument(
        "--run",
        dest="who",
        type=_named,
        metavar="NAME",
        default="aesthetics-ops train",
        help="who trains, for pin and receipt; by default this command",
    )
    replay = command(
        "replay",
        _replay,
        "Print which photos a past batch held: of a training, by its folder, receipt or .keras model in place of DATASET; or of any "
        "reader, by its state.",
    )
    replay.add_argument("--state", type=Path, metavar="F", help="JSON file of what state_dict() returned")
    replay.add_argument(
        "--training",
        metavar="T",
        help="URL or path of a training's folder, receipt or .keras model, which must be of DATASET",
    )
    replay.add_argument("--epoch", type=counted, metavar="E", help="of a training, from 0; by default the last")
    replay.add_argument(
        "--batch", type=counted, metavar="N", help="its number in the epoch, from 0; by default the last handed out"
    )
    replay.add_argument("--rank", type=counted, metavar="R", help="whose photos, from 0; by default all ranks'")


def _named(text: str) -> str:
    if not text.strip() or not text.isprintable() or len(text) > _LONGEST_RUN:
        raise argparse.ArgumentTypeError(
            f"{text[:80]!r} is no name of 1 to {_LONGEST_RUN} characters that can be printed"
        )
    return text


def _train(options: argparse.Namespace) -> tuple[Any, list[str]]:
    from aesthetics_ops.training.function import train_function
    from aesthetics_ops.training.stage import assign, keep_version, train_version
    from aesthetics_ops.training_settings import training_settings

    dataset = open_store(options.dataset)
    given = {name: getattr(options, name) for name in ("train", "url", "seed", "directory", "keep_pins")}
    values = {name: value for name, value in given.items() if value is not None}
    if options.options is not None:
        values["options"] = _table(options.options)
    settings = training_settings(values, dataset.url, "flags")
    assignment = assign(dataset, options.of_version, settings)
    if not assignment.is_done:
        train_function(settings.train)  # what cannot be imported pins nothing
        keep_version(dataset, assignment, run=options.who)
    done = train_version(assignment, settings, run=options.who)
    document = {
        "version": assignment.version, "folder": assignment.folder, "model": done.model, "is_new": done.is_new,
        **done.metrics.model_dump(mode="json"),
    }  # fmt: skip
    end = "trained on version" if done.is_new else "nothing done: trained before on version"
    lines = [f"{end} {assignment.version}", f"model       {done.model}"]
    for split, found in done.metrics.splits.items():
        rank = "" if found.spearman is None else f", Spearman {found.spearman:.3f}"
        distance = "" if found.emd is None else f", EMD {found.emd:.4f}"
        lines.append(
            f"{split:<11} {found.records:,} photos: MAE {found.mae:.4f} (of the mean {found.mae_of_mean:.4f}){rank}{distance}"
        )
    return document, lines


def _table(text: str) -> dict[str, Any]:
    try:
        found = parse_json(text)
    except ValueError as error:
        raise SettingsError(f"--options {text!r} is not JSON: {error}; write '{{\"epochs\": 3}}'") from error
    if not isinstance(found, dict):
        raise SettingsError(f"--options {text!r} is no JSON object; write '{{\"epochs\": 3}}'")
    return found


def _replay(options: argparse.Namespace) -> tuple[Any, list[str]]:
    from aesthetics_ops.readers.sampling.replay import replay
    from aesthetics_ops.training.finding import replay_training

    if options.state is None:
        what, dataset = (options.dataset, None) if options.training is None else (options.training, options.dataset)
        replayed = replay_training(what, dataset=dataset, epoch=options.epoch, batch=options.batch, rank=options.rank)
    elif options.training is not None or options.epoch is not None:
        raise SettingsError("--state is of one epoch and of no training; leave --training and --epoch out, or --state")
    else:
        replayed = replay(options.dataset, _state(options.state), batch=options.batch, rank=options.rank)
    rows, of = replayed.records.to_pylist(), replayed.state
    document = {
        "version": of.version,
        "split": of.split,
        "where": of.where,
        "epoch": of.epoch,
        "batch": replayed.batch,
        "batches": replayed.batches,
        "ranks": replayed.ranks,
        "records": rows,
    }
    ranks = "1 rank" if replayed.ranks == 1 else f"{replayed.ranks} ranks"
    lines = [
        f"version {of.version}, {of.split}: batch {replayed.batch} of epoch {of.epoch}, on {ranks}; the last handed out is {replayed.batches - 1}",
        "rank  position  id  key  etag",
        *("{rank:>4}  {position:>8}  {id}  {key}  {etag}".format(**row) for row in rows),
    ]
    return document, lines


def _state(file: Path) -> Any:
    try:
        return parse_json(file.read_bytes())
    except ValueError as error:  # no JSON, or no text
        raise SettingsError(
            f"{str(file)!r} is not JSON: {error}; write what state_dict() returned with json.dump"
        ) from error
