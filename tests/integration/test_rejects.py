"""What was left out can be listed and looked at, and is not tried again before something changed."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aesthetics_ops.cli import main
from aesthetics_ops.dataset.tables import REJECTS
from aesthetics_ops.pixels import codecs
from aesthetics_ops.rejects import RejectReason
from aesthetics_ops.settings import BuildSettings
from aesthetics_ops.testing.stores import CountingStore
from aesthetics_ops.versions.rejects import Outcome, list_rejects, safe_path, save_rejects
from tests.support.nights import PHOTOS, Night, Source, build_once, finish, photo, start

CUT = photo(PHOTOS[3])[:9000]
WORDS = b"these are words and not a photo"


@pytest.fixture
def damaged(source: Source) -> Source:
    source.add("cut", CUT, 5)
    source.add("words", WORDS, 5)
    source.add("nameless", photo(PHOTOS[4])[:5000])
    source.score({"absent": 3})
    return source


def settings(source: Source) -> BuildSettings:
    return source.settings(max_reject_fraction=1)


def build_counted(source: Source) -> tuple[Night, list[str]]:
    """Build; return the keys of the photos read too."""
    build, record = start(settings(source))
    photos = CountingStore(build.photos)
    return finish(replace(build, photos=photos), record), list(photos.read)


class TestTriedAgain:
    """A rejected photo is part of its shard's recipe: the same recipe is never read twice."""

    def test_not_on_a_night_without_news(self, damaged: Source) -> None:
        first, read = build_counted(damaged)
        assert {"cut.jpg", "words.jpg"} <= set(read)
        second, read = build_counted(damaged)
        assert read == []
        assert not second.published.is_new
        assert first.manifest.rejects["corrupt"] == 1

    def test_when_its_etag_changed_and_its_neighbours_are_copied(self, damaged: Source) -> None:
        build_counted(damaged)
        damaged.add("cut", photo(PHOTOS[3])[:-3000] + photo(PHOTOS[3])[-3000:] + b"mended", 5)
        second, read = build_counted(damaged)
        assert read == ["cut.jpg"]
        assert "corrupt" not in second.manifest.rejects
        assert "cut.jpg" in {row["key"] for row in second.table("records")}

    def test_when_a_setting_or_the_converter_changed(self, damaged: Source, monkeypatch: pytest.MonkeyPatch) -> None:
        build_counted(damaged)
        build, record = start(damaged.settings(max_reject_fraction=1, quality=80))
        photos = CountingStore(build.photos)
        finish(replace(build, photos=photos), record)
        assert {"cut.jpg", "words.jpg"} <= set(photos.read)
        monkeypatch.setattr(codecs, "CONVERTER_VERSION", 1_000_000)
        _, read = build_counted(damaged)
        assert {"cut.jpg", "words.jpg"} <= set(read)


