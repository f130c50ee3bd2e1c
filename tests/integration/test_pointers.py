"""Pointers beside LATEST, pins, the log of moves, and what expiry leaves alone because of them."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from aesthetics_ops import open_dataset
from aesthetics_ops.cli import main
from aesthetics_ops.dataset.latest import LatestPointer, move_latest, pointer_to, read_latest
from aesthetics_ops.dataset.layout import (
    EXPIRY_KEY,
    LATEST_KEY,
    VersionFile,
    candidate_key,
    is_label_name,
    log_key,
    pin_key,
    pointer_key,
    published_key,
    version_key,
)
from aesthetics_ops.dataset.lease import LEASE, ExpiryLease
from aesthetics_ops.dataset.moves import Given, Move, logged_moves
from aesthetics_ops.dataset.pointers import Pin, read_pointer, resolve_version
from aesthetics_ops.dataset.reading_manifests import read_manifest
from aesthetics_ops.errors import (
    GateError,
    IntegrityError,
    NoSuchVersionError,
    PublishConflictError,
    SettingsError,
    StoreUnavailableError,
)
from aesthetics_ops.store import Store, Swap
from aesthetics_ops.testing.datasets import SyntheticDataset, synthetic_photos
from aesthetics_ops.testing.stores import AlteringStore, CountingStore, WrappedStore, flipped
from aesthetics_ops.versions.expire import expire_versions, plan_expiry
from aesthetics_ops.versions.listing import list_candidates, list_versions
from aesthetics_ops.versions.pointing import all_moves, pin, point, unpin, unpoint
from aesthetics_ops.versions.promote import promote
from aesthetics_ops.versions.rollback import rollback
from aesthetics_ops.versions.verify import verify_version
from tests.support.documents import make_reports_quick
from tests.support.dying import cut_off, restore, snapshot
from tests.support.nights import PHOTOS, START, Source, build_once
from tests.support.versions import new_store

GIVEN = Given("ada", "it is good")
LATER = START + timedelta(days=30)


class Made(NamedTuple):
    """A dataset of three synthetic versions, oldest first; LATEST names the last."""

    store: Store
    versions: tuple[str, str, str]


@pytest.fixture
def made() -> Made:
    dataset = SyntheticDataset(new_store(), documents={})
    names = [f"2026010{day}T020000Z-0123abcd-00000{day}" for day in (1, 2, 3)]
    for number, name in enumerate(names):
        dataset.publish(
            synthetic_photos(6 + number), version=name, created_at=datetime(2026, 1, number + 1, 2, tzinfo=UTC)
        )
    return Made(dataset.store, (names[0], names[1], names[2]))


class TestPointers:
    """A name for those who ask for it, moved by compare-and-swap."""

    def test_a_pointer_names_a_version_for_every_reader(self, made: Made, tmp_path: Path) -> None:
        store, (old, middle, _) = made
        point(store, "prod", middle, GIVEN)
        assert read_manifest(store, "prod").version == middle
        assert verify_version(store, "prod").version == middle
        assert open_dataset(store.url, "prod").version == middle
        assert open_dataset(store.url, version="prod").pull(tmp_path / "pulled").manifest.version == middle
        point(store, "prod", old, GIVEN)
        assert read_manifest(store, "prod").version == old
        point(store, "staging", "prod", GIVEN)  # a pointer's name stands for what it names now
        point(store, "prod", "LATEST", GIVEN)
        assert (read_manifest(store, "staging").version, read_manifest(store, "LATEST")) == (old, read_manifest(store))
        assert read_manifest(store, "latest") == read_manifest(store)
        assert read_manifest(store, "prod") == read_manifest(store)

    @pytest.mark.parametrize(
        "name", ["", "Prod", "latest", "LATEST", "../x", "a b", "1st", "a" * 64, "é", "a.b", "prod\n"]
    )
    def test_names_are_checked(self, made: Made, name: str) -> None:
        before = made.store.list()["key"].to_pylist()
        with pytest.raises(SettingsError, match="cannot name a pointer; use 1 to 63 lower-case letters"):
            point(made.store, name, made.versions[0], GIVEN)
        assert made.store.list()["key"].to_pylist() == before

    def test_no_pointer_takes_the_name_of_a_version(self) -> None:
        dataset = SyntheticDataset(new_store(), documents={})
        dataset.publish(synthetic_photos(4), version="v1")
        with pytest.raises(SettingsError, match="'v1' is the name of a version"):
            point(dataset.store, "v1", "v1", GIVEN)
        assert read_manifest(dataset.store, "v1").version == "v1"

    def test_a_name_of_neither_is_no_version(self, made: Made) -> None:
        with pytest.raises(NoSuchVersionError, match="has no version 'prod'; `aesthetics-ops versions` lists"):
            read_manifest(made.store, "prod")
        with pytest.raises(NoSuchVersionError, match="has no version 'nothing'"):
            point(made.store, "prod", "nothing", GIVEN)

    def test_names_of_versions_cost_no_request_more(self, made: Made) -> None:
        watched = CountingStore(made.store)
        read_manifest(watched, made.versions[0])
        assert [request.key for request in watched.requests if request.key.startswith("pointers/")] == []
        assert resolve_version(watched, made.versions[0]) == made.versions[0]

    def test_a_damaged_pointer_says_how_it_is_written_anew(self, made: Made) -> None:
        made.store.put(pointer_key("prod"), b"{")
        with pytest.raises(
            IntegrityError, match="`aesthetics-ops point DATASET prod VERSION --reason TEXT` writes it anew"
        ):
            read_manifest(made.store, "prod")
        point(made.store, "prod", made.versions[1], GIVEN)
        assert read_manifest(made.store, "prod").version == made.versions[1]

    def test_of_two_who_move_it_at_once_one_is_told(self, made: Made) -> None:
        store, (old, middle, new) = made

        class Overtaken(WrappedStore):
            def _put_if(self, key: str, data: bytes, expected_etag: str | None, attempt: int) -> bool:
                if key == pointer_key("prod"):
                    point(self.inner, "prod", middle, Given("eve"))
                return super()._put_if(key, data, expected_etag, attempt)

        for before in (None, new):
            if before:
                point(store, "prod", before, GIVEN)
            with pytest.raises(
                PublishConflictError, match=r"could not be moved to .* \(refused\): somebody else may have moved it"
            ):
                point(Overtaken(store), "prod", old, GIVEN)
            assert read_manifest(store, "prod").version == middle

    def test_a_version_that_is_not_whole_is_not_pointed_at(self, made: Made) -> None:
        store, (old, _, _) = made
        store.delete([version_key(old, VersionFile.RECORDS)])
        with pytest.raises(IntegrityError, match="pointer 'prod' stays"):
            point(store, "prod", old, GIVEN)
        assert read_pointer(store, "prod") is None

    def test_it_is_taken_away(self, made: Made) -> None:
        store, (old, _, _) = made
        point(store, "prod", old, GIVEN)
        assert unpoint(store, "prod", GIVEN) == old
        for name in ("prod", "../LATEST"):
            with pytest.raises(NoSuchVersionError, match="has no pointer"):
                unpoint(store, name, GIVEN)
        assert [(entry.version, entry.move.action) for entry in logged_moves(store)] == [
            (old, "point"),
            (None, "unpoint"),
        ]

    def test_cut_off_at_any_request_it_leaves_the_old_or_the_new_and_goes_on(self, made: Made) -> None:
        store, (old, middle, _) = made
        point(store, "prod", old, GIVEN)
        before, stops, seen = snapshot(store), 0, set()
        while cut_off(lambda dying: point(dying, "prod", middle, Given("bob", "newer")), store, after=stops):
            stops += 1
            seen.add(read_manifest(store, "prod").version)
            point(store, "prod", middle, Given("bob", "newer"))
            assert read_manifest(store, "prod").version == middle
            assert [(entry.version, entry.move.by) for entry in logged_moves(store)] == [(old, "ada"), (middle, "bob")]
            restore(store, before)
        assert stops > 10
        assert seen == {old, middle}


class TestPins:
    """A pin keeps a version from expiry, and says why."""

    def test_a_pinned_version_stays_and_says_why(self, made: Made) -> None:
        store, (old, middle, new) = made
        pin(store, "run-7", old, Given("ada", "paper of March"))
        expired = expire_versions(store, keep=1, now=LATER)
        assert expired.versions == (middle,)
        assert expired.stays == {new: ("LATEST names it", "the newest"), old: ("pinned by run-7 (paper of March)",)}
        assert verify_version(store, old).records == 6
        assert unpin(store, "run-7", GIVEN) == old
        assert expire_versions(store, keep=1, now=LATER).versions == (old,)

    def test_a_pins_name_is_given_once(self, made: Made) -> None:
        store, (old, middle, _) = made
        first = pin(store, "run-7", old, GIVEN)
        assert pin(store, "run-7", old, Given("bob", "again")) == first
        with pytest.raises(
            PublishConflictError, match=rf"pin 'run-7' of .* keeps '{old}'; take another name, or .*unpin"
        ):
            pin(store, "run-7", middle, GIVEN)
        with pytest.raises(SettingsError, match="'a/b' cannot name a pin"):
            pin(store, "a/b", old, GIVEN)
        with pytest.raises(NoSuchVersionError, match="has no version and no candidate 'v0'"):
            pin(store, "run-8", "v0", GIVEN)
        with pytest.raises(NoSuchVersionError, match="has no pin 'run-9'"):
            unpin(store, "run-9", GIVEN)

    def test_a_damaged_pin_stops_expiry_and_is_taken_away(self, made: Made) -> None:
        pin(made.store, "run-7", made.versions[0], GIVEN)
        made.store.put(pin_key("run-7"), b"{")
        before = made.store.list()["key"].to_pylist()
        with pytest.raises(IntegrityError, match="`aesthetics-ops unpin DATASET run-7 --reason TEXT` takes it away"):
            expire_versions(made.store, keep=1, now=LATER)
        assert made.store.list()["key"].to_pylist() == before
        assert unpin(made.store, "run-7", GIVEN) is None
        assert len(expire_versions(made.store, keep=1, now=LATER).versions) == 2

    def test_cut_off_at_any_request_it_is_pinned_or_not_and_goes_on(self, made: Made) -> None:
        store, (old, _, _) = made
        before, stops = snapshot(store), 0
        while cut_off(lambda dying: pin(dying, "run-7", old, GIVEN), store, after=stops):
            stops += 1
            pin(store, "run-7", old, GIVEN)
            assert expire_versions(store, keep=1, now=START).stays[old] == ("pinned by run-7 (it is good)",)
            assert [entry.move.action for entry in logged_moves(store)] == ["pin"]
            restore(store, before)
        assert stops > 3


class TestLog:
    """Who moved what, when and why."""

    def test_every_move_stands_in_it(self, source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
        make_reports_quick(monkeypatch)
        first = build_once(source.settings())
        for name in PHOTOS[:4]:
            source.remove(name)
        with pytest.raises(GateError) as caught:
            build_once(source.settings(max_shrink_fraction=0.1))
        refused, dataset, old = caught.value.candidate or "", first.dataset, first.manifest.version
        promote(dataset, refused, Given("ada", "sold"))
        rollback(dataset, old, Given("bob", "not sold after all"))
        point(dataset, "prod", refused, Given("cyd", "for the demo"))
        pin(dataset, "run-7", refused, Given("dan", "paper"))
        assert [(one.pointer, one.move.action, one.move.previous, one.version, one.move.by, one.move.reason) for one in all_moves(dataset)] == [
            ("LATEST", "publish", None, old, f"build {first.build.id}", ""),
            ("LATEST", "promote", old, refused, "ada", "sold"),
            ("LATEST", "rollback", refused, old, "bob", "not sold after all"),
            ("prod", "point", None, refused, "cyd", "for the demo"),
            ("run-7", "pin", None, refused, "dan", "paper"),
        ]  # fmt: skip

    def test_a_move_whose_entry_is_still_to_be_written_is_shown_and_written_by_the_next(self, made: Made) -> None:
        store, (old, middle, _) = made
        rollback(store, old, Given("ada", "back"))
        entry = logged_moves(store)[-1]
        store.delete([entry.key])
        assert all_moves(store)[-1] == entry
        rollback(store, middle, Given("bob", "forth"))
        assert [one.move.by for one in logged_moves(store)] == ["ada", "bob"]

    def test_a_dataset_of_an_earlier_release_has_an_empty_log(self, made: Made) -> None:
        assert all_moves(made.store) == []
        found = read_latest(made.store)
        assert found is not None
        data = json.loads(found[0].encoded())
        del data["move"]
        made.store.put(LATEST_KEY, json.dumps(data).encode())
        assert (all_moves(made.store), read_manifest(made.store).version) == ([], made.versions[2])
        rollback(made.store, made.versions[0])
        assert [entry.move.previous for entry in all_moves(made.store)] == [made.versions[2]]

    def test_a_rollback_cut_off_at_any_request_leaves_the_old_or_the_new_and_goes_on(self, made: Made) -> None:
        store, (old, _, new) = made
        before, stops, seen = snapshot(store), 0, set()
        while cut_off(lambda dying: rollback(dying, old, GIVEN), store, after=stops):
            stops += 1
            seen.add(read_manifest(store).version)
            rollback(store, old, GIVEN)
            assert read_manifest(store).version == old
            assert [info.version for info in list_versions(store)] == list(reversed(made.versions))
            assert {entry.version for entry in all_moves(store)} == {old}
            restore(store, before)
        assert stops > 10
        assert seen == {old, new}


class TestRetention:
    """What may go, and why the rest stays."""

    def test_a_dry_run_says_what_the_deletion_does_and_deletes_nothing(self, made: Made) -> None:
        before = made.store.list()
        planned = plan_expiry(made.store, keep=1, now=LATER)
        assert made.store.list().equals(before)
        assert expire_versions(made.store, keep=1, now=LATER) == planned
        assert (planned.versions, made.store.list().num_rows) == (
            (made.versions[1], made.versions[0]), before.num_rows - planned.objects,
        )  # fmt: skip

    def test_a_dry_run_needs_no_right_to_write(self, made: Made) -> None:
        watched = CountingStore(made.store)
        plan_expiry(watched, keep=1, older_than=timedelta(days=1), grace=timedelta(days=1), now=LATER)
        assert {request.method for request in watched.requests} <= {"list", "get", "head", "download", "get_range"}

    @pytest.mark.parametrize(("keep", "days", "gone"), [
        (1, None, 2), (3, None, 0), (None, 0, 2), (None, 28, 1), (None, 29, 0), (1, 28, 1), (3, 0, 0), (2, 27, 1), (9, 9, 0),
    ])  # fmt: skip
    def test_a_version_goes_where_number_and_age_allow_it(
        self, made: Made, keep: int | None, days: int | None, gone: int
    ) -> None:
        now = datetime(2026, 1, 30, 3, tzinfo=UTC)  # an hour more than 29, 28 and 27 days later
        older_than = None if days is None else timedelta(days=days, hours=2 if days in (28, 29) else 0)
        expired = plan_expiry(made.store, keep=keep, older_than=older_than, now=now)
        assert len(expired.versions) == gone
        assert expired.versions == tuple(reversed(made.versions))[3 - gone :]
        assert all(expired.stays.values())

    def test_one_rule_must_be_given(self, made: Made) -> None:
        with pytest.raises(SettingsError, match="give --keep N, --older-than 90d, or both"):
            plan_expiry(made.store, now=LATER)

    def test_what_a_pointer_names_stays(self, made: Made) -> None:
        store, (old, middle, new) = made
        point(store, "prod", old, GIVEN)
        expired = expire_versions(store, keep=1, now=LATER)
        assert (expired.versions, expired.stays) == (
            (middle,), {new: ("LATEST names it", "the newest"), old: ("pointer prod names it",)},
        )  # fmt: skip
        assert verify_version(store, "prod").version == old

    def test_what_was_named_lately_stays_for_its_readers(self, made: Made) -> None:
        store, (old, middle, new) = made
        rollback(store, middle, GIVEN)
        rollback(store, new, GIVEN)
        now = datetime.now(UTC)
        stays = plan_expiry(store, keep=1, grace=timedelta(days=1), now=now + timedelta(hours=23)).stays
        assert set(stays) == {middle, new}
        assert stays[middle][0].startswith("LATEST named it until 20")
        assert plan_expiry(store, keep=1, grace=timedelta(days=1), now=now + timedelta(hours=25)).versions == (
            middle,
            old,
        )
        assert plan_expiry(store, keep=1, now=now).versions == (middle, old)

    @pytest.mark.parametrize("who", ["pointer", "pin"])
    def test_one_that_is_named_while_an_expiry_decides_stays_or_is_not_named(self, made: Made, who: str) -> None:
        store, (old, _, _) = made

        def name(dataset: Store) -> None:
            if who == "pin":
                pin(dataset, "run-7", old, GIVEN)
            else:
                point(dataset, "prod", old, GIVEN)

        class Early(WrappedStore):
            """The name is there before the mark goes."""

            def delete(self, keys: object) -> None:
                listed = list(keys)  # type: ignore[call-overload]
                if published_key(old) in listed and self.inner.head(published_key(old)) is not None:
                    name(self.inner)
                self.inner.delete(listed)

        with pytest.raises(
            PublishConflictError, match=f"'{old}' of .* names it since; nothing is deleted: run expire again"
        ):
            expire_versions(Early(store), keep=1, now=LATER)
        assert [info.version for info in list_versions(store)] == list(reversed(made.versions))
        assert expire_versions(store, keep=1, now=LATER).stays[old]

        class Late(WrappedStore):
            """The mark goes right after the name is written."""

            def _put_if(self, key: str, data: bytes, expected_etag: str | None, attempt: int) -> bool:
                done = super()._put_if(key, data, expected_etag, attempt)
                if key in (pin_key("late"), pointer_key("late")):
                    self.inner.delete([published_key(old)])
                return done

        late = partial(pin if who == "pin" else point, Late(store), "late", old, GIVEN)
        with pytest.raises(PublishConflictError, match=f"version '{old}' of .* is being deleted by an expiry"):
            late()
        assert (store.head(pin_key("late")), store.head(pointer_key("late"))) == (None, None)

    def test_a_pin_holds_though_an_expiry_was_killed_with_the_mark_in_its_hand(self, made: Made) -> None:
        store, (old, _, _) = made
        pin(store, "run-7", old, GIVEN)
        store.delete([published_key(old)])
        expired = expire_versions(store, keep=1, now=LATER)
        assert expired.stays[old] == ("named by run-7 (it is good), though its mark is gone",)
        assert read_manifest(store, old).records == 6
        assert verify_version(store, old).records == 6

    @pytest.mark.parametrize("who", ["pointer", "pin"])
    def test_a_mark_that_an_expiry_took_and_died_with_is_brought_back_by_the_next(self, made: Made, who: str) -> None:
        store, (old, _, new) = made
        marks = {version: bytes(store.get(published_key(version)).data) for version in made.versions}
        deaths = 0
        while cut_off(lambda dying: expire_versions(dying, keep=1, now=LATER), store, after=deaths):
            deaths += 1
            left = {
                version
                for version in made.versions
                if store.head(version_key(version, VersionFile.MANIFEST)) is not None
            }
            if store.head(published_key(old)) is None and old in left:
                # named by somebody who looked for the mark before it went
                name = LatestPointer(version=old, manifest=version_key(old, VersionFile.MANIFEST), sha256="0" * 64)
                given = Move.now("pin", GIVEN, previous=None)
                if who == "pin":
                    store.put(pin_key("run-7"), Pin(name="run-7", version=old, move=given).encoded())
                else:
                    store.put(pointer_key("prod"), name.encoded())
                age_lease(store)
                expire_versions(store, keep=1, now=LATER)
                assert bytes(store.get(published_key(old)).data) == marks[old]
                assert [info.version for info in list_versions(store)] == [new, old]
                assert verify_version(store, old).records == 6
                return
            age_lease(store)
        raise AssertionError("no death came between the marks and the files")

    def test_cut_off_at_any_request_it_leaves_whole_versions_and_goes_on(self, made: Made) -> None:
        store, (_, _, new) = made
        pin(store, "run-7", made.versions[1], GIVEN)
        objects, stops = {key: bytes(store.get(key).data) for key in store.list()["key"].to_pylist()}, 0
        while cut_off(lambda dying: expire_versions(dying, keep=1, now=LATER), store, after=stops):
            stops += 1
            for info in list_versions(store):
                verify_version(store, info.version)
            assert {new, made.versions[1]} <= {info.version for info in list_versions(store)}
            age_lease(store)
            expire_versions(store, keep=1, now=LATER)
            assert {info.version for info in list_versions(store)} == {new, made.versions[1]}
            for key, data in objects.items():
                if store.head(key) is None:
                    store.put(key, data)
        assert stops > 20


def test_candidates_expire_by_number_and_age(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    make_reports_quick(monkeypatch)
    night = build_once(source.settings())
    dataset, refused = night.dataset, []
    for name in PHOTOS[:4]:
        source.remove(name)
    for number in range(5):
        source.score({PHOTOS[5]: number + 1})
        with pytest.raises(GateError) as caught:
            build_once(source.settings(max_shrink_fraction=0.1))
        refused.append(caught.value.candidate or "")
    pin(dataset, "look", refused[0], Given("ada", "to look at"))
    expired = expire_versions(dataset, keep=1, now=START + timedelta(days=20))
    assert expired.candidates == (refused[1],)
    assert [info.version for info in list_candidates(dataset)] == [refused[4], refused[3], refused[2], refused[0]]
    for version in (refused[4], refused[0]):
        assert verify_version(dataset, version).records == 10
    assert dataset.list(f"versions/{refused[1]}/").num_rows == 0
    assert dataset.head(candidate_key(refused[1])) is None
    expired = expire_versions(dataset, keep=1, now=START + timedelta(days=31))
    assert expired.candidates == (refused[4], refused[3], refused[2])
    assert expired.stays[refused[0]] == ("pinned by look (to look at)",)
    assert verify_version(dataset, refused[0]).records == 10
    assert promote(dataset, refused[0], GIVEN).records == 10


def age_lease(store: Store) -> None:
    """Make the hour of a lease be over that an expiry left."""
    lease = ExpiryLease.read(store, EXPIRY_KEY)
    if lease is not None:
        store.put(EXPIRY_KEY, lease.model_copy(update={"since": lease.since - LEASE}).encoded())


class TestCommands:
    """The same from a shell."""

    def test_pointers_pins_and_log_are_printed(self, made: Made, capsys: pytest.CaptureFixture[str]) -> None:
        store, (old, middle, new) = made

        def run(*words: str) -> str:
            assert main(words) == 0
            return capsys.readouterr().out

        who = ("--reason", "it is good", "--by", "ada")
        assert run("point", store.url, "prod", middle, *who) == f"prod names {middle} now\n"
        assert run("pin", store.url, "prod", "run-7", *who) == f"run-7 keeps {middle}\n"
        lines = run("pointers", store.url).splitlines()
        assert [line.split("  ")[:2] for line in lines] == [["LATEST", new], ["prod", middle], ["pin run-7", middle]]
        assert all("(point)  ada: it is good" in line or "(pin)  ada: it is good" in line for line in lines[1:])
        assert f"{middle}  " in run("versions", store.url)
        assert "prod, pinned by run-7 (it is good)" in run("versions", store.url)
        assert "point     prod  - -> " in run("log", store.url)
        assert [entry["action"] for entry in json.loads(run("log", store.url, "--json"))] == ["pin", "point"]
        assert json.loads(run("show", store.url, "--version", "prod", "--json"))["version"] == middle
        assert json.loads(run("diff", store.url, old, "prod", "--json"))["after"] == middle
        dry = run("expire", store.url, "--keep", "1", "--grace", "0d")
        assert dry.splitlines()[-1] == "nothing is deleted; --yes deletes"
        assert f"stays    {middle}  pointer prod names it; pinned by run-7 (it is good)" in dry.splitlines()
        assert f"goes     {old}" in dry.splitlines()
        assert "deleted 1 versions" in run("expire", store.url, "--keep", "1", "--grace", "0d", "--yes")
        assert run("unpoint", store.url, "prod", *who) == f"prod is gone; it named {middle}\n"
        assert run("unpin", store.url, "run-7", *who) == f"run-7 is gone; it kept {middle}\n"

    def test_a_move_that_is_none_says_who_made_it_and_that_the_reason_is_not_kept(
        self, made: Made, capsys: pytest.CaptureFixture[str]
    ) -> None:
        store, (old, middle, _) = made
        for words, names in (
            (("point", store.url, "prod", middle), f"prod names {middle}"),
            (("pin", store.url, middle, "run-7"), f"run-7 keeps {middle}"),
            (("rollback", store.url, old), f"LATEST names {old}"),
        ):
            assert main((*words, "--reason", "it is good", "--by", "ada")) == 0
            assert capsys.readouterr().out in (f"{names} now\n", f"{names}\n")
            moves = all_moves(store)
            assert main((*words, "--reason", "again", "--by", "bob")) == 0
            said = capsys.readouterr().out
            assert said.startswith(f"{names} already, since 20")
            assert said.endswith("ada: it is good; nothing is moved, and this reason is not kept\n")
            assert all_moves(store) == moves
        assert main(("promote", store.url, old, "--reason", "again")) == 0
        assert f"LATEST names {old} already" in capsys.readouterr().out

    @pytest.mark.parametrize("words", [
        ["--keep", "1", "--older-than", "soon"], ["--older-than", "90"], ["--older-than", "-1d"], ["--older-than", "9" * 30 + "d"], [],
    ])  # fmt: skip
    def test_a_rule_that_makes_no_sense_is_refused(
        self, made: Made, capsys: pytest.CaptureFixture[str], words: list[str]
    ) -> None:
        assert main(["expire", made.store.url, *words]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_keys_of_the_log_sort_by_time_and_names_are_lower_case() -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
    assert log_key("LATEST", at, "0123abcd") == "log/20260102T030405.000006Z-LATEST-0123abcd.json"
    assert log_key("LATEST", at, "f") < log_key("LATEST", at + timedelta(microseconds=1), "0")
    assert is_label_name("prod-2_x")


def test_latest_moves_with_its_move(made: Made) -> None:
    found = read_latest(made.store)
    assert found is not None
    data = bytes(made.store.get(version_key(made.versions[0], VersionFile.MANIFEST)).data)
    move = Move.now("rollback", GIVEN, previous=found[0].version)
    move_latest(made.store, pointer_to(made.versions[0], data, move), expected_etag=found[1], compares=True)
    latest = read_latest(made.store)
    assert latest is not None
    assert latest[0].move == move


ALTERED: dict[str, Callable[[bytes], bytes | None]] = {
    **{f"bit {bit} flipped": partial(flipped, bit=bit) for bit in range(5, 3000, 371)},
    "cut": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "lost": lambda data: None,
    "a portal": lambda data: b"<html>",
}
WRITERS = {
    "rollback": (LATEST_KEY, lambda store, made: rollback(store, made.versions[0], GIVEN)),
    "point": (pointer_key("prod"), lambda store, made: point(store, "prod", made.versions[0], GIVEN)),
    "point again": (pointer_key("old"), lambda store, made: point(store, "old", made.versions[0], GIVEN)),
    "move without comparing": (
        LATEST_KEY,
        lambda store, made: move_latest(
            store, pointer_of(made, 0), expected_etag=store.get(LATEST_KEY).etag, compares=False
        ),
    ),
}


def pointer_of(made: Made, number: int) -> LatestPointer:
    version = made.versions[number]
    return pointer_to(version, bytes(made.store.get(version_key(version, VersionFile.MANIFEST)).data))


def altering(store: Store, key: str, alter: Callable[[bytes], bytes | None], *, times: int) -> AlteringStore:
    """Return a store that alters the first writes of one key."""
    left = [times]

    def on_its_way(method: str, asked: str, data: bytes) -> bytes | None:
        if asked != key or method not in ("put", "put_if") or left[0] == 0:
            return data
        left[0] -= 1
        return alter(data)

    return AlteringStore(store, on_its_way)


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("how", ALTERED)
def test_a_pointer_that_is_altered_on_its_way_is_written_again(made: Made, how: str, writer: str) -> None:
    key, write = WRITERS[writer]
    point(made.store, "old", made.versions[1], GIVEN)
    write(altering(made.store, key, ALTERED[how], times=1), made)
    assert LatestPointer.parse(made.store.get(key).data, name=key).version == made.versions[0]
    assert verify_version(made.store).version in made.versions


@pytest.mark.parametrize("writer", WRITERS)
def test_a_store_that_alters_every_pointer_is_told_so(made: Made, writer: str) -> None:
    key, write = WRITERS[writer]
    point(made.store, "old", made.versions[1], GIVEN)
    with pytest.raises(
        IntegrityError, match=r"was written as \d+ bytes and holds \d+ bytes that begin with b'.*correct it, then"
    ):
        write(altering(made.store, key, flipped, times=100), made)


def test_a_store_that_keeps_no_pointer_is_told_so_and_latest_stays(made: Made) -> None:
    with pytest.raises(StoreUnavailableError, match=f"does not name version '{made.versions[0]}': try again later"):
        rollback(altering(made.store, LATEST_KEY, lambda data: None, times=100), made.versions[0], GIVEN)
    assert read_manifest(made.store).version == made.versions[2]


def test_a_pin_that_a_store_loses_is_not_taken_for_one(made: Made) -> None:
    with pytest.raises(
        StoreUnavailableError, match=f"is not there: .* version '{made.versions[0]}' is not pinned: try"
    ):
        pin(altering(made.store, pin_key("run-7"), lambda data: None, times=1), "run-7", made.versions[0], GIVEN)
    assert pin(made.store, "run-7", made.versions[0], GIVEN).version == made.versions[0]


def test_a_pin_that_is_altered_on_its_way_can_be_taken_away_and_made_again(made: Made) -> None:
    with pytest.raises(IntegrityError, match="pins/run-7"):
        pin(altering(made.store, pin_key("run-7"), flipped, times=1), "run-7", made.versions[0], GIVEN)
    unpin(made.store, "run-7", GIVEN)
    assert pin(made.store, "run-7", made.versions[0], GIVEN).version == made.versions[0]


def test_whoever_was_first_meanwhile_stays_first(made: Made) -> None:
    store = altering(made.store, LATEST_KEY, lambda data: b"", times=1)
    assert move_latest(store, pointer_of(made, 0), expected_etag="another", compares=True) is Swap.REFUSED
    assert read_manifest(made.store).version == made.versions[2]
