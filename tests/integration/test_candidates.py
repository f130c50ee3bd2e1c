"""A build that a gate refuses leaves a candidate: it can be read like a version, it is none, and a person may promote it."""

import json
from typing import Any

import pytest

from aesthetics_ops import open_dataset
from aesthetics_ops.browser import make_browser
from aesthetics_ops.cli import main
from aesthetics_ops.dataset.latest import PublishedMark, peek_latest, promotion_of, read_latest
from aesthetics_ops.dataset.layout import LATEST_KEY, candidate_key, published_key, version_prefix
from aesthetics_ops.dataset.moves import Given, logged_moves
from aesthetics_ops.dataset.reading_manifests import read_manifest
from aesthetics_ops.errors import (
    GateError,
    IntegrityError,
    NoSuchVersionError,
    PublishConflictError,
)
from aesthetics_ops.publishing.publish import publish_build
from aesthetics_ops.store import open_store
from aesthetics_ops.testing.stores import WrappedStore
from aesthetics_ops.versions.diff import diff_versions
from aesthetics_ops.versions.listing import list_candidates, list_versions
from aesthetics_ops.versions.pointing import pin, point
from aesthetics_ops.versions.promote import candidate_to_promote, promote
from aesthetics_ops.versions.rejects import list_rejects
from aesthetics_ops.versions.rollback import rollback
from aesthetics_ops.versions.verify import verify_version
from tests.support.documents import make_reports_quick
from tests.support.dying import cut_off, restore, snapshot
from tests.support.nights import ARRIVING, PHOTOS, Night, Source, build_once, finish, photo, start
from tests.support.web import Html, TestClient

GIVEN = Given("ada", "half of the photos were sold")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    make_reports_quick(monkeypatch)


def refuse(source: Source, **settings: Any) -> GateError:
    with pytest.raises(GateError) as caught:
        build_once(source.settings(max_shrink_fraction=0.1, **settings))
    return caught.value


def bad_night(source: Source) -> tuple[Night, str]:
    """A published version, and the candidate of a night without four of its photos."""
    night = build_once(source.settings())
    for name in PHOTOS[:4]:
        source.remove(name)
    version = refuse(source).candidate
    assert version is not None
    return night, version


def test_a_refused_build_keeps_a_candidate_that_is_read_like_a_version(source: Source) -> None:
    night, version = bad_night(source)
    dataset = night.dataset
    manifest = read_manifest(dataset, version)
    assert (manifest.records, manifest.parent) == (10, night.manifest.version)
    assert [gate.name for gate in manifest.gates if not gate.passed] == ["max_shrink_fraction"]
    assert verify_version(dataset, version) == manifest
    assert diff_versions(dataset, night.manifest.version, version).changes.removed.count == 4
    assert list_rejects(dataset, version=version)[0] == manifest
    assert open_dataset(dataset.url, version).records().num_rows == 10
    assert set(dataset.list(version_prefix(version))["key"].to_pylist()) == {
        f"{version_prefix(version)}{name}" for name in ("manifest.json", *(manifest.files or ()))
    }


def test_a_candidate_is_listed_apart_and_latest_stays(source: Source) -> None:
    night, version = bad_night(source)
    assert read_latest(night.dataset)[0].version == night.manifest.version
    assert [info.version for info in list_versions(night.dataset)] == [night.manifest.version]
    (listed,) = list_candidates(night.dataset)
    assert (listed.version, listed.records, listed.parent) == (version, 10, night.manifest.version)
    assert (listed.refused, listed.problem) == (("max_shrink_fraction",), "")


def test_the_message_names_gate_value_limit_candidate_and_both_next_steps(source: Source) -> None:
    night = build_once(source.settings())
    for name in PHOTOS[:4]:
        source.remove(name)
    error = refuse(source)
    url, old = night.dataset.url, night.manifest.version
    assert str(error) == (
        f"not published; max_shrink_fraction allows 0.1, measured 0.2857: 10 records, 14 in version {old}; version {error.candidate!r} is "
        f"kept as a candidate; look at it: `aesthetics-ops diff {url} {old} {error.candidate}`; publish it all the same: `aesthetics-ops "
        f"promote {url} {error.candidate} --reason TEXT`; or mend the photos or scores, or change the gate's setting"
    )


