"""The words with which report, data card and browser speak of a version: one dictionary for the three.

A version of a newer release may have reasons, transforms and settings that are not known here: they are called by their
names, and have no explanation.  Pure.
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from aesthetics_ops.dataset.manifest import GateResult, Images, Jpegs, Labels
from aesthetics_ops.pixels.transforms import Transform
from aesthetics_ops.rejects import RejectReason
from aesthetics_ops.settings import BuildSettings

__all__ = [
    "FILTERS",
    "REASONS_IN_WORDS",
    "TRANSFORMS_IN_WORDS",
    "change_in_words",
    "coding_in_words",
    "count_in_words",
    "crops_in_words",
    "difference_in_words",
    "gate_in_words",
    "hardware_in_words",
    "name_in_words",
    "reason_in_words",
    "reasons_in_order",
    "score_format",
    "score_in_words",
    "setting_field",
    "setting_in_words",
    "setting_title",
    "share_in_words",
    "short",
    "size_in_words",
    "tone_in_words",
    "transform_in_words",
    "unbroken_size",
    "value_in_words",
    "visible",
]

_ROOMY_PX: Final = 320  # the shorter side of more than max_side_px 384 leaves; prices: docs/reading.md, from 640 px

REASONS_IN_WORDS: Final[Mapping[str, str]] = {
    RejectReason.NOT_A_PHOTO: "The name ends in a suffix that no image format has, so the file was not read.",
    RejectReason.UNLABELLED: "No row of the score file names this photo.",
    RejectReason.EXCLUDED: "The settings leave it out: its tag or challenge, its score, too few votes, or too few pixels.",
    RejectReason.LABEL_INVALID: "Its score is missing, no number, without votes, out of range, or contradicts another.",
    RejectReason.DUPLICATE_ID: "Another photo, earlier in the order of keys, has the same id.",
    RejectReason.DUPLICATE_PHOTO: "Another photo has exactly the same bytes; the one whose id comes first was kept.",
    RejectReason.LABEL_WITHOUT_PHOTO: "A row of the score file, not a photo: no listed photo has its name.",
    RejectReason.EMPTY: "The object has no bytes.",
    RejectReason.NOT_AN_IMAGE: "The content is of no known image format, whatever the name says.",
    RejectReason.UNSUPPORTED_FORMAT: "An image or a document, but of a format that is not decoded here.",
    RejectReason.CORRUPT: "The decoder reports damage: cut off, overwritten, or not what its header declares.",
    RejectReason.TOO_LARGE: "More pixels or bytes than the settings allow.",
    RejectReason.SOURCE_MISSING: "It was listed, but gone when it was to be read.",
    RejectReason.SOURCE_CHANGED: "It was listed, but replaced before it was read; the next build takes the new one.",
    RejectReason.SOURCE_DENIED: "The build's credentials may not read it; a build that may takes it.",
    RejectReason.SOURCE_ARCHIVED: "It lies in an archive (GLACIER); once it is restored, the next build takes it.",
}

TRANSFORMS_IN_WORDS: Final[Mapping[str, str]] = {
    Transform.METADATA_DROPPED: "EXIF with its GPS place, XMP and comments removed; the picture is untouched.",
    Transform.TRAILING_DROPPED: "Bytes after the end of the JPEG removed.",
    Transform.FIRST_FRAME: "The source holds more than one picture; the first was taken.",
    Transform.REENCODED: "The stored JPEG was encoded by the build.",
    Transform.ORIENTED: "Turned or mirrored, as the source's orientation tag asks.",
    Transform.RESIZED: "Scaled down to the longest side that the settings allow.",
    Transform.ICC_TO_SRGB: "Colours converted to sRGB from the embedded profile.",
    Transform.ICC_IGNORED: "The embedded profile is broken or of another kind; colours taken as sRGB.",
    Transform.CMYK_TO_RGB: "Converted from print colours (CMYK).",
    Transform.PALETTE_TO_RGB: "Converted from a palette.",
    Transform.ALPHA_OVER_WHITE: "Transparent parts laid over white.",
    Transform.HEADER_REPAIRED: "A harmless oddity in the header was put right; the coded data is the source's.",
    Transform.MADE_BASELINE: "Coded as baseline instead of progressive, without loss; the pixels are the source's.",
    Transform.DEPTH_TO_8BIT: "Reduced to 8 bits per sample.",
}

_CHANGES_IN_WORDS: Final[Mapping[str, str]] = {
    "added": "Added",
    "removed": "Removed",
    "relabelled": "Another score, or other votes",
    "repixelled": "Another source, or converted in another way",
    "moved": "Moved to another split",
    "annotated": "Another value in a kept column of the score file",
}

_MOST_TEXT: Final = 300  # characters of any one text that a page did not write itself
_ABBREVIATIONS: Final = {"icc": "ICC", "srgb": "sRGB", "rgb": "RGB", "cmyk": "CMYK"}


def name_in_words(name: str) -> str:
    """Return a name of the code, such as that of a reason, as words."""
    words = name.replace("_", " ")
    return re.sub(r"\b(icc|srgb|rgb|cmyk)\b", lambda found: _ABBREVIATIONS[found[0]], words)


def short(text: object) -> str:
    """Return a text that a page did not write itself, cut where it is very long."""
    whole = str(text)
    return whole if len(whole) <= _MOST_TEXT else f"{whole[:_MOST_TEXT]}… ({len(whole):,} characters)"


# what became of photos


def reason_in_words(reason: str) -> str:
    """Return what it means that a photo or label row was left out for this reason; empty for an unknown one."""
    return REASONS_IN_WORDS.get(reason, "")


def reasons_in_order(*rejects: Mapping[str, int]) -> list[str]:
    """Return the reasons that left photos out in any of some versions, in the order of the closed list, unknown ones last.

    Args:
        rejects: counts by reason, as manifests have them; LABEL_WITHOUT_PHOTO, which counts no photos, is passed over.
    """
    found = {reason for counts in rejects for reason, count in counts.items() if count}
    found.discard(RejectReason.LABEL_WITHOUT_PHOTO)
    return [*(reason for reason in REASONS_IN_WORDS if reason in found), *sorted(found - REASONS_IN_WORDS.keys())]


def transform_in_words(transform: str) -> str:
    """Return what was done to a photo; empty for an unknown transform."""
    return TRANSFORMS_IN_WORDS.get(transform, "")


def coding_in_words(sampling: str | None, progressive: bool | None) -> str:
    """Return how a JPEG is coded: `baseline, 4:2:0`; `not noted` where an earlier release made its shard."""
    if sampling is None or progressive is None:
        return "not noted"
    return f"{'progressive' if progressive else 'baseline'}, {sampling}"


def hardware_in_words(jpegs: Jpegs | None) -> str:
    """Return how many of a version's JPEGs a hardware decoder takes: `95% (950 of 1,000)`, and how many are not noted."""
    if jpegs is None:
        return "not noted"
    records = sum(kind.records for kind in jpegs.kinds)
    words = f"{share_in_words(jpegs.hardware, records)} ({jpegs.hardware:,} of {records:,})"
    return f"{words}, {jpegs.unknown:,} not noted" if jpegs.unknown else words


