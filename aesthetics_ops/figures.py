"""What the work of a stage was like: how fast it went, and what it waited for.

In: what a stage counted.  Out: figures that a partition's result, the log, the browser, a command and Airflow's metrics tell alike,
since they are rounded when they are made.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

from pydantic import model_validator

from aesthetics_ops.dataset.documents import Document

__all__ = [
    "ConversionFigures",
    "ShardReading",
    "ValidationFigures",
    "WorkFigures",
    "figure_in_words",
    "milliseconds",
    "percentile",
]

_DIGITS = 4


class _Figures(Document):
    """What both stages tell of.

    Attributes:
        seconds: that the work took.
        bytes: read from the store.
        get_p50_s, get_p95_s: seconds that half, and 95 in 100, of the objects took to be read at most; 0 where none was.
        waiting_s: time in which the threads that work had nothing to do, in sum over them: photos or shards were on their way.
    """

    seconds: float = 0
    bytes: int = 0
    get_p50_s: float = 0
    get_p95_s: float = 0
    waiting_s: float = 0

    @model_validator(mode="before")
    @classmethod
    def _rounded(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        return {name: _round(value) if isinstance(value, float) else value for name, value in values.items()}

    def _told(self, count: int, what: str) -> str:
        rate = figure_in_words(_rate(count, self.seconds))
        return f"{count:,} {what}s in {figure_in_words(self.seconds)} s, {rate} {what}s/s"


class ConversionFigures(_Figures):
    """The conversion of one partition, or of several.

    Attributes:
        photos: that went through, those copied from the version before too.
        fetched: of them, from their source.
        codec_share: time that codec threads worked, of the time that they had: 0 to 1.
        requests: most that were in flight.
        limit: what most of the time went by.
    """

    kind = "figures of a conversion"

    photos: int = 0
    fetched: int = 0
    codec_share: float = 0
    requests: int = 0
    limit: str = ""

    @classmethod
    def combined(cls, parts: Iterable["ConversionFigures"], seconds: float | None = None) -> Self:
        """Return the figures of several partitions.

        Args:
            parts: of each.
            seconds: that all took together; None where one came after the other.

        Returns:
            Sums; of the latencies and of the share the mean, as each partition weighs; of `requests` the most; the limit of most seconds.
        """
        parts = [part for part in parts if part.seconds]
        limits = {
            limit: sum(part.seconds for part in parts if part.limit == limit) for limit in (p.limit for p in parts)
        }
        reads, times = [part.fetched for part in parts], [part.seconds for part in parts]
        return cls(
            seconds=float(sum(times) if seconds is None else seconds),
            photos=sum(part.photos for part in parts),
            fetched=sum(reads),
            bytes=sum(part.bytes for part in parts),
            get_p50_s=_mean([part.get_p50_s for part in parts], reads),
            get_p95_s=_mean([part.get_p95_s for part in parts], reads),
            codec_share=_mean([part.codec_share for part in parts], times),
            waiting_s=float(sum(part.waiting_s for part in parts)),
            requests=max((part.requests for part in parts), default=0),
            limit=max(limits, key=lambda limit: limits[limit], default=""),
        )

    @property
    def numbers(self) -> dict[str, float]:
        """A fixed set of numbers, small enough to pass between tasks; `limit` is in words, and not among them."""
        return {
            "seconds": self.seconds,
            "photos_per_second": _rate(self.photos, self.seconds),
            "source_bytes": self.bytes,
            "get_p50_s": self.get_p50_s,
            "get_p95_s": self.get_p95_s,
            "codec_share": self.codec_share,
            "waiting_s": self.waiting_s,
            "requests": self.requests,
        }

    def __str__(self) -> str:
        """The same in a line."""
        return (
            f"{self._told(self.photos, 'photo')}; {self.fetched:,} read, {self.bytes:,} bytes, each GET {milliseconds(self.get_p50_s)}, p95 "
            f"{milliseconds(self.get_p95_s)}, {self.requests} requests at once; codec threads worked {figure_in_words(100 * self.codec_share)} % of their "
            f"time, waited {figure_in_words(self.waiting_s)} s; limit: {self.limit or 'unknown'}"
        )


@dataclass(frozen=True, slots=True)
class ShardReading:
    """One shard that was read back.

    Attributes:
        digest: names it.
        records, bytes: of it.
        waited_s: seconds until the store had sent it.
        seconds: in all.
    """

    digest: str
    records: int
    bytes: int
    waited_s: float
    seconds: float


class ValidationFigures(_Figures):
    """The reading back of one partition, or of several.

    Attributes:
        records: that were read back.
        shards: that they lie in; each is one GET.
    """

    kind = "figures of a validation"

    records: int = 0
    shards: int = 0

    @classmethod
    def of_shards(cls, read: Sequence[ShardReading], seconds: float | None = None) -> Self:
        """Return the figures of shards that were read one after the other; `seconds`: that all took, by default their sum."""
        if not read:
            return cls()
        waited = [shard.waited_s for shard in read]
        return cls(
            seconds=sum(shard.seconds for shard in read) if seconds is None else seconds,
            records=sum(shard.records for shard in read),
            shards=len(read),
            bytes=sum(shard.bytes for shard in read),
            get_p50_s=percentile(waited, 0.5),
            get_p95_s=percentile(waited, 0.95),
            waiting_s=sum(waited),
        )

    @classmethod
    def combined(cls, parts: Iterable["ValidationFigures"], seconds: float | None = None) -> Self:
        """Return the figures of several partitions, as `ConversionFigures.combined` does."""
        parts = [part for part in parts if part.shards]
        shards = [part.shards for part in parts]
        return cls(
            seconds=float(sum(part.seconds for part in parts) if seconds is None else seconds),
            records=sum(part.records for part in parts),
            shards=sum(shards),
            bytes=sum(part.bytes for part in parts),
            get_p50_s=_mean([part.get_p50_s for part in parts], shards),
            get_p95_s=_mean([part.get_p95_s for part in parts], shards),
            waiting_s=float(sum(part.waiting_s for part in parts)),
        )

    @property
    def numbers(self) -> dict[str, float]:
        """A fixed set of numbers, small enough to pass between tasks."""
        return {
            "seconds": self.seconds,
            "records_per_second": _rate(self.records, self.seconds),
            "shard_bytes": self.bytes,
            "get_p50_s": self.get_p50_s,
            "get_p95_s": self.get_p95_s,
            "waiting_s": self.waiting_s,
        }

    def __str__(self) -> str:
        """The same in a line."""
        return (
            f"{self._told(self.records, 'record')}; {self.bytes:,} bytes, each shard's GET {milliseconds(self.get_p50_s)}, p95 "
            f"{milliseconds(self.get_p95_s)}; waited {figure_in_words(self.waiting_s)} s"
        )


def figure_in_words(value: float) -> str:
    """Return a figure as people read it: all the digits that it has, and no exponent."""
    return f"{value:,.0f}" if value >= 10**_DIGITS else f"{value:.{_DIGITS}g}"


def milliseconds(seconds: float) -> str:
    """Return a time in milliseconds."""
    return f"{figure_in_words(1000 * seconds)} ms"


@dataclass(frozen=True, slots=True)
class WorkFigures:
    """Both stages of a build on one machine; None where nothing was made, or read back.

    Attributes:
        conversion, validation: of all partitions.
    """

    conversion: ConversionFigures | None
    validation: ValidationFigures | None

    @classmethod
    def of(
        cls,
        converted: Sequence[ConversionFigures],
        read: Sequence[ValidationFigures],
        seconds: tuple[float | None, float | None] = (None, None),
    ) -> Self:
        """Combine the figures of partitions; `seconds` that each stage took, where partitions were worked on side by side."""
        conversion, validation = (
            ConversionFigures.combined(converted, seconds[0]), ValidationFigures.combined(read, seconds[1]),
        )  # fmt: skip
        return cls(conversion if conversion.seconds else None, validation if validation.shards else None)


def percentile(seconds: Sequence[float], share: float) -> float:
    """Return the time that a share of all, 0 to 1, took at most; 0 where there is none."""
    return sorted(seconds)[max(0, math.ceil(share * len(seconds)) - 1)] if seconds else 0.0


def _rate(count: int, seconds: float) -> float:
    return _round(count / seconds) if seconds else 0.0


def _mean(values: Sequence[float], weights: Sequence[float]) -> float:
    total = sum(weights)
    return sum(value * weight for value, weight in zip(values, weights, strict=True)) / total if total else 0.0


def _round(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