def test_a_first_build_that_is_refused_is_shown_instead_of_compared(source: Source) -> None:
    error = refuse(source, min_records=15)
    dataset = open_store(source.settings().dataset)
    assert f"`aesthetics-ops show {dataset.url} --version {error.candidate}`" in str(error)
    assert (dataset.head(LATEST_KEY), read_manifest(dataset, error.candidate).records) == (None, 14)
    assert promote(dataset, error.candidate or "", GIVEN).parent is None
    assert [info.version for info in list_versions(dataset)] == [error.candidate]


def test_the_next_night_with_the_same_inputs_finds_that_the_candidate_stands(source: Source) -> None:
    night, version = bad_night(source)
    before = night.dataset.list()["key"].to_pylist()
    build, plan = start(source.settings(max_shrink_fraction=0.1))
    assert plan.planned == 0
    with pytest.raises(
        GateError, match=f"candidate '{version}' of an earlier build stands, made of the same"
    ) as caught:
        finish(build, plan)
    assert caught.value.candidate == version
    after = night.dataset.list()["key"].to_pylist()
    assert [key for key in after if key not in before and not key.startswith("builds/")] == []


@pytest.mark.parametrize("change", ["a score", "a photo", "a limit"])
def test_a_night_with_other_inputs_makes_another_candidate(source: Source, change: str) -> None:
    night, version = bad_night(source)
    if change == "a limit":
        with pytest.raises(GateError) as caught:
            build_once(source.settings(max_shrink_fraction=0.2))
        other = caught.value.candidate
    else:
        if change == "a score":
            source.score({PHOTOS[5]: 9.5})
        else:
            source.add(ARRIVING, photo(ARRIVING), 4)
        other = refuse(source).candidate
    assert [info.version for info in list_candidates(night.dataset)] == [other, version]


def test_a_candidate_that_lost_a_file_is_made_again(source: Source) -> None:
    night, version = bad_night(source)
    night.dataset.delete([f"{version_prefix(version)}records.parquet"])
    other = refuse(source).candidate
    assert other != version
    assert verify_version(night.dataset, other).records == 10


def test_the_same_build_published_again_keeps_its_one_candidate(source: Source) -> None:
    build_once(source.settings())
    for name in PHOTOS[:4]:
        source.remove(name)
    build, plan = start(source.settings(max_shrink_fraction=0.1))
    said = set()
    for again in (lambda: finish(build, plan), lambda: publish_build(build, plan)):
        with pytest.raises(GateError) as caught:
            again()
        said.add(str(caught.value))
    assert len(said) == 1
    assert len(list_candidates(build.dataset)) == 1


def test_a_build_whose_limit_was_raised_publishes_its_own_candidate(source: Source) -> None:
    build_once(source.settings())
    for name in PHOTOS[:4]:
        source.remove(name)
    build, plan = start(source.settings(max_shrink_fraction=0.1))
    with pytest.raises(GateError):
        finish(build, plan)
    eased = plan.model_copy(update={"settings": source.settings(max_shrink_fraction=0.5)})
    manifest = publish_build(build, eased).manifest
    assert all(gate.passed for gate in manifest.gates)
    assert (list_candidates(build.dataset), verify_version(build.dataset)) == ([], manifest)


def test_a_version_without_a_record_leaves_no_candidate(source: Source) -> None:
    for name in PHOTOS:
        source.add(name, b"not a photo, and never was one: " + name.encode())
    error = refuse(source, max_reject_fraction=1)
    assert error.candidate is None
    assert "there is no record, so no candidate is kept; mend the photos" in str(error)


