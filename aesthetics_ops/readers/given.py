"""What people give a reader: whole numbers and directories, checked in one place."""

import operator
import os
import re
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from aesthetics_ops.errors import SettingsError
from aesthetics_ops.urls import as_url

__all__ = ["local_directory", "whole_number"]

_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # with one slash too: a Path drops the second


def whole_number(name: str, value: Any, least: int) -> int:
    """Return a setting as an int.

    Raises:
        SettingsError: not a whole number, or below the least.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if isinstance(value, bool) or not least <= number < 1 << 63:
        raise SettingsError(f"{name} is {value!r}; it is a whole number, {least} or more")
    return number


def local_directory(given: str | os.PathLike[str]) -> Path:
    """Return the absolute path of a directory on this machine, which need not be there yet.

    Args:
        given: a path, which may be relative or start with `~`, or a file:// URL.

    Raises:
        SettingsError: it names no such place.
    """
    text = os.fspath(given) if isinstance(given, str | os.PathLike) else given
    if not isinstance(text, str) or not text.strip() or "\0" in text:
        raise SettingsError(f"the directory is {given!r}, which is no path; give one on this machine")
    if _URL.match(text):
        url = as_url(text) if "://" in text else text
        if not url.startswith("file:///"):
            raise SettingsError(f"the directory is {text!r}, which is not on this machine; give a path")
        text = unquote(urlsplit(url).path)
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError as error:
        raise SettingsError(
            f"the directory {text!r} starts with a home that is not there; give another path"
        ) from error
