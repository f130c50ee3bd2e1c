"""Each line of the threat model names a test that exists, or says that there is none."""

import re

from tests.support.paths import ROOT


def test_every_test_that_the_threat_model_names_exists() -> None:
    rows = re.findall(r"^\|.*\| (.+?) \|$", (ROOT / "docs/threat-model.md").read_text(encoding="utf-8"), re.MULTILINE)
    named = [row.strip("`").split("::") for row in rows if "::" in row]
    assert len(named) >= 10
    for path, name in named:
        assert f"def {name}(" in (ROOT / path).read_text(encoding="utf-8"), (path, name)
    assert {row for row in rows if "::" not in row} == {"test", "none"}
