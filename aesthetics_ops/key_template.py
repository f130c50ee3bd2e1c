"""How columns of a score file make the name of a photo: `{sessionId}/{imageName}`, `{folder}/img_{id:06d}.jpg`.

In: the template as people write it.  Out: its parts, literal text and columns.  Pure.
"""

import re
from dataclasses import dataclass
from string import Formatter
from typing import Final

__all__ = ["KeyPart", "key_parts"]

_WIDTH: Final = re.compile("0([1-9][0-9]?)d?")
_HOW: Final = "write columns in braces, such as {folder}/img_{id:06d}.jpg, and {{ for a brace itself"


@dataclass(frozen=True, slots=True)
class KeyPart:
    """One part of a template.

    Attributes:
        text: what stands before the column.
        column: the column's name; None after the last one.
        digits: digits that a whole number is filled up to with zeros; 0 takes the value as it is.
    """

    text: str
    column: str | None
    digits: int = 0


def key_parts(template: str) -> tuple[KeyPart, ...]:
    """Return the parts of a template, in order.

    Raises:
        ValueError: braces do not match, one has no name in it, it names no column at all, or asks for another format than a number of digits.
    """
    try:
        found = list(Formatter().parse(template))
    except ValueError as error:
        raise ValueError(f"key_template {template!r} is not readable: {str(error).lower()}; {_HOW}") from error
    parts = []
    for text, column, form, conversion in found:
        if column is None:
            parts.append(KeyPart(text, None))
            continue
        if not column.strip() or "{" in (form or ""):
            raise ValueError(f"key_template {template!r} has braces without the name of a column; {_HOW}")
        width = _WIDTH.fullmatch(form or "")
        if conversion or (form and width is None):
            asked = f"!{conversion}" if conversion else f":{form}"
            raise ValueError(
                f"key_template {template!r} asks for {asked!r} of {column!r}; only digits such as :06d can be asked for"
            )
        parts.append(KeyPart(text, column.strip(), int(width[1]) if width else 0))
    if not any(part.column for part in parts):
        raise ValueError(f"key_template {template!r} names no column, so every row would name one photo; {_HOW}")
    return tuple(parts)
