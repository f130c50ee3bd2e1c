"""Files of scores in the shapes that the field has them, made up.

In: a folder, a kind, a number of rows.  Out: the file; one that is there is left as it is.
The scores depend on the kind and the number alone.
"""

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.csv as pcsv
import pyarrow.parquet as pq

__all__ = ["KINDS", "VOTES_PER_PHOTO", "make_score_file"]

VOTES_PER_PHOTO: Final = 30
_FIRST_ID: Final = 1_000_000


def make_score_file(folder: Path, kind: str, rows: int) -> Path:
    """Return a file of `kind`, one of `KINDS`, with so many rows; with votes by person, a row is a vote."""
    path = folder / f"{rows}-{kind}"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = folder / f"unfinished-{os.getpid()}"
        KINDS[kind](unfinished, rows, np.random.default_rng(0))
        unfinished.rename(path)
    return path


def _ids(rows: int) -> Any:
    return np.arange(_FIRST_ID, _FIRST_ID + rows)


def _names(rows: int) -> list[str]:
    return [f"{photo}.jpg" for photo in _ids(rows).tolist()]


def _scores(rows: int, rng: np.random.Generator) -> Any:
    return np.round(rng.uniform(1, 10, rows), 4)


def _counts(rows: int, kinds: int, rng: np.random.Generator) -> Any:
    """Return counts of votes, shape (rows, kinds), one vote in each row at least."""
    counts = rng.integers(0, 60, (rows, kinds))
    counts[:, kinds // 2] += 1
    return counts


def _write_text(path: Path, columns: dict[str, Any], *, separator: str = ",", header: bool = True) -> None:
    options = pcsv.WriteOptions(include_header=header, delimiter=separator, quoting_style="none")
    pcsv.write_csv(pa.table(columns), path, options)


def _ava(path: Path, rows: int, rng: np.random.Generator) -> None:
    counts = _counts(rows, 10, rng)
    columns = {"row": np.arange(1, rows + 1), "id": _ids(rows), **{f"v{n}": counts[:, n] for n in range(10)}}
    columns |= {
        "tag1": rng.integers(0, 66, rows),
        "tag2": np.zeros(rows, np.int64),
        "challenge": rng.integers(0, 1400, rows),
    }
    _write_text(path, columns, separator=" ", header=False)


def _plain(rows: int, rng: np.random.Generator) -> dict[str, Any]:
    return {"id": _ids(rows), "score": _scores(rows, rng)}


def _csv(path: Path, rows: int, rng: np.random.Generator) -> None:
    _write_text(path, _plain(rows, rng))


def _parquet(path: Path, rows: int, rng: np.random.Generator) -> None:
    pq.write_table(pa.table(_plain(rows, rng)), path)


def _koniq(path: Path, rows: int, rng: np.random.Generator) -> None:
    counts = _counts(rows, 5, rng)
    total = counts.sum(axis=1)
    mean = counts @ np.arange(1, 6) / total
    columns = {"image_name": _names(rows), **{f"c{n + 1}": counts[:, n] for n in range(5)}, "c_total": total}
    columns |= {"MOS": mean, "SD": np.round(rng.uniform(0.4, 0.9, rows), 4), "MOS_zscore": np.round(20 * mean, 4)}
    _write_text(path, columns)


def _eva(path: Path, rows: int, rng: np.random.Generator) -> None:
    photos = np.arange(rows) // VOTES_PER_PHOTO
    columns = {"image_id": _FIRST_ID + photos, "user_id": np.arange(rows) % 1000, "score": rng.integers(0, 11, rows)}
    more = ("difficulty", "visual", "composition", "quality", "semantic")
    _write_text(path, columns | {name: rng.integers(1, 5, rows) for name in more}, separator="=")


def _nima(rows: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    counts = _counts(rows, 10, rng).tolist()
    return [{"image_id": str(photo), "label": row} for photo, row in zip(_ids(rows).tolist(), counts, strict=True)]


def _nima_array(path: Path, rows: int, rng: np.random.Generator) -> None:
    path.write_text(json.dumps(_nima(rows, rng)))


def _write_lines(path: Path, entries: list[dict[str, Any]]) -> None:
    path.write_text("\n".join(map(json.dumps, entries)) + "\n")


def _nima_lines(path: Path, rows: int, rng: np.random.Generator) -> None:
    _write_lines(path, _nima(rows, rng))


def _json_lines(path: Path, rows: int, rng: np.random.Generator) -> None:
    _write_lines(path, pa.table(_plain(rows, rng)).to_pylist())


_MAIN: Final = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_OFFICE: Final = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE: Final = "http://schemas.openxmlformats.org/package/2006"


def _xlsx(path: Path, rows: int, rng: np.random.Generator) -> None:
    """Write a sheet of a name and six numbers, text in the table of shared strings, as Excel does."""
    header = ("Image name", "MOS", "Brightness", "Colorfulness", "Contrast", "Noisiness", "Sharpness")
    texts = [*header, *_names(rows)]
    shared = "".join(f"<si><t>{text}</t></si>" for text in texts)
    cells = "".join(f'<c r="{column}1" t="s"><v>{place}</v></c>' for place, column in enumerate("ABCDEFG"))
    lines = [f'<row r="1">{cells}</row>']
    for number, values in enumerate(np.round(rng.uniform(1, 100, (rows, 6)), 2).tolist(), 2):
        cells = "".join(
            f'<c r="{column}{number}"><v>{value}</v></c>' for column, value in zip("BCDEFG", values, strict=True)
        )
        lines.append(f'<row r="{number}"><c r="A{number}" t="s"><v>{number + len(header) - 2}</v></c>{cells}</row>')
    kinds = {1: ("worksheet", "worksheets/sheet1.xml"), 2: ("sharedStrings", "sharedStrings.xml")}
    relations = "".join(
        f'<Relationship Id="rId{number}" Type="{_OFFICE}/{kind}" Target="{target}"/>'
        for number, (kind, target) in kinds.items()
    )
    files = {
        "[Content_Types].xml": f'<Types xmlns="{_PACKAGE}/content-types"/>',
        "_rels/.rels": f'<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="rId1" Type="{_OFFICE}/officeDocument" '
        'Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}"><sheets><sheet name="Sheet1" sheetId="1" r:id="rId1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{_PACKAGE}/relationships">{relations}</Relationships>',
        "xl/sharedStrings.xml": f'<sst xmlns="{_MAIN}" count="{len(texts)}" uniqueCount="{len(texts)}">{shared}</sst>',
        "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{_MAIN}"><sheetData>{"".join(lines)}</sheetData></worksheet>',
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)


KINDS: Final[dict[str, Callable[[Path, int, np.random.Generator], None]]] = {
    "AVA.txt": _ava,
    "scores.csv": _csv,
    "koniq.csv": _koniq,
    "eva-votes.csv": _eva,
    "scores.parquet": _parquet,
    "nima.json": _nima_array,
    "nima.jsonl": _nima_lines,
    "scores.jsonl": _json_lines,
    "spaq.xlsx": _xlsx,
}
"""What is made, by its name."""
