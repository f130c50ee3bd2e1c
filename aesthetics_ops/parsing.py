"""Models made of plain values, and in one line what is wrong with the values; JSON whose names stand once.

In: what a file, flags, a form or a call say.  Out: a pydantic model, or SettingsError with everything that is wrong.  Pure.
"""

from collections import Counter
from typing import TYPE_CHECKING, Any, Final, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from aesthetics_ops.errors import SettingsError
from aesthetics_ops.urls import shown

if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass
else:
    ModelMetaclass = type(BaseModel)

__all__ = ["OneLineErrors", "RepeatedNameError", "each_name_once", "parse_model", "whole_number"]

Model = TypeVar("Model", bound=BaseModel)

_LONGEST_NAME: Final = 100  # characters that a message shows of it


class RepeatedNameError(ValueError):
    """A name stands more than once in an object of JSON: programs differ in which of its values they take."""


def each_name_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of JSON, as `object_pairs_hook` of `json.loads`.

    Raises:
        RepeatedNameError: a name stands more than once.
    """
    found = dict(pairs)
    if len(found) != len(pairs):
        name = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise RepeatedNameError(f"{name[:_LONGEST_NAME]!r} stands more than once in an object")
    return found


class OneLineErrors(ModelMetaclass):
    """Makes the class that has it raise SettingsError when it is called, as `parse_model` does."""

    def __call__(self, *arguments: Any, **values: Any) -> Any:
        """Make a model."""
        try:
            return super().__call__(*arguments, **values)
        except ValidationError as error:
            raise SettingsError(_problems(self, error, self.__name__)) from error


def whole_number(text: str, least: int, most: int) -> int | None:
    """Return the number that a text of plain digits says; None where it says none from `least` to `most`, however long it is."""
    digits = text.lstrip("0") or "0"
    if not (text.isascii() and text.isdecimal()) or len(digits) > len(str(most)):
        return None
    return number if least <= (number := int(digits)) <= most else None


def parse_model(model: type[Model], values: dict[str, Any], where: str) -> Model:
    """Make a model from plain values; `where` names their origin in the one message about all that is wrong."""
    optional = {name for name, field in model.model_fields.items() if type(None) in get_args(field.annotation)}
    unset = {name for name, value in values.items() if value == "" and name in optional}
    if truths := [name for name, value in values.items() if isinstance(value, bool) and _is_number(model, name)]:
        wrong = "; ".join(f"{name} is {str(values[name]).lower()}, but must be a number" for name in truths)
        raise SettingsError(f"{where}: {wrong}")
    try:
        return model.model_validate({name: None if name in unset else value for name, value in values.items()})
    except ValidationError as error:
        raise SettingsError(_problems(model, error, where)) from error


def _is_number(model: type[BaseModel], name: str) -> bool:
    """Say whether a setting takes numbers and neither true nor false, which Python counts among the numbers."""
    field = model.model_fields.get(name)
    kinds = set() if field is None else {field.annotation, *get_args(field.annotation)}
    return bool(kinds & {int, float}) and bool not in kinds


def _problems(model: Any, error: ValidationError, where: str) -> str:
    """Return in one line what is wrong with the values of a model."""
    return f"{where}: " + "; ".join(_problem(model, problem) for problem in error.errors())


def _problem(model: type[BaseModel], problem: Any) -> str:
    name = ".".join(str(part) for part in problem["loc"])
    match problem["type"]:
        case "extra_forbidden":
            return f"{name!r} is not a setting; the settings are {', '.join(sorted(model.model_fields))}"
        case "missing":
            return f"{name} is missing; {model.model_fields[name].description}"
        case "value_error":
            return str(problem["ctx"]["error"])
        case "string_pattern_mismatch":
            return f"{name} is {shown(problem['input'])!r}, which is not a URL; {model.model_fields[name].description}"
        case _:
            message = problem["msg"].replace("valid tuple", "list").replace("valid dictionary", "table")
            return f"{name} is {_quoted(problem['input'])}, but {message[0].lower()}{message[1:]}"


def _quoted(value: Any) -> str:
    """Return a value as a message shows it; what looks like a URL with credentials is cut short, in a list, too."""
    text = repr(value)
    return text if shown(text) == text else f"a {type(value).__name__} that holds credentials"
