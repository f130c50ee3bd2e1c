"""A TIFF of any byte order, depth, colour model, layout and compression looks as its samples say, or is unsupported."""

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from aesthetics_ops.pixels.decoders import decode_image
from aesthetics_ops.pixels.gate import SizeGate
from aesthetics_ops.pixels.photo import convert_photo
from aesthetics_ops.rejects import Rejected, RejectReason
from tests.support.photo_cases import (
    DISPLAY_P3,
    KEEP,
    converted,
    encoded,
    levels_off,
    picture,
    rejected,
    rgb_profile,
    seen,
)
from tests.support.tiff_files import (
    BLACK_IS_ZERO,
    CMYK,
    DEFLATE,
    FAX3,
    FAX4,
    LZW,
    NONE,
    PACKBITS,
    PALETTE,
    RGB,
    WHITE_IS_ZERO,
    YCBCR,
    Form,
    Samples,
    tiff,
)

HEIGHT, WIDTH = 48, 72  # no multiple of a byte's bits for odd depths
COLOURS = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, PALETTE: 1, CMYK: 4, YCBCR: 3}
COMPRESSIONS = {"none": NONE, "lzw": LZW, "deflate": DEFLATE, "packbits": PACKBITS}
UNASSOCIATED = {338: (3, [2])}


def samples(photometric: int, bits: int, with_alpha: bool = False) -> Samples:
    """Return smooth samples of this depth; alpha is 0 in the upper third and the greatest below."""
    most = (1 << bits) - 1
    levels = picture(HEIGHT, WIDTH).astype(np.float64) / 255
    levels = np.concatenate([levels, levels[:, ::-1, :1]], axis=2)
    if photometric == YCBCR:  # within what RGB can show
        levels[:, :, 1:3] = 0.42 + 0.16 * levels[:, :, 1:3]
    chosen = np.rint(levels[:, :, : COLOURS[photometric]] * most)
    if with_alpha:
        alpha = np.full((HEIGHT, WIDTH, 1), most)
        alpha[: HEIGHT // 3] = 0
        chosen = np.concatenate([chosen, alpha], axis=2)
    return chosen.astype(np.uint16)


def palette(bits: int) -> list[int]:
    """Return a gray ramp with a tint, of 16 bits: all reds, all greens, all blues."""
    ramp = np.linspace(0, 65_535, 1 << bits)
    return [int(level) for part in (ramp, ramp * 0.75, 65_535 - ramp) for level in part]


def looks(stored: Samples, form: Form) -> NDArray[np.uint8]:
    """Compute what a person sees: (height, width, 3), uint8."""
    most = (1 << form.bits) - 1
    count = COLOURS[form.photometric]
    levels = stored[:, :, :count] / most * 255
    match form.photometric:
        case 0:
            levels = 255 - levels
        case 3:
            colours = np.array(form.tags[320][1]).reshape(3, -1).T / 257
            levels = colours[stored[:, :, 0]]
        case 5:
            levels = (255 - levels[:, :, :3]) * (255 - levels[:, :, 3:]) / 255
        case 6:
            y, cb, cr = (levels[:, :, place] for place in range(3))
            red, blue = y + 1.402 * (cr - 128), y + 1.772 * (cb - 128)
            levels = np.stack([red, (y - 0.299 * red - 0.114 * blue) / 0.587, blue], axis=2)
    levels = np.broadcast_to(levels, (*levels.shape[:2], 3)).copy()
    if stored.shape[2] > count and 338 in form.tags:
        share = stored[:, :, count : count + 1] / most
        levels = levels * share + 255 * (1 - share)
    return np.rint(np.clip(levels, 0, 255)).astype(np.uint8)


def check(stored: Samples, form: Form) -> None:
    """Compare before the JPEG is made, so that every pixel counts; 16 bits are cut to 8, not rounded."""
    decoded = decode_image(tiff(stored, form), "tiff", SizeGate(KEEP.max_pixels))
    found = np.asarray(decoded.image.convert("RGB")).astype(int)
    assert found.shape == (HEIGHT, WIDTH, 3)
    assert np.abs(found - looks(stored, form)).max() <= 2
    assert ("depth_to_8bit" in decoded.transforms) == (form.bits > 8)
    assert ("palette_to_rgb" in decoded.transforms) == (form.photometric == PALETTE)
    assert ("cmyk_to_rgb" in decoded.transforms) == (form.photometric == CMYK)
    assert ("alpha_over_white" in decoded.transforms) == (338 in form.tags)


@pytest.mark.parametrize("name", COMPRESSIONS)
@pytest.mark.parametrize("is_planar", [False, True], ids=["together", "planes"])
@pytest.mark.parametrize("order", ["<", ">"], ids=["little", "big"])
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 12, 16])
def test_the_matrix(bits: int, order: str, is_planar: bool, name: str):
    for photometric in COLOURS:
        for with_alpha in (False, True):
            tags = dict(UNASSOCIATED) if with_alpha else {}
            if photometric == PALETTE:
                tags[320] = (3, palette(bits))
            if photometric == YCBCR:
                tags[530] = (3, [1, 1])
            form = Form(order, bits, photometric, COMPRESSIONS[name], is_planar, rows_per_strip=20, tags=tags)
            stored = samples(photometric, bits, with_alpha)
            if (photometric == PALETTE and bits > 8) or (photometric == YCBCR and bits != 8):
                assert rejected(tiff(stored, form)).reason is RejectReason.UNSUPPORTED_FORMAT
            else:
                check(stored, form)


