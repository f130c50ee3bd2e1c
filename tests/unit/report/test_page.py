"""The report shows a version to a person: complete, self-contained, bounded, and the same for the same version."""

import base64
import hashlib
import itertools
import re
import struct
import subprocess
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest

from aesthetics_ops.dataset.layout import VersionFile, version_key
from aesthetics_ops.rejects import RejectReason
from aesthetics_ops.report.card import render_card
from aesthetics_ops.report.page import render_report
from aesthetics_ops.report.words import REASONS_IN_WORDS, coding_in_words, hardware_in_words
from aesthetics_ops.testing.datasets import LeftOut, Photo, SyntheticDataset, SyntheticVersion
from aesthetics_ops.testing.stores import FailingStore
from aesthetics_ops.versions.diff import compare_records
from tests.support.versions import HOSTILE, new_store, rejects_with_files, sample_photos
from tests.support.web import Html

CELLS = {"th", "td", "dt", "dd", "li", "p", "h1", "h2", "h3"}


class Page(Html):
    """A report: words of one line run on, and styles are no words."""

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag in CELLS:
            self.text += " "

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.text += data


@pytest.fixture(scope="module")
def dataset() -> SyntheticDataset:
    return SyntheticDataset(new_store("flowers&<b>"))


@pytest.fixture(scope="module")
def version(dataset) -> SyntheticVersion:
    return dataset.publish(sample_photos(60), rejects_with_files(), settings={"max_reject_fraction": 0.1})


@pytest.fixture(scope="module")
def page(dataset, version):
    return page_of(dataset, version)


def page_of(made, version, parent=None, manifest=None, **stores):
    stores = {"dataset": made.store, "photos": made.photos} | stores
    return render_report(manifest or version.manifest, parent, version.records, version.rejects, **stores)


def publish(photos, left_out=(), **changes):
    """A dataset of one version."""
    dataset = SyntheticDataset(new_store())
    return dataset, dataset.publish(photos, left_out, **changes)


def noise(side_px, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (side_px, side_px, 3), np.uint8)
    return cv2.imencode(".jpg", pixels)[1].tobytes()


def pictures(text, place):
    """Alternative texts of the pictures in one section of the page."""
    section = text.partition(f'<section aria-labelledby="{place}">')[2].partition("</section>")[0]
    return [attributes["alt"] for attributes in Page(section).all("img")]


def test_page_says_where_every_photo_went(version, page):
    words = Page(page).words
    assert "68 listed photos = 60 records + 8 left out" in words
    assert "61 rows in the score file = 60 with a photo + 1 without one" in words
    assert version.manifest.version in words
    assert "Nothing to compare with: this is the first version of the dataset." in words
    for reason, count in version.manifest.rejects.items():
        assert f"{reason.replace('_', ' ').capitalize()}: {count}" in words
        assert REASONS_IN_WORDS[reason] in words
    for gate in ("Largest share of rejects 6.25% 10% passed", "Fewest records 60 1 passed"):
        assert gate in words


def test_equal_input_gives_equal_bytes(dataset, version, page):
    assert page_of(dataset, version) == page


def test_page_loads_nothing_and_forbids_what_it_does_not_have(page):
    parsed = Page(page)
    tags = {tag for tag, _ in parsed.tags}
    assert tags.isdisjoint({"script", "link", "iframe", "object", "embed", "form", "base"})
    for _, attributes in parsed.tags:
        assert not any(name == "style" or name.startswith("on") for name in attributes)
        for name in ("href", "xlink:href"):
            assert attributes.get(name, "#").startswith("#")
        assert attributes.get("src", "data:image/jpeg;base64,").startswith("data:image/jpeg;base64,")
        assert "url(" not in str(attributes)
    style = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style[0].encode()).digest()).decode()
    policy = next(meta["content"] for meta in parsed.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert len(style) == 1
    assert f"style-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none';")


def test_markup_in_keys_ids_and_urls_is_shown_as_text(page):
    parsed = Page(page)
    assert HOSTILE in parsed.text
    assert "<b>Premature</b> end of JPEG file" in parsed.text
    assert "flowers&<b>" in parsed.text
    assert any("<script>\"'.jpg" in image["alt"] for image in parsed.all("img"))
    # what is bold, and what is a picture, is the page's own
    assert len(parsed.all("b")) == len(pictures(page, "photos"))
    assert not [image for image in parsed.all("img") if image.get("src") == "x"]


