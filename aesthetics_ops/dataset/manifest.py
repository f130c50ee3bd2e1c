"""What a published version says of itself: the manifest.

It is a contract with readers of a dataset.  `docs/manifest.schema.json` is made from `Manifest`; a change that an older
reader would misread raises SCHEMA_VERSION.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final, Literal, Self

from pydantic import AliasChoices, AwareDatetime, Field, field_validator, model_validator

from aesthetics_ops.dataset.documents import Document
from aesthetics_ops.dataset.layout import is_name
from aesthetics_ops.dataset.shard_entries import Shard, ShardList, take_lists
from aesthetics_ops.dataset.source_inventory import SourceInventory
from aesthetics_ops.errors import IntegrityError

__all__ = [
    "SCHEMA_VERSION",
    "Accounting",
    "ConverterOf",
    "GateResult",
    "Histogram",
    "Images",
    "JpegKind",
    "Jpegs",
    "Labels",
    "Manifest",
    "NearDuplicates",
    "Reuse",
    "ScoreStatistics",
    "Shard",
    "Source",
    "Split",
    "StoredFile",
    "Stratification",
    "Validation",
    "VoteStatistics",
    "matches_in_words",
]

SCHEMA_VERSION: Final = 2  # 1 called `reuse.shards_added` shards_built


class Source(Document):
    """What the version was made from."""

    photos: str = Field(description="URL of the photos' prefix")
    listed: int = Field(ge=0, description="objects listed under it")
    bytes: int = Field(ge=0, description="their size, bytes")
    labels: str = Field(description="URL of the score file")
    labels_etag: str = Field(description="its ETag when it was read")
    label_rows: int = Field(ge=0, description="rows in it")
    label_columns: dict[str, str] = Field(
        default_factory=dict,
        description="its columns that hold the id, score or votes, and split; empty where columns have no names",
    )
    matched_by: dict[str, int] = Field(
        default_factory=dict,
        description="rows that name a listed photo, by the rule that found it: key, stem, form, path, folder, case, suffix, "
        "number, zeros; empty in versions of releases that did not note it",
    )
    ratings: tuple[float, ...] = Field(
        (), description="what the shares in image/distribution are of, in their order; empty without votes"
    )
    inventory: SourceInventory | None = Field(
        None, description="what named the photos; null where the prefix was listed"
    )


class Accounting(Document):
    """Where every photo and every label row went."""

    listed: int = Field(ge=0)
    converted: int = Field(ge=0, description="photos that are records now")
    rejected: int = Field(ge=0, description="photos left out, each with a reason")
    label_rows: int = Field(ge=0)
    matched: int = Field(ge=0, description="label rows that name a listed photo")
    unmatched: int = Field(ge=0, description="label rows that name none")

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if self.listed != self.converted + self.rejected:
            raise ValueError(f"listed {self.listed} is not converted {self.converted} + rejected {self.rejected}")
        if self.label_rows != self.matched + self.unmatched:
            raise ValueError(f"label_rows {self.label_rows} is not matched {self.matched} + unmatched {self.unmatched}")
        return self


class StoredFile(Document):
    """One object of the version beside its shards."""

    bytes: int = Field(ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class ConverterOf(Document):
    """What the recipes say made the records."""

    version: int
    codecs: str = Field(description="fingerprint of what the codec libraries put out")


class Split(Document):
    """The shards of one split, in reading order."""

    records: int = Field(ge=0)
    bytes: int = Field(ge=0)
    shards: ShardList


class Histogram(Document):
    """How many records lie between each edge and the next."""

    edges: tuple[float, ...]
    counts: tuple[float, ...]


class Labels(Document):
    """Distribution of the stored labels, after scaling."""

    min: float
    max: float
    mean: float
    std: float = Field(ge=0, description="population standard deviation")
    histogram: Histogram
    scale: str = Field(description="the label_scale setting")
    source_min: float | None = Field(description="score that became 0; null when scores are stored as they are")
    source_max: float | None = Field(description="score that became 1; null when scores are stored as they are")


class ScoreStatistics(Document):
    """Distribution of an extra score."""

    min: float
    max: float
    mean: float
    std: float = Field(ge=0, description="population standard deviation")
    histogram: Histogram


class VoteStatistics(Document):
    """The votes of the records."""

    mean_distribution: tuple[float, ...] = Field(
        description="mean over the records of image/distribution, one share for each rating of source.ratings"
    )
    mean_std: float = Field(description="mean over the records of image/label_std")
    counts: tuple[int, ...] | None = Field(
        description="all votes for each rating; null where the records have shares of votes only"
    )
    fewest: int | None = Field(description="votes of a record; null likewise")
    most: int | None = Field(description="likewise")


class Images(Document):
    """Quantiles (0, 0.05, 0.25, 0.5, 0.75, 0.95, 1) over the stored images, and how bright they are."""

    quantiles: tuple[float, ...]
    width: tuple[float, ...] = Field(description="px")
    height: tuple[float, ...] = Field(description="px")
    bytes: tuple[float, ...] = Field(description="of the JPEG")
    total_pixels: int = Field(ge=0, description="sum of width x height; x 3 is what uint8 tensors would take, bytes")
    measured: int = Field(
        0, ge=0, description="records that have brightness and contrast; those that earlier releases made have none"
    )
    brightness: float | None = Field(
        None, description="mean over these records of their mean luma, 0 to 255; null where there are none"
    )
    contrast: float | None = Field(
        None, description="mean over these records of the standard deviation of their luma, levels; null likewise"
    )


class JpegKind(Document):
    """Records whose JPEGs are coded alike; both are null in shards of releases that did not note it."""

    progressive: bool | None = Field(description="whether they are not baseline in one scan")
    sampling: str | None = Field(description="of the chroma: 4:2:0, gray, ...")
    records: int = Field(ge=1)


class Jpegs(Document):
    """How the stored JPEGs are coded."""

    kinds: tuple[JpegKind, ...] = Field(description="the most frequent first; every record is in one")
    hardware: int = Field(
        ge=0,
        description="records that a hardware JPEG decoder takes: baseline in one scan, sampled as 4:4:4, 4:2:2, 4:2:0, "
        "4:4:0 or gray; those of which nothing is noted are not among them",
    )

    @property
    def unknown(self) -> int:
        """Records of which nothing is noted."""
        return sum(kind.records for kind in self.kinds if kind.progressive is None or kind.sampling is None)


class Reuse(Document):
    """How much of the version was there before."""

    shards_total: int = Field(ge=0)
    shards_added: int = Field(
        ge=0,
        validation_alias=AliasChoices("shards_added", "shards_built"),
        description="shards that the parent version does not have",
    )
    shards_reused: int = Field(ge=0, description="shards that the parent version has too")


class Validation(Document):
    """What reading the shards back found."""

    records: int = Field(ge=0)
    decoded: int = Field(ge=0)
    failures: Literal[0] = 0


class NearDuplicates(Document):
    """Records that look alike, in groups; `near_duplicates.parquet` lists them all.

    No group spans splits, unless the score file names the splits.
    """

    max_distance: int | None = Field(
        ge=0,
        description="bits of 64 in which the perceptual hashes of alike photos may differ; less than the setting where "
        "that would have found too much; null where no search was asked for",
    )
    groups: int = Field(ge=0, description="of two records or more")
    records: int = Field(ge=0, description="in them")
    spanning_splits: int = Field(ge=0, description="groups with records in more than one split")
    examples: tuple[tuple[str, ...], ...] = Field(
        max_length=5, description="ids of a few groups, those that span splits first; at most 10 of each"
    )


class Stratification(Document):
    """How splits came to equal distributions of scores."""

    edges: tuple[float, ...] = Field(
        description="where each bin of scores begins but the first, ascending, in scores before scaling; those of the first "
        "version that was stratified by this salt and these shares"
    )


class GateResult(Document):
    """One gate: what it measured, and what it allows.  A published version passed it, unless somebody promoted the version."""

    name: str = Field(description="the setting that holds the limit, where there is one")
    measured: float
    limit: float
    unit: str = Field("number", description="of both: fraction, or what is counted, such as records")
    bound: Literal["most", "least"] | None = Field(
        None, description="whether the limit is the most or the least allowed; null in versions that did not note it"
    )

    @property
    def passed(self) -> bool:
        """Whether the limit is kept; where no bound was noted, the version was published, so it was."""
        match self.bound:
            case "most":
                return self.measured <= self.limit
            case "least":
                return self.measured >= self.limit
            case None:
                return True


class Manifest(Document):
    """A published version: its content, how it was made, and how it was checked."""

    kind = "manifest"

    schema_version: int = SCHEMA_VERSION
    dataset: str = Field(description="URL that it was published under")
    version: str
    parent: str | None = Field(description="the version before it")
    created_at: AwareDatetime = Field(description="when its build was planned")
    source: Source
    settings: dict[str, Any]
    settings_digest: str
    software: dict[str, str]
    features: dict[str, dict[str, Any]]
    accounting: Accounting
    rejects: dict[str, int] = Field(description="photos and label rows left out, by reason")
    transforms: dict[str, int] = Field(description="records whose pixels or bytes were changed, by transform")
    splits: dict[str, Split]
    labels: Labels
    votes: VoteStatistics | None = Field(
        None, description="null without votes, and in versions of releases that did not note it"
    )
    extra_scores: dict[str, ScoreStatistics] = Field(
        default_factory=dict, description="by the names in the setting extra_scores"
    )
    images: Images
    jpegs: Jpegs | None = Field(None, description="null in versions of releases that did not note it")
    reuse: Reuse
    near_duplicates: NearDuplicates
    gates: tuple[GateResult, ...]
    validation: Validation
    fingerprint: str = Field(
        pattern="^[0-9a-f]{64}$", description="sha256 over the recipes, in order: equal content, equal fingerprint"
    )

    stratification: Stratification | None = Field(None, description="null where splits are not stratified")
    converter: ConverterOf | None = Field(
        None, description="what the plan's recipes name; null in versions of releases that did not note it"
    )
    files: dict[str, StoredFile] | None = Field(
        None,
        description="every other object under versions/<version>/, by its name; null in versions of releases that did not note it",
    )

    @classmethod
    def parse(cls, data: bytes | memoryview, *, name: str) -> Self:
        """Read a manifest as `Document.parse` does, and hold its shards as columns, where they are written as usual."""
        taken = take_lists(data)
        if taken.lists and (by_split := taken.by_split()) is not None:
            with suppress(IntegrityError):  # which is said of the whole document then
                found = super().parse(taken.rest, name=name)
                for split, shards in by_split.items():
                    found.splits[split] = found.splits[split].model_copy(update={"shards": shards})
                return found
        return super().parse(data, name=name)

    @field_validator("version")
    @classmethod
    def _version_is_a_name(cls, name: str) -> str:
        if not is_name(name):
            raise ValueError(
                f"{name!r} cannot name a version: letters, digits, '-', '_' and '.', and no '.' or '-' first"
            )
        return name

    @field_validator("schema_version")
    @classmethod
    def _schema_is_known(cls, number: int) -> int:
        if not 1 <= number <= SCHEMA_VERSION:
            raise ValueError(
                f"{number} is not a schema version that this release reads (1 to {SCHEMA_VERSION}); "
                "update aesthetics-ops to read it"
            )
        return number

    @model_validator(mode="after")
    def _counts_agree(self) -> Self:
        records = sum(split.records for split in self.splits.values())
        left_out = self.accounting.rejected + self.accounting.unmatched
        if sum(self.rejects.values()) != left_out:
            raise ValueError(f"rejects by reason add up to {sum(self.rejects.values())}, not {left_out}")
        for name, count in (
            ("validated", self.validation.records),
            ("decoded", self.validation.decoded),
            ("in splits", records),
            ("by kind of JPEG", sum(kind.records for kind in self.jpegs.kinds) if self.jpegs else None),
        ):
            if count is not None and count != self.accounting.converted:
                raise ValueError(f"{count} records {name}, but {self.accounting.converted} photos converted")
        return self

    @property
    def records(self) -> int:
        """Records in all splits."""
        return self.accounting.converted

    @property
    def bytes(self) -> int:
        """Size of all shards, bytes."""
        return sum(split.bytes for split in self.splits.values())


def matches_in_words(matched_by: Mapping[str, int]) -> str:
    """Return how label rows found their photos: `1,200 by key, 3 by case`."""
    return ", ".join(f"{count:,} by {rule}" for rule, count in matched_by.items()) or "none"
