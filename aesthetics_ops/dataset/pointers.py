"""Pointers beside LATEST, such as `prod`, and pins: what people say of published versions.

`pointers/<name>.json` names a version for those who ask for the name.  `pins/<name>.json` keeps a version from expiry.
"""

from functools import partial
from typing import Final

from pydantic import Field

from aesthetics_ops.dataset.documents import Document
from aesthetics_ops.dataset.latest import LatestPointer
from aesthetics_ops.dataset.layout import (
    LATEST_NAME,
    PINS,
    POINTERS,
    is_label_name,
    pin_in,
    pin_key,
    pointer_in,
    pointer_key,
    version_time,
)
from aesthetics_ops.dataset.moves import Move
from aesthetics_ops.errors import IntegrityError
from aesthetics_ops.store import Store, StoreThreads

__all__ = ["Pin", "read_pin", "read_pins", "read_pointer", "read_pointers", "resolve_version"]

_READS: Final = 16


class Pin(Document):
    """pins/<name>.json: a version that expiry leaves alone."""

    kind = "pin of a version"
    is_sealed = True

    name: str
    version: str
    move: Move = Field(description="who pinned it, when and why")
    training: str | None = Field(
        None, description="URL of the training that pinned it, and that may let it go; null: nobody but a person may"
    )


def read_pointer(dataset: Store, name: str) -> LatestPointer | None:
    """Return what a pointer holds; None where there is none of this name.

    Raises:
        IntegrityError: it cannot be read.
    """
    try:
        return LatestPointer.read(dataset, pointer_key(name))
    except IntegrityError as error:
        raise IntegrityError(
            f"{error}; `aesthetics-ops point DATASET {name} VERSION --reason TEXT` writes it anew"
        ) from error


def read_pointers(dataset: Store) -> dict[str, LatestPointer]:
    """Return all pointers but LATEST, by their names, in order; errors as `read_pointer`."""
    names = sorted(name for key in dataset.list(POINTERS)["key"].to_pylist() if (name := pointer_in(key)) is not None)
    with StoreThreads(_READS, thread_name_prefix="pointer") as pool:
        found = pool.map(partial(read_pointer, dataset), names)
        return {name: pointer for name, pointer in zip(names, found, strict=True) if pointer is not None}


def read_pins(dataset: Store) -> list[Pin]:
    """Return all pins, by their names.

    Raises:
        IntegrityError: one cannot be read.
    """
    names = sorted(name for key in dataset.list(PINS)["key"].to_pylist() if (name := pin_in(key)) is not None)
    with StoreThreads(_READS, thread_name_prefix="pin") as pool:
        found = pool.map(partial(read_pin, dataset), names)
        return [pin for pin in found if pin is not None]


def read_pin(dataset: Store, name: str) -> Pin | None:
    """Return a pin; None where there is none of this name.

    Raises:
        IntegrityError: it cannot be read.
    """
    try:
        return Pin.read(dataset, pin_key(name))
    except IntegrityError as error:
        raise IntegrityError(f"{error}; `aesthetics-ops unpin DATASET {name} --reason TEXT` takes it away") from error


def resolve_version(dataset: Store, name: str | None) -> str | None:
    """Return the version that a name stands for: what a pointer of this name names, or else the name itself.

    Nothing is asked for a name that begins with a time, as those of versions do.

    Args:
        dataset: to look in.
        name: of a version or a pointer; None, `LATEST` and `latest` stand for the version that LATEST names, which is None here.

    Raises:
        IntegrityError: the pointer cannot be read.
    """
    if name in (None, LATEST_NAME, LATEST_NAME.lower()):
        return None
    if not isinstance(name, str) or not is_label_name(name) or version_time(name) is not None:
        return name
    pointer = read_pointer(dataset, name)
    return name if pointer is None else pointer.version