class TestCommand:
    """`aesthetics-ops rejects`."""

    def run(self, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        return main(["rejects", *arguments]), capsys.readouterr().out

    def test_it_counts_first_and_lists_every_row_with_the_decoders_words(
        self, damaged: Source, capsys: pytest.CaptureFixture[str]
    ) -> None:
        night = build_once(settings(damaged))
        url = f"{damaged.url}dataset/"
        status, out = self.run(capsys, url)
        assert status == 0
        lines = out.splitlines()
        assert lines[0] == f"version {night.manifest.version} left out"
        assert {tuple(line.split()) for line in lines[1:5]} == {
            ("1", "corrupt"), ("1", "not_an_image"), ("1", "unlabelled"), ("1", "label_without_photo"),
        }  # fmt: skip
        assert any(line.startswith("corrupt  cut.jpg  ") and "Premature end" in line for line in lines[5:]), out
        assert any(line.startswith("label_without_photo  absent  row ") for line in lines[5:])
        status, out = self.run(capsys, url, "--reason", "corrupt", "--reason", "unlabelled", "--json")
        document = json.loads(out)
        assert document["reasons"] == {"corrupt": 1, "unlabelled": 1}
        assert {row["key"]: (row["reason"], row["bytes"]) for row in document["rejects"]} == {
            "cut.jpg": ("corrupt", len(CUT)), "nameless.jpg": ("unlabelled", 5000),
        }  # fmt: skip

    def test_an_older_version_is_listed_by_its_name(self, damaged: Source, capsys: pytest.CaptureFixture[str]) -> None:
        first = build_once(settings(damaged))
        damaged.remove("words")
        build_once(settings(damaged))
        _, out = self.run(capsys, f"{damaged.url}dataset/", "--version", first.manifest.version)
        assert "not_an_image  words.jpg" in out
        _, out = self.run(capsys, f"{damaged.url}dataset/")
        assert "words.jpg" not in out

    def test_save_fetches_the_originals_and_names_those_that_are_others_now(
        self, damaged: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        build_once(settings(damaged))
        damaged.add("words", WORDS[::-1])
        damaged.remove("nameless")
        url, folder = f"{damaged.url}dataset/", tmp_path / "quarantine"
        status, out = self.run(capsys, url, "--save", str(folder))
        assert status == 0
        assert (folder / "corrupt" / "cut.jpg").read_bytes() == CUT
        assert "1 saved, 0 there already" in out
        assert "not saved, changed since: words.jpg" in out
        assert "not saved, vanished since: nameless.jpg" in out
        assert sorted(path.name for path in folder.rglob("*") if path.is_file()) == ["cut.jpg", "rejects.jsonl"]
        entry = json.loads((folder / "rejects.jsonl").read_text())
        assert (entry["file"], entry["key"], entry["bytes"]) == ("corrupt/cut.jpg", "cut.jpg", len(CUT))
        assert "Premature end" in entry["detail"]

    @pytest.mark.parametrize(
        ("arguments", "status"), [(["--reason", "ugly"], 2), (["--version", "none"], 1)], ids=["reason", "version"]
    )
    def test_what_does_not_exist_is_refused(
        self, damaged: Source, arguments: list[str], status: int, capsys: pytest.CaptureFixture[str]
    ) -> None:
        build_once(settings(damaged))
        assert self.run(capsys, f"{damaged.url}dataset/", *arguments)[0] == status

    def test_a_name_cannot_write_to_the_terminal(self, damaged: Source, capsys: pytest.CaptureFixture[str]) -> None:
        damaged.score({"e\x1b[2Jvil": 5})
        build_once(settings(damaged))
        _, out = self.run(capsys, f"{damaged.url}dataset/")
        assert "\x1b" not in out
        assert r"e\x1b[2Jvil  row " in out


class TestSave:
    """Fetching originals."""

    def test_what_is_there_is_not_fetched_again_unless_it_differs(self, damaged: Source, tmp_path: Path) -> None:
        night = build_once(settings(damaged))
        _, rejects = list_rejects(night.dataset, reasons=[RejectReason.CORRUPT, RejectReason.NOT_AN_IMAGE])
        photos = night.build.photos
        assert [photo.outcome for photo in save_rejects(rejects, photos, tmp_path)] == [Outcome.SAVED] * 2
        damaged.remove("cut")  # no longer needed: the file is there
        assert [photo.outcome for photo in save_rejects(rejects, photos, tmp_path)] == [Outcome.KEPT] * 2
        (tmp_path / "not_an_image" / "words.jpg").write_bytes(b"half")
        again = {photo.key: photo.outcome for photo in save_rejects(rejects, photos, tmp_path)}
        assert again == {"cut.jpg": Outcome.KEPT, "words.jpg": Outcome.SAVED}
        assert (tmp_path / "not_an_image" / "words.jpg").read_bytes() == WORDS

    def test_another_object_of_the_same_size_is_fetched_again(self, damaged: Source, tmp_path: Path) -> None:
        for data in (WORDS, WORDS[::-1]):
            damaged.add("words", data)
            night = build_once(settings(damaged))
            _, rejects = list_rejects(night.dataset, reasons=[RejectReason.NOT_AN_IMAGE])
            assert [photo.outcome for photo in save_rejects(rejects, night.build.photos, tmp_path)] == [Outcome.SAVED]
            assert (tmp_path / "not_an_image" / "words.jpg").read_bytes() == data

    def test_no_key_leaves_the_directory_and_none_takes_the_place_of_another(self, tmp_path: Path) -> None:
        names = [
            "a", "a/b", "a.jpg/b", "a/../../up", "../up", "/abs", "..\\..\\up", "%2E%2E/up", "..", "a/", "con\ttrol", "line\nfeed",
            "x" * 240, "x" * 241, "ünï/çödé",
        ]  # fmt: skip
        photos = OddKeys({name: b"not a photo %d" % number for number, name in enumerate(names)})
        rows = [{"key": key, "reason": "corrupt", "etag": key, "bytes": len(photos.data[key])} for key in names]
        inside = tmp_path / "in" / "side"
        saved = save_rejects(pa.Table.from_pylist(rows, schema=REJECTS.schema), photos, inside)  # type: ignore[arg-type]
        assert {photo.outcome for photo in saved} == {Outcome.SAVED}
        files = {path for path in tmp_path.rglob("*") if path.is_file()}
        assert files == {inside / (photo.path or "") for photo in saved} | {inside / "rejects.jsonl"}
        assert len(files) == len(names) + 1
        assert {photo.key: (inside / (photo.path or "")).read_bytes() for photo in saved} == photos.data

    def test_no_reason_leaves_the_directory_and_none_takes_the_place_of_another(self, tmp_path: Path) -> None:
        """Reasons are read from a file that may be of a newer release, or forged."""
        reasons = [
            "corrupt",
            "of_a_newer_release",
            "../../up",
            "..",
            ".",
            "",
            "/abs",
            "a/b",
            "a",
            "a%2Fb",
            "nul\0",
            "x" * 300,
        ]
        photos = OddKeys({"b/k.jpg": b"12345", "k.jpg": b"123"})
        rows = [
            {"key": key, "reason": reason, "etag": key, "bytes": len(data)}
            for reason in reasons
            for key, data in photos.data.items()
        ]
        inside = tmp_path / "in" / "side"
        saved = save_rejects(pa.Table.from_pylist(rows, schema=REJECTS.schema), photos, inside)  # type: ignore[arg-type]
        assert {photo.outcome for photo in saved} == {Outcome.SAVED}
        files = {path for path in tmp_path.rglob("*") if path.is_file()}
        assert files == {inside / (photo.path or "") for photo in saved} | {inside / "rejects.jsonl"}
        assert len(files) == len(rows) + 1
        assert [photo.path for photo in saved[:3]] == ["corrupt/b/k.jpg", "corrupt/k.jpg", "of_a_newer_release/b/k.jpg"]

    def test_a_photo_that_changes_while_it_is_fetched_is_not_saved(self, tmp_path: Path) -> None:
        photos = OddKeys({"a.jpg": b"12345"}, later=b"54321")
        row = {"key": "a.jpg", "reason": "corrupt", "etag": "a.jpg", "bytes": 5}
        saved = save_rejects(pa.Table.from_pylist([row], schema=REJECTS.schema), photos, tmp_path)  # type: ignore[arg-type]
        assert [photo.outcome for photo in saved] == [Outcome.CHANGED]
        assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["rejects.jsonl"]


@dataclass
class OddKeys:
    """Objects under keys that only S3 has; with `later`, what replaces an object as soon as its size was asked for."""

    data: dict[str, bytes]
    later: bytes | None = None

    def head(self, key: str) -> tuple[int, str]:
        found = len(self.data[key]), key if self.data[key] != self.later else "another"
        if self.later is not None:
            self.data[key] = self.later
        return found

    def download(self, key: str, path: Path) -> None:
        path.write_bytes(self.data[key])


awkward = st.text(
    st.one_of(st.sampled_from("./\\%~ab\0\n\x1b \u202e:"), st.characters(exclude_categories=["Cs"])), max_size=12
)


@given(st.lists(awkward, min_size=2, max_size=6, unique=True))
def test_every_key_has_a_path_of_its_own_that_stays_inside(keys: list[str]) -> None:
    paths = [safe_path(key) for key in keys]
    assert len(set(paths)) == len(keys)
    for path in paths:
        assert not path.is_absolute()
        assert all(part.isprintable() and not part.startswith(".") and len(part.encode()) < 250 for part in path.parts)
        assert "\\" not in str(path)
        assert not any(other != path and other.is_relative_to(path) for other in paths)


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("a.jpg", "a.jpg"),
        ("2024/may/a b.jpg", "2024/may/a b.jpg"),
        ("../../etc/passwd", "%2E%2E/%2E%2E/etc/passwd.%"),
        ("/etc/passwd.txt", "%/etc/passwd.txt"),
        ("a//b.jpg", "a/%/b.jpg"),
        ("a/", "a/%.%"),
        (".bashrc", "%2Ebashrc.%"),
        ("50%.jpg", "50%25.jpg"),
    ],
)
def test_a_path_reads_like_its_key(key: str, path: str) -> None:
    assert str(safe_path(key)) == path
