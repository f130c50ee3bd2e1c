"""Every awkward file gets the outcome that its class demands; where the class is open, the one written down here."""

import hashlib
import re
from collections.abc import Iterator

import pytest

from aesthetics_ops.pixels.photo import Converted, convert_photo
from aesthetics_ops.rejects import Rejected
from aesthetics_ops.settings import PixelSettings
from tests.support.paths import ROOT
from tests.support.photo_cases import KEEP, NASTY, REENCODE, NastyFile, nasty_files, seen

FILES = nasty_files()
CONVERTED = "converted"

# Decoders disagree about these.  What is decided here stands in docs/pixels.md too; a test compares the two.
AMBIGUOUS = {
    "image-rs-jpeg-decoder/crashtest__images__dc-predictor-overflow.jpg": "corrupt",
    "image-rs-jpeg-decoder/fuzz-afl__in__id_000182_src_000000_op_flip1_pos_503_+cov.jpg": "corrupt",
    "image-rs-jpeg-decoder/fuzz-afl__in__id_000831_sync_jpeg9_src_000903.jpg": "corrupt",
    "image-rs-jpeg-decoder/fuzz-afl__in__id_000903_src_000177_op_havoc_rep_2.jpg": "corrupt",
    "image-rs-jpeg-decoder/fuzz-afl__in__id_001655_src_001333_op_flip2_pos_455.jpg": "corrupt",
    "image-rs-jpeg-decoder/reftest__images__progressive-missing-dc.jpg": "corrupt",
    "ljt-afl/images__id_001145_sync_jpeg9_src_002680.jpg": "corrupt",
    "ljt-afl/images__id_002568_src_001821_op_havoc_rep_2.jpg": "corrupt",
    "ljt-afl/images__id_003973_src_001190+001448_op_splice_rep_4.jpg": "corrupt",
    "ljt-afl/images__id_004215_src_004200_op_arith8_pos_136_val_-12.jpg": "corrupt",
    "ljt-afl/images__id_005039_sync_jpeg_turbo_src_003839.jpg": "corrupt",
    "pillow/apng__syntax_num_frames_zero_default.png": CONVERTED,
    "pillow/images__icc_profile_none.png": CONVERTED,
    "pillow/images__jpeg_ff00_header.jpg": "corrupt",
    "pillow/images__junk_jpeg_header.jpg": "corrupt",
    "pillow/images__missing_background.gif": CONVERTED,
    "pillow/images__truncated_app14.jpg": "corrupt",
    "pngsuite/xcsn0g01.png": "corrupt",
    "wuffs/asset__182.2-byte-change.jpg": "corrupt",
}
# The reason, where `must-reject` leaves it open and it is not `corrupt`.
REASONS = {
    "file-type/fixture-bad-offset.mp3": "not_an_image",
    "file-type/fixture-json.webp": "not_an_image",
    "file-type/fixture-spaces.tar": "not_an_image",
    "file-type/fixture.woff": "not_an_image",
    "file-type/fixture-minimal.pdf": "unsupported_format",
    "file-type/fixture2.jxl": "unsupported_format",
    "image-rs-jpeg-decoder/lossless__1__jpeg_lossless_sel7.jpg": "unsupported_format",  # 16 bits
    "libjpeg-turbo/testimages__monkey12.jpg": "unsupported_format",  # 12 bits
    "image-rs-jpeg-decoder/crashtest__images__max_size.jpg": "too_large",
    "pillow/images__l2rgb_read.bmp": "too_large",
}


def expected_outcome(file: NastyFile) -> str:
    match file.verdict:
        case "good":
            return CONVERTED
        case "must-reject":
            return REASONS.get(file.path, "corrupt")
        case _:
            return AMBIGUOUS[file.path]


def outcome(photo: Converted | Rejected) -> str:
    return CONVERTED if isinstance(photo, Converted) else str(photo.reason)


