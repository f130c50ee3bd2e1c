"""Catch what Pillow and libtiff warn of, log and print while they decode for us, thread by thread.

`warnings.catch_warnings` changes the whole process and is not safe between threads, so Pillow's modules get a stand-in
for `warnings`, its loggers a filter, and libtiff, which prints to stderr, handlers of its own.  All pass on whatever
other code in the process does with Pillow.
"""

import ctypes
import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Final

__all__ = ["captured_messages"]

_LIBTIFF_HANDLER: Final = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)
_MOST_WORDS_BYTES: Final = 512  # of one message of libtiff's
_MOST_MESSAGES: Final = 8  # of one photo; a broken TIFF can have one per row


class _Heard(threading.local):
    """What Pillow said in this thread while it decoded for us; None while it does not."""

    words: list[str] | None = None


_heard = _Heard()


@contextmanager
def captured_messages() -> Iterator[list[str]]:
    """Gather Pillow's warnings and log lines of this thread.

    Yields:
        What was said so far; grows.
    """
    _listen_to_pillow()
    _listen_to_libtiff()
    _heard.words = []
    try:
        yield _heard.words
    finally:
        _heard.words = None


def _hear(message: str) -> None:
    if _heard.words is not None and len(_heard.words) < _MOST_MESSAGES and message not in _heard.words:
        _heard.words.append(message)


class _Warnings:
    """Stands in for the `warnings` module inside Pillow's modules; every other thread's warnings pass through it."""

    def warn(self, message: Any, *args: Any, **kwargs: Any) -> None:
        if _heard.words is None:
            warnings.warn(message, *args, **kwargs)
        else:
            _hear(str(message))

    def __getattr__(self, name: str) -> Any:
        return getattr(warnings, name)


def _not_ours(record: logging.LogRecord) -> bool:
    if _heard.words is None:
        return True
    if record.levelno >= logging.WARNING:
        _hear(record.getMessage())
    return False


@cache
def _listen_to_pillow() -> None:
    """Put our ears into Pillow, once per process."""
    from PIL import Image, TiffImagePlugin

    for module in (Image, TiffImagePlugin):
        module.warnings = _Warnings()  # type: ignore[attr-defined]
    for name in ("Image", "ImageFile", "TiffImagePlugin", "PngImagePlugin"):
        logging.getLogger(f"PIL.{name}").addFilter(_not_ours)


@cache
def _listen_to_libtiff() -> tuple[Any, ...]:
    """Put our handlers into the libtiff that Pillow is linked with; return them, since C does not keep them alive."""
    from PIL import _imaging

    library = ctypes.CDLL(_imaging.__file__)  # its symbols and those of what it is linked with
    setters = [getattr(library, name, None) for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler")]
    return tuple(_put_handler(setter) for setter in setters if setter is not None)


def _put_handler(setter: Any) -> Any:
    """Install one handler that hears libtiff in our threads and leaves it alone in others."""
    setter.argtypes, setter.restype = [_LIBTIFF_HANDLER], _LIBTIFF_HANDLER
    format_words = ctypes.CDLL(None).vsnprintf
    format_words.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_void_p]
    before: list[Any] = []

    def handle(module: bytes | None, words: bytes, arguments: int) -> None:
        if _heard.words is not None:
            buffer = ctypes.create_string_buffer(_MOST_WORDS_BYTES)
            format_words(buffer, len(buffer), words, arguments)
            _hear(buffer.value.decode(errors="replace"))
        elif before and before[0]:
            before[0](module, words, arguments)

    handler = _LIBTIFF_HANDLER(handle)
    before.append(setter(handler))
    return handler
