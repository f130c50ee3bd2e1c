"""Croissant's words: what every document of ours in that form begins with.

Pure.

Source:
    MLCommons, Croissant Format Specification 1.1 (2026).
"""

import hashlib
import re
from typing import Any, Final

__all__ = ["CROISSANT", "CROISSANT_CONTEXT", "identifier"]

CROISSANT: Final = "http://mlcommons.org/croissant/1.1"

# Appendix 1 of the specification, and what the reference loader adds to it: that warns about any other.
_TERMS: Final = (
    "annotation arrayShape citeAs column containedIn equivalentProperty excludes extract field fileProperty fileObject "
    "fileSet format includes isArray isLiveDataset jsonPath key md5 parentField path readLines recordSet references regex repeated replace "
    "samplingRate sdVersion separator source subField transform unArchive value"
)

CROISSANT_CONTEXT: Final[dict[str, Any]] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "prov": "http://www.w3.org/ns/prov#",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
} | {term: f"cr:{term}" for term in _TERMS.split()}

_PLAIN: Final = re.compile(r"[\w./-]+")
_NOT_PLAIN: Final = re.compile(r"[^\w./-]")


def identifier(name: str) -> str:
    """Return the `@id` of something that a user named, such as a column.

    The reference loader refuses blanks in one, escaped or not, and JSON-LD takes other signs for something of its own.  So a name of
    letters, digits, `_`, `-`, `.` and slashes is its own; any other is changed so, and gets 8 digits of its sha256.
    """
    if _PLAIN.fullmatch(name):
        return name
    return f"{_NOT_PLAIN.sub('_', name)}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
