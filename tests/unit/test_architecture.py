"""The modules import one way, say what they offer, and cost no more to import than they need."""

import ast
import json
import re
import subprocess
import sys
from collections import Counter
from functools import cache

import pytest

from tests.support.paths import ROOT

PACKAGE = ROOT / "aesthetics_ops"

# A room (a folder or a file at the top) imports from the layers before its own; what stands in one string, side by side, too,
# but for INDEPENDENT.
LAYERS = (
    "errors",
    "urls system key_template progress",
    "rejects parsing machine signals",
    "settings training_settings",
    "config store",
    "dataset pixels",
    "sources readers figures",
    "builds",
    "planning conversion validation versions",
    "training",
    "report",
    "publishing browser",
    "processes",
    "pipeline airflow",
    "testing",
    "shell",
    "version_commands training_commands",
    "cli",
    "__main__",
)
INDEPENDENT = {"planning", "conversion", "validation", "versions"}  # stages meet in the store only
# These never ask a store, the clock or the network: equal input, equal output.
PURE = {
    "pixels",
    "planning",
    "publishing.gates",
    "publishing.measures",
    "dataset.statistics",
    "publishing.near_duplicates",
    "publishing.near_pairs",
    "publishing.preview",
    "report.words",
    "report.plots",
    "report.card",
    "report.croissant",
    "training.metrics",
    "training.receipt",
}
NOT_PURE = {"planning.stage"}
IMPURE = {
    "aesthetics_ops.store",
    "time",
    "socket",
    "urllib.request",
    "requests",
    "boto3",
    "obstore",
    "random",
    "secrets",
    "uuid",
}
# Who may import what costs seconds or belongs to one place.
ONLY = {
    "airflow": {"airflow"},
    "tensorflow": {"readers.tensorflow", "validation"},
    "torch": {"readers.torch"},
    "torchcodec": {"readers.torch.decode"},
    "torchvision": {"readers.torch.decode"},
    "keras": {"readers.keras", "training.keras_model"},
    "grain": {"readers.grain"},
    "boto3": {"store.access", "store.bucket", "store.credentials"},
    "botocore": {"store.bucket", "store.credentials"},
    "obstore": {"store.native", "store.limits", "store.answers"},
    "httptools": {"store.reply"},
    "matplotlib": {"report.plots"},
    "python_calamine": {"sources.labels.workbook"},
    "fastapi": {"browser", "airflow"},
}
FILES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
every_file = pytest.mark.parametrize("module", FILES)


@cache
def tree_of(module: str) -> ast.Module:
    return ast.parse(FILES[module].read_text(encoding="utf-8"))


@cache
def imports(module: str) -> frozenset[str]:
    """Everything imported, in functions and for type checkers too; of `from a import b` both a and a.b."""
    package = ["aesthetics_ops", *module.split(".")]
    if FILES[module].name == "__init__.py":
        package.append("")
    found: set[str] = set()
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            found |= {source, *(f"{source}.{alias.name}" for alias in node.names)}
    return frozenset(found)


def own_imports(module: str) -> set[str]:
    """The modules of this package among the imports."""
    package = "aesthetics_ops."
    return {name.removeprefix(package) for name in imports(module) if name.startswith(package)} & FILES.keys()


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


def room_of(module: str) -> str:
    return module.partition(".")[0]


def lies_in(module: str, places: set[str]) -> bool:
    return any(module == place or module.startswith(f"{place}.") for place in places)


def test_every_room_has_one_place_in_the_layers():
    rooms = [room for layer in LAYERS for room in layer.split()]
    assert Counter(rooms) == Counter({room_of(module) for module in FILES} - {"__init__"})


@every_file
def test_imports_point_to_earlier_layers(module):
    if module == "__init__":
        return  # the public names, imported when they are asked for
    level = next(number for number, layer in enumerate(LAYERS) if room_of(module) in layer.split())
    allowed = {room for layer in LAYERS[: level + 1] for room in layer.split()}
    if room_of(module) in INDEPENDENT:
        allowed -= INDEPENDENT - {room_of(module)}
    assert {room_of(name) for name in own_imports(module)} <= allowed


