"""The codec fingerprint differs when any codec puts out anything else, and only then; conversion heeds it."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib import metadata
from typing import Any

import cv2
import numpy as np
import PIL.ImageCms
import pytest
import simplejpeg

from aesthetics_ops.dataset.recipe import CONVERTER_VERSION, Converter
from aesthetics_ops.errors import PermanentError
from aesthetics_ops.pixels import codecs, colour, decoders
from aesthetics_ops.pixels.codecs import codec_fingerprint, codec_releases, converter, require_converter
from aesthetics_ops.pixels.decoded import Decoded
from aesthetics_ops.pixels.gate import SizeGate
from tests.support.photo_cases import KEEP

HERE = codec_fingerprint()


@pytest.fixture
def measured() -> Iterator[Callable[[], str]]:
    """Measure anew at each call, as a new process does."""

    def measure() -> str:
        codecs._fingerprint.cache_clear()
        for remembered in (colour.judge_profile, colour._transform, colour._gray_table):
            remembered.cache_clear()
        return codec_fingerprint()

    yield measure
    codecs._fingerprint.cache_clear()
    for remembered in (colour.judge_profile, colour._transform, colour._gray_table):
        remembered.cache_clear()


def with_a_spot(array: np.ndarray) -> np.ndarray:
    """Change four pixels by four in the middle so far that no encoder hides it."""
    changed = array.copy()
    middle = tuple(slice(side // 2, side // 2 + 4) for side in changed.shape[:2])
    changed[middle] ^= 128
    return changed


def test_it_is_the_same_again_and_in_many_threads(measured: Callable[[], str]):
    assert measured() == HERE
    codecs._fingerprint.cache_clear()
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(lambda _: codec_fingerprint(), range(8))) == {HERE}
    assert len(HERE) == 16
    assert int(HERE, 16)


def test_it_does_not_depend_on_the_kind_of_processor_that_intels_primitives_find(measured: Callable[[], str]):
    used = cv2.ipp.useIPP()
    try:
        for use in (False, True):
            cv2.ipp.setUseIPP(use)
            assert measured() == HERE
            assert cv2.ipp.useIPP() == (use and used), "a conversion afterwards is as before"
    finally:
        cv2.ipp.setUseIPP(used)


@pytest.mark.parametrize(
    ("module", "name"),
    [(cv2, "resize"), (cv2, "rotate"), (cv2, "cvtColor"), (simplejpeg, "decode_jpeg")],
    ids=lambda part: getattr(part, "__name__", part),
)
def test_a_spot_in_what_a_library_function_returns_changes_it(
    module: Any, name: str, monkeypatch: pytest.MonkeyPatch, measured: Callable[[], str]
):
    original = getattr(module, name)
    monkeypatch.setattr(module, name, lambda *args, **options: with_a_spot(original(*args, **options)))
    assert measured() != HERE


def only_when(applies: Callable[..., bool], original: Any) -> Any:
    def changed(*args: Any, **options: Any) -> Any:
        made = original(*args, **options)
        return with_a_spot(made) if applies(*args, **options) else made

    return changed


@pytest.mark.parametrize("method", [cv2.INTER_AREA, cv2.INTER_CUBIC])
def test_each_way_to_scale_counts(method: int, monkeypatch: pytest.MonkeyPatch, measured: Callable[[], str]):
    applies = lambda array, size, interpolation: interpolation == method and array.ndim == 3  # noqa: E731
    monkeypatch.setattr(cv2, "resize", only_when(applies, cv2.resize))
    assert measured() != HERE


@pytest.mark.parametrize("colours", ["GRAY", "BGR", "CMYK"])
@pytest.mark.parametrize("factor", [1, 2, 4, 8])
def test_each_scale_and_colour_of_the_jpeg_decoder_counts(
    colours: str, factor: int, monkeypatch: pytest.MonkeyPatch, measured: Callable[[], str]
):
    def applies(data: bytes, kind: str, *, min_height: int, min_width: int, min_factor: int, strict: bool) -> bool:
        return (kind, min_factor) == (colours, factor)

    monkeypatch.setattr(simplejpeg, "decode_jpeg", only_when(applies, simplejpeg.decode_jpeg))
    assert measured() != HERE


@pytest.mark.parametrize("quality", [70, 90, 95])
def test_each_quality_of_the_encoder_counts(quality: int, monkeypatch: pytest.MonkeyPatch, measured: Callable[[], str]):
    original = cv2.imencode

    def changed(suffix: str, array: np.ndarray, options: tuple[int, ...]) -> Any:
        options = (options[0], options[1] - (options[1] == quality), *options[2:])
        return original(suffix, array, options)

    monkeypatch.setattr(cv2, "imencode", changed)
    assert measured() != HERE


@pytest.mark.parametrize("name", [decoder.name for decoder in decoders.decoders()])
def test_each_decoder_counts(name: str, monkeypatch: pytest.MonkeyPatch, measured: Callable[[], str]):
    original = decoders._DECODERS[name]

    def changed(data: bytes, gate: SizeGate) -> Decoded:
        decoded = original.read(data, gate)
        decoded.image.load()
        at = (decoded.image.width // 2, decoded.image.height // 2)
        level = decoded.image.getpixel(at)
        decoded.image.putpixel(at, (level[0] ^ 64, *level[1:]) if isinstance(level, tuple) else int(level) ^ 1)
        return decoded

    monkeypatch.setitem(decoders._DECODERS, name, replace(original, read=changed))
    assert measured() != HERE


def test_the_colour_engine_counts(monkeypatch: pytest.MonkeyPatch, measured: Callable[[], str]):
    original = PIL.ImageCms.ImageCmsTransform.apply

    def changed(*args: Any) -> Any:
        made = original(*args)
        made.putpixel((made.width // 2, made.height // 2), (255, 0, 0))
        return made

    monkeypatch.setattr(PIL.ImageCms.ImageCmsTransform, "apply", changed)
    assert measured() != HERE


def test_the_strictness_of_the_jpeg_decoder_counts(monkeypatch: pytest.MonkeyPatch, measured: Callable[[], str]):
    original = simplejpeg.decode_jpeg
    monkeypatch.setattr(
        simplejpeg, "decode_jpeg", lambda *args, **options: original(*args, **(options | {"strict": False}))
    )
    assert measured() != HERE


# what conversion does with it


def test_a_plan_of_the_same_releases_is_not_measured_again(measured: Callable[[], str]):
    codecs._fingerprint.cache_clear()
    require_converter(Converter(CONVERTER_VERSION, "of a machine alike"), codec_releases(KEEP), KEEP)
    assert codecs._fingerprint.cache_info().misses == 0


def test_other_releases_that_put_out_the_same_pass():
    require_converter(converter(KEEP), codec_releases(KEEP) | {"pillow": "12.0.0"}, KEEP)


def test_other_bytes_are_refused_in_one_line_that_names_both_and_the_releases():
    planned = Converter(CONVERTER_VERSION, "0123456789abcdef")
    with pytest.raises(PermanentError) as refused:
        require_converter(planned, codec_releases(KEEP) | {"pillow": "12.0.0"}, KEEP)
    words = str(refused.value)
    assert "\n" not in words
    assert "'0123456789abcdef'" in words
    assert HERE in words
    assert f"pillow 12.0.0, here {metadata.version('pillow')}" in words
    assert "simplejpeg" not in words
    assert words.endswith("install the same releases on all workers, or run plan again")


def test_a_plan_of_another_converter_version_is_refused():
    here = converter(KEEP)
    with pytest.raises(PermanentError, match=f"converter {here.version + 1} with codecs"):
        require_converter(Converter(here.version + 1, here.codecs), codec_releases(KEEP), KEEP)


def test_a_plan_that_names_no_codecs_is_refused():
    with pytest.raises(PermanentError, match="run plan again"):
        require_converter(Converter(0, ""), {}, KEEP)
