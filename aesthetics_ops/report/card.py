"""`README.md`, the data card of a version, with the YAML header that the Hugging Face hub reads.

In: the manifest.  Out: text.  Pure: equal input gives equal bytes.

Source:
    Hugging Face hub, dataset cards.
"""

import json
import re
import shlex
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Final

from aesthetics_ops.dataset.example import EXTRA_SCORE
from aesthetics_ops.dataset.manifest import Manifest
from aesthetics_ops.report.words import FILTERS, size_in_words

__all__ = ["dataset_name", "render_card"]

if TYPE_CHECKING:
    from jinja2 import Template

# The hub's size categories: the first limit that is above the number of records names the category.
_SIZES: Final = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
    (100_000_000, "10M<n<100M"),
    (1_000_000_000, "100M<n<1B"),
)

_FEATURES_IN_WORDS: Final = {
    "image/image": "JPEG, 8 bits, gray or YCbCr, sRGB, upright",
    "image/label": "the score, after the scaling in the settings",
    "image/id": "what names the photo, UTF-8",
    "image/height": "of the JPEG, px",
    "image/width": "of the JPEG, px",
    "image/label_std": "population standard deviation of the votes, in the ratings' units, whatever the scaling",
}
_SHARES_IN_WORDS: Final = "shares of the votes for ratings {}; only where the scores have votes"
_VOTES_IN_WORDS: Final = "votes for ratings {}, in that order"


def render_card(manifest: Manifest) -> str:
    """Return `README.md`: YAML header, how to read the dataset, and what is in it.

    The licence is a placeholder: the build knows where photos come from, not what they may be used for.
    """
    ratings = _ratings(manifest.source.ratings)
    scores = {f"{EXTRA_SCORE}{name}": "a score of its own, not scaled" for name in manifest.extra_scores}
    card: str = _template().render(
        manifest=manifest,
        name=dataset_name(manifest),
        size_category=next((name for limit, name in _SIZES if manifest.records < limit), "n>1B"),
        features=_FEATURES_IN_WORDS
        | {
            "image/distribution": _SHARES_IN_WORDS.format(ratings),
            "image/votes": _VOTES_IN_WORDS.format(ratings),
        }
        | scores,
        ratings=[f"{rating:g}" for rating in manifest.source.ratings],
        kept=manifest.settings.get("keep_columns") or (),
    )
    return card


@cache
def _template() -> "Template":
    """Return the card's template, which takes longer to compile than to fill in."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(  # noqa: S701 -- Markdown: the filters below escape
        loader=PackageLoader("aesthetics_ops.report"), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= FILTERS | {
        "code": _code,
        "number": "{:.4g}".format,
        "sh": lambda text: shlex.quote(_printable(text)),
        "size": size_in_words,
        "text": _text,
        "yaml": lambda text: json.dumps(_printable(text), ensure_ascii=False),
    }
    return environment.get_template("README.md.jinja")


def dataset_name(manifest: Manifest) -> str:
    """Return what a dataset is called: the last part of its URL."""
    return manifest.dataset.rstrip("/").rpartition("/")[2] or manifest.dataset


def _ratings(ratings: Sequence[float]) -> str:
    """Return ratings in words; a manifest from before they stood in it, or without votes, has those of AVA."""
    first, last = (ratings[0], ratings[-1]) if ratings else (1.0, 10.0)
    if not ratings or list(ratings) == [first + step for step in range(len(ratings))]:
        return f"{first:g} to {last:g}"
    return ", ".join(f"{rating:g}" for rating in ratings)


def _printable(text: object) -> str:
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in str(text))


def _text(text: object) -> str:
    """Return Markdown that shows a text as it is, also in a table."""
    return re.sub(r"([\\`*_\[\]<>|~&$])", r"\\\1", _printable(text))


def _code(text: object) -> str:
    """Return Markdown that shows a text as code; inside a table, too."""
    plain = _printable(text).replace("|", "\\|")
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", plain)), default=0))
    space = " " if plain.startswith("`") or plain.endswith("`") or not plain.strip() else ""
    return f"{fence}{space}{plain}{space}{fence}"
