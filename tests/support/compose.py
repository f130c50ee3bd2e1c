"""Reads docker-compose.yml and .env.example as Docker Compose does, as far as these two files go."""

import json
import re
from typing import Any, Final

import yaml

from tests.support.paths import ROOT

TEXT: Final = (ROOT / "docker-compose.yml").read_text()
COMPOSE: Final = yaml.safe_load(TEXT)
SERVICES: Final = COMPOSE["services"]
AIRFLOW: Final = {name: service for name, service in SERVICES.items() if service["image"] == "aesthetics-ops-airflow"}
EXAMPLE: Final = dict(re.findall(r"^([A-Z0-9_]+)=(.*)$", (ROOT / ".env.example").read_text(), flags=re.MULTILINE))

# ${NAME}, ${NAME:-value}, ${NAME:?message}, where a value may hold ${NAME:-value} again; $$ stands for one dollar
_VARIABLE = re.compile(
    r"\$(?:(?P<escaped>\$)|\{(?P<name>[A-Za-z0-9_]+)(?::(?P<kind>[-?])(?P<word>(?:[^{}$]|\$\{[^{}$]*\})*))?\})"
)


class MissingVariableError(Exception):
    """What Compose says when a `${NAME:?message}` has no value."""


def variables(text: str = TEXT) -> dict[str, set[tuple[str, str]]]:
    """Return every variable that a text asks for, with what follows its name each time."""
    found: dict[str, set[tuple[str, str]]] = {}
    for match in _VARIABLE.finditer(text):
        if match["name"]:
            found.setdefault(match["name"], set()).add((match["kind"] or "", match["word"] or ""))
            for name, uses in variables(match["word"] or "").items():
                found.setdefault(name, set()).update(uses)
    return found


def interpolate(value: Any, environment: dict[str, str]) -> Any:
    """Return a part of the file with its variables replaced."""
    if isinstance(value, dict):
        return {key: interpolate(part, environment) for key, part in value.items()}
    if isinstance(value, list):
        return [interpolate(part, environment) for part in value]
    return _VARIABLE.sub(lambda match: _replaced(match, environment), value) if isinstance(value, str) else value


def _replaced(match: re.Match[str], environment: dict[str, str]) -> str:
    if match["escaped"]:
        return "$"
    known = environment.get(match["name"], "").strip('"')
    if known or not match["kind"]:
        return known
    if match["kind"] == "?":
        raise MissingVariableError(f"{match['name']}: {match['word']}")
    return str(interpolate(match["word"], environment))


def strings(value: Any) -> list[str]:
    """Return every text in a part of the file."""
    if isinstance(value, dict):
        return [text for part in value.values() for text in strings(part)]
    if isinstance(value, list):
        return [text for part in value for text in strings(part)]
    return [value] if isinstance(value, str) else []


def schema() -> Any:
    """Return the Compose Specification's JSON Schema."""
    return json.loads((ROOT / "tests" / "deploy" / "compose-spec.json").read_text())


def size_bytes(text: str) -> int:
    """Return the bytes of 512m, 6g, 1Gi and so on."""
    number, unit = re.fullmatch(r"([0-9]+)([kmg]?)(?:i|b)?", text.lower()).groups()
    return int(number) << {"": 0, "k": 10, "m": 20, "g": 30}[unit]
