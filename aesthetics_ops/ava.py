"""Read AVA.txt: vote counts in ten columns, tags and a challenge, and the exclusions that go by them.

In: the file, and the tags.txt and challenges.txt beside it.  Out: its rows, each with the mean of its votes.

Source:
    Murray, Marchesotti, Perronnin: AVA, CVPR 2012 (vote histograms, ratings 1-10, tags, challenges).
"""

import difflib
import fnmatch
import re
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from aesthetics_ops.label_file import LabelFile, LabelRows, line_at

__all__ = ["AVA_RANGE", "read_ava"]

AVA_RANGE: Final = (1.0, 10.0)

_AVA_RULE = "an AVA line has 15 integers: index, image id, ten vote counts, two tag ids, challenge id"
_IS_BLANK = np.isin(np.arange(256), list(b" \t\n\r\v\f"))


def read_ava(file: LabelFile, tags: bytes | None, challenges: bytes | None) -> LabelRows:
    """Read AVA.txt; None stands for a tags.txt or challenges.txt that is not there."""
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
    return LabelRows(
        row=pa.array(token_lines[::15]),
        name=pa.array(ids, pa.string()),
        score=pa.array(mean, mask=invalid),
        problem=pa.array(problem.astype(object), pa.string(), mask=~invalid),
        distribution=pa.FixedSizeListArray.from_arrays(
            pa.array(shares.astype(np.float32).ravel()), 10, mask=pa.array(invalid)
        ),
        excluded=_excluded(file, values[:, 12:], tags, challenges),
    )


def _check_ava_lines(file: LabelFile, token_lines: Any, starts: Any, ends: Any) -> None:
    fields = np.bincount(token_lines)
    wrong = np.flatnonzero((fields != 15) & (fields != 0))
    if wrong.size:
        line = int(wrong[0])
        shown = line_at(file, file.start + int(starts[np.searchsorted(token_lines, line)]))
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


def _excluded(file: LabelFile, columns: Any, tags: bytes | None, challenges: bytes | None) -> Any:
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


def _chosen(file: LabelFile, what: str, names_file: bytes | None, used: set[int]) -> dict[int, str]:
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
