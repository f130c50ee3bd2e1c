"""`progressive = baseline`: the same coefficients, coded as baseline in one scan."""

import hashlib
import io
import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest
import simplejpeg

from aesthetics_ops.errors import SettingsError
from aesthetics_ops.pixels import codecs, lossless
from aesthetics_ops.pixels.codecs import codec_fingerprint, codec_releases, converter, require_converter
from aesthetics_ops.pixels.jpeg_header import read_jpeg_header
from aesthetics_ops.pixels.photo import Converted, convert_photo
from aesthetics_ops.rejects import Rejected
from tests.support.paths import ROOT
from tests.support.photo_cases import KEEP, REENCODE
from tests.unit.pixels.test_coding import SAMPLINGS, coded, converted

BASELINE = replace(KEEP, progressive="baseline")
PROBES = ROOT / "aesthetics_ops" / "pixels" / "probe"
NASTY = sorted(path for path in (ROOT / "tests" / "data").rglob("*") if path.suffix in {".jpg", ".jpeg", ".mpo"})
CAT = ROOT / "tests" / "data" / "nasty" / "image-rs-image" / "jpg__progressive__cat.jpg"
STAYING = {
    "reftest__images__16bit-qtables.jpg",  # baseline has no place for its quantisation tables
    "data__peacock.progressive.scan002.jpeg",  # its last scans are missing, and decoders smooth it
}
SAMPLES = sorted((ROOT / "samples" / "photos").glob("*.jpg"))

try:
    lossless._library()
except SettingsError:
    MISSING = True
else:
    MISSING = False
needs_library = pytest.mark.skipif(MISSING, reason="libturbojpeg is missing (apt-get install libturbojpeg0)")


def coded_data(jpeg: bytes) -> bytes:
    """Return what stands between the header of the only scan and the end marker."""
    first = jpeg.index(b"\xff\xda")
    return jpeg[first:-2]


def pixels(jpeg: bytes | memoryview) -> list[np.ndarray]:
    """Decode in full with two decoders; Pillow leaves out the conversion from YCbCr."""
    with PIL.Image.open(io.BytesIO(bytes(jpeg))) as image:
        image.draft("L" if image.mode == "L" else "YCbCr", None)
        return [
            simplejpeg.decode_jpeg(jpeg, "BGR"),
            simplejpeg.decode_jpeg(jpeg, "BGR", fastdct=True),
            np.asarray(image),
        ]


def same_pixels(first: bytes | memoryview, second: bytes | memoryview) -> bool:
    return all(np.array_equal(one, other) for one, other in zip(pixels(first), pixels(second), strict=True))


@needs_library
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_a_progressive_photo_gets_the_coefficients_of_its_baseline_twin(sampling: str) -> None:
    source, twin = coded(sampling, True), coded(sampling, False)
    kept = converted(source, KEEP)
    photo = converted(source, BASELINE)
    assert (photo.progressive, photo.sampling, photo.transforms) == (False, sampling, ("made_baseline",))
    # with the same Huffman tables and quantisation, equal coded data is equal coefficients
    assert coded_data(bytes(photo.jpeg)) == coded_data(twin)
    assert same_pixels(photo.jpeg, source)
    assert (photo.phash, photo.width_px, photo.height_px) == (kept.phash, kept.width_px, kept.height_px)


@needs_library
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_a_baseline_photo_is_stored_as_it_is(sampling: str) -> None:
    source = coded(sampling, False)
    photo = converted(source, BASELINE)
    assert (bytes(photo.jpeg), photo.transforms) == (source, ())


@needs_library
def test_extended_coding_and_several_scans_become_baseline_in_one() -> None:
    extended = coded("4:2:0", False).replace(b"\xff\xc0", b"\xff\xc1", 1)
    three_scans = (PROBES / "311-three-scans.jpg").read_bytes()
    for source in (extended, three_scans):
        assert read_jpeg_header(source).progressive
        photo = converted(source, BASELINE)
        if read_jpeg_header(source).frame.sampling in SAMPLINGS and photo.transforms != ("reencoded",):
            assert "made_baseline" in photo.transforms
            assert same_pixels(photo.jpeg, source)
        assert not photo.progressive


