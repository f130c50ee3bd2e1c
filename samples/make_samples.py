"""Make the label files and the awkward photos of the bundled sample.  THE SCORES ARE INVENTED.

No person ever voted on these photos: every vote is drawn from a hash of the photo's id, so that the same votes come
out on every machine.  Use them to try the pipeline, never to judge a photo or to train a model.

In: `photos/` and `ATTRIBUTION.csv` beside this file.  Out: `AVA.txt`, `tags.txt`, `challenges.txt`, one sidecar, and
those awkward photos that are not there yet.  An awkward photo that is there is kept, because another version of an
encoder would write other bytes; its pixels are compared with the photo that it was made from.

    python samples/make_samples.py            write
    python samples/make_samples.py --check    write nothing; exit 1 when anything differs
"""

import argparse
import csv
import hashlib
import io
import math
import sys
from bisect import bisect
from collections.abc import Callable, Iterator
from itertools import accumulate
from pathlib import Path

from PIL import Image, ImageChops, ImageOps, ImageStat
from pillow_heif import register_heif_opener

__all__ = ["ava_text", "main", "votes"]

HERE = Path(__file__).resolve().parent
PHOTOS = HERE / "photos"

# Photos and rows that show what the pipeline does with disagreement between photos and scores.
UNLABELLED = "908516"  # a photo without a row
ZERO_VOTES = "929202"  # a photo whose row counts no votes
ROW_WITHOUT_PHOTO = "943970"  # a row without a photo
SIDECAR = "935228.xmp"  # a file beside the photo of the same name that is no photo

# Numbers and names as in AVA's own files, which hold many more.
TAGS = {
    14: "Landscape",
    15: "Nature",
    20: "Architecture",
    22: "Macro",
    23: "Travel",
    38: "Floral",
    41: "Science and Technology",
    43: "Astrophotography",
    57: "Birds",
}
CHALLENGES = {
    24: "Free_Study",
    41: "Macro",
    57: "Landscape",
    121: "In_the_Garden",
    299: "Architecture_II",
    348: "Birds",
    516: "Flowers",
    870: "Night_Sky",
}
# per subject: tags that may come first, tags that may come second (0: none), challenges
SUBJECTS = {
    "flower": ((38,), (0, 15, 22), (24, 41, 121, 516)),
    "bird": ((57,), (15,), (348,)),
    "landscape": ((14,), (23,), (57,)),
    "architecture": ((20,), (0,), (299,)),
    "space": ((43, 41), (0,), (870, 24)),
}


def votes(photo_id: str) -> tuple[int, ...]:
    """Invent the votes of one photo.

    Args:
        photo_id: any text; the same text gets the same votes everywhere.

    Returns:
        Votes for the ratings 1 to 10: 50 to 300 in all, mean between 3 and 8; none at all for `ZERO_VOTES`.
    """
    if photo_id == ZERO_VOTES:
        return (0,) * 10
    draws = _draws(photo_id)
    voters = 50 + int(251 * next(draws))
    mean = 3.4 + 2.2 * (next(draws) + next(draws))
    spread = 1.0 + 0.8 * next(draws)
    edges = list(accumulate(math.exp(-(((rating - mean) / spread) ** 2) / 2) for rating in range(1, 11)))
    counts = [0] * 10
    for _ in range(voters):
        counts[bisect(edges, next(draws) * edges[-1])] += 1
    return tuple(counts)


def ava_text() -> str:
    """Return `AVA.txt`: index, id, ten counts, two tags, challenge; no newline at the end, as in AVA's own file."""
    with (HERE / "ATTRIBUTION.csv").open(encoding="utf-8", newline="") as file:
        subjects = {
            Path(row["file"]).stem: row["subject"]
            for row in csv.DictReader(file)
            if row["file"].startswith("photos/") and row["subject"] in SUBJECTS
        }
    del subjects[UNLABELLED]
    subjects[ROW_WITHOUT_PHOTO] = "flower"
    # AVA's rows are in no order that one could see either
    ids = sorted(subjects, key=lambda photo_id: hashlib.sha256(photo_id.encode()).digest())
    return "\n".join(
        " ".join(map(str, (index, photo_id, *votes(photo_id), *_themes(photo_id, subjects[photo_id]))))
        for index, photo_id in enumerate(ids, start=1)
    )


def _themes(photo_id: str, subject: str) -> tuple[int, int, int]:
    """Choose two tags and a challenge that suit the subject."""
    draws = _draws(f"{photo_id} themes")
    first, second, challenge = (choices[int(next(draws) * len(choices))] for choices in SUBJECTS[subject])
    return first, second, challenge