def crops_in_words(images: Images) -> str:
    """Return the largest square that photos fill without being enlarged, and whether smaller photos would be read for less."""
    if not images.quantiles or 0.05 not in images.quantiles:
        return "not noted"
    place = images.quantiles.index(0.05)  # one in twenty is narrower, one in twenty is lower
    side = int(min(images.width[place], images.height[place]))
    words = f"9 of 10 photos fill {side:,} x {side:,} px"
    if side < _ROOMY_PX:
        return words
    return f"{words}; for training at 224 px, photos stored with max_side_px 384 take a third of the CPU, with 320 a quarter"


def tone_in_words(images: Images) -> str:
    """Return the photos' mean brightness and contrast; `not noted` where earlier releases made all of them."""
    if images.brightness is None or images.contrast is None:
        return "not noted"
    words = f"{images.brightness:.1f} and {images.contrast:.1f} on average, mean and standard deviation of luma from 0 to 255"
    return f"{words}, of {images.measured:,} photos"


def change_in_words(kind: str) -> str:
    """Return what happened to photos between two versions, by the name of the kind of change."""
    return _CHANGES_IN_WORDS.get(kind, name_in_words(kind))


# numbers


def count_in_words(count: float) -> str:
    """Return a number of things as people read it: `12,345`."""
    return f"{count:,.0f}"


def score_in_words(score: float) -> str:
    """Return a score whose version is not at hand, with three digits after the point or in all."""
    return f"{score:.3f}" if score == 0 or 0.01 <= abs(score) < 10_000 else f"{score:.3g}"