@needs_library
@pytest.mark.parametrize("path", [*NASTY, *SAMPLES], ids=lambda path: path.name[-40:])
def test_the_same_photos_are_kept_turned_down_and_seen_alike(path: Path) -> None:
    source = path.read_bytes()
    kept, photo = convert_photo(source, KEEP), convert_photo(source, BASELINE)
    if isinstance(kept, Rejected):
        assert photo == kept
        return
    assert isinstance(photo, Converted)
    if not kept.progressive or path.name in STAYING:
        assert photo == kept
        return
    assert photo.transforms == tuple(sorted({*kept.transforms, "made_baseline"}))
    assert photo == replace(kept, jpeg=photo.jpeg, transforms=photo.transforms, progressive=False)
    assert same_pixels(photo.jpeg, kept.jpeg)
    assert read_jpeg_header(photo.jpeg).metadata_bytes == 0


def test_there_are_progressive_files_among_those_above() -> None:
    found = [convert_photo(path.read_bytes(), KEEP) for path in (*NASTY, *SAMPLES)]
    assert sum(isinstance(photo, Converted) and photo.progressive for photo in found) >= 10


@needs_library
def test_damage_is_refused_before_anything_is_coded_anew() -> None:
    source = coded("4:2:0", True)
    for damaged in (source[: len(source) * 2 // 3], source[:-2], source[:-40] + source[-20:]):
        kept = convert_photo(damaged, KEEP)
        assert isinstance(kept, Rejected)
        assert convert_photo(damaged, BASELINE) == kept


@needs_library
def test_metadata_profile_and_orientation_are_treated_as_in_every_kept_photo() -> None:
    image = PIL.Image.fromarray(cv2.cvtColor(cv2.imdecode(np.frombuffer(coded("4:2:0", False), np.uint8), 1), 4))
    exif = PIL.Image.Exif()
    exif[0x010F] = "A maker"
    for orientation, wanted in ((1, {"made_baseline", "metadata_dropped"}), (6, {"oriented", "reencoded"})):
        exif[0x0112] = orientation
        file = io.BytesIO()
        image.save(file, "JPEG", progressive=True, exif=exif, dpi=(300, 300), comment=b"words")
        photo = converted(file.getvalue(), BASELINE)
        assert set(photo.transforms) == wanted
        assert not photo.progressive
        assert b"A maker" not in bytes(photo.jpeg)
        assert b"words" not in bytes(photo.jpeg)
        if orientation == 1:
            with PIL.Image.open(io.BytesIO(bytes(photo.jpeg))) as stored:
                assert stored.info["dpi"] == (300, 300)


@needs_library
def test_what_baseline_cannot_hold_is_stored_as_it_is() -> None:
    source = coded("gray", True)
    tables = source.index(b"\xff\xdb")
    assert source[tables + 2 : tables + 5] == b"\0\x43\0"
    values = [*source[tables + 5 : tables + 68], 300]
    wide = b"\xff\xdb\0\x83\x10" + np.array(values, ">u2").tobytes()  # 16 bits a value
    photo = converted(source[:tables] + wide + source[tables + 69 :], BASELINE)
    assert (photo.progressive, photo.transforms) == (True, ())


def without_scans(jpeg: bytes, *numbers: int) -> bytes:
    """Leave out some scans of a progressive JPEG, by their numbers from 0, with the tables before each."""
    starts = [place for place in range(len(jpeg)) if jpeg[place : place + 2] == b"\xff\xda"]
    ends = [jpeg.index(b"\xff", start + 2) for start in starts]
    for number, start in enumerate(starts):
        end = start + 2
        while (end := jpeg.index(b"\xff", end)) and jpeg[end + 1] == 0:
            end += 2
        ends[number] = end
    pieces = [jpeg[: ends[0]], *(jpeg[one:two] for one, two in itertools.pairwise(ends))]
    return b"".join(piece for number, piece in enumerate(pieces) if number not in numbers) + b"\xff\xd9"


@needs_library
def test_a_photo_without_its_last_scans_is_stored_as_it_is() -> None:
    source = coded("4:2:0", True)
    scans = read_jpeg_header(source).scans
    assert scans == 10
    assert without_scans(source) == source
    for number in range(1, scans):
        sketch = without_scans(source, *range(number, scans))
        assert read_jpeg_header(sketch).is_sketch
        kept = converted(sketch, KEEP)
        assert kept.progressive
        assert converted(sketch, BASELINE) == kept
    for number in range(scans):  # one in the middle: what refines it no longer fits, or it is missing for good
        torn = without_scans(source, number)
        assert isinstance(convert_photo(torn, KEEP), Rejected) or read_jpeg_header(torn).is_sketch
        assert convert_photo(torn, BASELINE) == convert_photo(torn, KEEP)
    assert not read_jpeg_header(source).is_sketch
    assert not read_jpeg_header(without_scans(coded("4:2:0", False))).is_sketch


@needs_library
def test_bytes_are_those_of_every_release_of_the_library() -> None:
    """libjpeg-turbo 2.1.5 and 3.0 wrote these; the standard's Huffman tables leave a library no choice."""
    photos = [converted(path.read_bytes(), BASELINE) for path in (PROBES / "444-progressive.jpg", CAT)]
    assert [hashlib.sha256(photo.jpeg).hexdigest()[:16] for photo in photos] == ["cb82e60401c9b7ea", "601f996cb5a4e173"]


@needs_library
def test_threads_do_not_disturb_each_other() -> None:
    sources = [coded(sampling, True) for sampling in SAMPLINGS] * 8
    alone = [convert_photo(source, BASELINE) for source in sources]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda source: convert_photo(source, BASELINE), sources)) == alone


