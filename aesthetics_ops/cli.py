"""`aesthetics-ops`: the stages and the published versions, from a shell.

Exit status: 0 done; 1 the data, a gate or a local file says no; 2 wrong usage or settings; 3 the store cannot be reached
or refuses (a file:// URL is a store too), or a disk is full; 4 a mistake in this program; 129, 130 and 143 stopped by SIGHUP, Ctrl-C and
SIGTERM; 141 nobody reads the output any more.  An error is one line on stderr.
With `--json`, one JSON document goes to stdout; everything else goes to stderr.
"""

import argparse
import json
import logging
import sys
import typing
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from aesthetics_ops import __version__
from aesthetics_ops.dataset.latest import peek_latest, promotion_of
from aesthetics_ops.dataset.layout import SPLITS, VersionFile, version_key
from aesthetics_ops.dataset.manifest import Manifest, matches_in_words
from aesthetics_ops.dataset.moves import Move
from aesthetics_ops.dataset.reading_manifests import read_manifest
from aesthetics_ops.errors import IntegrityError, PlanError, SettingsError
from aesthetics_ops.rejects import RejectReason
from aesthetics_ops.report.words import crops_in_words, hardware_in_words
from aesthetics_ops.settings import BuildSettings, parse_settings
from aesthetics_ops.shell import guarded, log_to_stderr, one_line, positive, show_progress, write_out
from aesthetics_ops.store import Store, open_store
from aesthetics_ops.training_commands import add_training_commands
from aesthetics_ops.version_commands import add_version_commands, progress_of

__all__ = ["main"]

_log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    return guarded(partial(_run, arguments), as_json="--json" in arguments, verbose="--verbose" in arguments)


def _run(arguments: Sequence[str]) -> int:
    options = _parser().parse_args(arguments)
    logging.raiseExceptions = False  # a line that nobody reads any more is no error
    log_to_stderr(logging.INFO if options.verbose else logging.WARNING)
    document, lines = options.run(options)
    # whatever stands in a line comes from data: keys, ids, reasons, names
    write_out(json.dumps(document, indent=1, default=str) if options.json else "\n".join(map(one_line, lines)))
    status: int = options.status  # a command that has done its work may set another one
    return status


