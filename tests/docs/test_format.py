"""docs/format.md says of every key and every column what the code says."""

import re

import pytest

from aesthetics_ops.dataset.layout import LATEST_KEY, BuildFile, ShardFile, VersionFile
from aesthetics_ops.dataset.manifest import SCHEMA_VERSION
from aesthetics_ops.dataset.tables import TABLES, Table
from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "format.md"
TABLES_IN_PAGE = re.compile(r"(<!-- tables: .*? -->\n).*?(<!-- end of tables -->)", re.DOTALL)


def markdown(table: Table) -> str:
    """Return what the page says of one table."""
    rows = "".join(f"| `{column.name}` | {column.type} | {column.description} |\n" for column in table.columns)
    head = "\n| column | type | what |\n|---|---|---|\n"
    found = f"**`{table.name}.parquet`.** {table.rows}\n{head}{rows}"
    if table.optional:
        more = "".join(f"| `{column.name}` | {column.type} | {column.description} |\n" for column in table.optional)
        found += f"\nThen, where the score file has votes:\n{head}{more}"
    return found


def written(page: str) -> str:
    """Return the page with its tables as the code has them."""
    return TABLES_IN_PAGE.sub(lambda found: found[1] + "\n" + "\n".join(map(markdown, TABLES)) + "\n" + found[2], page)


def test_the_pages_tables_are_the_codes() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert TABLES_IN_PAGE.search(page)
    assert page == written(page), "the tables changed; write the page anew: python -m tests.docs.test_format"


@pytest.mark.parametrize("file", [LATEST_KEY, *VersionFile, *ShardFile, *BuildFile])
def test_every_file_of_a_dataset_stands_on_the_page(file: str) -> None:
    where = PAGE.read_text(encoding="utf-8").partition("## Documents")[0]
    assert re.search(rf"[`/>]{re.escape(file)}`", where), file


def test_every_schema_stands_on_the_page() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert re.findall(r"^\| (\d+) \|", page, flags=re.MULTILINE) == [str(n) for n in range(1, SCHEMA_VERSION + 1)]


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