@pytest.mark.parametrize("name", ["lzw", "deflate"])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("order", ["<", ">"], ids=["little", "big"])
@pytest.mark.parametrize("is_planar", [False, True], ids=["together", "planes"])
def test_differences_are_summed(is_planar: bool, order: str, bits: int, name: str):
    for photometric in (BLACK_IS_ZERO, RGB, CMYK):
        for tile in (None, (32, 16)):
            form = Form(order, bits, photometric, COMPRESSIONS[name], is_planar, 20, tile, predictor=2)
            check(samples(photometric, bits), form)


@pytest.mark.parametrize("name", COMPRESSIONS)
@pytest.mark.parametrize("bits", [1, 4, 8, 12, 16])
@pytest.mark.parametrize("is_big", [False, True], ids=["classic", "big"])
def test_tiles_strips_and_bigtiff_hold_the_same(is_big: bool, bits: int, name: str):
    for photometric in (WHITE_IS_ZERO, RGB):
        for tile, rows in (((16, 16), 0), ((80, 64), 0), (None, 1), (None, 7), (None, 0)):
            for is_planar in (False, True):
                order = ">" if is_planar else "<"
                form = Form(order, bits, photometric, COMPRESSIONS[name], is_planar, rows, tile, is_big)
                check(samples(photometric, bits), form)


@pytest.mark.parametrize("compression", [FAX3, FAX4], ids=["group 3", "group 4"])
@pytest.mark.parametrize("photometric", [WHITE_IS_ZERO, BLACK_IS_ZERO])
@pytest.mark.parametrize("order", ["<", ">"], ids=["little", "big"])
@pytest.mark.parametrize("reversed_bits", [False, True])
def test_fax(reversed_bits: bool, order: str, photometric: int, compression: int):
    for rows, tile in ((0, None), (20, None), (0, (32, 16))):
        form = Form(order, 1, photometric, compression, False, rows, tile, reversed_bits=reversed_bits)
        check(samples(photometric, 1), form)