def _draws(text: str) -> Iterator[float]:
    """Yield numbers in [0, 1) that depend on nothing but the text."""
    number = 0
    while True:
        digest = hashlib.sha256(f"{text} {number}".encode()).digest()
        yield int.from_bytes(digest[:6], "big") / (1 << 48)
        number += 1


def _texts() -> dict[Path, str]:
    """Return what stands in every text file that this script owns."""
    return {
        HERE / "AVA.txt": ava_text(),
        HERE / "tags.txt": "".join(f"{number} {name}\n" for number, name in TAGS.items()),
        HERE / "challenges.txt": "".join(f"{number} {name}\n" for number, name in CHALLENGES.items()),
        PHOTOS / SIDECAR: '<x:xmpmeta xmlns:x="adobe:ns:meta/">an editor\'s notes: no photo</x:xmpmeta>\n',
    }


def _encoded(image: Image.Image, format_name: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_name, **options)
    return buffer.getvalue()


def _rotated(source: bytes) -> bytes:
    """Lay the pixels on their side and say so in the EXIF orientation, as a phone held upright does."""
    image = _pixels(source).transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6
    return _encoded(image, "JPEG", quality=90, exif=exif)


def _pixels(source: bytes) -> Image.Image:
    """Decode to what a person should see: upright, RGB."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(source))).convert("RGB")
    image.info.clear()
    return image


# file -> the photo it is made from, how
AWKWARD: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "927155.jpg": ("902203.jpg", _rotated),
    "948740.jpg": ("943515.jpg", lambda source: _encoded(_pixels(source).convert("CMYK"), "JPEG", quality=90)),
    "909299.jpg": ("947949.jpg", lambda source: _encoded(_pixels(source).convert("L"), "JPEG", quality=90)),
    "937125.jpg": ("943163.jpg", lambda source: _encoded(_pixels(source), "PNG", optimize=True)),
    "949846.webp": ("934158.jpg", lambda source: _encoded(_pixels(source), "WEBP", quality=85)),
    "943994.heic": ("918037.jpg", lambda source: _encoded(_pixels(source), "HEIF", quality=80)),
}
COPY, COPY_OF = "952299.jpg", "926301.jpg"  # the same bytes under another id
TRUNCATED, TRUNCATED_FROM = "959620.jpg", "944187.jpg"  # the first three fifths of the bytes
MAX_PIXEL_DIFFERENCE = 12.0  # of 255; what encoding anew, in gray too, may change


def _bytes() -> dict[Path, bytes]:
    """Return the awkward photos that need no encoder, so that their bytes are the same everywhere."""
    cut = (PHOTOS / TRUNCATED_FROM).read_bytes()
    return {PHOTOS / COPY: (PHOTOS / COPY_OF).read_bytes(), PHOTOS / TRUNCATED: cut[: len(cut) * 3 // 5]}


def _differences() -> Iterator[str]:
    """Say how the files differ from what this script writes."""
    expected = {path: text.encode() for path, text in _texts().items()} | _bytes()
    for path, content in expected.items():
        if not path.is_file() or path.read_bytes() != content:
            yield f"{path.relative_to(HERE)} is not what this script makes; run it without --check"
    for name, (source, _) in AWKWARD.items():
        if not (PHOTOS / name).is_file():
            yield f"photos/{name} is missing; run this script without --check"
            continue
        made, origin = (_pixels((PHOTOS / file).read_bytes()) for file in (name, source))
        if made.size != origin.size or _difference(made, origin) > MAX_PIXEL_DIFFERENCE:
            yield f"photos/{name} does not show what photos/{source} shows; delete it and run this script"


def _difference(one: Image.Image, other: Image.Image) -> float:
    """Return how far two images of one size differ in brightness: the mean over pixels, 0 to 255."""
    return float(ImageStat.Stat(ImageChops.difference(one.convert("L"), other.convert("L"))).mean[0])


def main() -> None:
    """Write the files, or check them."""
    parser = argparse.ArgumentParser(description="Make the sample's invented scores and awkward photos.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a file differs")
    arguments = parser.parse_args()
    register_heif_opener()
    if not arguments.check:
        for path, text in _texts().items():
            path.write_bytes(text.encode())
        for path, content in _bytes().items():
            path.write_bytes(content)
        for name, (source, make) in AWKWARD.items():
            if not (PHOTOS / name).exists():
                (PHOTOS / name).write_bytes(make((PHOTOS / source).read_bytes()))
    if problems := list(_differences()):
        sys.exit("\n".join(problems))


if __name__ == "__main__":
    main()
