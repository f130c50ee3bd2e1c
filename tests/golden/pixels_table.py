"""What becomes of chosen photos, as sha256 of the stored JPEG: one file at least per decoder and per transform.

    .venv/bin/python -m tests.golden.pixels_table

writes `pixels.json` anew, with what this machine's code and codecs put out.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Final

from aesthetics_ops.dataset.recipe import CONVERTER_VERSION
from aesthetics_ops.pixels.codecs import codec_fingerprint, codec_releases
from aesthetics_ops.pixels.formats import recognise
from aesthetics_ops.pixels.photo import convert_photo
from aesthetics_ops.rejects import Rejected
from aesthetics_ops.settings import PixelSettings
from tests.support.paths import ROOT

TABLE: Final = ROOT / "tests" / "golden" / "pixels.json"
COMMAND: Final = ".venv/bin/python -m tests.golden.pixels_table"
SETTINGS: Final = {
    "keep": PixelSettings("keep", 95, None, 100_000_000),
    "reencode": PixelSettings("reencode", 80, None, 100_000_000),
    "small": PixelSettings("keep", 90, 16, 100_000_000),
}
# `INTER_CUBIC`, a scale of 0.6 and more, is left out: docs/pixels.md, limits.
SOURCES: Final = (
    "samples/photos/917058.jpg",
    "samples/photos/909299.jpg",  # gray
    "tests/data/cases/jpeg/sos_zero.jpg",
    "tests/data/cases/tiff/rgba16_planar_le_c1.tif",
    *sorted(
        str(path.relative_to(ROOT))
        for path in (ROOT / "aesthetics_ops" / "pixels" / "probe").iterdir()
        if path.suffix != ".py"
    ),
    "tests/data/nasty/exif-orientation/Landscape_2.jpg",
    "tests/data/nasty/exif-orientation/Landscape_3.jpg",
    "tests/data/nasty/exif-orientation/Landscape_5.jpg",
    "tests/data/nasty/exif-orientation/Landscape_8.jpg",
    "tests/data/nasty/golang-image/yellow_rose-small-v5.bmp",
    "tests/data/nasty/image-rs-image/gif__anim__interlaced.gif",
    "tests/data/nasty/image-rs-image/images__jpg__portrait_2.jpg",
    "tests/data/nasty/image-rs-image/png__16bpc__basn6a16.png",
    "tests/data/nasty/image-rs-image/png__apng__ball.png",
    "tests/data/nasty/image-rs-image/png__transparency__tbwn3p08.png",
    "tests/data/nasty/image-rs-image/webp__lossy_images__simple-gray.webp",
    "tests/data/nasty/image-rs-jpeg-decoder/images__mozilla__jpg-cmyk-2.jpg",
    "tests/data/nasty/libjpeg-turbo/testimages__testimgari.jpg",  # arithmetic coding
    "tests/data/nasty/libjxl/flower__flower_small.cmyk.jpg",
    "tests/data/nasty/libjxl/flower__flower_small.ga.png",
    "tests/data/nasty/pillow/avif__rot3mir1.avif",
    "tests/data/nasty/pillow/images__frame_size.mpo",
    "tests/data/nasty/pillow/images__icc_profile_none.png",
    "tests/data/nasty/pillow/images__multipage.tiff",
    "tests/data/nasty/pillow/images__sugarshack_bad_mpo_header.jpg",
    "tests/data/nasty/pillow/images__ultrahdr.jpg",
    "tests/data/nasty/pngsuite/basi2c16.png",
)


@dataclass(frozen=True, slots=True)
class Row:
    """What becomes of one file under one of the settings.

    Attributes:
        source: path from the repository's root.
        settings: a name of SETTINGS.
        decoder: of the source.
        outcome: sha256 of the stored JPEG, or the reject's reason.
        transforms: of the photo; empty for a reject.
        phash: of the photo, 16 hex digits; empty for a reject.
    """

    source: str
    settings: str
    decoder: str
    outcome: str
    transforms: tuple[str, ...]
    phash: str


def rows() -> tuple[Row, ...]:
    """Convert every source under each of the settings."""
    return tuple(_row(source, name) for source in SOURCES for name in SETTINGS)


def _row(source: str, name: str) -> Row:
    data = (ROOT / source).read_bytes()
    photo = convert_photo(data, SETTINGS[name])
    if isinstance(photo, Rejected):
        return Row(source, name, recognise(data), str(photo.reason), (), "")
    outcome = hashlib.sha256(photo.jpeg).hexdigest()
    return Row(source, name, recognise(data), outcome, photo.transforms, f"{photo.phash:016x}")


def read_table() -> tuple[dict[str, Any], tuple[Row, ...]]:
    """Return what made the table, and its rows."""
    document = json.loads(TABLE.read_text(encoding="utf-8"))
    return document["made_by"], tuple(
        Row(source, settings, decoder, outcome, tuple(transforms), phash)
        for source, settings, decoder, outcome, transforms, phash in document["rows"]
    )


def made_by() -> dict[str, Any]:
    """Return what the outcomes depend on."""
    return {
        "converter_version": CONVERTER_VERSION,
        "codecs": codec_fingerprint(),
        "releases": codec_releases(SETTINGS["keep"]),
    }


def what_differs(now: dict[str, Any], then: dict[str, Any], changed: list[str]) -> str:
    """Say why outcomes differ from the table's, and what to do about it.

    Args:
        now, then: `made_by` of this process and of the table.
        changed: what differs, one text each.
    """
    files = ", ".join(changed[:5]) + (f" and {len(changed) - 5} more" if len(changed) > 5 else "")
    if now["releases"] != then["releases"]:
        ours, theirs = now["releases"], then["releases"]
        libraries = ", ".join(
            f"{name} {theirs.get(name)} is now {ours.get(name)}"
            for name in sorted({*ours, *theirs})
            if ours.get(name) != theirs.get(name)
        )
        return (
            f"other codecs ({libraries}) put out other bytes for {files}.  Recipes see it where the fingerprint differs: "
            f"{then['codecs']} in the table, {now['codecs']} here.  Look at the pictures, then write the table anew: "
            f"{COMMAND}"
        )
    if now["converter_version"] == then["converter_version"]:
        return f"bytes changed for {files}: raise CONVERTER_VERSION, then write the table anew: {COMMAND}"
    return f"CONVERTER_VERSION was raised, and bytes changed for {files}: write the table anew: {COMMAND}"


def main() -> None:
    """Write the table."""
    lines = (
        json.dumps([row.source, row.settings, row.decoder, row.outcome, row.transforms, row.phash]) for row in rows()
    )
    text = f'{{\n"made_by": {json.dumps(made_by())},\n"rows": [\n' + ",\n".join(lines) + "\n]\n}\n"
    TABLE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