@pytest.mark.parametrize(
    ("compression", "words", "most_passed"),
    [
        (FAX3, "Bad code word", 57),  # most damage is a line of another length, of which only a warning tells
        (FAX4, "Bad code word", 30),
        (LZW, "code not yet in table", 35),
        (DEFLATE, "incorrect data check", 0),
    ],
)
def test_damage_that_the_decompressor_tells_of_is_corrupt(compression: int, words: str, most_passed: int):
    rng = np.random.default_rng(0)
    is_fax = compression in (FAX3, FAX4)
    stored = rng.integers(0, 2 if is_fax else 256, (HEIGHT, WIDTH, 1), dtype=np.uint16)
    data = tiff(stored, Form(bits=1 if is_fax else 8, compression=compression))
    outcomes = []
    for turn in range(60):
        at = int(rng.integers(10, len(data) - 150))
        outcomes.append(convert_photo(data[:at] + (rng.bytes(6) if turn % 2 else bytes(6)) + data[at + 6 :], KEEP))
    refused = [each for each in outcomes if isinstance(each, Rejected)]
    assert {each.reason for each in refused} == {RejectReason.CORRUPT}
    assert len(outcomes) - len(refused) <= most_passed, "what passes is legal code"
    assert any(words in each.detail for each in refused)


@pytest.mark.parametrize("bits", [3, 5, 6, 7, 9, 10, 11, 13, 14, 15])
def test_odd_depths(bits: int):
    for photometric in (WHITE_IS_ZERO, RGB):
        for is_planar in (False, True):
            check(samples(photometric, bits), Form(">", bits, photometric, DEFLATE, is_planar, 20))


def test_reversed_bits_count_in_every_compression():
    for compression in COMPRESSIONS.values():
        check(samples(BLACK_IS_ZERO, 4), Form(bits=4, compression=compression, reversed_bits=True))