def test_a_candidate_that_was_altered_is_refused(source: Source) -> None:
    night, version = bad_night(source)
    key = f"{version_prefix(version)}manifest.json"
    night.dataset.put(key, bytes(night.dataset.get(key).data) + b" ")
    for ask in (lambda: read_manifest(night.dataset, version), lambda: promote(night.dataset, version, GIVEN)):
        with pytest.raises(IntegrityError, match=f"not the manifest whose sha256 stands in {candidate_key(version)}"):
            ask()
    assert read_manifest(night.dataset) == night.manifest


class TestPromote:
    """A person overrules the gates; it stands in the store who, when and why."""

    def test_it_makes_latest_name_the_candidate_and_notes_who_overruled_what(self, source: Source) -> None:
        night, version = bad_night(source)
        dataset = night.dataset
        manifest = promote(dataset, version, GIVEN)
        assert read_manifest(dataset) == manifest
        assert (list_candidates(dataset), dataset.head(candidate_key(version))) == ([], None)
        assert [info.version for info in list_versions(dataset)] == [version, night.manifest.version]
        mark = PublishedMark.read(dataset, published_key(version))
        assert mark is not None
        noted = mark.promotion
        assert noted is not None
        assert (noted.action, noted.by, noted.reason) == ("promote", "ada", GIVEN.reason)
        assert (noted.previous, noted.overruled) == (night.manifest.version, ("max_shrink_fraction",))
        assert logged_moves(dataset)[-1].move == noted
        assert promotion_of(dataset, night.manifest.version, peek_latest(dataset)[0]) is None

    def test_whether_it_can_be_promoted_is_known_without_a_move(self, source: Source) -> None:
        night, version = bad_night(source)
        dataset = night.dataset
        manifest, mark = candidate_to_promote(dataset, version)
        assert (manifest, mark.version if mark else None) == (read_manifest(dataset, version), version)
        assert read_latest(dataset)[0].version == night.manifest.version
        with pytest.raises(NoSuchVersionError, match="has no candidate 'v0'"):
            candidate_to_promote(dataset, "v0")
        promote(dataset, version, GIVEN)
        assert candidate_to_promote(dataset, version) == (manifest, None)
        rollback(dataset, night.manifest.version, GIVEN)
        with pytest.raises(NoSuchVersionError, match="is published already"):
            candidate_to_promote(dataset, version)

    def test_the_build_that_was_refused_finds_its_version_published(self, source: Source) -> None:
        """So a publish task that is cleared after a promotion ends well, and sends its event."""
        build_once(source.settings())
        for name in PHOTOS[:4]:
            source.remove(name)
        build, plan = start(source.settings(max_shrink_fraction=0.1))
        with pytest.raises(GateError) as caught:
            finish(build, plan)
        manifest = promote(build.dataset, caught.value.candidate or "", GIVEN)
        again = publish_build(build, plan)
        assert (again.is_new, again.manifest) == (True, manifest)
        assert [entry.move.action for entry in logged_moves(build.dataset)] == ["publish", "promote"]

    def test_the_next_night_builds_on_it(self, source: Source) -> None:
        night, version = bad_night(source)
        promote(night.dataset, version, GIVEN)
        assert not build_once(source.settings(max_shrink_fraction=0.1)).published.is_new
        source.score({PHOTOS[6]: 9})
        assert build_once(source.settings(max_shrink_fraction=0.1)).manifest.parent == version

    def test_it_is_gone_back_from_and_to(self, source: Source) -> None:
        night, version = bad_night(source)
        with pytest.raises(
            NoSuchVersionError, match=r"is a candidate, refused by max_shrink_fraction; `aesthetics-ops promote"
        ):
            rollback(night.dataset, version)
        promote(night.dataset, version, GIVEN)
        rollback(night.dataset, night.manifest.version)
        with pytest.raises(NoSuchVersionError, match="is published already; `aesthetics-ops rollback` makes"):
            promote(night.dataset, version, GIVEN)
        rollback(night.dataset, version)
        assert promotion_of(night.dataset, version, peek_latest(night.dataset)[0]).by == "ada"

    def test_it_is_refused_when_latest_moved_since(self, source: Source) -> None:
        night, version = bad_night(source)
        newer = build_once(source.settings(max_shrink_fraction=0.5)).manifest.version
        with pytest.raises(
            PublishConflictError,
            match=f"names '{newer}', and candidate '{version}' was built on '{night.manifest.version}': what came between would be lost; "
            f"build again.*or go back first: `aesthetics-ops rollback .* {night.manifest.version}`",
        ):
            promote(night.dataset, version, GIVEN)
        rollback(night.dataset, night.manifest.version)
        assert promote(night.dataset, version, GIVEN).version == version

    def test_what_is_no_candidate_is_not_promoted(self, source: Source) -> None:
        night = build_once(source.settings())
        for name in ("v0", "../x"):
            with pytest.raises(NoSuchVersionError, match="has no candidate"):
                promote(night.dataset, name, GIVEN)
        assert promote(night.dataset, night.manifest.version, GIVEN) == night.manifest  # LATEST names it

    @pytest.mark.parametrize("lost", ["a shard", "a table"])
    def test_a_candidate_that_is_not_whole_is_not_promoted(self, source: Source, lost: str) -> None:
        night, version = bad_night(source)
        shards = read_manifest(night.dataset, version).splits["train"].shards
        own = {shard.path for split in night.manifest.splits.values() for shard in split.shards}
        path = next(shard.path for shard in shards if shard.path not in own)
        night.dataset.delete([path if lost == "a shard" else f"{version_prefix(version)}records.parquet"])
        with pytest.raises(IntegrityError, match="LATEST stays"):
            promote(night.dataset, version, GIVEN)
        assert read_manifest(night.dataset) == night.manifest

    def test_one_whose_mark_an_expiry_takes_meanwhile_stands_back(self, source: Source) -> None:
        night, version = bad_night(source)

        class Expiring(WrappedStore):
            def _put_if(self, key: str, data: bytes, expected_etag: str | None, attempt: int) -> bool:
                self.inner.delete([candidate_key(version)])  # what an expiry does first
                return super()._put_if(key, data, expected_etag, attempt)

        with pytest.raises(
            PublishConflictError, match="is being deleted by an expiry; LATEST names what it named before"
        ):
            promote(Expiring(night.dataset), version, GIVEN)
        assert read_manifest(night.dataset) == night.manifest

    def test_cut_off_at_any_request_it_leaves_the_old_or_the_new_and_goes_on(self, source: Source) -> None:
        night, version = bad_night(source)
        dataset, before, stops = night.dataset, snapshot(night.dataset), 0
        seen = set()
        while cut_off(lambda store: promote(store, version, GIVEN), dataset, after=stops):
            stops += 1
            named = read_manifest(dataset).version
            seen.add(named)
            assert {named, night.manifest.version} == {info.version for info in list_versions(dataset)}
            assert promote(dataset, version, GIVEN).version == version
            assert list_candidates(dataset) == []
            assert [entry.version for entry in logged_moves(dataset)] == [night.manifest.version, version]
            assert promotion_of(dataset, version, None).by == "ada"
            restore(dataset, before)
        assert stops > 10
        assert seen == {night.manifest.version, version}


