"""Small Excel files, as their XML has them: nothing that writes them is installed."""

import io
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape

from aesthetics_ops.sources.labels.workbook import cell_name

_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_OF_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_OF_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
# style 1 shows a number as a date
_STYLES = (
    f'<styleSheet xmlns="{_MAIN}"><fonts count="1"><font/></fonts><fills count="1"><fill/></fills><borders count="1"><border/></borders>'
    '<cellStyleXfs count="1"><xf/></cellStyleXfs><cellXfs count="2"><xf numFmtId="0"/><xf numFmtId="14" applyNumberFormat="1"/></cellXfs>'
    "</styleSheet>"
)
DATE = '<c r="{cell}" s="1"><v>43832</v></c>'  # 2020-01-02


def formula(text: str, value: str = "") -> str:
    return '<c r="{cell}"><f>' + text + "</f>" + (f"<v>{value}</v>" if value else "") + "</c>"


def error(text: str) -> str:
    return '<c r="{cell}" t="e"><v>' + text + "</v></c>"


def xlsx(
    sheets: Mapping[str, Sequence[Sequence[Any]]],
    *,
    hidden: Sequence[str] = (),
    merged: Sequence[str] = (),
    more: Mapping[str, bytes] = {},
) -> bytes:
    """Return a workbook: cells are None, numbers, truths, text, or XML with {cell} in it; `more` adds or replaces files."""
    workbook = "".join(
        f'<sheet name="{escape(name)}" sheetId="{number}" r:id="rId{number}"'
        + (' state="hidden"/>' if name in hidden else "/>")
        for number, name in enumerate(sheets, 1)
    )
    relations = "".join(
        f'<Relationship Id="rId{number}" Type="{_OF_OFFICE}/worksheet" Target="worksheets/sheet{number}.xml"/>'
        for number in range(1, len(sheets) + 1)
    )
    files = {
        "[Content_Types].xml": f'<Types xmlns="{_OF_PACKAGE}/content-types"/>',
        "_rels/.rels": f'<Relationships xmlns="{_OF_PACKAGE}/relationships"><Relationship Id="rId1" Type="{_OF_OFFICE}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{_MAIN}" xmlns:r="{_OF_OFFICE}"><sheets>{workbook}</sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{_OF_PACKAGE}/relationships">{relations}</Relationships>',
        "xl/styles.xml": _STYLES,
    }
    for number, rows in enumerate(sheets.values(), 1):
        files[f"xl/worksheets/sheet{number}.xml"] = sheet_xml(rows, merged)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in ({name: text.encode() for name, text in files.items()} | dict(more)).items():
            archive.writestr(name, content)
    return packed.getvalue()


def sheet_xml(rows: Sequence[Sequence[Any]], merged: Sequence[str] = ()) -> str:
    body = "".join(
        f'<row r="{row + 1}">'
        + "".join(_cell(value, cell_name(row, column)) for column, value in enumerate(cells))
        + "</row>"
        for row, cells in enumerate(rows)
    )
    ranges = "".join(f'<mergeCell ref="{cells}"/>' for cells in merged)
    return f'<worksheet xmlns="{_MAIN}"><sheetData>{body}</sheetData>{ranges and f"<mergeCells>{ranges}</mergeCells>"}</worksheet>'


def _cell(value: Any, cell: str) -> str:
    match value:
        case None:
            return ""
        case bool():
            return f'<c r="{cell}" t="b"><v>{int(value)}</v></c>'
        case str() if value.startswith("<c"):
            return value.replace("{cell}", cell)
        case str():
            return f'<c r="{cell}" t="inlineStr"><is><t>{escape(value)}</t></is></c>'
        case _:
            return f'<c r="{cell}"><v>{value}</v></c>'
