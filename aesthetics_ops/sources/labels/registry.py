"""The formats of score files that are known, and which of them a file has.

A new format is one file beside this one and one entry in `_registered`.  Code outside the package calls
`register_label_format`.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from aesthetics_ops.dataset.tables import RECORDS
from aesthetics_ops.errors import AestheticsOpsError, SettingsError
from aesthetics_ops.settings import BuildSettings
from aesthetics_ops.sources.labels.ava import AVA
from aesthetics_ops.sources.labels.csv import CSV
from aesthetics_ops.sources.labels.excel import EXCEL
from aesthetics_ops.sources.labels.file import LabelFile, first_line, skip_blank
from aesthetics_ops.sources.labels.format import LabelFormat
from aesthetics_ops.sources.labels.json_array import JSON_ARRAY
from aesthetics_ops.sources.labels.jsonl import JSON_LINES
from aesthetics_ops.sources.labels.judging import splits_of_files
from aesthetics_ops.sources.labels.parquet import PARQUET
from aesthetics_ops.sources.labels.unpacking import kind_of_other, to_utf8

__all__ = ["check_label_settings", "find_label_format", "label_formats", "register_label_format"]

_AUTO = "auto"
_COLUMN_SETTINGS = ("id_column", "key_template", "score_column", "split_column")
# In the order in which they are asked: the first that recognises a file reads it.
_registered = [PARQUET, EXCEL, JSON_LINES, JSON_ARRAY, AVA, CSV]


def label_formats() -> Sequence[LabelFormat]:
    """Return the formats in the order in which they are asked."""
    return tuple(_registered)


def register_label_format(added: LabelFormat) -> None:
    """Add a format from outside the package; it is asked before all that were there.

    Raises:
        SettingsError: its name is taken.
    """
    if added.name in (_AUTO, *(known.name for known in _registered)):
        raise SettingsError(f"there is a label format {added.name!r} already; give the new one another name")
    _registered.insert(0, added)


def check_label_settings(settings: BuildSettings) -> None:
    """Refuse settings that no score file of the declared format can satisfy, before any file is read.

    Raises:
        SettingsError: `label_format` is unknown, or another setting contradicts it, or a split of `file_splits` is unknown.
    """
    splits_of_files(settings)
    taken = {column.name.casefold() for column in (*RECORDS.columns, *RECORDS.optional)}
    for name in settings.keep_columns:
        if name.casefold() in taken:
            raise SettingsError(
                f"keep_columns names {name!r}, but records.parquet has a column {name.casefold()!r} of its own; rename it in the "
                "score file"
            )
    if settings.label_format != _AUTO:
        declared = _named(settings.label_format)
        _require_agreement(declared, settings, lambda what: SettingsError(f"label_format is {what}"))


def find_label_format(file: LabelFile) -> tuple[LabelFormat, LabelFile]:
    """Return the format of a file, and the file as that format reads it.

    It is the format that recognises the file, which must be the declared one where one is declared.

    Raises:
        LabelError: the file is empty or no text, or looks like another format than the declared one, or the
            settings ask for what a file of its format cannot give.
        SettingsError: `label_format` is unknown.
    """
    declared = file.settings.label_format
    expected = None if declared == _AUTO else _named(declared)
    found, file = _recognised(file)
    if expected not in (None, found):
        raise file.error(
            f"looks like {found.name}, but label_format is {declared!r}; set label_format to {_AUTO} or {found.name}"
        )
    _require_agreement(found, file.settings, lambda what: file.error(f"is {what}"))
    return found, file


def _named(name: str) -> LabelFormat:
    for known in _registered:
        if known.name == name:
            return known
    names = ", ".join(sorted(known.name for known in _registered))
    raise SettingsError(f"label_format is {name!r}, but the formats are {names}; set it to one of them or to {_AUTO}")


def _recognised(file: LabelFile) -> tuple[LabelFormat, LabelFile]:
    """Return the format, and the file as its format reads it: a text format reads UTF-8."""
    _require_content(file)
    for known in _registered:
        if not known.is_text and known.recognises(file):
            return known, file
    if (other := kind_of_other(file.data)) is not None:
        raise file.error(f"is {other}, not a file of scores; check its URL, or save the scores as CSV")
    data, note = to_utf8(file.data, file.url)
    if data is not file.data:
        file = replace(file, data=data, start=first_line(data), note=note)
        _require_content(file)
    for known in _registered:
        if known.is_text and known.recognises(file):
            return known, file
    raise file.error(f"is of no known format ({', '.join(known.name for known in _registered)}); save it as CSV")


def _require_content(file: LabelFile) -> None:
    if skip_blank(file.data, file.start) == len(file.data):
        raise file.error("is empty; it must have one row per scored photo")


def _require_agreement(known: LabelFormat, settings: BuildSettings, error: Callable[[str], AestheticsOpsError]) -> None:
    """Raise what `error` makes of a contradiction between a format and the settings."""
    for name in () if known.has_columns else _COLUMN_SETTINGS:
        if (column := getattr(settings, name)) is not None:
            raise error(f"{known.title}, which have no columns, but {name} is {column!r}; leave {name} empty")
    for name in () if known.has_columns else ("vote_columns", "extra_scores", "keep_columns"):
        if getattr(settings, name):
            raise error(f"{known.title}, which have no columns, but {name} is set; leave {name} empty")
    for name in {name: None for other in _registered for name in other.settings if name not in known.settings}:
        if getattr(settings, name) != type(settings).model_fields[name].default:
            titles = " or ".join(other.title for other in _registered if name in other.settings)
            raise error(f"{known.name}, but {name} needs {titles}; leave {name} empty or give a file of them")