class _Parser(argparse.ArgumentParser):
    """Raises on wrong usage, so that `--json` holds for it too, and takes no shortened flags."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, allow_abbrev=False)

    def _print_message(self, message: str, file: Any = None) -> None:
        write_out(message.removesuffix("\n"))  # help and version: argparse would overlook that nobody reads them

    def error(self, message: str) -> typing.NoReturn:
        raise SettingsError(f"{message}; `{self.prog} --help` lists what there is")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="aesthetics-ops", description="Verified TFRecord datasets from photos and scores.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(
        name: str, run: Callable[[argparse.Namespace], tuple[Any, list[str]]], text: str
    ) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run, status=0)
        sub.add_argument("--json", action="store_true", help="print one JSON document on stdout")
        sub.add_argument("--verbose", action="store_true", help="say on stderr what is being done")
        if name not in ("build", "labels"):
            sub.add_argument(
                "dataset",
                metavar="DATASET",
                help="URL that the dataset is published under, such as s3://bucket/datasets/ava/",
            )
        return sub

    build = command("build", _build, "Make and publish a version: all stages on this machine, without Airflow.")
    build.add_argument(
        "--processes",
        type=positive,
        metavar="N",
        help="how many processes convert and validate, each on its share of the cores (default one for each two cores, as far as "
        "memory goes; one where AESTHETICS_THREADS or AESTHETICS_TASKS is set)",
    )
    _add_settings(build, BuildSettings.model_fields)
    labels = command(
        "labels", _labels, "Show how a score file is understood, and which photos it finds; nothing is built."
    )
    labels.add_argument("labels", metavar="URL", nargs="+", help="the score file, or several, as for build")
    labels.add_argument(
        "--photos",
        metavar="URL",
        help="prefix of the photos, to count which ones the rows find, and to ask the gates that need no more than that",
    )
    _add_settings(labels, (*_LABEL_SETTINGS, *_FORESEEN_GATES))
    for name, run, text in (
        ("show", _show, "Print a version's manifest."),
        ("verify", _verify, "Read a version whole and compare it with its manifest."),
        ("pull", _pull, "Bring a version's shards to a local directory, each checked."),
        ("export", _export, "Write a version as WebDataset, Parquet or MDS files; no photo is encoded anew."),
        ("rejects", _rejects, "List what a version left out, and why; fetch the originals to look at."),
    ):
        sub = command(name, run, text)
        sub.add_argument("--version", dest="of_version", metavar="V", help="by default the one that LATEST names")
        if name in ("pull", "export"):
            sub.add_argument("directory", metavar="DIR", help="on this machine; made if it does not exist")
            sub.add_argument(
                "--split", action="append", choices=SPLITS, help="may be given more than once; by default all"
            )
        if name == "export":
            sub.add_argument(
                "--format", required=True, choices=_FORMATS, help="tar files, Parquet with an image column, or MDS"
            )
        if name == "pull":
            sub.add_argument(
                "--connections",
                type=positive,
                metavar="N",
                help="requests at once, 1 to 256; by default 16",
            )
            sub.add_argument(
                "--verify", action="store_true", help="hash every file that is there, not only those that look changed"
            )
            sub.add_argument(
                "--for", dest="tools", action="append", choices=_TOOLS,
                help="lay beside the shards what this tool wants there: an index of each, or documents; may be given more than once",
            )  # fmt: skip
        if name == "verify":
            sub.add_argument(
                "--repair",
                action="store_true",
                help="write damaged objects anew whose very bytes can be had; exit status 0 when the version is whole then, 1 when "
                "anything is left, which is said with what to do",
            )
        if name == "rejects":
            reasons = [reason.value for reason in RejectReason]
            sub.add_argument(
                "--reason", action="append", choices=reasons, help="may be given more than once; by default all"
            )
            sub.add_argument(
                "--save",
                metavar="DIR",
                type=Path,
                help="fetch the photos, unchanged, to DIR/REASON/KEY; what is there is not fetched again",
            )
    diff = command("diff", _diff, "Compare two versions photo by photo.")
    diff.add_argument("before", metavar="V1")
    diff.add_argument("after", metavar="V2")
    add_version_commands(command)
    add_training_commands(command)
    return parser


_LABEL_SETTINGS = (
    "label_format", "file_splits", "sheet", "id_column", "key_template", "score_column", "split_column", "vote_columns", "vote_values", "one_row_per_vote", "label_min", "label_max", "label_range",
    "min_votes", "exclude_tags", "exclude_challenges", "extra_scores", "keep_columns",
)  # fmt: skip
_FORESEEN_GATES = (
    "max_reject_fraction",
    "max_unmatched_fraction",
    "min_records",
)  # of publishing.gates; they need the photos


_FORMATS = ("webdataset", "parquet", "mds")  # of readers.exporting, which a command line should not have to load
_TOOLS = ("dali", "tfds")  # likewise of readers.pulling
_REPEATED = ("labels",)  # settings of several URLs, whose flag may come more than once


def _add_settings(parser: argparse.ArgumentParser, names: Iterable[str]) -> None:
    """Give settings a flag each; values stay text, since the settings check them all at once."""
    for name in names:
        field = BuildSettings.model_fields[name]
        flag = "--" + name.replace("_", "-")
        default = "" if field.is_required() or field.default in (None, (), False) else f" (default {field.default})"
        text = f"{field.description}{default}".replace("%", "%%")
        if field.annotation is bool:
            parser.add_argument(flag, action="store_const", const=True, help=text)
            continue
        is_closed = typing.get_origin(field.annotation) is typing.Literal
        choices = typing.get_args(field.annotation) if is_closed else field.examples
        metavar = "{" + ",".join(choices) + "}" if choices else "URL" if field.is_required() else "VALUE"
        several: dict[str, Any] = {"action": "append"} if name in _REPEATED else {}
        parser.add_argument(flag, required=field.is_required(), metavar=metavar, help=text, **several)


def _build(options: argparse.Namespace) -> tuple[Any, list[str]]:
    values = {name: getattr(options, name) for name in BuildSettings.model_fields}
    settings = parse_settings({name: value for name, value in values.items() if value is not None}, where="flags")
    from aesthetics_ops.pipeline import build_dataset
    from aesthetics_ops.processes.crew import default_processes

    processes = options.processes or default_processes()
    published = build_dataset(settings, processes=processes, progress=show_progress)
    manifest = published.manifest
    report = published.report_url or "none: it could not be made; the data is whole"
    lacked = f"{_shards(published.repaired)} of the version before lacked an object in the store"
    repaired = [f"repaired    {lacked}; made or checked again"] if published.repaired else []
    end = f"published version {manifest.version}"
    if not published.is_new:
        there = "all there again" if published.repaired else "all there"
        end = f"nothing changed: version {manifest.version} already holds this: {_shards(manifest.reuse.shards_total)}, {there}"
    work = [
        f"{name:<12}{figures}"
        for name, figures in (("converted", published.conversion), ("read back", published.validation))
        if figures
    ]
    described = _describe(manifest, is_new=published.is_new)
    return published.summary, [end, *described, *repaired, *work, f"report      {report}"]


def _labels(options: argparse.Namespace) -> tuple[Any, list[str]]:
    from aesthetics_ops.publishing.preview import lines_of, preview_labels
    from aesthetics_ops.sources.labels import check_label_settings
    from aesthetics_ops.sources.listing import list_photos
    from aesthetics_ops.sources.places import open_score_folders
    from aesthetics_ops.sources.scores import read_score_files

    values = {name: getattr(options, name) for name in (*_LABEL_SETTINGS, *_FORESEEN_GATES)}
    for name in _FORESEEN_GATES:
        if values[name] is not None and options.photos is None:
            raise SettingsError(f"--{name.replace('_', '-')} {values[name]} is about photos; give --photos, too")
    places = {"labels": options.labels, "photos": options.photos or "memory://photos/", "dataset": "memory://dataset/"}
    settings = parse_settings(
        places | {name: value for name, value in values.items() if value is not None}, where="flags"
    )
    check_label_settings(settings)
    labels, _ = read_score_files(open_score_folders(settings), settings)
    listing = list_photos(open_store(settings.photos)) if options.photos else None
    found = preview_labels(labels, settings, listing)
    if found.is_refused:
        options.status = PlanError.exit_code  # GateError's, too
    return asdict(found), list(lines_of(found))


def _show(options: argparse.Namespace) -> tuple[Any, list[str]]:
    dataset = open_store(options.dataset)
    manifest = read_manifest(dataset, options.of_version)
    promotion = promotion_of(dataset, manifest.version, peek_latest(dataset)[0])
    document = manifest.model_dump(mode="json") | {"promotion": promotion and promotion.model_dump(mode="json")}
    return document, [f"version     {manifest.version}", *_gates(manifest, promotion), *_describe(manifest)]


def _gates(manifest: Manifest, promotion: Move | None) -> list[str]:
    """Return the gates that refused a version, a line each, and who overruled them; nothing for any other version."""
    refused = [gate for gate in manifest.gates if not gate.passed]
    lines = [f"refused     {gate.name} allows {gate.limit:g}, measured {gate.measured:.4g}" for gate in refused]
    if promotion is not None:
        return [*lines, f"promoted    {promotion.at:%Y-%m-%d %H:%M} UTC by {promotion.by}: {promotion.reason}"]
    return (
        [*lines, "candidate   it is not published; `aesthetics-ops promote` publishes it all the same"]
        if refused
        else []
    )


def _verify(options: argparse.Namespace) -> tuple[Any, list[str]]:
    from aesthetics_ops.versions.verify import verify_version

    dataset = open_store(options.dataset)
    manifest = read_manifest(dataset, options.of_version)
    repaired = _repair(dataset, manifest) if options.repair else []
    try:
        with show_progress("verify", manifest.bytes, "B") as progress:
            manifest = verify_version(dataset, manifest.version, progress=progress)
    except IntegrityError:
        if not options.repair:
            _tell_of_repair(dataset, manifest.version)
        raise
    shards = sum(len(split.shards) for split in manifest.splits.values())
    document = {"version": manifest.version, "shards": shards, "records": manifest.records, "bytes": manifest.bytes}
    if options.repair:
        document["repaired"] = repaired
    lines = [*(f"repaired {key}" for key in repaired)]
    lines.append(f"version {manifest.version}: {_shards(shards)}, {manifest.records} records, all as the manifest says")
    return document, lines


def _repair(dataset: Store, manifest: Manifest) -> list[str]:
    """Make damaged objects anew; return their keys.

    Raises:
        IntegrityError: something is left damaged.
    """
    from aesthetics_ops.publishing.repair import repair_version

    findings = repair_version(dataset, manifest.version)
    for found in findings:
        if found.remedy:
            _log.warning("repaired %s, which %s, from %s", dataset.url_of(found.key), found.problem, found.remedy)
    left = [f"{dataset.url_of(found.key)} {found.problem}: {found.advice}" for found in findings if not found.remedy]
    if left:
        raise IntegrityError(
            f"version {manifest.version!r}: {len(findings) - len(left)} of {len(findings)} damaged objects are repaired; left: {'; '.join(left)}"
        )
    return [found.key for found in findings]


def _tell_of_repair(dataset: Store, version: str) -> None:
    """Say of each damaged object what `--repair` would do."""
    from aesthetics_ops.publishing.repair import survey_version

    for found in survey_version(dataset, version):
        end = f"`--repair` makes it anew from {found.remedy}" if found.remedy else f"`--repair` cannot: {found.advice}"
        _log.warning("%s %s; %s", dataset.url_of(found.key), found.problem, end)


def _pull(options: argparse.Namespace) -> tuple[Any, list[str]]:
    from aesthetics_ops.readers.dataset import open_dataset
    from aesthetics_ops.readers.pulling.pull import CONNECTIONS

    dataset = open_dataset(options.dataset, options.of_version)
    splits = options.split or tuple(dataset.splits)
    with show_progress("pull", sum(dataset.splits[split].bytes for split in splits), "B") as progress:
        pulled = dataset.pull(
            options.directory,
            splits=splits,
            connections=options.connections or CONNECTIONS,
            verify=options.verify,
            tools=options.tools or (),
            progress=progress,
        )
    files = [str(path) for split in pulled.files.values() for path in split]
    document = {"version": pulled.manifest.version, "files": files, "downloaded_bytes": pulled.downloaded_bytes}
    return document, [
        f"version {pulled.manifest.version}: {_shards(len(files))} in {options.directory}, {pulled.downloaded_bytes:,} bytes downloaded"
    ]


def _export(options: argparse.Namespace) -> tuple[Any, list[str]]:
    from aesthetics_ops.readers.dataset import open_dataset

    dataset = open_dataset(options.dataset, options.of_version)
    splits = options.split or tuple(dataset.splits)
    total = sum(dataset.splits[split].bytes for split in splits if split in dataset.splits)
    with show_progress("export", total, "B") as progress:
        exported = dataset.export(options.directory, options.format, splits=splits, progress=progress)
    files = [file.document() for split in exported.files.values() for file in split]
    records = sum(file["records"] for file in files)
    document = {"version": dataset.version, "format": options.format, "records": records, "files": files}
    document["written_bytes"] = exported.written_bytes
    return document, [
        f"version {dataset.version} as {options.format}: {records:,} records, {len(files):,} files in {exported.directory}, "
        f"{exported.written_bytes:,} bytes written"
    ]


def _rejects(options: argparse.Namespace) -> tuple[Any, list[str]]:
    from aesthetics_ops.versions.rejects import Outcome, list_rejects, save_rejects

    reasons = [RejectReason(reason) for reason in options.reason or ()]
    manifest, rejects = list_rejects(open_store(options.dataset), version=options.of_version, reasons=reasons)
    rows = rejects.select(["reason", "key", "id", "etag", "bytes", "detail"]).to_pylist()
    counts = {reason: manifest.rejects[reason] for reason in manifest.rejects if not reasons or reason in reasons}
    document: dict[str, Any] = {"version": manifest.version, "reasons": counts, "rejects": rows}
    lines = [f"version {manifest.version} left out", *(f"{count:>9,}  {reason}" for reason, count in counts.items())]
    lines += [f"{row['reason']}  {row['key'] or row['id']}  {row['detail'] or ''}" for row in rows]
    if options.save is not None:
        with show_progress("save", len(rows), "photo") as progress:
            saved = save_rejects(rejects, open_store(manifest.source.photos), options.save, progress=progress)
        document["saved"] = [asdict(photo) for photo in saved]
        outcomes = Counter(photo.outcome for photo in saved)
        lines.append(f"in {options.save}: {outcomes[Outcome.SAVED]:,} saved, {outcomes[Outcome.KEPT]:,} there already")
        lines += [f"not saved, {photo.outcome} since: {photo.key}" for photo in saved if photo.path is None]
    return document, lines


def _diff(options: argparse.Namespace) -> tuple[Any, list[str]]:
    from aesthetics_ops.versions.diff import diff_versions

    diff = diff_versions(open_store(options.dataset), options.before, options.after, progress=progress_of(options))
    lines = [f"{diff.before} -> {diff.after}", "records     {:,} -> {:,}".format(*diff.records)]
    for what, names in zip(("gone", "new"), diff.columns, strict=True):
        lines += [f"{what + ' columns':<11} {', '.join(names)}"] if names else []
    for kind, change in diff.changes.by_kind.items():
        examples = f"  ({', '.join(change.examples)})" if change.examples else ""
        lines.append(f"{kind:<11} {change.count:,}{examples}")
    shards = diff.shards
    lines.append(f"shards      {shards.shared} shared, {shards.dropped} dropped, {shards.new} new")
    return asdict(diff), lines


def _shards(count: int) -> str:
    return "1 shard" if count == 1 else f"{count:,} shards"


def _more_labels(manifest: Manifest) -> list[str]:
    """Return what records hold beside their score, in lines; none for scores alone."""
    lines, votes = [], manifest.votes
    if votes is not None:
        ratings = ", ".join(f"{rating:g}" for rating in manifest.source.ratings)
        counts = "shares only" if votes.fewest is None else f"{votes.fewest:,} to {votes.most:,} a photo"
        lines.append(f"votes       for {ratings}; {counts}; mean deviation {votes.mean_std:.3g}")
    lines += [
        f"extra score {name!r}: {score.min:.4g} to {score.max:.4g}, mean {score.mean:.4g}"
        for name, score in manifest.extra_scores.items()
    ]
    kept = manifest.settings.get("keep_columns")
    return lines + ([f"kept        {', '.join(map(repr, kept))}"] if kept else [])


def _describe(manifest: Manifest, *, is_new: bool = True) -> list[str]:
    """Return a version's headline numbers, one per line; `is_new` False: a build found it as it is, and made nothing."""
    rejects = ", ".join(f"{count} {reason}" for reason, count in manifest.rejects.items()) or "none"
    accounting, reuse = manifest.accounting, manifest.reuse
    came_about = f"{reuse.shards_added:,} new, {reuse.shards_reused:,} reused" if is_new else "all reused"
    columns = "".join(f", {use} in {column!r}" for use, column in manifest.source.label_columns.items())
    lines = [
        f"photos      {accounting.listed:,} listed, {accounting.converted:,} converted, {accounting.rejected:,} rejected",
        f"scores      {accounting.label_rows:,} rows, {accounting.matched:,} matched, {accounting.unmatched:,} without photo{columns}",
        *([f"matched     {matches_in_words(manifest.source.matched_by)}"] if manifest.source.matched_by else []),
        *_more_labels(manifest),
        f"left out    {rejects}",
        f"bytes       {manifest.source.bytes:,} listed -> {manifest.bytes:,} dataset (uint8 tensors: {manifest.images.total_pixels * 3:,})",
        *([f"jpegs       {hardware_in_words(manifest.jpegs)} for a hardware decoder"] if manifest.jpegs else []),
        f"crops       {crops_in_words(manifest.images)}",
        "splits      " + ", ".join(f"{split.records:,} {name}" for name, split in manifest.splits.items()),
        f"shards      {reuse.shards_total:,}: {came_about}",
        f"manifest    {manifest.dataset}{version_key(manifest.version, VersionFile.MANIFEST)}",
    ]
    return lines
