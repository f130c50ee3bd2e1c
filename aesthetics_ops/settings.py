"""What a build is told: one definition for the trigger form, the command line's flags, the manifest and the digest.

Every default of the project stands here.  `config.py` reads the TOML file that gives scheduled runs their values.
"""

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from aesthetics_ops.errors import SettingsError
from aesthetics_ops.key_template import key_parts
from aesthetics_ops.parsing import OneLineErrors, parse_model
from aesthetics_ops.urls import as_url, split_urls

__all__ = ["BuildSettings", "PixelSettings", "form_fields", "parse_settings"]

_LONGEST_NAME = 100  # of a column, bytes
# What a form takes at once; `as_url` and the stores know the rest.
_URL_PATTERN = r"^\s*([A-Za-z][A-Za-z0-9+.-]*:/\S|/|~)[\s\S]*$"

Addressing = Literal["path", "virtual", "auto"]
Encryption = Literal["AES256", "aws:kms", "aws:kms:dsse"]

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


@dataclass(frozen=True, slots=True)
class PixelSettings:
    """The settings that decide what becomes of one photo's pixels.

    Attributes:
        encoding: `keep` stores a source JPEG's bytes where training may see them as they are; `reencode` never does.
        quality: JPEG quality of whatever is encoded, 1 to 100.
        max_side_px: longest side stored, in px; None stores photos at their own size.
        max_pixels: most pixels (width x height) a source may declare; more is refused before it is decoded.
        progressive: `baseline` writes kept JPEGs that are not baseline in one scan anew as that, without loss.
        min_side_px: shortest side that a source may have, in px, before scaling; None takes any.
    """

    encoding: Literal["keep", "reencode"]
    quality: int
    max_side_px: int | None
    max_pixels: int
    progressive: Literal["keep", "baseline"] = "keep"
    min_side_px: int | None = None

    @property
    def makes_baseline(self) -> bool:
        """Whether kept JPEGs may be coded anew without loss; what is encoded here is baseline whatever is set."""
        return self.encoding == "keep" and self.progressive == "baseline"


