"""`verify --repair`: each object of a version, damaged in each way, is the same bytes again or is told what to do about.

The source has rejects, near-duplicates, a photo that goes between plan and conversion, and label rows without a photo.
"""

import io
import json
from collections.abc import Callable, Iterator

import pyarrow.parquet as pq
import pytest

from aesthetics_ops.cli import main
from aesthetics_ops.dataset.layout import (
    BUILDS,
    DOCUMENTS,
    EXPIRY_KEY,
    LATEST_KEY,
    ShardFile,
    VersionFile,
    published_key,
    version_key,
)
from aesthetics_ops.dataset.lease import expiry_lease
from aesthetics_ops.errors import DatasetBusyError, IntegrityError, NoSuchVersionError
from aesthetics_ops.publishing.repair import repair_version, survey_version
from aesthetics_ops.store import Store, open_store
from aesthetics_ops.testing.stores import flipped
from aesthetics_ops.versions.rollback import rollback
from aesthetics_ops.versions.verify import verify_version
from tests.support.nights import ARRIVING, PHOTOS, Night, Source, build_once, finish, photo, reseal, smaller, start

FILES = [file for file in VersionFile if file is not VersionFile.MANIFEST]
TABLES = [file for file in FILES if file not in DOCUMENTS]
DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "gone": lambda data: None,
    "flipped": flipped,
    "cut": lambda data: data[:-7],
    "empty": lambda data: b"",
    "a page of a portal": lambda data: b"<html>please log in</html>",
}


def damage(store: Store, key: str, kind: str) -> None:
    data = DAMAGES[kind](bytes(store.get(key).data))
    if data is None:
        store.delete([key])
    else:
        store.put(key, data)


def everything(store: Store) -> dict[str, bytes]:
    return {key: bytes(store.get(key).data) for key in store.list()["key"].to_pylist()}


def restore(store: Store, before: dict[str, bytes]) -> None:
    for key, data in everything(store).items():
        if before.get(key) != data:
            store.delete([key])
    for key, data in before.items():
        if store.head(key) is None:
            store.put(key, data)


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> tuple[Source, Night, Night]:
    """Two versions; the second has a lost photo, near-duplicates of two rounds, and shards of the first."""
    source = Source(f"file://{tmp_path_factory.mktemp('repair')}/", {name: n % 9 + 1 for n, name in enumerate(PHOTOS)})
    for name in PHOTOS:
        source.add(name, photo(name))
    source.add("twin", smaller(photo(PHOTOS[0])), 5)
    source.add("broken", b"no photo", 4)
    source.score({"nobody": 3})
    source.add("unlabelled", photo(ARRIVING))
    settings = source.settings(max_reject_fraction=1)
    first = build_once(settings)
    source.add("later", smaller(photo(ARRIVING), scale=0.9), 4)
    source.add("passing", smaller(photo(ARRIVING), scale=0.5), 4)
    for number in range(3):
        source.add(f"again{number}", smaller(photo(PHOTOS[number]), scale=0.7), 4)
    planned = start(settings)
    source.remove("passing")
    return source, first, finish(*planned)


@pytest.fixture
def store(nights: tuple[Source, Night, Night]) -> Iterator[Store]:
    """The dataset, as it was before after each test."""
    dataset = nights[0].store.url + "dataset/"
    opened = open_store(dataset)
    before = everything(opened)
    yield opened
    restore(opened, before)


@pytest.fixture(params=["first", "second"])
def version(request: pytest.FixtureRequest, nights: tuple[Source, Night, Night]) -> str:
    return (nights[1] if request.param == "first" else nights[2]).manifest.version


def shards_of(store: Store, version: str) -> list[str]:
    splits = json.loads(bytes(store.get(version_key(version, VersionFile.MANIFEST)).data))["splits"]
    return [shard["path"] for split in splits.values() for shard in split["shards"]]


def test_nothing_is_found_and_nothing_is_written_where_all_is_whole(store: Store, version: str) -> None:
    before = everything(store)
    assert survey_version(store, version) == repair_version(store, version) == []
    assert everything(store) == before


