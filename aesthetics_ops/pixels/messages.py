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

__all__ = ["captured_messages", "messages_so_far"]

_LIBTIFF_HANDLER: Final = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)
_MOST_MESSAGE_BYTES: Final = 512  # of one message of libtiff's
_MOST_MESSAGES: Final = 8  # of one photo; a broken TIFF can have one per row


class _Captured(threading.local):
    """The messages of this thread while Pillow decodes for us; None while it does not."""

    messages: list[str] | None = None


_captured = _Captured()


@contextmanager
def captured_messages() -> Iterator[list[str]]:
    """Capture the warnings and log lines of Pillow and libtiff in this thread.

    Yields:
        The messages so far; grows.
    """
    _capture_pillow()
    _capture_libtiff()
    _captured.messages = []
    try:
        yield _captured.messages
    finally:
        _captured.messages = None


def messages_so_far() -> tuple[str, ...]:
    """Return what this thread's decoders have said since `captured_messages` was entered; nothing outside it."""
    return tuple(_captured.messages or ())


def _add(message: str) -> None:
    messages = _captured.messages
    if messages is not None and len(messages) < _MOST_MESSAGES and message not in messages:
        messages.append(message)


class _Warnings:
    """Stands in for the `warnings` module inside Pillow's modules; every other thread's warnings pass through it."""

    def warn(self, message: Any, *args: Any, **kwargs: Any) -> None:
        if _captured.messages is None:
            warnings.warn(message, *args, **kwargs)
        else:
            _add(str(message))

    def __getattr__(self, name: str) -> Any:
        return getattr(warnings, name)


def _is_for_others(record: logging.LogRecord) -> bool:
    if _captured.messages is None:
        return True
    if record.levelno >= logging.WARNING:
        _add(record.getMessage())
    return False


@cache
def _capture_pillow() -> None:
    """Put the stand-in and the filters into Pillow, once per process."""
    from PIL import Image, TiffImagePlugin

    for module in (Image, TiffImagePlugin):
        module.warnings = _Warnings()  # type: ignore[attr-defined]
    for name in ("Image", "ImageFile", "TiffImagePlugin", "PngImagePlugin"):
        logging.getLogger(f"PIL.{name}").addFilter(_is_for_others)


@cache
def _capture_libtiff() -> tuple[Any, ...]:
    """Put our handlers into the libtiff that Pillow is linked with; return them, since C does not keep them alive."""
    from PIL import _imaging

    library = ctypes.CDLL(_imaging.__file__)  # its symbols and those of what it is linked with
    setters = [getattr(library, name, None) for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler")]
    return tuple(_put_handler(setter) for setter in setters if setter is not None)


def _put_handler(setter: Any) -> Any:
    """Install one handler that captures libtiff's messages in our threads and passes them on in others."""
    setter.argtypes, setter.restype = [_LIBTIFF_HANDLER], _LIBTIFF_HANDLER
    format_message = ctypes.CDLL(None).vsnprintf
    format_message.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_void_p]
    before: list[Any] = []

    def handle(module: bytes | None, text: bytes, arguments: int) -> None:
        if _captured.messages is not None:
            buffer = ctypes.create_string_buffer(_MOST_MESSAGE_BYTES)
            format_message(buffer, len(buffer), text, arguments)
            _add(buffer.value.decode(errors="replace"))
        elif before and before[0]:
            before[0](module, text, arguments)

    handler = _LIBTIFF_HANDLER(handle)
    before.append(setter(handler))
    return handler