@pytest.mark.parametrize("block", [(1, 1), (2, 1), (2, 2), (1, 2), (4, 1), (4, 4)])
@pytest.mark.parametrize("compression", [NONE, LZW, DEFLATE, PACKBITS])
def test_blocks_of_ycbcr_share_their_chroma(block: tuple[int, int], compression: int):
    across, down = block
    stored = samples(YCBCR, 8)
    stored[:, :, 1:] = stored[::down, ::across, 1:].repeat(down, axis=0).repeat(across, axis=1)[:HEIGHT, :WIDTH]
    bright = stored[:, :, 0].reshape(HEIGHT // down, down, WIDTH // across, across).transpose(0, 2, 1, 3)
    blocks = np.concatenate([bright.reshape(HEIGHT // down, WIDTH // across, -1), stored[::down, ::across, 1:]], axis=2)
    size = across * down + 2
    rows = blocks.reshape(HEIGHT // down, -1, 1)
    tags = {256: (4, [WIDTH]), 257: (4, [HEIGHT]), 258: (3, [8, 8, 8]), 277: (3, [3]), 278: (4, [HEIGHT])}
    form = Form(photometric=YCBCR, compression=compression, tags={**tags, 530: (3, [across, down])})
    assert rows.shape[1] == size * WIDTH // across
    photo = converted(tiff(rows, form))
    assert levels_off(photo, looks(stored, Form(photometric=YCBCR))) < 4


def test_twelve_bits_in_a_sixteen_bit_file_are_seen_and_a_declared_depth_wins():
    twelve = samples(RGB, 12)
    wanted = looks(twelve, Form(bits=12, photometric=RGB))
    for order in "<>":
        for is_planar in (False, True):
            form = Form(order, 16, RGB, DEFLATE, is_planar, 20)
            assert levels_off(converted(tiff(twelve, form)), wanted) < 4
    ten = samples(RGB, 10)
    told = Form(bits=16, photometric=RGB, tags={281: (3, [1023] * 3)})
    assert levels_off(converted(tiff(ten, told)), looks(ten, Form(bits=10, photometric=RGB))) < 4
    dark = Form(bits=16, photometric=RGB, tags={281: (3, [65_535] * 3)})
    assert seen(converted(tiff(twelve, dark))).max() < 24


def test_a_palette_of_eight_bit_values_is_taken_as_such():
    stored = samples(PALETTE, 8)
    wide = Form(photometric=PALETTE, tags={320: (3, palette(8))})
    narrow = Form(photometric=PALETTE, tags={320: (3, [level >> 8 for level in palette(8)])})
    assert converted(tiff(stored, narrow)).jpeg == converted(tiff(stored, wide)).jpeg


@pytest.mark.parametrize("tag", [{254: (4, [1])}, {254: (4, [5])}, {255: (3, [2])}], ids=["new", "mask", "old"])
@pytest.mark.parametrize("is_big", [False, True], ids=["classic", "big"])
def test_a_thumbnail_in_front_is_not_the_photo(is_big: bool, tag: dict[int, tuple[int, list[int]]]):
    small = samples(RGB, 8)[::4, ::4]
    photo = converted(
        tiff(
            samples(RGB, 8),
            Form(photometric=RGB, is_big=is_big),
            [(small, Form(photometric=RGB, is_big=is_big, tags=tag))],
        )
    )
    assert (photo.height_px, photo.width_px) == (HEIGHT, WIDTH)
    assert photo.transforms == ("first_frame", "reencoded")
    alone = converted(tiff(small, Form(photometric=RGB, tags=tag)))
    assert alone.width_px == WIDTH // 4


def test_a_first_photo_with_others_behind_it_is_taken_whatever_they_are():
    data = tiff(samples(RGB, 8), Form(photometric=RGB), [(samples(BLACK_IS_ZERO, 8), Form())])
    photo = converted(data)
    assert photo.transforms == ("first_frame", "reencoded")
    assert levels_off(photo, looks(samples(BLACK_IS_ZERO, 8), Form())) < 4
    assert converted(data[:-40]) == photo, "a later image's damage does not matter"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(orientation: int):
    upright = picture(HEIGHT, WIDTH)
    turns = {2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1]}
    turns |= {5: lambda a: a.transpose(1, 0, 2), 6: lambda a: np.rot90(a, 1)}
    turns |= {7: lambda a: a[::-1, ::-1].transpose(1, 0, 2), 8: lambda a: np.rot90(a, -1)}
    stored = turns.get(orientation, lambda a: a)(upright).astype(np.uint16)
    for compression in (NONE, LZW):
        form = Form(photometric=RGB, compression=compression, tags={274: (3, [orientation])})
        photo = converted(tiff(stored, form))
        assert levels_off(photo, upright) < 4
        assert ("oriented" in photo.transforms) == (orientation != 1)


def test_extra_samples_mean_what_they_say():
    colours, most = samples(RGB, 8), 255
    alpha = np.tile(np.linspace(0, most, WIDTH), (HEIGHT, 1))[:, :, None]
    over_white = np.rint(colours * (alpha / 255) + 255 - alpha).astype(np.uint8)
    multiplied = np.rint(colours * (alpha / 255))
    plain = looks(colours, Form(photometric=RGB))
    opaque, clear = np.full_like(alpha, most), np.zeros_like(alpha)
    cases = [
        (colours, [alpha], [2], over_white),
        (multiplied, [alpha], [1], over_white),
        (colours, [alpha], [0], plain),  # no alpha: something that only the writer knows
        (colours, [clear], [0], plain),
        (colours, [alpha], None, over_white),  # not told: alpha
        (colours, [clear], None, plain),  # not told and hiding everything: none
        (colours, [clear], [2], np.full_like(plain, 255)),
        (colours, [clear, alpha], [0, 2], over_white),
        (colours, [opaque, clear], [2, 0], plain),
    ]
    for shown, extra, meanings, wanted in cases:
        stored = np.concatenate([shown, *extra], axis=2).astype(np.uint16)
        for is_planar in (False, True):
            tags = {} if meanings is None else {338: (3, meanings)}
            photo = converted(tiff(stored, Form(photometric=RGB, is_planar=is_planar, tags=tags)))
            assert levels_off(photo, wanted) < 4, meanings


@pytest.mark.parametrize(
    ("form", "count"),
    [
        (Form(bits=16, tags={339: (3, [2])}), 1),
        (Form(bits=8, tags={339: (3, [2])}), 1),
        (Form(bits=16, tags={339: (3, [3])}), 1),
        (Form(bits=8, photometric=RGB, tags={258: (3, [5, 6, 5])}), 3),
        (Form(bits=8, photometric=CMYK, tags={332: (3, [2])}), 4),
        (Form(bits=8, photometric=8), 3),
        (Form(bits=8, photometric=9), 3),
        (Form(bits=8, photometric=RGB, tags={259: (3, [6])}), 3),
        (Form(bits=8, photometric=RGB, tags={259: (3, [50_001])}), 3),
        (Form(bits=8, photometric=RGB), 2),
        (Form(bits=8, photometric=WHITE_IS_ZERO, tags={338: (3, [1])}), 2),
        (Form(bits=8, photometric=RGB, compression=DEFLATE, tags={317: (3, [3])}), 3),
        (Form(bits=4, compression=DEFLATE, tags={317: (3, [2])}), 1),
    ],
)
def test_what_has_no_agreed_look_is_unsupported(form: Form, count: int):
    stored = np.zeros((HEIGHT, WIDTH, count), np.uint16)
    assert rejected(tiff(stored, form)).reason is RejectReason.UNSUPPORTED_FORMAT


@pytest.mark.parametrize("bits", [32, 64])
def test_deeper_samples_are_unsupported(bits: int):
    form = Form(bits=16, tags={258: (3, [bits])})
    assert rejected(tiff(samples(BLACK_IS_ZERO, 16), form)).reason is RejectReason.UNSUPPORTED_FORMAT


@pytest.mark.parametrize(
    "tags",
    [
        {273: (4, [1 << 30])},
        {273: (4, [])},
        {257: (4, [4_000])},
        {278: (4, [0])},
        {256: (4, [0])},
        {320: (3, [0, 1, 2]), 262: (3, [3])},
    ],
    ids=["beyond the end", "no strips", "too few bytes", "no rows", "no columns", "short palette"],
)
def test_a_directory_that_contradicts_itself_is_corrupt(tags: dict[int, tuple[int, list[int]]]):
    assert rejected(tiff(samples(BLACK_IS_ZERO, 8), Form(tags=tags))).reason is RejectReason.CORRUPT


def test_a_directory_that_leads_to_itself_ends():
    data = bytearray(tiff(samples(BLACK_IS_ZERO, 8), Form(tags={254: (4, [1])})))
    data[-4:] = data[4:8]
    assert converted(bytes(data)).transforms == ("first_frame", "reencoded")


def test_tags_that_writers_leave_out_have_their_defaults():
    gray = samples(BLACK_IS_ZERO, 8)
    for dropped in (262, 277, 278, 279, 284):
        data = tiff(gray, Form(tags={dropped: (1, [])}))
        assert levels_off(converted(data), looks(gray, Form())) < 4
    one_depth = tiff(samples(RGB, 8), Form(photometric=RGB, tags={258: (3, [8])}))
    assert levels_off(converted(one_depth), looks(samples(RGB, 8), Form(photometric=RGB))) < 4


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("strip_bytes", [1 << 12, 1 << 24])
def test_jpeg_inside_a_tiff(mode: str, strip_bytes: int):
    image = Image.fromarray(picture()).convert(mode)
    data = encoded(image, "TIFF", compression="jpeg", quality=95, strip_size=strip_bytes)
    assert levels_off(converted(data), np.asarray(image.convert("RGB"))) < 3
    assert rejected(data.replace(b"\xff\xc0", b"\xff\xc3")).reason is RejectReason.UNSUPPORTED_FORMAT


def test_a_profile_is_applied_to_deep_and_to_planar_samples():
    profile = rgb_profile(DISPLAY_P3)
    tags = {34675: (7, list(profile))}
    plain = converted(
        encoded(Image.fromarray(looks(samples(RGB, 8), Form(photometric=RGB))), "PNG", icc_profile=profile)
    )
    for bits in (8, 16):
        photo = converted(tiff(samples(RGB, bits), Form(bits=bits, photometric=RGB, is_planar=True, tags=tags)))
        assert "icc_to_srgb" in photo.transforms
        assert levels_off(photo, seen(plain)) < 1