class BuildSettings(BaseModel, metaclass=OneLineErrors):
    """All settings of a build.  Immutable.

    BuildSettings(photos=..., labels=..., dataset=...) takes the settings below by name.

    Raises:
        SettingsError: a name is unknown, a value is out of range, or settings contradict each other; names each.
    """

    # a traceback must not show what was written: it may hold a password
    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True, hide_input_in_errors=True)

    photos: str = Field(
        title="Photos",
        description="Prefix of the raw photos, for example s3://bucket/photos/",
        pattern=_URL_PATTERN,
    )
    labels: str = Field(
        title="Scores",
        description="The score file: AVA.txt, CSV, Excel, Parquet or JSON, for example s3://bucket/AVA.txt; a folder that ends with a "
        "slash, or a name with *, stands for several, and so do URLs with commas between",
        pattern=_URL_PATTERN,
    )
    dataset: str = Field(
        title="Dataset",
        description="Prefix that the dataset is published under, for example s3://bucket/datasets/ava/",
        pattern=_URL_PATTERN,
    )

    inventory: str | None = Field(
        None,
        title="S3 Inventory",
        description="Where an S3 Inventory of the photos' bucket lies: a manifest.json, or the folder of its configuration, "
        "whose newest finished one is taken; it is used instead of a listing, which is slow above 10 million photos",
        pattern=_URL_PATTERN,
        json_schema_extra={"section": "Photos"},
    )

    label_format: str = Field(
        "auto",
        title="Score file format",
        description="auto looks at the content",
        examples=["auto", "ava", "csv", "parquet", "jsonl", "json", "xlsx"],
        min_length=1,
        json_schema_extra={"section": "Scores"},
    )
    id_column: str | None = Field(
        None,
        title="Id column",
        description="Column that names the photo; empty takes the one of key, path, filename, id and "
        "image_id whose names are the photos', or another usual name; a number where there is no header",
        min_length=1,
        json_schema_extra={"section": "Scores"},
    )
    key_template: str | None = Field(
        None,
        title="Key template",
        description="Columns that together name the photo, with text between them, such as {sessionId}/{imageName} or "
        "img_{id:06d}.jpg; instead of an id column",
        min_length=1,
        json_schema_extra={"section": "Scores"},
    )
    score_column: str | None = Field(
        None,
        title="Score column",
        description="Column that holds the score; empty finds score, label, mean, mos, other usual names, or counts of "
        "votes in files of known kinds",
        min_length=1,
        json_schema_extra={"section": "Scores"},
    )
    vote_columns: tuple[str, ...] = Field(
        (),
        title="Vote columns",
        description="Columns that count the votes for one rating each; their mean is the score, and their shares become "
        "image/distribution. A range of numbered names may be written c1..c5",
        json_schema_extra={"section": "Scores"},
    )
    vote_values: tuple[float, ...] = Field(
        (),
        title="Vote values",
        description="The rating that each vote column counts the votes for; empty takes 1, 2, 3 and so on. With one row per vote, all ratings "
        "that there are",
        json_schema_extra={"section": "Scores"},
    )
    one_row_per_vote: bool = Field(
        False,
        title="One row per vote",
        description="Each row of the score file is one person's vote for a photo: a photo gets their mean, and their counts; vote_values, or "
        "label_min and label_max, say which ratings there are",
        json_schema_extra={"section": "Scores"},
    )
    file_splits: tuple[str, ...] = Field(
        (),
        title="Splits of files",
        description="Where several score files are one split each and their names do not say so: the file's name, which may have *, "
        "and its split, such as first.csv=train, last*.csv=test",
        json_schema_extra={"section": "Scores"},
    )
    sheet: str | None = Field(
        None,
        title="Sheet",
        description="The sheet of an Excel file, by name or by number from 1; empty takes the first that has the columns",
        min_length=1,
        json_schema_extra={"section": "Scores"},
    )
    extra_scores: tuple[str, ...] = Field(
        (),
        title="More scores",
        description="Columns of numbers that become image/label/<column> of each record and label/<column> of "
        "records.parquet, as they are; a photo without one of them is rejected",
        json_schema_extra={"section": "Scores"},
    )
    keep_columns: tuple[str, ...] = Field(
        (),
        title="Columns to keep",
        description="Columns of text or numbers that go into records.parquet as they are, and into no record; changing them "
        "converts nothing",
        json_schema_extra={"section": "Scores"},
    )
    label_scale: Literal["none", "minmax", "unit"] = Field(
        "none",
        title="Score scaling",
        description="none stores scores as they are; minmax maps the smallest to 0 and the largest to 1; "
        "unit maps the declared range to 0..1",
        json_schema_extra={"section": "Scores"},
    )
    label_min: float | None = Field(
        None,
        title="Smallest possible score",
        description="Start of the declared range (AVA: 1); a score below it is rejected",
        allow_inf_nan=False,
        json_schema_extra={"section": "Scores"},
    )
    label_max: float | None = Field(
        None,
        title="Largest possible score",
        description="End of the declared range (AVA: 10); a score above it is rejected",
        allow_inf_nan=False,
        json_schema_extra={"section": "Scores"},
    )
    label_range: tuple[float, ...] = Field(
        (),
        title="Scores to keep",
        description="Lowest and highest score of the photos to keep, such as 2, 9; others are left out as excluded",
        json_schema_extra={"section": "Scores"},
    )
    min_votes: int | None = Field(
        None,
        title="Fewest votes",
        description="Photos with fewer votes are left out as excluded; needs a score file with counts of votes",
        ge=1,
        json_schema_extra={"section": "Scores"},
    )
    exclude_tags: tuple[str, ...] = Field(
        (),
        title="Excluded tags",
        description="AVA only: names, numbers or wildcards of tags whose photos are left out (tags.txt beside AVA.txt)",
        json_schema_extra={"section": "Scores"},
    )
    exclude_challenges: tuple[str, ...] = Field(
        (),
        title="Excluded challenges",
        description="AVA only: names, numbers or wildcards of challenges whose photos are left out (challenges.txt)",
        json_schema_extra={"section": "Scores"},
    )

    validation_fraction: Fraction = Field(
        0.1,
        title="Validation share",
        description="Share of photos in the validation split, 0 to 1",
        json_schema_extra={"section": "Splits"},
    )
    test_fraction: Fraction = Field(
        0.1,
        title="Test share",
        description="Share of photos in the test split, 0 to 1",
        json_schema_extra={"section": "Splits"},
    )
    split_salt: str = Field(
        "aesthetics",
        title="Split salt",
        description="Text hashed with each id to choose its split; another salt gives other splits",
        json_schema_extra={"section": "Splits"},
    )
    split_column: str | None = Field(
        None,
        title="Split column",
        description="Column of the score file that says train, validation or test; used instead of the shares",
        min_length=1,
        json_schema_extra={"section": "Splits"},
    )
    stratify: bool = Field(
        False,
        title="Stratified splits",
        description="Give every split the same distribution of scores; a photo keeps its split when others come",
        json_schema_extra={"section": "Splits"},
    )
    near_duplicate_distance: int | None = Field(
        6,
        title="Near-duplicates, bits",
        description="Photos whose perceptual hashes differ in at most this many of 64 bits are near-duplicates and "
        "come into one split; empty looks for none",
        ge=0,
        le=10,
        json_schema_extra={"section": "Splits"},
    )

    encoding: Literal["keep", "reencode"] = Field(
        "keep",
        title="Encoding",
        description="keep stores a JPEG untouched where training may see it as it is; reencode encodes every photo anew",
        json_schema_extra={"section": "Pixels"},
    )
    quality: int = Field(
        95,
        title="JPEG quality",
        description="Quality of whatever is encoded, 1 to 100",
        ge=1,
        le=100,
        json_schema_extra={"section": "Pixels"},
    )
    progressive: Literal["keep", "baseline"] = Field(
        "keep",
        title="Progressive JPEGs",
        description="baseline writes kept progressive JPEGs as baseline, without loss, for hardware decoders (needs "
        "libturbojpeg); keep stores them as they are",
        json_schema_extra={"section": "Pixels"},
    )
    min_side_px: int | None = Field(
        None,
        title="Shortest side to keep, px",
        description="Photos whose shorter side is below this, before any scaling, are left out as excluded; empty keeps all",
        ge=1,
        le=65_500,
        json_schema_extra={"section": "Pixels"},
    )
    max_side_px: int | None = Field(
        None,
        title="Longest side, px",
        description="Larger photos are scaled down to this; empty keeps their size",
        ge=16,
        le=65_500,
        json_schema_extra={"section": "Pixels"},
    )
    max_pixels: int = Field(
        120_000_000,
        title="Most pixels in a photo",
        description="A photo that declares more (width x height) is rejected before it is decoded",
        ge=1,
        le=1 << 30,
        json_schema_extra={"section": "Pixels"},
    )
    max_photo_bytes: int = Field(
        256 << 20,
        title="Most bytes in a photo",
        description="A larger object is rejected without being downloaded",
        ge=1,
        le=1 << 30,
        json_schema_extra={"section": "Pixels"},
    )

    shard_bytes: int = Field(
        128 << 20,
        title="Shard size, bytes",
        description="Source bytes gathered in one shard (TFRecord file)",
        ge=1 << 10,
        le=4 << 30,
        json_schema_extra={"section": "Shards"},
    )
    partition_bytes: int = Field(
        64 << 20,
        title="Partition size, bytes",
        description="Source bytes that are worth one more parallel task",
        ge=1,
        json_schema_extra={"section": "Shards"},
    )
    seed: int = Field(
        0,
        title="Shuffle seed",
        description="Decides the order of photos; another seed plans every shard from scratch",
        ge=0,
        lt=1 << 63,
        json_schema_extra={"section": "Shards"},
    )
    reshuffle: bool = Field(
        False,
        title="Plan from scratch",
        description="Forget which photo was in which shard, and rebuild every shard that this changes",
        json_schema_extra={"section": "Shards"},
    )

    max_reject_fraction: Fraction = Field(
        0.05,
        title="Gate: largest share of rejects",
        description="Refuse to publish when more than this share of the labelled photos could not be used",
        json_schema_extra={"section": "Gates"},
    )
    max_unmatched_fraction: Fraction = Field(
        1.0,
        title="Gate: largest share of scores without photo",
        description="Refuse to publish when more than this share of the score file's rows name no photo",
        json_schema_extra={"section": "Gates"},
    )
    max_shrink_fraction: Fraction = Field(
        0.1,
        title="Gate: largest shrinkage",
        description="Refuse to publish when the dataset would lose more than this share of its records",
        json_schema_extra={"section": "Gates"},
    )
    min_records: int = Field(
        1,
        title="Gate: fewest records",
        description="Refuse to publish fewer records than this",
        ge=1,
        json_schema_extra={"section": "Gates"},
    )
    max_growth_fraction: float = Field(
        4.0,
        title="Gate: largest growth",
        description="Refuse to publish when the dataset would gain more than this share of the records of the version before; 4 "
        "allows five times as many. This gate and the next six compare with a version of 1,000 records or more, made with the same settings",
        ge=0,
        allow_inf_nan=False,
        json_schema_extra={"section": "Gates"},
    )
    max_reject_rise: Fraction = Field(
        0.03,
        title="Gate: largest rise of a reason for rejects",
        description="Refuse to publish when the share of labelled photos that are rejected for one reason rises by more than this",
        json_schema_extra={"section": "Gates"},
    )
    max_label_shift: float = Field(
        0.25,
        title="Gate: largest shift of the mean score",
        description="Refuse to publish when the mean score moves by more than this many standard deviations of the scores before",
        ge=0,
        allow_inf_nan=False,
        json_schema_extra={"section": "Gates"},
    )
    max_label_distance: Fraction = Field(
        0.15,
        title="Gate: largest distance of the scores' distributions",
        description="Refuse to publish when, at any score, the share of records below it moves by more than this",
        json_schema_extra={"section": "Gates"},
    )
    max_pixel_shift: float = Field(
        1.0,
        title="Gate: largest change of the photos' size",
        description="Refuse to publish when the mean number of pixels of a photo is doubled or halved more often than this; 1 allows a "
        "factor of 2 either way",
        ge=0,
        allow_inf_nan=False,
        json_schema_extra={"section": "Gates"},
    )
    max_brightness_shift: float = Field(
        16.0,
        title="Gate: largest change of the photos' brightness",
        description="Refuse to publish when the photos' mean brightness moves by more than this many levels of 0 (black) to 255 (white)",
        ge=0,
        allow_inf_nan=False,
        json_schema_extra={"section": "Gates"},
    )
    max_contrast_shift: float = Field(
        8.0,
        title="Gate: largest change of the photos' contrast",
        description="Refuse to publish when the photos' mean contrast, the standard deviation of a photo's brightness, moves by more than "
        "this many levels of 255",
        ge=0,
        allow_inf_nan=False,
        json_schema_extra={"section": "Gates"},
    )
    max_leak_fraction: float = Field(
        0.02,
        title="Gate: most near-duplicates in several splits",
        description="Refuse to publish when there are more groups of near-duplicates with photos in several splits than this share of the "
        "records; only a score file that names the splits makes such groups",
        ge=0,
        le=1,
        json_schema_extra={"section": "Gates"},
    )

    start_anew: bool = Field(
        False,
        title="Start anew over what cannot be read",
        description="For one build, where LATEST.json, or the version that it names, cannot be read and no other is whole: "
        "publish a version without a parent in its place; elsewhere this changes nothing",
        json_schema_extra={"section": "Store"},
    )
    single_writer: bool = Field(
        False,
        title="Only this DAG writes here",
        description="For stores that ignore conditions on writes (If-Match): says that no other build, rollback or "
        "person moves this dataset's LATEST.json at the same time",
        json_schema_extra={"section": "Store"},
    )

    store_timeout_s: float | None = Field(
        None,
        title="Silence of a store, s",
        description="A request to a store during which nothing moves for so many seconds is cut off; empty takes "
        "AESTHETICS_STORE_TIMEOUT_S of the environment, or else 20",
        ge=0.1,
        le=86_400,
        allow_inf_nan=False,
        json_schema_extra={"section": "Store"},
    )
    store_retry_s: float | None = Field(
        None,
        title="Retries of a store, s",
        description="A request that fails, or that the store asks to send later, is sent again for so many seconds; empty takes "
        "AESTHETICS_STORE_RETRY_S of the environment, or else 60",
        ge=0,
        le=86_400,
        allow_inf_nan=False,
        json_schema_extra={"section": "Store"},
    )

    @field_validator("labels", mode="before")
    @classmethod
    def _urls_of_labels(cls, urls: object) -> object:
        texts = [urls] if isinstance(urls, str) else urls
        if not isinstance(texts, list | tuple) or not texts or not all(isinstance(text, str) for text in texts):
            return urls
        try:
            found = [as_url(url) for text in texts for url in split_urls(text) or ("",)]
        except SettingsError as error:
            raise ValueError(f"labels: {error}") from error
        for url in found:
            if found.count(url) > 1:
                raise ValueError(f"labels names {url!r} twice; name each file once")
        return ", ".join(found)

    @field_validator("photos", "dataset", "inventory", mode="before")
    @classmethod
    def _paths_are_urls(cls, url: object, info: ValidationInfo) -> object:
        try:
            return as_url(url) if isinstance(url, str) else url
        except SettingsError as error:
            raise ValueError(f"{info.field_name}: {error}") from error

    @field_validator("photos", "dataset")
    @classmethod
    def _prefix_ends_with_a_slash(cls, url: str) -> str:
        scheme, _, rest = url.partition("://")
        return f"{scheme}://{rest.rstrip('/')}/"

    @field_validator(
        "exclude_tags", "exclude_challenges", "vote_columns", "vote_values", "label_range", "file_splits", "extra_scores",
        "keep_columns", mode="before",
    )  # fmt: skip
    @classmethod
    def _names_from_text(cls, names: object, info: ValidationInfo) -> object:
        # the trigger form and a flag send one text with a name per line or between commas
        if isinstance(names, str):
            return tuple(name.strip() for name in names.replace("\n", ",").split(",") if name.strip())
        if isinstance(names, dict):  # a table of the TOML file
            return tuple(f"{name}={value}" for name, value in names.items())
        names = [names] if isinstance(names, int) else names or ()
        if info.field_name in ("vote_values", "label_range") or not isinstance(names, list | tuple):
            return names
        return tuple(map(_name_of_number, names))

    @field_validator("id_column", "score_column", "split_column", "sheet", mode="before")
    @classmethod
    def _number_is_a_name(cls, name: object) -> object:
        return _name_of_number(name)

    @model_validator(mode="after")
    def _settings_agree(self) -> Self:
        if self.validation_fraction + self.test_fraction >= 1:
            raise ValueError(
                f"validation_fraction {self.validation_fraction} and test_fraction {self.test_fraction} "
                "leave nothing to train on; their sum must be below 1"
            )
        if self.label_min is not None and self.label_max is not None and self.label_min >= self.label_max:
            raise ValueError(f"label_min {self.label_min} must be below label_max {self.label_max}")
        self._check_votes()
        if self.stratify and self.split_column is not None:
            raise ValueError(
                f"stratify is on, but split_column {self.split_column!r} names the splits; leave one of them out"
            )
        if self.stratify and self.file_splits:
            raise ValueError("stratify is on, but file_splits names the splits; leave one of them out")
        for name in ("extra_scores", "keep_columns"):
            _check_columns(name, getattr(self, name))
        if self.inventory is not None and not self.photos.startswith("s3://"):
            raise ValueError(
                f"inventory lists objects of S3, but photos is {self.photos!r}; give an s3:// URL, or leave inventory empty"
            )
        for inner, outer in (("dataset", "photos"), ("photos", "dataset")):
            if getattr(self, inner).startswith(getattr(self, outer)):
                raise ValueError(
                    f"{inner} {getattr(self, inner)!r} lies inside {outer} {getattr(self, outer)!r}; "
                    "the next build would take one for the other, so give each a prefix of its own"
                )
        return self

    def _check_votes(self) -> None:
        if self.key_template is not None:
            key_parts(self.key_template)
            if self.id_column is not None:
                raise ValueError(
                    f"id_column is {self.id_column!r}, but key_template {self.key_template!r} names the photos; leave one of them empty"
                )
        kept = self.label_range
        if kept and (len(kept) != 2 or not kept[0] < kept[1]):
            raise ValueError(
                f"label_range is {', '.join(f'{end:g}' for end in kept)}; give the lowest and the highest score"
            )
        if self.vote_values and not self.vote_columns and not self.one_row_per_vote:
            raise ValueError(
                f"vote_values has {len(self.vote_values)} ratings, but vote_columns is empty; name the columns, or set one_row_per_vote"
            )
        if self.one_row_per_vote and self.vote_columns:
            raise ValueError(
                f"one_row_per_vote is on, but vote_columns {', '.join(self.vote_columns)!r} count votes; leave one of them out"
            )
        if self.vote_columns and self.score_column is not None:
            raise ValueError(
                f"score_column is {self.score_column!r}, but vote_columns make the score; leave one of them empty"
            )
        if len(set(self.vote_values)) < len(self.vote_values) or not all(map(math.isfinite, self.vote_values)):
            raise ValueError(
                "vote_values has a rating twice, or one that is not finite; give each column its own rating"
            )

    @property
    def label_urls(self) -> tuple[str, ...]:
        """What `labels` names: one URL or several."""
        return split_urls(self.labels)

    @property
    def pixels(self) -> PixelSettings:
        """The part that decides what becomes of one photo."""
        return PixelSettings(
            self.encoding, self.quality, self.max_side_px, self.max_pixels, self.progressive, self.min_side_px
        )

    @property
    def recipe(self) -> dict[str, Any]:
        """The settings that touch a shard's bytes beyond its list of photos; part of every recipe.

        `progressive`, `min_side_px` and `extra_scores` stand in it only where they may change a byte, so that recipes from
        before them are what they were.
        """
        settings = asdict(self.pixels)
        if self.min_side_px is None:
            del settings["min_side_px"]
        if not self.pixels.makes_baseline:
            del settings["progressive"]
        return settings | ({"extra_scores": list(self.extra_scores)} if self.extra_scores else {})

    @property
    def digest(self) -> str:
        """Sha256, in hex, of every setting that can change what is published.

        Where things lie, how the work is cut into tasks, what a gate allows, and a one-off request to reshuffle
        or to start anew, change nothing in a dataset's content, so they are left out.
        """
        unset = set() if self.pixels.makes_baseline else {"progressive"}
        unset |= {name for name in _SINCE_THE_FIRST if not getattr(self, name)}
        content = self.model_dump(mode="json", exclude=_NOT_CONTENT | unset)
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