def test_no_module_leads_back_to_itself():
    """Inside a layer and a folder, too, imports have one direction."""
    used = {module: own_imports(module) - {"__init__"} for module in FILES}
    # a package stands for its files where they import one of it by name
    for module in used:
        used[module] -= {name for name in used[module] if any(other.startswith(f"{name}.") for other in used[module])}
        used[module] -= {name for name in used[module] if module.startswith(f"{name}.")}
    left = dict(used)
    while ready := [module for module, names in left.items() if not names & left.keys()]:
        for module in ready:
            del left[module]
    assert left == {}, "these import each other in a circle"


@every_file
def test_pure_modules_ask_no_store_no_clock_and_no_network(module):
    if lies_in(module, PURE) and not lies_in(module, NOT_PURE):
        found = imports(module)
        assert {name for name in found if any(name == bad or name.startswith(f"{bad}.") for bad in IMPURE)} == set()


@every_file
def test_a_library_is_imported_only_where_it_belongs(module):
    used = {name.partition(".")[0] for name in imports(module)}
    assert {library for library in used & ONLY.keys() if not lies_in(module, ONLY[library])} == set()


@every_file
def test_a_docstring_says_what_the_module_is(module):
    assert ast.get_docstring(tree_of(module))


@every_file
def test_all_lists_what_is_public_and_nothing_else(module):
    tree = tree_of(module)
    defined, imported = names_bound(tree.body)
    lists = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign) and ast.unparse(node).startswith("__all__")
    ]
    assert len(lists) == 1, "one __all__"
    listed = ast.literal_eval(lists[0])
    assert Counter(listed) == Counter(set(listed)), "no name twice"
    assert set(listed) <= defined | imported, "what is listed exists"
    assert {name for name in defined if is_public(name, tree)} <= set(listed), "what is public is listed"


HEAVY = {
    "airflow", "boto3", "cv2", "duckdb", "grain", "jinja2", "keras", "matplotlib", "numpy", "obstore", "pandas", "pyarrow", "pyarrow.acero",
    "pyarrow.compute", "pyarrow.csv", "pyarrow.dataset", "pyarrow.parquet", "pydantic", "tensorflow", "torch",
}  # fmt: skip
_ARROW = {"numpy", "pyarrow", "pydantic"}
_TABLES = _ARROW | {"pyarrow.parquet"}
_SQL = _TABLES | {"duckdb", "pyarrow.compute"}
# What a fresh interpreter has of HEAVY once it has imported these: a process begins so.  tests/integration/test_startup.py says what it
# has when it ends.  Whatever reads scores needs pyarrow.csv.  pandas comes in with Arrow's own conversions, where it is installed.
LOADED_BY = {
    "": set(),
    "errors": set(),
    "rejects": set(),
    "parsing": {"pydantic"},
    "settings": {"pydantic"},
    "training_settings": {"pydantic"},
    "config": {"pydantic"},
    "__main__": set(),
    "cli": _ARROW,
    "store": _ARROW,
    "store.directory": _ARROW,
    "builds": _TABLES,
    "pipeline": _TABLES,
    "processes.serving": _TABLES,
    "conversion.partition": _TABLES,
    "validation.partition": _TABLES,
    "processes.crew": _TABLES,
    "processes.shard_reader": _TABLES,
    "readers.dataset": _TABLES | {"pyarrow.compute"},
    "versions.verify": _SQL,
    "planning.stage": _SQL | {"pyarrow.csv"},
    "publishing.publish": _SQL,
    "training.stage": _TABLES | {"pyarrow.compute"},
    "training.finding": _TABLES | {"pyarrow.compute"},
}


def modules_after(importing: str) -> set[str]:
    """Return which of HEAVY a fresh interpreter has loaded after it imported a module of the package."""
    code = (
        "import importlib, json, sys; importlib.import_module(sys.argv[1]); print(json.dumps(sorted(sys.modules.keys() & "
        f"{HEAVY!r})))"
    )
    name = f"aesthetics_ops.{importing}".removesuffix(".")
    done = subprocess.run([sys.executable, "-c", code, name], check=True, capture_output=True, text=True, cwd=ROOT)
    return set(json.loads(done.stdout))


@pytest.mark.parametrize("module", LOADED_BY)
def test_an_import_loads_what_it_needs_and_nothing_else(module):
    assert modules_after(module) - {"pandas"} == LOADED_BY[module]
