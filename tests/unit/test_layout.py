"""The tests' own rules: folders as in the package, shared machinery in support, and asserts that can be trusted."""

import ast
from collections.abc import Callable, Iterable, Iterator
from functools import cache

from tests.support.paths import ROOT

FILES = {
    path.relative_to(ROOT).as_posix(): path
    for folder in ("tests", "benchmarks", "demo")
    for path in sorted((ROOT / folder).rglob("*.py"))
}
CLOCKS = {"monotonic", "perf_counter", "process_time", "time"}


@cache
def tree(name: str) -> ast.Module:
    return ast.parse(FILES[name].read_text(encoding="utf-8"))


@cache
def nodes(name: str) -> list[ast.AST]:
    return list(ast.walk(tree(name)))


def found(wrong: Callable[[str], Iterable[object]]) -> dict[str, list[object]]:
    """Return what is wrong in which file: one test looks at all, since thousands of tests would cost more than what they look for."""
    listed = {name: list(wrong(name)) for name in FILES}
    return {name: places for name, places in listed.items() if places}


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


def test_a_test_stands_where_pytest_looks() -> None:
    """Contracts are classes that tests inherit; a function elsewhere would never run."""

    def functions(name: str) -> list[str]:
        if name.rpartition("/")[2].startswith("test_"):
            return []
        named = [node.name for node in tree(name).body if isinstance(node, ast.FunctionDef)]
        return [function for function in named if function.startswith("test_")]

    assert found(functions) == {}


def test_no_file_imports_a_test() -> None:
    def tests(name: str) -> list[str]:
        modules = [module for node in nodes(name) for module in imported(node)]
        return [module for module in modules if module.rpartition(".")[2].startswith("test_") or "conftest" in module]

    assert found(tests) == {}, "what several tests share stands in tests/support or aesthetics_ops/testing"


def test_no_file_changes_where_python_looks() -> None:
    def changes(name: str) -> Iterator[int]:
        for node in nodes(name):
            match node:
                case ast.Attribute(value=ast.Name(id="sys"), attr="path") | ast.Attribute(attr="syspath_prepend"):
                    yield node.lineno

    assert found(changes) == {}


def test_no_assert_looks_at_a_clock() -> None:
    """How long something takes is measured in benchmarks/; a test counts requests, or waits for an event."""

    def looks(name: str) -> Iterator[int]:
        for node in nodes(name) if name.startswith("tests/") else ():
            if isinstance(node, ast.Assert) and any(map(reads_a_clock, ast.walk(node.test))):
                yield node.lineno

    assert found(looks) == {}


def test_nothing_is_replaced_by_a_dotted_name() -> None:
    """A name in a text is found by no search and no type checker; an argument, or the module itself, is."""

    def replaced(name: str) -> Iterator[int]:
        for node in nodes(name):
            match node:
                case ast.Call(func=ast.Attribute(attr="setattr" | "patch") as function, args=[ast.Constant(), *_]):
                    if ast.unparse(function).endswith(("monkeypatch.setattr", "mock.patch")):
                        yield node.lineno

    assert found(replaced) == {}