_SINCE_THE_FIRST = (
    "file_splits", "sheet", "key_template", "min_side_px", "stratify", "vote_columns", "vote_values", "one_row_per_vote", "label_range", "min_votes", "extra_scores", "keep_columns",
)  # fmt: skip
_NOT_CONTENT = {
    "photos", "labels", "dataset", "inventory", "partition_bytes", "reshuffle", "max_reject_fraction", "max_unmatched_fraction", "max_shrink_fraction", "min_records",
    "max_growth_fraction", "max_reject_rise", "max_label_shift", "max_label_distance", "max_pixel_shift", "max_brightness_shift",
    "max_contrast_shift", "max_leak_fraction", "start_anew", "single_writer", "store_timeout_s", "store_retry_s",
}  # fmt: skip


def _name_of_number(name: object) -> object:
    """Return the text of a whole number: columns without a header, sheets and AVA's tags are named by theirs."""
    return str(name) if isinstance(name, int) and not isinstance(name, bool) else name


def _check_columns(setting: str, names: tuple[str, ...]) -> None:
    """Refuse names that no column of a record or table can have, or one twice; DuckDB knows no upper and lower case."""
    folded = [name.casefold() for name in names]
    for name in names:
        if (
            not name
            or name != name.strip()
            or not name.isprintable()
            or len(name.encode()) > _LONGEST_NAME
            or "/" in name
        ):
            raise ValueError(
                f"{setting} names {name[:80]!r}; a column's name here has 1 to {_LONGEST_NAME} bytes, no slash, no blank at its "
                "ends, and nothing that cannot be printed: rename the column"
            )
        if folded.count(name.casefold()) > 1:
            raise ValueError(f"{setting} names {name!r} twice; name each column once, upper and lower case alike")


def parse_settings(values: dict[str, Any], *, where: str) -> BuildSettings:
    """Make settings from plain values, or say in one message everything that is wrong with them.

    Args:
        values: setting names and values; an empty text stands for "not set" where a setting may be unset.
        where: what the values came from, for the message, for example "flags".

    Raises:
        SettingsError: a name is unknown, a value is out of range, or settings contradict each other.
    """
    return parse_model(BuildSettings, values, where)


def form_fields(settings: BuildSettings) -> dict[str, tuple[Any, dict[str, Any]]]:
    """Return, for every setting, its value here and the JSON Schema of a form field that asks for it."""
    schemas = BuildSettings.model_json_schema()["properties"]
    values = settings.model_dump(mode="json")
    return {name: (values[name], _flat(schema)) for name, schema in schemas.items()}


def _flat(schema: dict[str, Any]) -> dict[str, Any]:
    """Write `anyOf: [T, null]` as a list of types, which forms understand, and drop what is not about the field."""
    flat = {key: value for key, value in schema.items() if key not in ("anyOf", "default")}
    for choice in schema.get("anyOf", ()):
        if choice.get("type") != "null":
            flat |= choice | {"type": [choice["type"], "null"]}
    return flat
