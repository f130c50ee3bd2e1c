"""Read the file of scores, whatever its format, into one table.

In: the file's bytes (AVA.txt, CSV, Parquet or JSON lines), and what lies beside AVA.txt.  Out: one row per label row,
in file order, each either with a score or with the problem it has.
Pure and columnar: no network, no clock.  A row that makes no sense is data; a file that makes no sense is an error.

Source:
    Murray, Marchesotti, Perronnin: AVA, CVPR 2012 (vote histograms, ratings 1-10, tags, challenges).
"""

import csv
import difflib
import fnmatch
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from aesthetics_ops.errors import LabelError
from aesthetics_ops.settings import BuildSettings

__all__ = ["AVA_RANGE", "Labels", "read_labels"]

AVA_RANGE: Final = (1.0, 10.0)

_ID_COLUMNS = ("key", "path", "filename", "id", "image_id")
_SCORE_COLUMNS = ("score", "label", "mean", "mos")
_SPLITS = {
    "train": "train", "training": "train", "test": "test",
    "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
}  # fmt: skip
_AVA_RULE = "an AVA line has 15 integers: index, image id, ten vote counts, two tag ids, challenge id"
_BY_KEY = r"/|\.[A-Za-z][A-Za-z0-9]{0,7}$"
_NUMBER = r"(?i)^[+-]?((\d+\.?\d*|\.\d+)(e[+-]?\d+)?|nan|inf|infinity)$"
_IS_BLANK = np.isin(np.arange(256), list(b" \t\n\r\v\f"))
_LARGEST = float(np.finfo(np.float32).max)  # records hold float32


@dataclass(frozen=True, slots=True)
class Labels:
    """What the label file says.

    Attributes:
        table: one row per label row, in file order.  `row` (int64): line number, in Parquet the row, from 1.  `name`
            (string): what names the photo, without blanks and a leading / or ./ around it; Unicode as in the file.
            `by_key` (bool): the name is a key relative to the photos prefix; otherwise the stem of one.  `score`
            (float64): null exactly where there is a problem.  `distribution` (10 float32): shares of the votes for
            ratings 1 to 10, or null.  `split` (string): train, validation or test; null without a split column.
            `problem` (string): why the row cannot be used, or null.  `excluded` (string): the excluded tag or challenge
            that the photo has, or null.
        format: ava, csv, parquet or jsonl, as found.
        has_distribution: the file has vote counts.
    """

    table: Any  # pa.Table
    format: str
    has_distribution: bool


