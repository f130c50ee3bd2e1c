"""The modules import one way, say what they offer, and cost no more to import than they need."""

import ast
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "aesthetics_ops"

# each module imports from those before it; a new module takes its place here
ORDER = (
    "errors",
    "rejects",
    "settings",
    "machine",
    # the object store
    "store_contract",
    "store_directory",
    "store_obstore",
    "s3",
    "store_s3",
    "store",
    # what a version says of itself
    "manifest",
    "inventory",
    # the scores
    "label_file",
    "ava",
    "label_tables",
    "labels",
    "planning",
    # one photo
    "formats",
    "jpeg",
    "colour",
    "decoder_words",
    "decoding",
    "photo",
    # the stages of a build
    "build",
    "example",
    "tfrecord",
    "conversion",
    "quiet",
    "validation",
    "plots",
    "report",
    "card",
    "sidecars",
    "duplicates",
    "publishing",
    # what is done with versions
    "versions",
    "quarantine",
    "reader",
    # the pages
    "browser.cache",
    "browser.tables",
    "browser.catalog",
    "browser.progress",
    "browser.pages",
    "browser.app",
    "browser",
    "cli",
    "__main__",
)
KNOW_TENSORFLOW = {"validation", "reader"}
KNOW_BOTO3 = {"s3", "store_s3"}
LIGHT = {"errors", "rejects", "settings"}

FILES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
every_file = pytest.mark.parametrize("module", FILES)


def tree_of(module: str) -> ast.Module:
    return ast.parse(FILES[module].read_text(encoding="utf-8"))


def imports(tree: ast.Module, module: str) -> set[str]:
    """Everything imported, in functions and for type checkers too; of `from a import b` both a and a.b."""
    package = ["aesthetics_ops", *module.split(".")]
    if FILES[module].name == "__init__.py":
        package.append("")
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            found |= {source, *(f"{source}.{alias.name}" for alias in node.names)}
    return found


def own_imports(tree: ast.Module, module: str) -> set[str]:
    """The modules of this package among the imports."""
    found = imports(tree, module)
    return {name for name in FILES if f"aesthetics_ops.{name}" in found}


def names_bound(nodes: list[ast.stmt]) -> tuple[set[str], set[str]]:
    """What a module's top level defines and what it imports, in `if` and `try` blocks too."""
    defined, imported = set(), set()
    for node in nodes:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                defined.add(node.name)
            case ast.Assign() | ast.AnnAssign():
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                stored = (name for target in targets for name in ast.walk(target) if isinstance(name, ast.Name))
                defined |= {name.id for name in stored}
            case ast.Import() | ast.ImportFrom():
                imported |= {alias.asname or alias.name.partition(".")[0] for alias in node.names}
            case ast.If() | ast.Try() | ast.With():
                inner = names_bound([child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)])
                defined, imported = defined | inner[0], imported | inner[1]
    return defined, imported


def is_public(name: str, tree: ast.Module) -> bool:
    """Whether callers may take it for theirs: a function, a class or a CONSTANT; type variables and aliases are not."""
    definitions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    is_definition = any(isinstance(node, definitions) and node.name == name for node in tree.body)
    return not name.startswith("_") and (is_definition or re.fullmatch("[A-Z][A-Z0-9_]*", name) is not None)


def test_every_module_has_one_place_in_the_order():
    assert Counter(ORDER) == Counter(FILES.keys() - {"__init__"})


@every_file
def test_imports_point_to_earlier_modules(module):
    used = own_imports(tree_of(module), module)
    earlier = ORDER[: ORDER.index(module)] if module in ORDER else ()  # the package itself imports none
    assert used <= set(earlier)


@every_file
def test_only_validation_and_reader_know_tensorflow_and_none_knows_airflow(module):
    used = {name.partition(".")[0] for name in imports(tree_of(module), module)}
    assert "airflow" not in used
    assert "tensorflow" not in used or module in KNOW_TENSORFLOW


@every_file
def test_a_docstring_says_what_the_module_is(module):
    assert ast.get_docstring(tree_of(module))


@every_file
def test_all_lists_what_is_public_and_nothing_else(module):
    tree = tree_of(module)
    defined, imported = names_bound(tree.body)
    lists = [
        node.value for node in tree.body if isinstance(node, ast.Assign) and "__all__" in ast.unparse(node.targets)
    ]
    assert len(lists) == 1, "one __all__"
    listed = ast.literal_eval(lists[0])
    assert Counter(listed) == Counter(set(listed)), "no name twice"
    assert set(listed) <= defined | imported, "what is listed exists"
    assert {name for name in defined if is_public(name, tree)} <= set(listed), "what is public is listed"


def test_imports_cost_no_more_than_they_need():
    """In a fresh interpreter, module after module: what has not been loaded so far, none of them loads."""
    code = """
import importlib, json, sys

heavy = {"tensorflow", "airflow", "boto3", "numpy", "pyarrow", "cv2"}
loaded = {}
for module in json.loads(sys.argv[1]):
    importlib.import_module("aesthetics_ops." + module)
    if module == "store":
        sys.modules["aesthetics_ops.store"].open_store("file:///tmp/").check()
    loaded[module] = sorted(heavy & sys.modules.keys())
print(json.dumps(loaded))
"""
    boto3_last = sorted(ORDER, key=lambda module: module in KNOW_BOTO3)
    command = [sys.executable, "-c", code, json.dumps(boto3_last)]
    reply = subprocess.run(command, check=True, capture_output=True, text=True, cwd=PACKAGE.parent)
    loaded = {module: set(names) for module, names in json.loads(reply.stdout).items()}
    assert set().union(*loaded.values()).isdisjoint({"tensorflow", "airflow"})
    assert set().union(*(loaded[module] for module in LIGHT)) == set()
    assert {module for module, names in loaded.items() if "boto3" in names} <= KNOW_BOTO3
