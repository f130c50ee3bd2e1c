"""`progressive = baseline`: the same coefficients, coded as baseline in one scan."""

import hashlib
import io
import itertools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest

from aesthetics_ops.dataset.recipe import CONVERTER_VERSION, Converter
from aesthetics_ops.errors import PermanentError, SettingsError
from aesthetics_ops.pixels import lossless
from aesthetics_ops.pixels.codecs import codec_fingerprint, codec_releases, converter, require_converter
from aesthetics_ops.pixels.jpeg_header import read_jpeg_header
from aesthetics_ops.pixels.photo import Converted, convert_photo
from aesthetics_ops.rejects import Rejected
from tests.support.coding import SAMPLINGS, coded, known_coding, needs_library, same_pixels, without_library
from tests.support.paths import ROOT
from tests.support.photo_cases import KEEP, REENCODE

BASELINE = replace(KEEP, progressive="baseline")
PROBES = ROOT / "aesthetics_ops" / "pixels" / "probe"
NASTY = sorted(path for path in (ROOT / "tests" / "data").rglob("*") if path.suffix in {".jpg", ".jpeg", ".mpo"})
CAT = ROOT / "tests" / "data" / "nasty" / "image-rs-image" / "jpg__progressive__cat.jpg"
STAYING = {
    "reftest__images__16bit-qtables.jpg",  # baseline has no place for its quantisation tables
    "data__peacock.progressive.scan002.jpeg",  # its last scans are missing, and decoders smooth it
}
SAMPLES = sorted((ROOT / "samples" / "photos").glob("*.jpg"))


def coded_data(jpeg: bytes) -> bytes:
    """Return what stands between the header of the only scan and the end marker."""
    first = jpeg.index(b"\xff\xda")
    return jpeg[first:-2]


@needs_library
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_a_progressive_photo_gets_the_coefficients_of_its_baseline_twin(sampling: str) -> None:
    source, twin = coded(sampling, True), coded(sampling, False)
    kept = known_coding(source, KEEP)
    photo = known_coding(source, BASELINE)
    assert (photo.progressive, photo.sampling, photo.transforms) == (False, sampling, ("made_baseline",))
    # with the same Huffman tables and quantisation, equal coded data is equal coefficients
    assert coded_data(bytes(photo.jpeg)) == coded_data(twin)
    assert same_pixels(photo.jpeg, source)
    assert (photo.phash, photo.width_px, photo.height_px) == (kept.phash, kept.width_px, kept.height_px)


@needs_library
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_a_baseline_photo_is_stored_as_it_is(sampling: str) -> None:
    source = coded(sampling, False)
    photo = known_coding(source, BASELINE)
    assert (bytes(photo.jpeg), photo.transforms) == (source, ())


@needs_library
def test_extended_coding_and_several_scans_become_baseline_in_one() -> None:
    extended = coded("4:2:0", False).replace(b"\xff\xc0", b"\xff\xc1", 1)
    three_scans = (PROBES / "311-three-scans.jpg").read_bytes()
    for source in (extended, three_scans):
        assert read_jpeg_header(source).progressive
        photo = known_coding(source, BASELINE)
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
        photo = known_coding(file.getvalue(), BASELINE)
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
    photo = known_coding(source[:tables] + wide + source[tables + 69 :], BASELINE)
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
        kept = known_coding(sketch, KEEP)
        assert kept.progressive
        assert known_coding(sketch, BASELINE) == kept
    for number in range(scans):  # one in the middle: what refines it no longer fits, or it is missing for good
        torn = without_scans(source, number)
        assert isinstance(convert_photo(torn, KEEP), Rejected) or read_jpeg_header(torn).is_sketch
        assert convert_photo(torn, BASELINE) == convert_photo(torn, KEEP)
    assert not read_jpeg_header(source).is_sketch
    assert not read_jpeg_header(without_scans(coded("4:2:0", False))).is_sketch


@needs_library
def test_bytes_are_those_of_every_release_of_the_library() -> None:
    """libjpeg-turbo 2.1.5 and 3.0 wrote these; the standard's Huffman tables leave a library no choice."""
    photos = [known_coding(path.read_bytes(), BASELINE) for path in (PROBES / "444-progressive.jpg", CAT)]
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
    assert codec_releases(replace(REENCODE, progressive="baseline")) == codec_releases(KEEP)


@needs_library
def test_a_worker_whose_library_writes_other_bytes_is_refused() -> None:
    here = codec_releases(BASELINE)
    require_converter(converter(BASELINE), here, BASELINE)
    planned = Converter(CONVERTER_VERSION, "0123456789abcdef")
    with pytest.raises(PermanentError, match=rf"libturbojpeg 00, here {here['libturbojpeg']}"):
        require_converter(planned, here | {"libturbojpeg": "00"}, BASELINE)
    # a release that does not know the setting finds one thing more than its own releases, and so another fingerprint
    assert codec_releases(KEEP) != here
    with pytest.raises(PermanentError, match="would make other bytes"):
        require_converter(converter(BASELINE), here, KEEP)


def test_without_the_library_one_line_says_what_to_install() -> None:
    words = r"^progressive is 'baseline', which needs libturbojpeg .*libturbojpeg0"
    with without_library(), pytest.raises(SettingsError, match=words) as error:
        convert_photo(coded("4:2:0", True), BASELINE)
    assert "\n" not in str(error.value)


def test_without_the_library_everything_else_works() -> None:
    source = coded("4:2:0", True)
    with without_library():
        assert known_coding(source, KEEP).progressive
        assert not known_coding(source, replace(REENCODE, progressive="baseline")).progressive
        assert known_coding(coded("4:2:0", False), BASELINE).transforms == ()