@pytest.mark.parametrize("kind", DAMAGES)
@pytest.mark.parametrize("file", FILES)
def test_a_damaged_file_is_the_same_again(store: Store, version: str, file: VersionFile, kind: str) -> None:
    before = everything(store)
    damage(store, version_key(version, file), kind)
    damaged = everything(store)
    (told,) = survey_version(store, version)
    assert everything(store) == damaged, "a survey writes nothing"
    assert (told.key, told.advice) == (version_key(version, file), "")
    assert told.remedy
    assert repair_version(store, version) == [told]
    assert everything(store) == before
    assert verify_version(store, version)


@pytest.fixture(scope="module")
def voted(tmp_path_factory: pytest.TempPathFactory) -> Night:
    """A version whose table has columns for votes, a score more and a column that is kept."""
    source = Source(f"file://{tmp_path_factory.mktemp('voted')}/", {})
    for name in PHOTOS[:4]:
        source.add(name, photo(name))
    rows = [f"{name},{number},1,2,{number / 4},who {number}" for number, name in enumerate(PHOTOS[:4])]
    source.store.put("scores.csv", "\n".join(["id,c1,c2,c3,quality,who", *rows]).encode())
    return build_once(source.settings(vote_columns="c1..c3", extra_scores="quality", keep_columns="who"))


@pytest.mark.parametrize("kind", ["gone", "flipped"])
@pytest.mark.parametrize("file", FILES)
def test_a_file_of_a_version_with_votes_scores_and_kept_columns_is_the_same_again(
    voted: Night, file: VersionFile, kind: str
) -> None:
    store, version = voted.dataset, voted.manifest.version
    assert {"votes", "label_std", "label/quality", "who"} <= voted.table("records")[0].keys()
    before = everything(store)
    damage(store, version_key(version, file), kind)
    (told,) = repair_version(store, version)
    assert (told.key, told.advice) == (version_key(version, file), "")
    assert everything(store) == before
    assert verify_version(store, version)


def test_the_versions_have_what_makes_tables_hard(nights: tuple[Source, Night, Night]) -> None:
    _, first, second = nights
    assert {"source_missing", "not_an_image", "unlabelled", "label_without_photo"} <= second.manifest.rejects.keys()
    assert second.manifest.near_duplicates.groups
    assert second.manifest.reuse.shards_reused
    assert second.manifest.parent == first.manifest.version


@pytest.mark.parametrize("file", FILES)
def test_without_the_builds_state_the_rest_is_told(store: Store, version: str, file: VersionFile) -> None:
    """Expiry takes the state of builds after a week: the plan and label rows without a photo are nowhere else."""
    store.delete(store.list(BUILDS)["key"].to_pylist())
    whole = everything(store)
    damage(store, version_key(version, file), "cut")
    before = everything(store)
    (found,) = repair_version(store, version)
    if file in (VersionFile.PLAN, VersionFile.REJECTS):
        assert everything(store) == before, "nothing else is written"
        assert "the state of its build is gone" in found.advice
        assert "rollback" in found.advice
        assert "--start-anew" in found.advice
    else:
        assert everything(store) == whole
        assert found.remedy


def test_without_label_rows_and_losses_rejects_need_no_state(source: Source) -> None:
    source.add("broken", b"no photo", 4)
    night = build_once(source.settings(max_reject_fraction=1))
    assert night.manifest.rejects == {"not_an_image": 1}
    night.dataset.delete(night.dataset.list(BUILDS)["key"].to_pylist())
    whole = everything(night.dataset)
    for file in (VersionFile.REJECTS, VersionFile.RECORDS):
        damage(night.dataset, version_key(night.manifest.version, file), "gone")
    assert [found.advice for found in repair_version(night.dataset)] == ["", ""]
    assert everything(night.dataset) == whole


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_shard_is_made_from_its_photos(store: Store, version: str, kind: str) -> None:
    paths = shards_of(store, version)
    whole = everything(store)
    for path in {paths[0], paths[-1]}:
        damage(store, path, kind)
    found = repair_version(store, version)
    assert {finding.key for finding in found} == {paths[0], paths[-1]}
    assert all("photos" in finding.remedy for finding in found)
    assert everything(store) == whole