@pytest.fixture
def silent(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing reaches stdout, stderr or a log, C libraries included; warnings are errors in every test."""
    caplog.set_level("INFO")
    yield
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []


def test_the_copied_files_are_the_manifests_and_every_class_is_there():
    for line in (NASTY / "manifest.csv").read_text(encoding="utf-8").splitlines()[1:]:
        path, digest = line.split(",")[0], re.findall(r"\b[0-9a-f]{64}\b", line)[0]
        assert hashlib.sha256((NASTY / path).read_bytes()).hexdigest() == digest, path
    assert {file.verdict for file in FILES} == {"good", "must-reject", "ambiguous"}
    assert {file.path for file in FILES if file.verdict == "ambiguous"} == set(AMBIGUOUS)
    assert len(FILES) == 108


@pytest.mark.parametrize("pixels", [KEEP, REENCODE], ids=["keep", "reencode"])
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.path)
def test_every_awkward_file_gets_the_outcome_of_its_class_without_a_sound(
    file: NastyFile, pixels: PixelSettings, silent: None
):
    photo = convert_photo(file.data, pixels)
    assert outcome(photo) == expected_outcome(file), photo
    if isinstance(photo, Converted):
        assert seen(photo).shape == (photo.height_px, photo.width_px, 3), (
            "what is stored decodes, to the size it states"
        )
    else:
        assert photo.detail.strip()


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("wuffs/data__peacock.default.truncated.jpeg", "Premature end of JPEG file"),
        ("wuffs/asset__182.2-byte-change.jpg", "31 extraneous bytes before marker 0xda"),
        ("pillow/images__junk_jpeg_header.jpg", "5 extraneous bytes before marker 0xdb"),
        ("image-rs-jpeg-decoder/fuzz-afl__in__id_000831_sync_jpeg9_src_000903.jpg", "two SOF markers"),
        ("pngsuite/xcsn0g01.png", "CRC error in chunk IDAT"),
        ("image-rs-jpeg-decoder/crashtest__images__max_size.jpg", "65535 x 65535"),
        ("libjpeg-turbo/testimages__monkey12.jpg", "12 bits per sample"),
    ],
)
def test_the_decoders_own_words_stand_in_the_detail(path: str, words: str):
    photo = convert_photo((NASTY / path).read_bytes(), KEEP)
    assert isinstance(photo, Rejected)
    assert words in photo.detail


@pytest.mark.parametrize(
    ("path", "transforms"),
    [
        ("image-rs-image/jpg__progressive__3.jpg", ()),
        ("image-rs-image/jpg__progressive__cat.jpg", ("metadata_dropped",)),  # its profile is an sRGB
        ("image-rs-image/images__jpg__portrait_2.jpg", ("icc_to_srgb", "oriented", "reencoded")),
        ("image-rs-image/png__16bpc__basn6a16.png", ("alpha_over_white", "depth_to_8bit", "reencoded")),
        ("image-rs-image/png__apng__ball.png", ("alpha_over_white", "first_frame", "reencoded")),
        ("image-rs-image/png__transparency__tbwn3p08.png", ("alpha_over_white", "palette_to_rgb", "reencoded")),
        ("image-rs-jpeg-decoder/images__mozilla__jpg-cmyk-2.jpg", ("cmyk_to_rgb", "reencoded")),
        ("libjpeg-turbo/testimages__testimgari.jpg", ("reencoded",)),  # arithmetic coding
        ("pillow/avif__rot3mir1.avif", ("oriented", "reencoded")),
        ("pillow/images__frame_size.mpo", ("first_frame", "icc_to_srgb", "reencoded")),
        ("pillow/images__icc_profile_none.png", ("icc_ignored", "reencoded")),
        ("pillow/images__multipage.tiff", ("first_frame", "palette_to_rgb", "reencoded")),
        ("pillow/images__sugarshack_bad_mpo_header.jpg", ("first_frame", "metadata_dropped", "trailing_dropped")),
    ],
)
def test_what_was_done_to_a_photo_is_named(path: str, transforms: tuple[str, ...]):
    photo = convert_photo((NASTY / path).read_bytes(), KEEP)
    assert isinstance(photo, Converted)
    assert photo.transforms == transforms


def test_what_is_decided_about_ambiguous_files_is_documented():
    page = (ROOT / "docs" / "pixels.md").read_text(encoding="utf-8")
    documented = dict(re.findall(r"^\| `([^`]+)` \| `?(\w+)`? \|", page, flags=re.MULTILINE))
    assert {path: decided for path, decided in documented.items() if path in AMBIGUOUS} == AMBIGUOUS
