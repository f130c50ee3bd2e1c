"""Read AVA.txt: vote counts in ten columns, tags and a challenge, and the exclusions that go by them.

In: the file, and the tags.txt and challenges.txt beside it where names are to be excluded.  Out: its rows, each with the
mean of its votes.

Source:
    Murray, Marchesotti, Perronnin: AVA, CVPR 2012 (vote histograms, ratings 1-10, tags, challenges).
"""

import difflib
import fnmatch
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from aesthetics_ops.sources.labels.blocks import FEW_BYTES, blocks_of_lines
from aesthetics_ops.sources.labels.file import LabelFile, LabelRows, line_at
from aesthetics_ops.sources.labels.format import LabelFormat
from aesthetics_ops.sources.labels.votes import rate_counts

__all__ = ["AVA"]

_AVA_RULE = "an AVA line has 15 integers: index, image id, ten vote counts, two tag ids, challenge id"
_FEWER: Final = (12, 13, 14)  # integers without tags or challenge: settings say what CSV takes them for
_LONGEST_LINE: Final = 1 << 12
_RATINGS: Final = tuple(float(rating) for rating in range(1, 11))
_IS_BLANK = np.isin(np.arange(256), list(b" \t\n\r\v\f"))


def _recognises(file: LabelFile) -> bool:
    # text that is declared to be AVA's is taken for it: its first broken line says more than "looks like csv"
    fields = line_at(file, _after_comments(file)).split()
    return file.settings.label_format == AVA.name or (
        len(fields) > 1 and len(fields) not in _FEWER and all(re.fullmatch(r"-?\d+", field) for field in fields)
    )


def _read(file: LabelFile) -> LabelRows:
    blocks, kept = [], []
    for block, more in _rated(file):
        blocks.append(block)
        if _excludes(file):
            kept.append(more)
    columns = {name: pa.chunked_array([block[name] for block in blocks]) for name in blocks[0]}
    excluded = _excluded(file, np.concatenate(kept)) if kept else None
    return LabelRows(**columns, excluded=excluded, ratings=_RATINGS)


def _read_blocks(file: LabelFile) -> Iterator[LabelRows] | None:
    if len(file.data) < FEW_BYTES or _excludes(file):  # which tags there are is known when all rows were read
        return None
    return (
        LabelRows(**{name: pa.chunked_array([column]) for name, column in block.items()}, ratings=_RATINGS)
        for block, _ in _rated(file)
    )


def _excludes(file: LabelFile) -> bool:
    return bool(file.settings.exclude_tags or file.settings.exclude_challenges)


def _rated(file: LabelFile) -> Iterator[tuple[dict[str, Any], Any]]:
    """Yield columns of LabelRows, and two tag ids and the challenge id of each row, block by block."""
    file = replace(file, start=_after_comments(file))
    line = file.data.count(b"\n", 0, file.start) + 1
    for start, end in blocks_of_lines(file.data, file.start):
        block = _read_plain(file, start, end, line) or _read_any(file, start, end, line)
        if block is not None:
            yield _rate(*block), block[2][:, 12:]
        line += file.data.count(b"\n", start, end)


def _after_comments(file: LabelFile) -> int:
    """Return where the first line begins that is no comment."""
    found = re.compile(rb"(#[^\r\n]*(\r\n|\r|\n)\s*)*").match(file.data, file.start)
    return found.end() if found else file.start


def _read_plain(file: LabelFile, start: int, end: int, first_line: int) -> tuple[Any, Any, Any] | None:
    """Read lines of digits with one blank between; None where there is anything else, or a mistake.

    Returns:
        Line numbers, ids as text, and values, int64, shape (rows, 15).
    """
    text = file.data[start:end]
    if text.translate(None, b"0123456789 \n"):
        return None
    names = [str(number) for number in range(15)]
    kinds = dict.fromkeys(names, pa.int64()) | {"1": pa.string()}
    try:
        table = pa_csv.read_csv(
            pa.BufferReader(text),
            # in one thread: a process that ends soon after reading with several is aborted now and then
            pa_csv.ReadOptions(column_names=names, use_threads=False),
            pa_csv.ParseOptions(delimiter=" ", quote_char=False),
            pa_csv.ConvertOptions(column_types=kinds),
        )
    except pa.ArrowInvalid:
        return None
    lines = text.count(b"\n") + (not text.endswith(b"\n"))
    ids = table["1"].combine_chunks()
    if (
        table.num_rows != lines
        or pc.min(pc.binary_length(ids)).as_py() == 0
        or pc.max(pc.binary_length(ids)).as_py() > 18
    ):
        return None
    values = np.zeros((lines, 15), np.int64)
    for number, name in enumerate(names):
        if table[name].null_count:
            return None
        if name != "1":
            values[:, number] = table[name].to_numpy()
    return np.arange(first_line, first_line + lines), ids, values