def test_page_can_be_used_with_a_keyboard_and_a_screen_reader(page):
    parsed = Page(page)
    ids = [attributes["id"] for _, attributes in parsed.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert parsed.all("html") == [{"lang": "en"}]
    for landmark in ("header", "nav", "main", "footer", "title"):
        assert len(parsed.all(landmark)) == 1
    assert next(attributes for tag, attributes in parsed.tags if tag == "a") == {"class": "skip", "href": "#main"}
    assert {link["href"][1:] for link in parsed.all("a")} <= set(ids)
    levels = [int(tag[1]) for tag, _ in parsed.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert all(image["alt"] for image in parsed.all("img"))
    assert all(cell.get("scope") for cell in parsed.all("th"))
    assert len(parsed.all("caption")) == len(parsed.all("table"))
    described = [attributes for attributes in parsed.all("div") if attributes.get("role") == "img"]
    plots = [svg for svg in parsed.all("svg") if svg.get("preserveaspectratio") is None]
    assert len(described) == len(plots) == 7
    assert all(len(attributes["aria-label"]) > 30 for attributes in described)
    assert all(svg["aria-hidden"] == "true" for svg in parsed.all("svg"))


def test_photos_stand_in_tenths_of_the_scores_lowest_first(version, page):
    shown = [re.fullmatch(r"Photo (\d+), score (\d+\.\d\d)", alt) for alt in pictures(page, "photos")]
    scores = {row["id"]: row["label"] for row in version.rows}
    assert len(shown) == 60
    assert all(f"{scores[match[1]]:.2f}" == match[2] for match in shown)
    assert [float(match[2]) for match in shown] == sorted(float(match[2]) for match in shown)


def test_which_photos_are_shown_depends_on_their_ids_alone():
    dataset, version = publish([Photo(f"p{n}", noise(16, n), 1 + n // 45) for n in range(200)])
    before = pictures(page_of(dataset, version), "photos")
    shuffled = version.records.take(np.random.default_rng(1).permutation(200))
    after = pictures(
        render_report(version.manifest, None, shuffled, version.rejects, dataset=dataset.store, photos=dataset.photos),
        "photos",
    )
    assert len(before) == 60
    assert before == after


def test_reasons_and_transforms_of_a_newer_version_are_shown_by_name():
    rejects = [*rejects_with_files()[:1], LeftOut("blur.jpg", "too_blurred", "no edge in it", noise(16))]
    dataset, version = publish(sample_photos(6), rejects, transforms={"rgb_sharpened": 6})
    words = Page(page_of(dataset, version, version.manifest)).words
    assert "too blurred 1 1" in words
    assert "Too blurred: 1" in words
    assert "RGB sharpened 6 100%" in words
    assert "| `too_blurred` | 1 |  |" in render_card(version.manifest)
    assert "| `rgb_sharpened` | 6 |  |" in render_card(version.manifest)


def test_kinds_of_jpeg_are_counted_as_far_as_they_are_noted(dataset, version, page):
    words = Page(page).words
    assert f"hardware JPEG decoder takes {hardware_in_words(version.manifest.jpegs)}" in words
    for kind in version.manifest.jpegs.kinds:
        assert f"{coding_in_words(kind.sampling, kind.progressive)} {kind.records} " in words
    older = version.manifest.model_copy(update={"jpegs": None})
    assert "did not note how its JPEGs are coded" in Page(page_of(dataset, version, manifest=older)).words


def test_near_duplicates_are_counted_and_a_few_are_named():
    near = {
        "max_distance": 6,
        "groups": 1200,
        "records": 2500,
        "spanning_splits": 37,
        "examples": (("a", HOSTILE), ("b", "c")),
    }
    dataset, version = publish(sample_photos(4), near_duplicates=near)
    words = Page(page_of(dataset, version)).words
    assert "2,500 photos have at least one that looks like them: they form 1,200 groups" in words
    assert "37 of the groups span splits." in words
    assert f"a, {HOSTILE} b, c" in words
    nothing = version.manifest.near_duplicates.model_copy(update={"max_distance": None})
    manifest = version.manifest.model_copy(update={"near_duplicates": nothing})
    assert "The settings ask for no search." in Page(page_of(dataset, version, manifest=manifest)).words


def test_changes_since_the_parent_are_counted():
    photos = sample_photos(24)
    dataset, old = publish(photos[:20], rejects_with_files()[:2])
    photos[3] = replace(photos[3], jpeg=photos[4].jpeg)
    photos[5] = replace(photos[5], score=photos[5].score + 1)
    new = dataset.publish(photos[2:], rejects_with_files(), settings={"quality": 80})
    words = Page(page_of(dataset, new, old.manifest)).words
    assert re.search(
        r"Photos: Added: 4, for example \d+ Removed: 2, for example \d+ Another score, or other votes: 1, for example \d+ "
        r"Another source, or converted in another way: 1, for example \d+ Moved to another split: 0 ",
        words,
    )
    found = compare_records(old.records, new.records, old.manifest.settings, new.manifest.settings)
    assert [change.count for change in found.by_kind.values()] == [4, 2, 1, 1, 0, 0]
    assert "Records 22 20 +2" in words
    assert "Photos left out 8 2 +6" in words
    assert "source missing 1 0 +1" in words
    assert "JPEG quality: 80, before 95" in words
    assert "the version before it, behind" in words


def test_a_parent_whose_records_cannot_be_read_is_compared_by_its_manifest():
    dataset, old = publish(sample_photos(6))
    dataset.store.delete([version_key(old.version, VersionFile.RECORDS)])
    new = dataset.publish(sample_photos(8))
    words = Page(page_of(dataset, new, old.manifest)).words
    assert "The records of that version could not be read" in words
    assert "Records 8 6 +2" in words


def test_stores_that_do_not_answer_cost_thumbnails_and_nothing_else(dataset, version):
    unreachable = FailingStore(dataset.store, lambda request: True)
    text = page_of(dataset, version, dataset=unreachable, photos=unreachable)
    assert "<img" not in text
    # the contact sheet, and the rejected photos that are worth a look
    assert text.count("No picture: it could not be read from the store") == 60 + 5
    assert "60</strong> records" in text


def test_damaged_records_and_hostile_photos_are_named_not_decoded():
    bomb = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II5B", 60_000, 60_000, 8, 2, 0, 0, 0) + b"\0" * 40
    dataset, version = publish(
        sample_photos(4), [LeftOut("bomb.png", RejectReason.TOO_LARGE, "3,600,000,000 px", bomb)]
    )
    shard = version.rows[0]["shard"]
    dataset.store.put(shard, b"\0" * len(dataset.store.get(shard).data))
    text = page_of(dataset, version)
    assert text.count("No picture: it could not be read from the store") == 4
    assert text.count("No picture: does not decode") == 1


def test_a_photo_that_is_cut_off_is_shown_as_far_as_it_goes(page):
    assert "Photo 959620.jpg, left out: corrupt" in pictures(page, "rejects")


def test_page_stays_small_whatever_the_dataset_holds():
    photos = [Photo(f"{n}-" + "<" * 900, noise(160, n), float(n)) for n in range(80)]
    rejects = [
        LeftOut(f"{reason}{n}/" + "&" * 900, reason, "<" * 5000, noise(160, n))
        for reason in RejectReason
        for n in range(4)
    ]
    dataset, version = publish(photos, rejects, settings={"exclude_tags": [f"tag {n}" for n in range(10_000)]})
    text = page_of(dataset, version)
    assert len(text.encode()) < 3_000_000
    assert text.count("<img") == 100
    assert "(98,888 characters)" in text


@pytest.mark.parametrize("scores", [[5.0], [5.0, 5.0, 5.0], [0.1, 0.1004], [-3.0, 4000.0]])
def test_few_or_equal_scores_make_a_page_too(scores):
    dataset, version = publish([Photo(f"p{n}", noise(8, n), score) for n, score in enumerate(scores)])
    words = Page(page_of(dataset, version, version.manifest)).words
    assert f"Train, {len(scores)} photo" in words
    assert "Nothing: every photo listed is a record" in words


def test_importing_the_report_imports_no_drawing_library():
    code = "import sys, aesthetics_ops.report.page; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"matplotlib", "cv2", "jinja2", "PIL"} & set(loaded)
