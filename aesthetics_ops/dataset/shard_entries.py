"""What a manifest says of each of its shards, held as columns: 84 bytes a shard, where objects take 1.6 kB.

In: a manifest as it is stored.  Out: the lists of shards that are written as every release writes them, as columns, and the
manifest without them.  Any other list stays where it is, and is parsed with the rest of the document.
"""

import re
from array import array
from binascii import unhexlify
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Any, Final, overload

from pydantic import Field, GetCoreSchemaHandler, ValidatorFunctionWrapHandler
from pydantic_core import CoreSchema, core_schema

from aesthetics_ops.dataset.documents import Document, parse_json
from aesthetics_ops.dataset.layout import ShardFile, shard_key

__all__ = ["Shard", "ShardColumns", "ShardList", "TakenLists", "records_of", "sizes_of", "take_lists"]

_DIGEST_BYTES: Final = 32
_LIST: Final = re.compile(rb'"shards"\s*:\s*\[(?=\s*\{)')
_ENTRY: Final = re.compile(
    rb'\s*\{\s*"path"\s*:\s*"shards/([0-9a-f]{2})/(\1[0-9a-f]{62})\.tfrecord"\s*,'
    rb'\s*"records"\s*:\s*([1-9][0-9]{0,17})\s*,\s*"bytes"\s*:\s*([1-9][0-9]{0,17})\s*,'
    rb'\s*"sha256"\s*:\s*"([0-9a-f]{64})"\s*,\s*"crc32c"\s*:\s*"([0-9a-f]{8})"\s*\}\s*([,\]])'.replace(
        rb"\s", rb"[ \t\r\n]"
    )
)


class Shard(Document):
    """One TFRecord file."""

    path: str = Field(description="key relative to the dataset")
    records: int = Field(ge=1)
    bytes: int = Field(ge=1)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    crc32c: str = Field(pattern="^[0-9a-f]{8}$", description="of the whole file, big-endian hex")

    @property
    def digest(self) -> str:
        """The recipe's digest, which names the file."""
        return self.path.rsplit("/", 1)[-1].removesuffix(".tfrecord")


@dataclass(frozen=True, slots=True, eq=False)
class ShardColumns(Sequence[Shard]):
    """The shards of a split, column by column; an entry is made when it is asked for.

    Attributes:
        digests: of the recipes, 32 bytes each.
        sums: sha256 of the files, 32 bytes each.
        crcs: crc32c of the files, 4 bytes each, big-endian.
        records: in each file.
        sizes: of each file, bytes.
    """

    digests: bytes
    sums: bytes
    crcs: bytes
    records: "array[int]"
    sizes: "array[int]"

    def __len__(self) -> int:
        return len(self.records)

    @overload
    def __getitem__(self, place: int) -> Shard: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[Shard, ...]: ...
    def __getitem__(self, place: int | slice) -> Shard | tuple[Shard, ...]:
        if isinstance(place, slice):
            return tuple(self[number] for number in range(*place.indices(len(self))))
        number = range(len(self))[place]
        first, end = number * _DIGEST_BYTES, (number + 1) * _DIGEST_BYTES
        return Shard.model_construct(  # each value was found by its pattern
            path=shard_key(self.digests[first:end].hex(), ShardFile.RECORDS),
            records=self.records[number],
            bytes=self.sizes[number],
            sha256=self.sums[first:end].hex(),
            crc32c=self.crcs[4 * number : 4 * number + 4].hex(),
        )

    def __eq__(self, other: object) -> bool:
        if isinstance(other, ShardColumns):
            return all(getattr(self, column.name) == getattr(other, column.name) for column in fields(self))
        return isinstance(other, tuple) and len(self) == len(other) and all(map(Shard.__eq__, self, other))

    __hash__ = None  # type: ignore[assignment]


def records_of(shards: Sequence[Shard]) -> Sequence[int]:
    """Return how many records each shard has; an entry is made of none of them."""
    return shards.records if isinstance(shards, ShardColumns) else [shard.records for shard in shards]


def sizes_of(shards: Sequence[Shard]) -> Sequence[int]:
    """Return the size of each shard, bytes; an entry is made of none of them."""
    return shards.sizes if isinstance(shards, ShardColumns) else [shard.bytes for shard in shards]


class _AsTuple:
    """Has a field validated, written and described as a tuple of shards; columns are taken as they are."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        entries = handler.generate_schema(tuple[Shard, ...])
        return core_schema.json_or_python_schema(
            json_schema=entries,
            python_schema=core_schema.no_info_wrap_validator_function(_columns_or_entries, entries),
            serialization=core_schema.wrap_serializer_function_ser_schema(_written, schema=entries),
        )


def _columns_or_entries(given: Any, entries: ValidatorFunctionWrapHandler) -> Any:
    return given if isinstance(given, ShardColumns) else entries(given)


def _written(shards: Sequence[Shard], entries: core_schema.SerializerFunctionWrapHandler) -> Any:
    return entries(tuple(shards))


ShardList = Annotated[Sequence[Shard], _AsTuple]
"""The shards of a split, in reading order: a tuple as code makes it, or columns as a manifest is read."""


@dataclass(frozen=True, slots=True)
class TakenLists:
    """A manifest, and the lists of shards that were taken out of it.

    Attributes:
        rest: the document with an empty list in the place of each.
        lists: as they stood in it.
    """

    rest: bytes
    lists: tuple[ShardColumns, ...]
    _numbered: bytes  # the document with [0], [1], ... in their places

    def by_split(self) -> Mapping[str, ShardColumns] | None:
        """Return the lists by the split that each is of; None where one stood anywhere else, or the rest is no document."""
        try:
            splits = parse_json(self._numbered)["splits"]
            places = {name: split["shards"] for name, split in splits.items()}
        except (ValueError, TypeError, KeyError, AttributeError):
            return None
        numbers = {name: place[0] for name, place in places.items() if place and type(place[0]) is int}
        if list(numbers.values()) != list(range(len(self.lists))):
            return None
        return dict(zip(numbers, self.lists, strict=True))


def take_lists(content: bytes | memoryview) -> TakenLists:
    """Take the lists of shards out of a manifest that are written as every release writes them, in any layout of blanks.

    Args:
        content: JSON, or what should be.
    """
    lists: list[ShardColumns] = []
    between: list[bytes] = []
    end = 0
    for found in _LIST.finditer(content):
        taken = _columns_at(content, found.end())
        if taken is not None:
            between.append(bytes(content[end : found.end()]))
            lists.append(taken[0])
            end = taken[1]
    last = bytes(content[end:])
    numbered = b"".join(b"%b%d" % (text, number) for number, text in enumerate(between))
    return TakenLists(b"".join([*between, last]), tuple(lists), numbered + last)


def _columns_at(content: bytes | memoryview, start: int) -> tuple[ShardColumns, int] | None:
    """Return the entries that follow, and where the list's bracket stands; None where one is written in another way."""
    digests, sums, crcs, records, sizes = bytearray(), bytearray(), bytearray(), array("q"), array("q")
    while (entry := _ENTRY.match(content, start)) is not None:
        _, digest, count, size, sha256, crc32c, sign = entry.groups()
        digests += unhexlify(digest)
        records.append(int(count))
        sizes.append(int(size))
        sums += unhexlify(sha256)
        crcs += unhexlify(crc32c)
        if sign == b"]":
            return ShardColumns(bytes(digests), bytes(sums), bytes(crcs), records, sizes), entry.end() - 1
        start = entry.end()
    return None
