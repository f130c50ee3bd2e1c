"""Ways back from a LATEST, or a version that it names, that cannot be read: none needs a hand in the bucket."""

import json
from collections.abc import Callable
from datetime import timedelta

import pytest

from aesthetics_ops.cli import main
from aesthetics_ops.dataset.layout import LATEST_KEY, VersionFile, version_key
from aesthetics_ops.dataset.manifest import SCHEMA_VERSION
from aesthetics_ops.dataset.reading_manifests import read_manifest
from aesthetics_ops.errors import AestheticsOpsError, IntegrityError, NoSuchVersionError, PublishConflictError
from aesthetics_ops.versions.expire import expire_versions
from aesthetics_ops.versions.listing import list_versions
from aesthetics_ops.versions.rollback import rollback
from aesthetics_ops.versions.verify import verify_version
from tests.support.documents import make_reports_quick
from tests.support.nights import PHOTOS, Night, Source, build_once, finish, latest_version, start

GONE = "gone"
DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    GONE: lambda data: None,
    "cut": lambda data: data[:-5],
    "spoilt": lambda data: data[: len(data) // 4] + bytes(len(data) // 3) + data[len(data) // 4 + len(data) // 3 :],
    "empty": lambda data: b"",
}
FILES = (None, *(file for file in VersionFile if file.endswith((".parquet", "manifest.json"))))  # None: LATEST itself
WAY = (
    r"rollback DATASET VERSION` makes LATEST name one of .*; where none of them is whole, a build with start_anew "
    r"\(`--start-anew`\) takes their place"
)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    make_reports_quick(monkeypatch)


@pytest.fixture
def night(source: Source) -> Night:
    return build_once(source.settings())


def damage(night: Night, file: VersionFile | None, kind: str) -> None:
    key = LATEST_KEY if file is None else version_key(night.manifest.version, file)
    data = DAMAGES[kind](bytes(night.dataset.get(key).data))
    if data is None:
        night.dataset.delete([key])
    else:
        night.dataset.put(key, data)


@pytest.mark.parametrize("kind", DAMAGES)
@pytest.mark.parametrize("file", FILES, ids=lambda file: file or LATEST_KEY)
def test_a_dataset_whose_only_version_is_damaged_is_started_anew_when_a_build_is_told_so(
    source: Source, night: Night, file: VersionFile | None, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    source.score({PHOTOS[0]: 7.5})
    damage(night, file, kind)
    if (file, kind) != (VersionFile.PLAN, "spoilt"):  # only what is read of a plan is found spoilt
        with pytest.raises((IntegrityError, NoSuchVersionError), match=WAY):
            build_once(source.settings())
    again = build_once(source.settings(start_anew=True))
    assert (again.manifest.parent, again.manifest.records) == (None, 14)
    assert again.built < again.record.shards  # finished shards are kept
    assert "this build starts anew, without a parent" in caplog.text
    assert verify_version(again.dataset).version == again.manifest.version == latest_version(again.dataset)
    listed = list_versions(again.dataset)
    assert [info.problem for info in listed] == [""] * len(listed)
    is_listed = night.manifest.version in [info.version for info in listed]
    assert is_listed == (file is not VersionFile.MANIFEST)
    expire_versions(again.dataset, keep=1, now=again.record.created_at + timedelta(days=30))
    assert {key.split("/")[1] for key in again.dataset.list("versions/")["key"].to_pylist()} == {again.manifest.version}
    assert not build_once(source.settings()).published.is_new


def test_where_everything_can_be_read_start_anew_changes_nothing(source: Source, night: Night) -> None:
    assert not build_once(source.settings(start_anew=True)).published.is_new
    source.score({PHOTOS[0]: 7.5})
    again = build_once(source.settings(start_anew=True))
    assert (again.manifest.parent, again.built) == (night.manifest.version, 1)
    assert len(list_versions(night.dataset)) == 2


@pytest.mark.parametrize("kind", DAMAGES)
def test_without_latest_an_older_version_is_gone_back_to(source: Source, night: Night, kind: str) -> None:
    source.score({PHOTOS[0]: 7.5})
    second = build_once(source.settings())
    damage(second, None, kind)
    for use in (
        lambda: verify_version(night.dataset),
        lambda: read_manifest(night.dataset),
        lambda: expire_versions(night.dataset, keep=1, now=night.record.created_at),
        lambda: build_once(source.settings()),
    ):
        with pytest.raises(IntegrityError, match=f"{LATEST_KEY} is .*{WAY}"):
            use()
    assert [info.version for info in list_versions(night.dataset)] == [second.manifest.version, night.manifest.version]
    assert verify_version(night.dataset, night.manifest.version) == night.manifest
    rollback(night.dataset, night.manifest.version)
    again = build_once(source.settings())
    assert again.manifest.parent == night.manifest.version


def test_a_version_that_a_newer_release_wrote_is_not_replaced(source: Source, night: Night) -> None:
    key = version_key(night.manifest.version, VersionFile.MANIFEST)
    document = json.loads(bytes(night.dataset.get(key).data)) | {"schema_version": SCHEMA_VERSION + 1}
    night.dataset.put(key, json.dumps(document).encode())
    before = night.dataset.get(LATEST_KEY)
    with pytest.raises(AestheticsOpsError):
        build_once(source.settings(start_anew=True))
    assert night.dataset.get(LATEST_KEY) == before


def test_whoever_repairs_latest_while_a_build_starts_anew_is_not_overwritten(source: Source, night: Night) -> None:
    damage(night, None, "empty")
    planned = start(source.settings(start_anew=True))
    rollback(night.dataset, night.manifest.version)
    with pytest.raises(PublishConflictError, match="another build published first"):
        finish(*planned)
    assert latest_version(night.dataset) == night.manifest.version


def test_latest_that_goes_while_a_build_is_at_work_is_not_written_anew(source: Source, night: Night) -> None:
    source.score({PHOTOS[0]: 7.5})
    planned = start(source.settings())
    damage(night, None, GONE)
    with pytest.raises(IntegrityError, match=f"is gone, though versions were published, the newest .*{WAY}"):
        finish(*planned)
    assert night.dataset.head(LATEST_KEY) is None


def test_the_command_line_names_the_flag_and_takes_it(
    source: Source, night: Night, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(night, VersionFile.MANIFEST, "cut")
    settings = source.settings()
    words = ["build", *(f"--{name}={getattr(settings, name)}" for name in ("photos", "labels", "dataset"))]
    assert main(words) == 1
    assert "a build with start_anew (`--start-anew`)" in capsys.readouterr().err
    assert main(["rollback", settings.dataset, night.manifest.version]) == 1
    assert "a build with start_anew (`--start-anew`)" in capsys.readouterr().err
    assert main([*words, "--start-anew"]) == 0
    assert capsys.readouterr().out.startswith("published version")
