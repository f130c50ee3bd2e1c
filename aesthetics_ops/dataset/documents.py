"""The JSON documents of a dataset: written strictly, read tolerantly.

A document is made in code with exactly the fields of its class: an unknown one is an error.  Read from a store, fields
that the class does not know are passed over, so that a release reads what a newer one wrote as long as it wrote no new
schema.  docs/format.md says when that is.
"""

import hashlib
import json
import re
from typing import Any, ClassVar, Final, Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from aesthetics_ops.errors import IntegrityError, ObjectMissingError
from aesthetics_ops.parsing import each_name_once
from aesthetics_ops.store import Store, StoredObject

__all__ = ["Document", "parse_json", "problems_of"]

_SEAL: Final = re.compile(rb',\s*"checksum":\s*"([^"]*)"\s*\}\s*\Z')
_READINGS: Final = 2
_MOST: Final = (1 << 63) - 1


class Document(BaseModel):
    """Immutable; equal content gives equal bytes.

    Numbers are what other programs can read: whole ones fit into 64 bits, the others are finite.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: ClassVar[str] = "document"  # what a message calls it
    is_sealed: ClassVar[bool] = False  # its last field is the sha256 of the bytes before: no other object tells of it

    @model_validator(mode="after")
    def _numbers_fit(self) -> Self:
        for name, value in self.__dict__.items():
            if not _fits(value) or (isinstance(value, dict) and not all(map(_fits, value.values()))):
                raise ValueError(f"{name} does not fit into 64 bits")
        return self

    @classmethod
    def parse(cls, data: bytes | memoryview, *, name: str) -> Self:
        """Read a document, whoever wrote it; unknown fields are passed over.

        Args:
            data: JSON.
            name: of the object, for the message.

        Raises:
            IntegrityError: not JSON, a name stands twice in an object, a field is missing or not what it must be, which names
                each; or its checksum is wrong.
        """
        content = bytes(data)
        seal = _SEAL.search(content) if cls.is_sealed else None
        if seal is not None and hashlib.sha256(content[: seal.start()]).hexdigest().encode() != seal[1]:
            raise IntegrityError(f"{name} is not the {cls.kind} that was written: its checksum is another one")
        try:
            found = cls.model_validate_json(content, extra="ignore")
            if seal is None:  # else these are the bytes that were written
                parse_json(content)
        except ValidationError as error:
            raise IntegrityError(f"{name} is not a {cls.kind}: {problems_of(error)}") from error
        except ValueError as error:
            raise IntegrityError(f"{name} is not a {cls.kind}: {error}") from error
        return found

    @classmethod
    def read(cls, store: Store, key: str) -> Self | None:
        """Read a document of a store; None where there is none.  One that comes damaged is read once more.

        Raises:
            IntegrityError: as `parse`.
        """
        for _ in range(_READINGS - 1):
            try:
                return cls._read_once(store, key)
            except IntegrityError:
                continue
        return cls._read_once(store, key)

    @classmethod
    def _read_once(cls, store: Store, key: str) -> Self | None:
        stored = cls.stored(store, key)
        return None if stored is None else cls.parse(stored.data, name=store.url_of(key))

    @staticmethod
    def stored(store: Store, key: str) -> StoredObject | None:
        """Return the object itself; None where there is none."""
        try:
            return store.get(key)
        except ObjectMissingError:
            return None

    def encoded(self) -> bytes:
        """Return the document as it is stored: JSON, UTF-8, indented, ending in a line break."""
        return self._sealed(self.model_dump_json(indent=1).encode()) + b"\n"

    def _sealed(self, data: bytes) -> bytes:
        if not self.is_sealed:
            return data
        content = data.removesuffix(b"}").rstrip()
        return content + b',\n "checksum": "' + hashlib.sha256(content).hexdigest().encode() + b'"\n}'


def _fits(value: Any) -> bool:
    return not isinstance(value, int) or -_MOST <= value <= _MOST


def parse_json(data: bytes | str) -> Any:
    """Return what JSON of unknown origin holds.

    Raises:
        ValueError: not JSON, nested too deeply, or a name stands twice in an object: programs differ in which they take.
    """
    try:
        return json.loads(data, object_pairs_hook=each_name_once)
    except RecursionError as error:
        raise ValueError("JSON that is nested too deeply") from error


def problems_of(error: ValidationError) -> str:
    """Return in one line what is wrong with a document: each field with the rule that it breaks."""
    return "; ".join(
        f"{'.'.join(map(str, problem['loc'])) or 'the document'}: {problem['msg'][0].lower()}{problem['msg'][1:]}"
        for problem in error.errors()[:8]
    )
