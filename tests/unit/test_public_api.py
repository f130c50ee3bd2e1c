"""What `import aesthetics_ops` offers: a list that resolves, costs nothing, and stands in docs/api.md."""

import inspect
import json
import re
import subprocess
import sys
from dataclasses import is_dataclass
from types import FunctionType
from typing import Any

import pytest

import aesthetics_ops
from aesthetics_ops import errors
from aesthetics_ops.errors import SettingsError
from aesthetics_ops.settings import BuildSettings
from tests.support.paths import ROOT

PAGE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
NAMES = aesthetics_ops.__all__


def in_a_fresh_interpreter(code: str) -> Any:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def signature(name: str, called: Any) -> str:
    """How something is called, without the types of its arguments."""
    found = inspect.signature(called)
    arguments = [argument.replace(annotation=inspect.Parameter.empty) for argument in found.parameters.values()]
    text = str(found.replace(parameters=arguments, return_annotation=inspect.Signature.empty))
    text = re.sub(
        r"<function \S+ at 0x[0-9a-f]+>|<lambda>", "...", text.replace("(self, ", "(").replace("(self)", "()")
    )
    returned = re.sub(r"'|\b[A-Za-z_]\w*\.", "", inspect.formatannotation(found.return_annotation))
    # NDArray is an alias, which numpy writes out before 2.5, and 2.5, locked for Python 3.12 and later, calls by its name
    returned = re.sub(r"ndarray\[tuple\[Any, \.\.\.\], dtype\[(\w+)\]\]|NDArray\[(\w+)\]", r"ndarray[\1\2]", returned)
    return f"{name}{text}{f' -> {returned}' if isinstance(called, FunctionType) else ''}"


def first_line(value: Any) -> str:
    return (inspect.getdoc(value) or "").partition("\n")[0]


WITH_MEMBERS = {"Dataset", "Records", "Batches", "Sampler"}  # and each of their methods and properties


def lines_of(name: str) -> list[str]:
    """The lines of docs/api.md on one public name: how it is called, and the first line of its docstring."""
    value = getattr(aesthetics_ops, name)
    if name == "__version__":
        return ["- `__version__`: The release that is installed, as text."]
    if isinstance(value, FunctionType) or (is_dataclass(value) and name != "Dataset"):
        return [f"- `{signature(name, value)}`: {first_line(value)}"]
    if value is BuildSettings:
        return [f"- `BuildSettings(*, photos, labels, dataset, ...)`: {first_line(value)}"]
    lines = [f"- `{name}`: {first_line(value)}"]
    own = [each for each in value.__mro__ if each.__module__.startswith("aesthetics_ops.")]
    members = {member: found for each in own for member, found in vars(each).items()}
    for member, found in members.items() if name in WITH_MEMBERS else ():
        if member.startswith("_") or not isinstance(found, FunctionType | property):
            continue
        shown = signature(f"{name}.{member}", found) if isinstance(found, FunctionType) else f"{name}.{member}"
        lines.append(f"- `{shown}`: {first_line(found)}")
    return lines


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_resolves_and_says_what_it_is(name: str) -> None:
    value = getattr(aesthetics_ops, name)
    assert isinstance(value, str) or (first_line(value).endswith((".", ":")) and len(first_line(value)) > 15)


def test_the_list_is_what_dir_shows_in_an_order_that_does_not_change() -> None:
    shown = in_a_fresh_interpreter("import aesthetics_ops, json; print(json.dumps(dir(aesthetics_ops)))")
    assert {name for name in shown if not name.startswith("_")} - {"TYPE_CHECKING"} == set(NAMES) - {"__version__"}
    assert sorted(set(NAMES)) == sorted(NAMES)


def test_star_imports_give_the_list_and_nothing_else() -> None:
    code = "import json; from aesthetics_ops import *; print(json.dumps([n for n in dir() if n != 'json']))"
    assert {name for name in in_a_fresh_interpreter(code) if not name.startswith("__")} == set(NAMES) - {"__version__"}


def test_every_error_is_public() -> None:
    assert set(errors.__all__) <= set(NAMES)


def test_importing_the_package_loads_none_of_its_modules_and_no_library() -> None:
    code = """
import json, sys
before = {*sys.modules}
import aesthetics_ops
print(json.dumps(sorted({*sys.modules} - before)))
"""
    loaded = in_a_fresh_interpreter(code)
    assert [name for name in loaded if name.partition(".")[0] not in sys.stdlib_module_names] == ["aesthetics_ops"]
    assert "importlib.metadata" not in loaded, "which takes as long as a small library; only __version__ needs it"


def test_a_name_that_is_not_public_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="module 'aesthetics_ops' has no attribute 'nothing'"):
        aesthetics_ops.nothing  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize("name", NAMES)
def test_the_reference_page_has_each_name_as_it_is_called(name: str) -> None:
    there = PAGE.splitlines()
    assert [line for line in lines_of(name) if line not in there] == [], "docs/api.md should hold these lines"


def test_the_reference_page_has_no_other_name() -> None:
    expected = {line for name in NAMES for line in lines_of(name)}
    assert [line for line in PAGE.splitlines() if line.startswith("- `") and line not in expected] == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"quality": 500}, "quality is 500, but input should be less than or equal to 100"),
        ({"qualty": 90}, "'qualty' is not a setting; the settings are "),
        ({"photos": "here"}, "photos: 'here' is a relative path; write an absolute path"),
        ({"dataset": "s3://b/p/x/"}, "dataset 's3://b/p/x/' lies inside photos 's3://b/p/'"),
    ],
)
def test_wrong_settings_are_a_settings_error_of_one_line(changes: dict[str, Any], words: str) -> None:
    values = {"photos": "s3://b/p/", "labels": "s3://b/l.csv", "dataset": "s3://b/d/"} | changes
    with pytest.raises(SettingsError) as refused:
        aesthetics_ops.BuildSettings(**values)
    assert str(refused.value).startswith("BuildSettings: ")
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)