@dataclass(frozen=True, slots=True)
class _File:
    """The label file as it came; `start` is where its first line begins, after a byte order mark and blank lines."""

    data: bytes
    start: int
    url: str
    settings: BuildSettings

    def error(self, what: str) -> LabelError:
        return LabelError(f"label file {self.url!r} {what}")


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows as a format has them: Arrow arrays of one length, or None for what the format or file lacks."""

    row: Any  # int64
    name: Any  # string
    score: Any  # string, or any number
    split: Any = None  # string
    problem: Any = None  # string: what only this format can find wrong
    distribution: Any = None
    excluded: Any = None  # string


def read_labels(
    data: bytes, *, source: str, settings: BuildSettings, tags: bytes | None = None, challenges: bytes | None = None
) -> Labels:
    """Read a label file.

    Args:
        data: the file.
        source: its URL, for messages.
        settings: format, columns, range and exclusions to go by.
        tags: tags.txt beside AVA.txt, lines of "id name"; None if there is no such file.
        challenges: challenges.txt, likewise.

    Raises:
        LabelError: the file is empty, not text, of another format than declared, has a broken line, lacks a column or
            any row; or the settings ask for what this file cannot give.
    """
    bom_bytes = 3 if data.startswith(b"\xef\xbb\xbf") else 0
    first_content = _skip_blank(data, bom_bytes)
    first_line = max(bom_bytes, *(data.rfind(end, 0, first_content) + 1 for end in (b"\n", b"\r")))
    file = _File(data, first_line, source, settings)
    kind = _find_format(file)
    _check_settings(file, kind)
    match kind:
        case "ava":
            rows = _read_ava(file, tags, challenges)
        case "parquet":
            rows = _read_parquet(file)
        case "jsonl":
            rows = _read_jsonl(file)
        case _:
            rows = _read_csv(file)
    if not len(rows.row):
        raise file.error("has no rows; it must have one per scored photo")
    default_range = AVA_RANGE if kind == "ava" else (None, None)
    low, high = (
        default if declared is None else declared
        for declared, default in zip((settings.label_min, settings.label_max), default_range, strict=True)
    )
    return Labels(_label_table(rows, low, high), kind, rows.distribution is not None)


def _skip_blank(data: bytes, start: int) -> int:
    match = re.compile(rb"\s*").match(data, start)
    return match.end() if match else start


def _find_format(file: _File) -> str:
    data, declared = file.data, file.settings.label_format
    first_content = _skip_blank(data, file.start)
    if first_content == len(data):
        raise file.error("is empty; it must have one row per scored photo")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise file.error("is UTF-16 text; save it as UTF-8")
    for magic, what in {
        b"\x1f\x8b": "gzip-compressed; unpack it",
        b"PK\x03\x04": "a zip or Excel file; save it as CSV",
    }.items():
        if data.startswith(magic):
            raise file.error(f"is {what}, or give another file as labels")
    if data.startswith(b"PAR1"):
        found = "parquet"
    else:
        _check_utf8(file)
        words = _line_at(file, file.start).split()
        found = "csv"
        if data[first_content] == ord("{"):
            found = "jsonl"
        elif data[first_content] == ord("["):
            raise file.error(
                "is a JSON array; write JSON lines: one object per line, without brackets and commas around"
            )
        elif len(words) > 1 and all(re.fullmatch(r"-?\d+", word) for word in words):
            found = "ava"
    if declared not in ("auto", found) and (declared, found) != (
        "ava",
        "csv",
    ):  # that one is told by its first bad line
        raise file.error(f"looks like {found}, but label_format is {declared!r}; set label_format to auto or {found}")
    return found if declared == "auto" else declared


def _line_at(file: _File, start: int) -> str:
    match = re.compile(rb"[^\r\n]*").match(file.data, start)
    return match[0].decode() if match else ""


def _check_utf8(file: _File) -> None:
    if file.data.isascii():
        return
    try:
        file.data.decode()
    except UnicodeDecodeError as error:
        raise file.error(
            f"is not UTF-8 text: byte {error.start} is 0x{file.data[error.start]:02x}; save it as UTF-8"
        ) from error


def _check_settings(file: _File, kind: str) -> None:
    settings = file.settings
    if kind == "ava":
        for name in ("id_column", "score_column", "split_column"):
            if (column := getattr(settings, name)) is not None:
                raise file.error(f"is AVA scores, which have no columns, but {name} is {column!r}; leave {name} empty")
        return
    for name in ("exclude_tags", "exclude_challenges"):
        if getattr(settings, name):
            raise file.error(f"is {kind}, but {name} needs AVA scores; leave {name} empty or give an AVA.txt")
    if settings.label_scale == "unit" and (settings.label_min is None or settings.label_max is None):
        raise file.error(f"is {kind} without a declared range, but label_scale is 'unit'; set label_min and label_max")


# AVA.txt


def _read_ava(file: _File, tags: bytes | None, challenges: bytes | None) -> _Rows:
    text = np.frombuffer(file.data, np.uint8)[file.start :]
    edges = np.flatnonzero(np.diff(_IS_BLANK[text], prepend=True, append=True))
    starts, ends = edges[::2], edges[1::2]
    first_line = file.data.count(b"\n", 0, file.start) + 1
    token_lines = first_line + np.searchsorted(np.flatnonzero(text == ord("\n")), starts)
    _check_ava_lines(file, token_lines, starts, ends)
    values = np.fromstring(file.data[file.start :], np.int64, sep=" ").reshape(-1, 15)
    # the id's text, not its value: 007.jpg is not 7.jpg
    ids = [
        file.data[begin:end].decode()
        for begin, end in zip(starts[1::15] + file.start, ends[1::15] + file.start, strict=True)
    ]
    counts = values[:, 2:12].astype(np.float64)
    votes = counts.sum(axis=1)
    negative = (counts < 0).any(axis=1)
    invalid = negative | (votes == 0)
    shares = counts / np.where(invalid, 1, votes)[:, np.newaxis]
    mean = (counts @ np.arange(1.0, 11.0)) / np.where(invalid, 1, votes)
    problem = np.where(negative, "negative vote count", "no votes")
    return _Rows(
        row=pa.array(token_lines[::15]),
        name=pa.array(ids, pa.string()),
        score=pa.array(mean, mask=invalid),
        problem=pa.array(problem.astype(object), pa.string(), mask=~invalid),
        distribution=pa.FixedSizeListArray.from_arrays(
            pa.array(shares.astype(np.float32).ravel()), 10, mask=pa.array(invalid)
        ),
        excluded=_excluded(file, values[:, 12:], tags, challenges),
    )


def _check_ava_lines(file: _File, token_lines: Any, starts: Any, ends: Any) -> None:
    fields = np.bincount(token_lines)
    wrong = np.flatnonzero((fields != 15) & (fields != 0))
    if wrong.size:
        line = int(wrong[0])
        shown = _line_at(file, file.start + int(starts[np.searchsorted(token_lines, line)]))
        raise file.error(
            f"has {fields[line]} fields in line {line}: {shown[:80]!r}; {_AVA_RULE}; correct it, or set label_format"
        )
    text = np.frombuffer(file.data, np.uint8)[file.start :]
    allowed = (text >= ord("0")) & (text <= ord("9")) | _IS_BLANK[text]
    allowed[starts[(text[starts] == ord("-")) & (ends - starts > 1)]] = True
    allowed[starts[ends - starts > 18]] = False  # beyond int64, or close to it
    if not allowed.all():
        token = np.searchsorted(starts, np.argmin(allowed), "right") - 1
        found = file.data[file.start + starts[token] : file.start + ends[token]].decode()
        raise file.error(f"has {found[:80]!r} in line {token_lines[token]}, which is not an integer; {_AVA_RULE}")


def _excluded(file: _File, columns: Any, tags: bytes | None, challenges: bytes | None) -> Any:
    """The excluded tag or challenge of each row; `columns` holds two tag ids and the challenge id, shape (rows, 3)."""
    chosen_tags = _chosen(file, "tag", tags, set(np.unique(columns[:, :2]).tolist()) - {0})
    chosen_challenges = _chosen(file, "challenge", challenges, set(np.unique(columns[:, 2]).tolist()))
    if not chosen_tags and not chosen_challenges:
        return None
    found = (
        chosen_tags.get(first) or chosen_tags.get(second) or chosen_challenges.get(challenge)
        for first, second, challenge in columns.tolist()
    )
    return pa.array(found, pa.string())


def _chosen(file: _File, what: str, names_file: bytes | None, used: set[int]) -> dict[int, str]:
    """Resolve the names, wildcards and numbers of `exclude_tags` or `exclude_challenges` to {id: text for messages}."""
    setting = f"exclude_{what}s"
    patterns: Sequence[str] = getattr(file.settings, setting)
    names = _read_names(file, what, names_file) if patterns and names_file is not None else {}
    chosen: dict[int, str] = {}
    for pattern in patterns:
        folded = pattern.casefold()
        ids = {number for number, name in names.items() if name.casefold() == folded}
        if pattern.isdecimal() and (int(pattern) in names or int(pattern) in used):
            ids = {int(pattern)}
        ids = ids or {number for number, name in names.items() if fnmatch.fnmatchcase(name.casefold(), folded)}
        if not ids and names_file is None and not pattern.isdecimal():
            raise file.error(
                f"has no {what}s.txt beside it to resolve {setting} {pattern!r}; put it there, or give numbers"
            )
        if not ids:
            folded_names = {name.casefold(): name for name in names.values()}
            close = [repr(folded_names[name]) for name in difflib.get_close_matches(folded, folded_names, cutoff=0.5)]
            hint = f"; close: {', '.join(close)}" if close else f"; give a name of {what}s.txt, a wildcard or a number"
            raise file.error(f"has no {what} that matches {setting} {pattern!r}{hint}")
        chosen |= {number: f"{what} {number}" + (f" {names[number]!r}" if number in names else "") for number in ids}
    return chosen


def _read_names(file: _File, what: str, data: bytes) -> dict[int, str]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")  # only names to compare with: better one odd letter than no build
    names = {}
    for number, line in enumerate(text.splitlines(), 1):
        match re.fullmatch(r"(\d+)\s+(.*)", line.strip()):
            case None if line.strip():
                raise file.error(
                    f"has {line[:80]!r} in line {number} of the {what}s.txt beside it; a line is a number and a name"
                )
            case re.Match() as parts:
                names[int(parts[1])] = parts[2]
    return names


# named columns


def _columns(file: _File, columns: Sequence[str]) -> list[int]:
    """Where the id, the score and, if one is set, the split are among `columns`."""
    settings = file.settings
    found = [
        _column(file, columns, "id_column", (settings.id_column,) if settings.id_column else _ID_COLUMNS),
        _column(file, columns, "score_column", (settings.score_column,) if settings.score_column else _SCORE_COLUMNS),
    ]
    if settings.split_column:
        found.append(_column(file, columns, "split_column", (settings.split_column,)))
    return found


def _column(file: _File, columns: Sequence[str], setting: str, wanted: Sequence[str]) -> int:
    for name in wanted:
        same = [place for place, column in enumerate(columns) if column == name]
        same = same or [place for place, column in enumerate(columns) if column.casefold() == name.casefold()]
        if len(same) > 1:
            raise file.error(f"has {len(same)} columns named {name!r}; rename all but one, or set {setting} to another")
        if same:
            return same[0]
    shown = ", ".join(repr(column[:80]) for column in columns[:50])
    raise file.error(
        f"has no column {' or '.join(map(repr, wanted))}; its columns are {shown}; set {setting} to one of them"
    )


def _read_csv(file: _File) -> _Rows:
    header = re.compile(rb"([^\r\n]*)(?:\r\n|\r|\n)?").match(file.data, file.start)
    if header is None:
        raise file.error("has no header; its first line must name the columns")
    rows = [next(csv.reader([header[1].decode()], delimiter=delimiter)) for delimiter in ",;\t"]
    columns = max(rows, key=len)
    delimiter = ",;\t"[rows.index(columns)]
    wanted = [str(place) for place in _columns(file, [column.strip() for column in columns])]
    body = header.end()
    if _skip_blank(file.data, body) == len(file.data):
        raise file.error("has a header but no rows; it must have one row per scored photo")
    _check_quotes(file, body, delimiter)
    table, blank = _parse_csv(file, body, delimiter, len(columns), wanted)
    records = table.num_rows + len(blank)
    lines = _record_lines(file.data, body)
    if len(lines) != records:  # quotes stand where CSV gives them no meaning: just count
        lines = np.arange(records) + file.data.count(b"\n", 0, body) + 1
    return _Rows(pa.array(np.delete(lines, blank)), *(table[place] for place in wanted))


def _parse_csv(file: _File, body: int, delimiter: str, width: int, wanted: list[str]) -> tuple[Any, list[int]]:
    """Read the `wanted` of `width` columns as text; also which records are blank and were left out, from 0."""
    blank: list[int] = []
    broken: list[tuple[int, int]] = []

    def judge(row: Any) -> str:
        if not row.text.strip():
            blank.append(row.number - 1)
            return "skip"
        broken.append((row.number - 1, row.actual_columns))
        return "error"

    names = [str(place) for place in range(width)]
    quoted = file.data.find(b'"', body) >= 0
    try:
        table = pa_csv.read_csv(
            pa.BufferReader(pa.py_buffer(file.data).slice(body)),
            pa_csv.ReadOptions(column_names=names, use_threads=False),  # threads would lose the row numbers
            pa_csv.ParseOptions(delimiter=delimiter, newlines_in_values=quoted, invalid_row_handler=judge),
            pa_csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), include_columns=wanted),
        )
    except pa.ArrowInvalid as error:
        if not broken:
            raise file.error(f"is not readable as CSV: {error}; write it again") from error
        record, count = broken[0]
        lines = _record_lines(file.data, body)
        where = f"line {lines[record]}" if record < len(lines) else f"row {record + 1}"
        raise file.error(
            f"has {count} fields in {where}, but its header has {width}; put quotes around a value with "
            f"{delimiter!r} in it, or correct the line"
        ) from error
    return table, blank


def _check_quotes(file: _File, body: int, delimiter: str) -> None:
    """Refuse a quote that is never closed: it would swallow the rest of the file in one value."""
    if file.data.count(b'"', body) % 2 == 0:
        return
    reader = csv.reader(io.StringIO(file.data[body:].decode(), newline=""), delimiter=delimiter, strict=True)
    line = first_line = file.data.count(b"\n", 0, body) + 1
    try:
        for _ in reader:
            line = first_line + reader.line_num
    except csv.Error as error:
        raise file.error(
            f"has a quote that is not closed in the row at line {line} ({error}); close or double it"
        ) from error


def _record_lines(data: bytes, body: int) -> Any:
    """Line numbers of CSV records: blank lines, and line breaks inside quotes, do not start one."""
    first_line = data.count(b"\n", 0, body) + 1
    text = np.frombuffer(data, np.uint8)[body:]
    breaks = np.flatnonzero(text == ord("\n"))
    if text[-1] != ord("\n"):
        breaks = np.append(breaks, len(text))
    quotes = np.flatnonzero(text == ord('"'))
    ends = breaks[np.searchsorted(quotes, breaks) % 2 == 0]
    begins = np.concatenate(([0], ends[:-1] + 1))
    empty = (ends == begins) | (ends - begins == 1) & (text[begins] == ord("\r"))
    return first_line + np.searchsorted(breaks, begins[~empty])


def _read_parquet(file: _File) -> _Rows:
    try:
        parquet = pq.ParquetFile(pa.BufferReader(file.data))
        columns = parquet.schema_arrow.names
        places = _columns(file, columns)
        table = parquet.read(columns=[columns[place] for place in places])
        table.validate(full=True)  # reading alone does not look whether text is UTF-8
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise file.error(f"is not readable as Parquet: {error}; write it again") from error
    found = [_plain(file, columns[place], table[columns[place]]) for place in places]
    if not _is_number(found[1].type):
        found[1] = _text(file, columns[places[1]], found[1])
    for place in (0, *range(2, len(found))):
        found[place] = _text(file, columns[places[place]], found[place])
    return _Rows(pa.array(np.arange(1, table.num_rows + 1)), *found)


def _is_number(kind: Any) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _plain(file: _File, name: str, column: Any) -> Any:
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    texts = (pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(), pa.null())
    if kind not in texts and not _is_number(kind):
        raise file.error(f"has column {name!r} of type {kind}; it must hold text or numbers")
    return column.cast(kind)


def _text(file: _File, name: str, column: Any) -> Any:
    """Text of any plain column; whole numbers without a fraction or exponent, as they stand in file names."""
    try:
        if not pa.types.is_floating(column.type):
            return column.cast(pa.string())
        whole = pc.and_(pc.equal(pc.floor(column), column), pc.less(pc.abs(column), 2.0**63))
        integers = pc.if_else(whole, column, pa.scalar(None, column.type)).cast(pa.int64())
        return pc.coalesce(integers.cast(pa.string()), column.cast(pa.string()))
    except pa.ArrowInvalid as error:
        raise file.error(f"has column {name!r} of type {column.type} that is not text: {error}; store text") from error


def _read_jsonl(file: _File) -> _Rows:
    lines, objects = [], []
    first_line = file.data.count(b"\n", 0, file.start) + 1
    for number, line in enumerate(file.data[file.start :].splitlines(), first_line):
        if not line.strip():
            continue
        try:
            parsed = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise file.error(f"is not JSON in line {number}: {error}; write one object per line") from error
        if not isinstance(parsed, dict):
            raise file.error(
                f"has {line[:80].decode(errors='replace')!r} in line {number}; every line must be an object"
            )
        lines.append(number)
        objects.append(parsed)
    columns = list(dict.fromkeys(name for parsed in objects for name in parsed))
    found = [columns[place] for place in _columns(file, columns)]
    texts = [pa.array([_json_text(parsed.get(name)) for parsed in objects], pa.string()) for name in found]
    return _Rows(pa.array(lines, pa.int64()), *texts)


def _json_text(found: Any) -> str | None:
    match found:
        case None:
            return None
        case str():
            return found.encode(errors="replace").decode()  # half a surrogate pair is no text
        case float() if found.is_integer() and abs(found) < 2.0**63:
            return str(int(found))
        case _:
            return json.dumps(found)


# from rows to labels


def _label_table(rows: _Rows, low: float | None, high: float | None) -> Any:
    name = pc.utf8_trim_whitespace(pc.fill_null(rows.name, ""))
    by_key = pc.match_substring_regex(name, _BY_KEY)
    name = pc.replace_substring_regex(name, r"^(\./|/)+", "")
    score, score_problem = _scores(rows.score, low, high)
    nothing = pa.nulls(len(rows.row), pa.string())
    split, split_problem = (nothing, nothing) if rows.split is None else _splits(rows.split)
    nameless = pc.if_else(pc.equal(name, ""), "no name", pa.scalar(None, pa.string()))
    problem = pc.coalesce(nameless, nothing if rows.problem is None else rows.problem, score_problem, split_problem)
    return pa.table(
        {
            "row": rows.row,
            "name": name,
            "by_key": by_key,
            "score": pc.if_else(pc.is_null(problem), score, None),
            "distribution": _no_distributions(len(rows.row)) if rows.distribution is None else rows.distribution,
            "split": split,
            "problem": problem,
            "excluded": nothing if rows.excluded is None else rows.excluded,
        }
    )


def _scores(found: Any, low: float | None, high: float | None) -> tuple[Any, Any]:
    """Scores as float64, and the problem of each that cannot be used."""
    if pa.types.is_string(found.type):
        text = pc.utf8_trim_whitespace(pc.fill_null(found, ""))
        score = _parse_numbers(text)
    else:
        text = None
        score = found.cast(pa.float64(), safe=False)
    values = np.asarray(score)  # null becomes NaN
    bad = ~(np.abs(values) <= _LARGEST)
    bad |= values < (-np.inf if low is None else low)
    bad |= values > (np.inf if high is None else high)
    where = pa.array(np.flatnonzero(bad))
    values, taken = values[bad], score.take(where)
    text = pc.fill_null(taken.cast(pa.string()), "") if text is None else text.take(where)
    reasons = {
        "score is missing{}": np.asarray(pc.equal(text, "")),
        "score '{}' is not a number": np.asarray(taken.is_null()),
        "score '{}' is not finite": ~np.isfinite(values),
        "score {} does not fit a float32": np.abs(values) > _LARGEST,
        f"score {{}} is below label_min {low}": values < (-np.inf if low is None else low),
        f"score {{}} is above label_max {high}": np.full(len(values), True),
    }
    return score, _scatter(_first_reason(reasons, text), bad)


def _parse_numbers(text: Any) -> Any:
    """Text as float64, null where it is no number: neither a blank nor words."""
    text = pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)
    try:
        return text.cast(pa.float64())
    except pa.ArrowInvalid:  # which value it was remains to be found
        is_number = pc.match_substring_regex(text, _NUMBER)
        return pc.if_else(is_number, text, pa.scalar(None, pa.string())).cast(pa.float64())


def _splits(found: Any) -> tuple[Any, Any]:
    """Split names as this package writes them, and the problem of each row that has none of them."""
    text = pc.utf8_trim_whitespace(pc.fill_null(found, ""))
    split = pa.array(_SPLITS.values()).take(pc.index_in(pc.utf8_lower(text), pa.array(_SPLITS)))
    bad = np.asarray(pc.is_null(split))
    text = text.take(pa.array(np.flatnonzero(bad)))
    missing = np.asarray(pc.equal(text, ""))
    reasons = {"split is missing{}": missing, "split '{}' is not one of train, validation, test": ~missing}
    return split, _scatter(_first_reason(reasons, text), bad)


def _first_reason(reasons: dict[str, Any], text: Any) -> Any:
    """The first reason that holds for each text, with the text, shortened, in the place of the braces."""
    chosen = pa.array(np.argmax(list(reasons.values()), axis=0))
    before, after = zip(*(reason.split("{}") for reason in reasons), strict=True)
    shown = pc.utf8_slice_codeunits(text, 0, 40)
    return pc.binary_join_element_wise(pa.array(before).take(chosen), shown, pa.array(after).take(chosen), "")


def _scatter(values: Any, where: Any) -> Any:
    """Put `values`, in order, where `where` is true; null elsewhere."""
    return values.take(pa.array(np.cumsum(where) - 1, mask=~where))


def _no_distributions(count: int) -> Any:
    """A column of nulls in blocks that share their memory: 40 bytes for every row would be a lot for nothing."""
    block = pa.nulls(1 << 16, pa.list_(pa.float32(), 10))
    whole, rest = divmod(count, len(block))
    return pa.chunked_array([*[block] * whole, block[:rest]], block.type)