def score_format(labels: Labels, more_decimals: int = 0) -> Callable[[float], str]:
    """Return how a version's scores are written: as many decimals as tell them apart, always the same number."""
    spread = labels.max - labels.min
    decimals = 2 if spread >= 1 or spread == 0 else min(9, 2 - math.floor(math.log10(spread)))
    return f"{{:.{decimals + more_decimals}f}}".format


def difference_in_words(difference: float, words: Callable[[float], str]) -> str:
    """Return by how much a number changed: `same`, or with its sign.

    Args:
        difference: the later number less the earlier.
        words: how numbers of this kind are written; a change too small for it gets two digits.
    """
    if difference == 0:
        return "same"
    size = words(abs(difference))
    if size == words(0):
        size = f"{abs(difference):.2g}"
    return ("+" if difference > 0 else "−") + size


def share_in_words(part: float, whole: float) -> str:
    """Return a share with two digits; never 0% or 100% of what is only nearly so."""
    share = 100 * part / whole if whole else 0.0
    if 0 < share < 0.01:
        return "under 0.01%"
    if 99.5 <= share < 100:
        return f"{min(share, 99.9):.1f}%"
    if share == 0 or share >= 9.95:
        return f"{share:,.0f}%"
    return f"{share:.1f}%" if share >= 1 else f"{share:.2g}%"


# how it was made


def setting_field(name: str) -> tuple[str, str, str]:
    """Return section, name and title of a setting; an older version may have settings that are no more."""
    field = BuildSettings.model_fields.get(name)
    if field is None:
        return "Others", name, name
    extra = field.json_schema_extra
    section = extra.get("section", "Source") if isinstance(extra, dict) else "Source"
    return str(section), name, field.title or name


def setting_title(name: str) -> str:
    """Return what a setting is called on a page; an older version may have settings that are no more."""
    return setting_field(name)[2]


def gate_in_words(gate: GateResult) -> tuple[str, str, str, str]:
    """Return what a gate is called, what it measured, its limit, and the verdict.

    One that was added from outside, and has no setting, is called by its name.
    """
    title = setting_title(gate.name)
    title = name_in_words(gate.name) if title == gate.name else title.removeprefix("Gate: ")

    def amount(number: float) -> str:
        if gate.unit == "fraction":
            return f"{100 * number:.3g}%"
        return count_in_words(number) if number == int(number) else f"{number:,.3g}"

    verdict = "passed" if gate.passed else "failed"
    return title[:1].upper() + title[1:], amount(gate.measured), amount(gate.limit), verdict


def setting_in_words(settings: Mapping[str, Any], name: str) -> str:
    """Return the value of a version's setting as a page shows it."""
    return value_in_words(settings[name]) if name in settings else "not there"


def value_in_words(value: object) -> str:
    """Return the value of a setting as a page shows it."""
    match value:
        case None:
            return "not set"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case list() | tuple():
            return ", ".join(map(str, value)) or "none"
        case _:
            return str(value)


_UNITS: Final = ("bytes", "kB", "MB", "GB", "TB", "PB")


def size_in_words(count: float) -> str:
    """Return a number of bytes as people read it, with three digits: `7.50 MB`; units of 1000."""
    power = 0
    while power < len(_UNITS) - 1 and float(f"{count:.3g}") >= 1000:
        count, power = count / 1000, power + 1
    digits = ",.0f" if count >= 1000 else "#.3g" if power else ".3g"
    return f"{count:{digits}}".rstrip(".") + f" {_UNITS[power]}"


def unbroken_size(count: float) -> str:
    """Return a number of bytes as `size_in_words`, and no line ends between number and unit."""
    return size_in_words(count).replace(" ", "\N{NO-BREAK SPACE}")


# control characters of ASCII and Latin-1 but for tab and newline, what turns the direction of text, and halves of characters
_UNSEEN: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)


def visible(value: object) -> object:
    """Return what a page shows of a value: control characters in a text are spelled out.

    For templates' `finalize`: it sees each value before it is escaped.  What is HTML already was made of such values.
    """
    if not isinstance(value, str) or hasattr(value, "__html__"):
        return value
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), value)


FILTERS: Final[dict[str, Callable[..., str]]] = {
    "change_words": change_in_words,
    "coding_words": coding_in_words,
    "count": count_in_words,
    "crops": crops_in_words,
    "tone_words": tone_in_words,
    "hardware_words": hardware_in_words,
    "reason_words": reason_in_words,
    "share": share_in_words,
    "short": short,
    "size": unbroken_size,
    "transform_words": transform_in_words,
    "words": name_in_words,
}
"""What templates of pages may call, by the names that they use."""