class TestCommands:
    """The same from a shell."""

    def run(self, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main(words)
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    def test_versions_show_and_promote(self, source: Source, capsys: pytest.CaptureFixture[str]) -> None:
        night, version = bad_night(source)
        url, old = night.dataset.url, night.manifest.version
        status, out, _ = self.run(capsys, "versions", url)
        assert status == 0
        assert [line.split()[0] for line in out.splitlines()] == [old, version]
        assert out.splitlines()[0].endswith("  LATEST")
        assert out.splitlines()[1].endswith("  candidate, refused by max_shrink_fraction")
        listed = json.loads(self.run(capsys, "versions", url, "--json")[1])
        assert ([info["version"] for info in listed["versions"]], listed["candidates"][0]["refused"]) == (
            [old], ["max_shrink_fraction"],
        )  # fmt: skip
        shown = self.run(capsys, "show", url, "--version", version)[1]
        assert "refused     max_shrink_fraction allows 0.1, measured 0.2857" in shown
        assert "candidate   it is not published" in shown
        status, out, err = self.run(capsys, "promote", url, version, "--reason", "sold", "--by", "ada")
        assert (status, out, err) == (0, f"LATEST names {version} now; overruled: max_shrink_fraction\n", "")
        shown = self.run(capsys, "show", url)[1]
        assert "UTC by ada: sold" in shown
        assert json.loads(self.run(capsys, "show", url, "--json")[1])["promotion"]["overruled"] == [
            "max_shrink_fraction"
        ]

    def test_a_dataset_of_candidates_alone_lists_them(self, source: Source, capsys: pytest.CaptureFixture[str]) -> None:
        version = refuse(source, min_records=15).candidate
        status, out, _ = self.run(capsys, "versions", source.settings().dataset)
        assert (status, out.splitlines()[0]) == (0, "nothing is published yet")
        assert out.splitlines()[1].startswith(f"{version}  ")

    @pytest.mark.parametrize(("reason", "by", "said"), [
        ("", "ada", "--reason is empty; say why"), (" ", "ada", "--reason is empty"), ("x" * 1001, "ada", "--reason has 1,001 characters"),
        ("sold", "", "--by is empty"), ("\udcff", "ada", "is no text"),
    ])  # fmt: skip
    def test_a_reason_is_asked_for(
        self, source: Source, capsys: pytest.CaptureFixture[str], reason: str, by: str, said: str
    ) -> None:
        status, _, err = self.run(capsys, "promote", source.settings().dataset, "v", "--reason", reason, "--by", by)
        assert (status, said in err, err.count("\n")) == (2, True, 1)
        status, _, err = self.run(capsys, "promote", source.settings().dataset, "v")
        assert status == 2
        assert "--reason" in err


def test_the_browser_shows_candidates_apart_promotions_and_moves(source: Source) -> None:
    night, version = bad_night(source)
    dataset, old = night.dataset, night.manifest.version
    client = TestClient(make_browser(lambda: {"it"}, {"it": lambda: dataset}))

    def words(path: str) -> str:
        reply = client.get(f"/datasets/it{path}")
        assert reply.status_code == 200, reply.text
        return Html(reply.text).words

    here = f"/versions/{version}"
    listed = words("")
    assert "1 version, newest first" in listed
    assert listed.index(old) < listed.index("Candidates") < listed.index(version)
    assert "max_shrink_fraction" in listed
    assert "candidate" in words(here)
    assert "It is a candidate, and not published" in words(here)
    assert "Largest shrinkage 28.6% 10% failed" in words(here)
    for page in ("/report", "/shards/train", "/shards/train/0", "/rejects", "/search"):
        assert words(here + page)
    assert "removed" in words(f"/compare?before={old}&after={version}").lower()
    promote(dataset, version, Given("<b>ada</b>", "sold\x1b[31m"))
    point(dataset, "prod", old, Given("bob", "for the demo"))
    pin(dataset, "run-7", old, Given("cyd", "paper"))
    assert "<b>ada</b> published it all the same" in words(here)
    assert "It is a candidate" not in words(here)
    listed = words("")
    assert "2 versions, newest first" in listed
    assert "prod" in listed
    assert "pinned by run-7 (paper)" in listed
    assert "Candidates" not in listed
    assert "Pinned by run-7 (paper)" in words(f"/versions/{old}")
    moves = words("/moves")
    assert "4 moves of LATEST, pointers and pins" in moves
    assert [moves.index(text) for text in ("pin run-7", "point prod", "promote LATEST", "publish LATEST")] == sorted(
        moves.index(text) for text in ("pin run-7", "point prod", "promote LATEST", "publish LATEST")
    )
    assert "overruled max_shrink_fraction" in moves
    assert client.get("/datasets/it/versions/prod").status_code == 404
    rollback(dataset, old)
    assert "latest" in words(f"/versions/{old}")
