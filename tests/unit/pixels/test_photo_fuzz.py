"""Whatever the bytes, a photo ends as converted or rejected.  The long form is `tests/fuzz/fuzz_photo.py`."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from aesthetics_ops.pixels.photo import Converted, convert_photo
from aesthetics_ops.rejects import Rejected
from tests.support.photo_cases import KEEP, REENCODE, fuzz_corpus, mutated

CORPUS = fuzz_corpus()
MOST_PIXELS = 4_000_000
KEEP_SMALL, REENCODE_SMALL = (
    type(KEEP)(pixels.encoding, pixels.quality, max_side, MOST_PIXELS)
    for pixels, max_side in ((KEEP, None), (REENCODE, 48))
)

bounded = settings(max_examples=1_000, database=None)


def assert_ends_well(data: bytes) -> None:
    for pixels in (KEEP_SMALL, REENCODE_SMALL):
        photo = convert_photo(data, pixels)
        if isinstance(photo, Converted):
            again = convert_photo(photo.jpeg, KEEP_SMALL)
            assert isinstance(again, Converted), "what is stored would not be taken again"
            assert again.jpeg == photo.jpeg
            assert again.transforms == ()
            assert photo.height_px * photo.width_px <= MOST_PIXELS
        else:
            assert isinstance(photo, Rejected)
            assert photo.detail


@bounded
@given(st.sampled_from(CORPUS), st.sampled_from(CORPUS), st.randoms(use_true_random=False))
def test_a_mutated_file_of_any_format_is_converted_or_rejected(data: bytes, other: bytes, rng: random.Random):
    assert_ends_well(mutated(data, other, rng))


@bounded
@given(st.binary(max_size=200), st.sampled_from(CORPUS), st.integers(2, 64))
def test_any_bytes_behind_any_beginning_are_converted_or_rejected(tail: bytes, data: bytes, kept: int):
    assert_ends_well(data[:kept] + tail)


def test_the_corpus_itself_is_sound_and_of_every_format():
    photos = [convert_photo(data, KEEP) for data in CORPUS]
    assert sum(isinstance(photo, Converted) for photo in photos) > 60
    assert {data[:4] for data in CORPUS} >= {b"\xff\xd8\xff\xe0", b"\x89PNG", b"RIFF", b"GIF8", b"II*\0"}