@needs_library
def test_memory_is_given_back() -> None:
    source = coded("4:4:4", True)
    header = read_jpeg_header(source)

    def resident_kib() -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmRSS")).split()[1])

    for _ in range(300):
        lossless.made_baseline(source, header)
        lossless.made_baseline(source[:-400], header)
    before = resident_kib()
    for _ in range(3000):
        lossless.made_baseline(source, header)
        lossless.made_baseline(source[:-400], header)
    assert resident_kib() - before < 3000  # a leak of each output alone would be 20,000


@needs_library
def test_the_library_enters_the_codecs_of_a_recipe_only_where_it_is_used() -> None:
    assert converter(KEEP).codecs == converter(replace(REENCODE, progressive="baseline")).codecs == codec_fingerprint()
    assert converter(BASELINE).codecs not in {converter(KEEP).codecs, ""}
    assert converter(BASELINE) == converter(BASELINE)
    require_converter(converter(BASELINE), codec_releases(), BASELINE)


@pytest.fixture
def without_library(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(lossless, "_SONAME", "libturbojpeg-is-not-here.so")
    monkeypatch.setattr("sys.platform", "linux")
    for found in (lossless._library, codecs._lossless_fingerprint):
        found.cache_clear()
    yield
    for found in (lossless._library, codecs._lossless_fingerprint):
        found.cache_clear()


def test_without_the_library_one_line_says_what_to_install(without_library: None) -> None:
    with pytest.raises(
        SettingsError, match=r"^progressive is 'baseline', which needs libturbojpeg .*libturbojpeg0"
    ) as error:
        convert_photo(coded("4:2:0", True), BASELINE)
    assert "\n" not in str(error.value)


def test_without_the_library_everything_else_works(without_library: None) -> None:
    source = coded("4:2:0", True)
    assert converted(source, KEEP).progressive
    assert not converted(source, replace(REENCODE, progressive="baseline")).progressive
    assert converted(coded("4:2:0", False), BASELINE).transforms == ()
