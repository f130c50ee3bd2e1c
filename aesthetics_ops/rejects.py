"""Why a photo or a label row was left out: the closed list of reasons, and the record of one such decision."""

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Refusal", "RejectReason", "Rejected"]


class RejectReason(StrEnum):
    """The reason that stands in `rejects.parquet` and is counted in the manifest."""

    # decided while planning, from names and scores alone
    NOT_A_PHOTO = "not_a_photo"  # a suffix that no image format has
    UNLABELLED = "unlabelled"  # no label row names the photo
    # by choice: an excluded tag or challenge, too few votes, a score outside those to keep; or, from its bytes, too few pixels
    EXCLUDED = "excluded"
    LABEL_INVALID = "label_invalid"  # score missing, not a number, without votes, out of range, or contradictory
    DUPLICATE_ID = "duplicate_id"  # another photo, earlier in key order, has the same id
    DUPLICATE_PHOTO = "duplicate_photo"  # another photo, earlier in id order, has the same ETag and size
    LABEL_WITHOUT_PHOTO = "label_without_photo"  # a label row, not a photo: nothing listed has its name

    # decided from the photo's bytes
    EMPTY = "empty"  # no bytes
    NOT_AN_IMAGE = "not_an_image"  # the content is of no known image format
    UNSUPPORTED_FORMAT = "unsupported_format"  # an image or document format that is not decoded here
    CORRUPT = "corrupt"  # the decoder reports damage
    TOO_LARGE = "too_large"  # more pixels or bytes than the settings allow

    # decided by the store, after planning
    SOURCE_MISSING = "source_missing"  # listed, but gone when it was read
    SOURCE_CHANGED = "source_changed"  # listed, but another object when it was read
    SOURCE_DENIED = "source_denied"  # listed, but these credentials may not read it
    SOURCE_ARCHIVED = "source_archived"  # listed, but in an archive, from which it must be restored first

    @property
    def is_loss(self) -> bool:
        """Whether the store decided after planning, so that the shard's recipe must go without the photo."""
        return self.value.startswith("source_")


@dataclass(frozen=True, slots=True)
class Rejected:
    """A photo that does not become a record.

    Attributes:
        reason: the class of the decision.
        detail: what exactly was found, in words for a person; the decoder's own words where there are any.

    `results.RejectedPhoto` and `builds.LostPhoto` are its stored forms.
    """

    reason: RejectReason
    detail: str


class Refusal(Exception):  # noqa: N818 -- not an error of the program: it carries the photo's verdict to `convert_photo`
    """The photo does not become a record."""

    def __init__(self, reason: RejectReason, detail: str) -> None:
        super().__init__(detail)
        self.rejected = Rejected(reason, detail)