def _read_any(file: LabelFile, start: int, end: int, first_line: int) -> tuple[Any, Any, Any] | None:
    """Read lines with any blanks in and between them, or name the first mistake; None where all lines are blank."""
    data = file.data[start:end]
    if (endless := re.search(rb"[^\n]{%d}" % _LONGEST_LINE, data)) is not None:
        line = first_line + data.count(b"\n", 0, endless.start())
        raise file.error(f"has more than {_LONGEST_LINE} bytes in line {line}; {_AVA_RULE}")
    text = np.frombuffer(data, np.uint8)
    edges = np.flatnonzero(np.diff(_IS_BLANK[text], prepend=True, append=True))
    starts, ends = edges[::2], edges[1::2]
    if not len(starts):
        return None
    token_lines = np.searchsorted(np.flatnonzero(text == ord("\n")), starts)
    _check_ava_lines(replace(file, data=data, start=0), first_line, token_lines, starts, ends)
    values = np.fromstring(data, np.int64, sep=" ").reshape(-1, 15)
    # the id's text, not its value: 007.jpg is not 7.jpg
    ids = [data[begin:end].decode() for begin, end in zip(starts[1::15], ends[1::15], strict=True)]
    return first_line + token_lines[::15], pa.array(ids, pa.string()), values


def _rate(lines: Any, ids: Any, values: Any) -> dict[str, Any]:
    """Make the columns of LabelRows from lines' numbers, ids and values."""
    rated = rate_counts(values[:, 2:12].astype(np.float64), _RATINGS, pa.nulls(len(values), pa.string()))
    return {
        "row": pa.array(lines),
        "name": ids,
        "score": rated.score,
        "problem": rated.problem,
        "votes": rated.votes,
        "distribution": rated.shares,
        "counts": rated.counts,
        "deviation": rated.deviation,
    }


def _check_ava_lines(file: LabelFile, first_line: int, token_lines: Any, starts: Any, ends: Any) -> None:
    """Refuse a block that is not lines of 15 integers; `token_lines` counts from 0 in it."""
    fields = np.bincount(token_lines)
    wrong = np.flatnonzero((fields != 15) & (fields != 0))
    if wrong.size:
        line = int(wrong[0])
        shown = line_at(file, int(starts[np.searchsorted(token_lines, line)]))
        raise file.error(
            f"has {fields[line]} fields in line {first_line + line}: {shown[:80]!r}; {_AVA_RULE}; correct it, or set label_format"
        )
    text = np.frombuffer(file.data, np.uint8)
    allowed = (text >= ord("0")) & (text <= ord("9")) | _IS_BLANK[text]
    allowed[starts[(text[starts] == ord("-")) & (ends - starts > 1)]] = True
    allowed[starts[ends - starts > 18]] = False  # beyond int64, or close to it
    if not allowed.all():
        token = np.searchsorted(starts, np.argmin(allowed), "right") - 1
        found = file.data[starts[token] : ends[token]].decode()
        raise file.error(
            f"has {found[:80]!r} in line {first_line + token_lines[token]}, which is not an integer; {_AVA_RULE}"
        )


def _excluded(file: LabelFile, columns: Any) -> Any:
    """The excluded tag or challenge of each row; `columns` holds two tag ids and the challenge id, shape (rows, 3)."""
    chosen_tags = _chosen(file, "tag", set(np.unique(columns[:, :2]).tolist()) - {0})
    chosen_challenges = _chosen(file, "challenge", set(np.unique(columns[:, 2]).tolist()))
    if not chosen_tags and not chosen_challenges:
        return None
    found = [
        pa.array(chosen.values(), pa.string()).take(
            pc.index_in(pa.array(columns[:, number]), pa.array(chosen.keys(), pa.int64()))
        )
        for number, chosen in enumerate((chosen_tags, chosen_tags, chosen_challenges))
    ]
    return pc.coalesce(*found)


def _chosen(file: LabelFile, what: str, used: set[int]) -> dict[int, str]:
    """Resolve the names, wildcards and numbers of `exclude_tags` or `exclude_challenges` to {id: text for messages}."""
    setting = f"exclude_{what}s"
    patterns: Sequence[str] = getattr(file.settings, setting)
    names_file = file.beside(f"{what}s.txt") if patterns else None
    names = {} if names_file is None else _read_names(file, what, names_file)
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


def _read_names(file: LabelFile, what: str, data: bytes) -> dict[int, str]:
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


AVA: Final = LabelFormat(
    name="ava",
    title="AVA scores",
    recognises=_recognises,
    read=_read,
    blocks=_read_blocks,
    settings=("exclude_tags", "exclude_challenges"),
    default_range=(1.0, 10.0),
)
