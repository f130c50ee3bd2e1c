"""The tests' own rules: folders as in the package, shared machinery in support, and asserts that can be trusted."""

import ast
from collections.abc import Iterator
from functools import cache

import pytest

from tests.support.paths import ROOT

FILES = {
    path.relative_to(ROOT).as_posix(): path
    for folder in ("tests", "benchmarks", "demo")
    for path in sorted((ROOT / folder).rglob("*.py"))
}
CLOCKS = {"monotonic", "perf_counter", "process_time", "time"}
every_file = pytest.mark.parametrize("name", FILES)


@cache
def tree(name: str) -> ast.Module:
    return ast.parse(FILES[name].read_text(encoding="utf-8"))


def nodes(name: str) -> Iterator[ast.AST]:
    return ast.walk(tree(name))


def imported(node: ast.AST) -> list[str]:
    match node:
        case ast.Import():
            return [alias.name for alias in node.names]
        case ast.ImportFrom():
            return [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
    return []


def reads_a_clock(node: ast.AST) -> bool:
    """Whether a node is a call of `time.monotonic` and the like."""
    match node:
        case ast.Call(func=ast.Attribute(value=ast.Name(id="time"), attr=name)) | ast.Call(func=ast.Name(id=name)):
            return name in CLOCKS
    return False


def test_a_folder_of_unit_tests_is_named_as_the_room_that_it_tests() -> None:
    rooms = {path.parent.name for path in (ROOT / "aesthetics_ops").glob("*/__init__.py")}
    folders = {path.parent.name for path in (ROOT / "tests" / "unit").glob("*/*.py")}
    assert len(folders) > 10
    assert folders <= rooms


@every_file
def test_a_test_stands_where_pytest_looks(name: str) -> None:
    """Contracts are classes that tests inherit; a function elsewhere would never run."""
    if not name.rpartition("/")[2].startswith("test_"):
        assert not [
            node for node in tree(name).body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
        ]


@every_file
def test_no_file_imports_a_test(name: str) -> None:
    found = [module for node in nodes(name) for module in imported(node)]
    tests = [module for module in found if module.rpartition(".")[2].startswith("test_") or "conftest" in module]
    assert tests == [], "what several tests share stands in tests/support or aesthetics_ops/testing"


@every_file
def test_no_file_changes_where_python_looks(name: str) -> None:
    for node in nodes(name):
        if isinstance(node, ast.Attribute):
            assert ast.unparse(node) != "sys.path"
            assert node.attr != "syspath_prepend"


@every_file
def test_no_assert_looks_at_a_clock(name: str) -> None:
    """How long something takes is measured in benchmarks/; a test counts requests, or waits for an event."""
    for node in nodes(name) if name.startswith("tests/") else ():
        if isinstance(node, ast.Assert):
            assert not any(map(reads_a_clock, ast.walk(node.test))), f"line {node.lineno}"


@every_file
def test_nothing_is_replaced_by_a_dotted_name(name: str) -> None:
    """A name in a text is found by no search and no type checker; an argument, or the module itself, is."""
    for node in nodes(name):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("monkeypatch.setattr", "mock.patch")):
            assert not isinstance(node.args[0], ast.Constant), f"line {node.lineno}"