@pytest.mark.parametrize("kind", ["gone", "flipped"])
def test_a_shard_whose_photo_changed_is_told_and_the_way_works(source: Source, kind: str) -> None:
    night = build_once(source.settings())
    path = shards_of(night.dataset, night.manifest.version)[0]
    key = next(row["key"] for row in night.table("records") if row["shard"] == path)
    source.add(key.removesuffix(".jpg"), smaller(photo(ARRIVING)))
    damage(night.dataset, path, kind)
    before = everything(night.dataset)
    (found,) = repair_version(night.dataset)
    assert everything(night.dataset) == before
    assert "1 of its" in found.advice
    assert "gone or changed" in found.advice
    with pytest.raises(IntegrityError):
        verify_version(night.dataset)
    again = build_once(source.settings())
    assert again.published.is_new
    assert verify_version(again.dataset)


@pytest.mark.parametrize("kind", ["gone", "flipped"])
def test_the_next_build_does_what_the_advice_says(source: Source, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that cannot make the shard tells what a build on one that can needs."""
    night = build_once(source.settings())
    path = shards_of(night.dataset, night.manifest.version)[0]
    whole = everything(night.dataset)
    damage(night.dataset, path, kind)
    with monkeypatch.context() as patch:
        patch.setattr("aesthetics_ops.publishing.remaking.remake_shard", _refuses)
        (found,) = repair_version(night.dataset)
    result, verdict = (path.replace(".tfrecord", suffix) for suffix in (ShardFile.RESULT, ShardFile.VERDICT))
    assert "another converter" in found.advice
    if kind == "gone":
        assert "the next build notices" in found.advice
    else:
        assert f"delete {night.dataset.url_of(result)} and the .validated.json beside it" in found.advice
        night.dataset.delete([result, verdict])
    build_once(source.settings())
    assert {key: data for key, data in everything(night.dataset).items() if key in whole} == whole


def _refuses(*_: object) -> None:
    raise IntegrityError("another converter")


@pytest.mark.parametrize("is_told_elsewhere", [True, False])
def test_the_rows_of_a_shard_without_result_come_from_another_version(
    store: Store, nights: tuple[Source, Night, Night], is_told_elsewhere: bool
) -> None:
    _, first, second = nights
    shared = set(shards_of(store, first.manifest.version)) & set(shards_of(store, second.manifest.version))
    path = sorted(shared)[0]
    store.put(path.replace(".tfrecord", ShardFile.RESULT), b"{}")
    if not is_told_elsewhere:
        store.delete([version_key(first.manifest.version, VersionFile.RECORDS)])
    key = version_key(second.manifest.version, VersionFile.RECORDS)
    whole = everything(store)
    damage(store, key, "cut")
    before = everything(store)
    (found,) = repair_version(store, second.manifest.version)
    assert everything(store) == (whole if is_told_elsewhere else before), "and a damaged result stays where it is"
    if not is_told_elsewhere:
        assert "the result of a shard is gone" in found.advice


def test_everything_at_once_is_repaired(store: Store, version: str) -> None:
    whole = everything(store)
    for file in FILES:
        damage(store, version_key(version, file), "cut")
    for path in shards_of(store, version):
        damage(store, path, "flipped")
    found = repair_version(store, version)
    assert [finding.advice for finding in found] == [""] * len(found)
    assert len(found) == len(FILES) + len(shards_of(store, version))
    assert everything(store) == whole


def test_what_other_releases_wrote_is_told_and_not_replaced(store: Store, version: str) -> None:
    """Parquet of the same rows in other bytes: the manifest states those, and nothing here writes them again."""
    key = version_key(version, VersionFile.RECORDS)
    table = pq.read_table(io.BytesIO(bytes(store.get(key).data)))
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="gzip")
    store.put(key, sink.getvalue())
    reseal(store, version)
    damage(store, key, "cut")
    before = everything(store)
    found = {finding.key: finding for finding in repair_version(store, version)}
    assert "other bytes than its manifest states" in found[key].advice
    assert everything(store)[key] == before[key]


def test_whoever_writes_the_object_meanwhile_is_not_overwritten(
    store: Store, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = version_key(version, VersionFile.RECORDS)
    damage(store, key, "cut")
    swap = type(store).swap

    def late(self: Store, written: str, data: bytes, etag: str | None) -> object:
        if written == key:
            self.put(key, b"of somebody else")
        return swap(self, written, data, etag)

    monkeypatch.setattr(type(store), "swap", late)
    (found,) = repair_version(store, version)
    assert bytes(store.get(key).data) == b"of somebody else"
    assert "somebody else writes it now" in found.advice


def test_an_expiry_and_a_repair_do_not_meet(store: Store, version: str) -> None:
    damage(store, version_key(version, VersionFile.RECORDS), "gone")
    with expiry_lease(store), pytest.raises(DatasetBusyError):
        repair_version(store, version)
    assert store.head(version_key(version, VersionFile.RECORDS)) is None
    assert repair_version(store, version)
    assert store.head(EXPIRY_KEY) is None


def test_a_version_that_an_expiry_took_gets_no_file_back(store: Store, nights: tuple[Source, Night, Night]) -> None:
    version = nights[1].manifest.version
    damage(store, version_key(version, VersionFile.RECORDS), "gone")
    store.delete([published_key(version)])
    with pytest.raises(NoSuchVersionError, match="is not published any more"):
        repair_version(store, version)
    assert store.head(version_key(version, VersionFile.RECORDS)) is None


@pytest.mark.parametrize("kind", DAMAGES)
@pytest.mark.parametrize("file", FILES)
def test_a_rollback_takes_a_version_whose_documents_alone_are_damaged(
    store: Store, nights: tuple[Source, Night, Night], file: VersionFile, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    version = nights[1].manifest.version
    damage(store, version_key(version, file), kind)
    latest = bytes(store.get(LATEST_KEY).data)
    if file in TABLES:
        with pytest.raises(IntegrityError, match="--repair"):
            rollback(store, version)
        assert bytes(store.get(LATEST_KEY).data) == latest
        return
    assert rollback(store, version).version == version
    (line,) = [record.getMessage() for record in caplog.records]
    assert f"version {version} is whole but for {file}, which no training reads" in line


def test_the_command_says_what_it_would_do_and_does_it(
    store: Store, version: str, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    whole = everything(store)
    keys = [version_key(version, VersionFile.RECORDS), shards_of(store, version)[0]]
    for key in keys:
        damage(store, key, "flipped")
    words = ["verify", store.url, "--version", version]
    assert main(words) == 1
    capsys.readouterr()
    told = [record.getMessage() for record in caplog.records]
    assert [key for key in keys if any(line.startswith(store.url_of(key)) for line in told)] == keys
    assert sum("`--repair` makes it anew from" in line for line in told) == 2
    assert main([*words, "--repair", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["repaired"] == keys
    assert everything(store) == whole
    assert main([*words, "--repair"]) == 0
    assert capsys.readouterr().out.count("repaired") == 0


def test_the_command_fails_where_something_is_left(
    store: Store, version: str, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    store.delete(store.list(BUILDS)["key"].to_pylist())
    plan, card = (version_key(version, file) for file in (VersionFile.PLAN, VersionFile.CARD))
    damage(store, plan, "cut")
    damage(store, card, "cut")
    assert main(["verify", store.url, "--version", version]) == 1
    assert "`--repair` cannot: the state of its build is gone" in caplog.text
    assert main(["verify", store.url, "--version", version, "--repair"]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert "1 of 2 damaged objects are repaired; left: " in error
    assert store.url_of(plan) in error


@pytest.mark.parametrize("file", [LATEST_KEY, VersionFile.MANIFEST])
def test_what_states_the_sums_is_not_made_anew(store: Store, nights: tuple[Source, Night, Night], file: str) -> None:
    version = nights[2].manifest.version
    damage(store, file if file == LATEST_KEY else version_key(version, VersionFile.MANIFEST), "cut")
    before = everything(store)
    with pytest.raises(IntegrityError, match="--start-anew"):
        repair_version(store)
    assert everything(store) == before


def test_a_version_of_a_release_that_named_no_files_has_its_shards_repaired(store: Store, version: str) -> None:
    reseal(store, version, names_files=False)
    damage(store, shards_of(store, version)[0], "gone")
    damage(store, version_key(version, VersionFile.REPORT), "cut")
    (found,) = repair_version(store, version)
    assert found.key == shards_of(store, version)[0]
