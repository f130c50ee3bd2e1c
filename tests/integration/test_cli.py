"""The command line: every command on files and on S3, and what bad input gets."""

import json
import logging
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from aesthetics_ops.cli import main
from aesthetics_ops.conversion import partition
from aesthetics_ops.dataset.layout import VersionFile
from aesthetics_ops.figures import ConversionFigures, ValidationFigures
from aesthetics_ops.publishing.documents import DOCUMENTS
from aesthetics_ops.store import open_store
from aesthetics_ops.testing.fault_proxy import running_proxy
from tests.support.documents import make_reports_quick
from tests.support.nights import ARRIVING, PHOTOS, photo

SOME = PHOTOS[:8]
SCORES = "id,score\n" + "\n".join(f"{name},{number}" for number, name in enumerate(SOME))


class Desk:
    """A place with photos and scores, and a shell to build from them.

    Attributes:
        url: of the place; ends with a slash.
        store: at that place.
    """

    def __init__(self, url: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.url = url
        self.store = open_store(url)
        self._capsys = capsys

    @property
    def dataset(self) -> str:
        return f"{self.url}dataset/"

    def fill(self, scores: bytes = SCORES.encode()) -> None:
        for name in SOME:
            self.store.put(f"photos/{name}.jpg", photo(name))
        self.store.put("scores.csv", scores)

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """Return exit status, stdout and stderr."""
        self._capsys.readouterr()
        status = main(arguments)
        out, err = self._capsys.readouterr()
        return status, out, err

    def ask(self, *arguments: str) -> Any:
        """Run a command that ends well with --json; return the document."""
        status, out, err = self.run(*arguments, "--json")
        assert status == 0, err
        return json.loads(out)

    def build_flags(self, **flags: object) -> list[str]:
        values = {
            "photos": f"{self.url}photos/",
            "labels": f"{self.url}scores.csv",
            "dataset": self.dataset,
            "shard_bytes": 60_000,
        }
        pairs = ((f"--{name.replace('_', '-')}", str(value)) for name, value in (values | flags).items())
        return ["build", *(word for pair in pairs for word in pair)]

    def build(self, **flags: object) -> Any:
        return self.ask(*self.build_flags(**flags))

    def refused(self, status: int, kind: str, *extra: str, **flags: object) -> str:
        """Build and expect a refusal: this exit status, one JSON document, and nothing published; return the message."""
        found, out, err = self.run(*self.build_flags(**flags), "--json", *extra)
        document = json.loads(out)
        assert list(document) == ["error"]
        assert document["error"]["type"] == kind
        message: str = document["error"]["message"]
        assert f"aesthetics-ops: {message}\n" in err
        assert "Traceback" not in err
        assert found == status
        return message

    def is_published(self) -> bool:
        keys = self.store.list()["key"].to_pylist()
        return any("LATEST" in key or "/published/" in key for key in keys)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No report, which takes half a second to plot and has tests of its own."""
    make_reports_quick(monkeypatch)


@pytest.fixture
def files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    """Photos and scores in a directory."""
    desk = Desk(tmp_path.as_uri() + "/", capsys)
    desk.fill()
    return desk


@pytest.fixture
def s3(s3_bucket: Any, capsys: pytest.CaptureFixture[str]) -> Desk:
    """Photos and scores in a bucket."""
    desk = Desk(s3_bucket.url, capsys)
    desk.fill()
    return desk


@pytest.fixture(params=["files", "s3"])
def desk(request: pytest.FixtureRequest) -> Desk:
    return request.getfixturevalue(request.param)


def test_a_dataset_in_a_bucket_is_built_left_alone_verified_and_pulled(s3: Desk, tmp_path: Path) -> None:
    summary = s3.build()
    assert (summary["published"], summary["records"]) == (True, 8)
    assert summary["manifest"].startswith(f"{s3.dataset}versions/{summary['version']}/")
    assert bytes(s3.store.get(f"dataset/versions/{summary['version']}/report.html").data).startswith(b"<!")
    work = summary["conversion"], summary["validation"]
    assert work[0].keys() == ConversionFigures().numbers.keys()
    assert work[1].keys() == ValidationFigures().numbers.keys()
    assert (
        min(work[0]["photos_per_second"], work[0]["get_p50_s"], work[0]["requests"], work[1]["records_per_second"]) > 0
    )
    again = s3.build()
    assert (again["published"], again["version"]) == (False, summary["version"])
    assert not {"conversion", "validation"} & again.keys()
    assert s3.ask("verify", s3.dataset)["records"] == 8
    pulled = s3.ask("pull", s3.dataset, str(tmp_path))
    assert pulled["downloaded_bytes"] == summary["bytes"]


def test_a_report_that_cannot_be_made_is_one_line_and_the_data_is_published(
    files: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(DOCUMENTS, VersionFile.REPORT, lambda _: 1 / 0)
    status, out, _ = files.run(*files.build_flags())
    (line,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert status == 0
    assert re.fullmatch(r"version \S+ goes without report.html, which could not be made: ZeroDivisionError: .*", line)
    assert out.startswith("published version")
    assert "report      none: it could not be made; the data is whole\n" in out
    assert files.ask("verify", files.dataset)["records"] == 8


@pytest.mark.parametrize("lost", [".tfrecord", ".json", ".validated.json"])
@pytest.mark.parametrize("is_new", [False, True], ids=["unchanged", "new"])
def test_a_build_says_which_shards_of_the_version_before_it_repaired(
    files: Desk, quick: None, lost: str, is_new: bool
) -> None:
    before = files.build()
    manifest = files.ask("show", files.dataset)
    for split in list(manifest["splits"].values())[:1]:
        files.store.delete(
            [f"dataset/{shard['path'].removesuffix('.tfrecord')}{lost}" for shard in split["shards"][:1]]
        )
    if is_new:
        files.store.put(f"photos/{ARRIVING}.jpg", photo(ARRIVING))
        files.store.put("scores.csv", f"{SCORES}\n{ARRIVING},3".encode())
    status, out, _ = files.run(*files.build_flags())
    assert status == 0
    assert "\nrepaired    1 shard of the version before lacked an object in the store; made or checked again\n" in out
    assert out.startswith("published version" if is_new else f"nothing changed: version {before['version']} already")
    assert is_new or ", all there again\n" in out
    assert files.ask("verify", files.dataset)["records"] == 8 + is_new


def test_every_command_works_in_the_order_of_a_datasets_life(files: Desk, tmp_path: Path) -> None:
    desk = files
    status, out, err = desk.run(*desk.build_flags())
    assert (status, err) == (0, "")
    assert out.startswith("published version ")
    assert "8 listed, 8 converted, 0 rejected" in out
    assert re.search(r"\nconverted   8 photos in \S+ s, \S+ photos/s; .*; limit: [a-z]", out)
    assert re.search(r"\nread back   8 records in \S+ s, \S+ records/s; ", out)
    (first,) = desk.ask("versions", desk.dataset)["versions"]
    assert (first["records"], first["is_latest"]) == (8, True)
    shown = desk.ask("show", desk.dataset)
    assert shown["version"] == first["version"]
    assert shown["accounting"]["converted"] == 8
    assert bytes(desk.store.get(f"dataset/versions/{first['version']}/report.html").data).startswith(b"<!")

    unchanged = desk.build()
    assert (unchanged["published"], unchanged["version"]) == (False, first["version"])
    total = shown["reuse"]["shards_total"]
    assert (unchanged["shards_added"], unchanged["shards_reused"], unchanged["shards_total"]) == (0, total, total)
    said = desk.run(*desk.build_flags())[1]
    assert said.startswith(
        f"nothing changed: version {first['version']} already holds this: {total} shards, all there\n"
    )
    assert f"shards      {total}: all reused\n" in said
    assert f"shards      {total}: {total} new, 0 reused\n" in desk.run("show", desk.dataset)[1]
    assert "jpegs       100% (8 of 8) for a hardware decoder\n" in desk.run("show", desk.dataset)[1]
    assert "repaired" not in said
    assert "photos/s" not in said
    assert unchanged["shards_repaired"] == 0

    desk.store.put(f"photos/{ARRIVING}.jpg", photo(ARRIVING))
    desk.store.put("scores.csv", f"{SCORES}\n{ARRIVING},3".encode())
    time.sleep(1)  # a version's name has seconds
    second = desk.build()
    assert (second["published"], second["parent"], second["shards_added"]) == (True, first["version"], 1)
    assert [info["version"] for info in desk.ask("versions", desk.dataset)["versions"]] == [
        second["version"],
        first["version"],
    ]
    changes = desk.ask("diff", desk.dataset, first["version"], second["version"])
    assert changes["changes"]["added"] == {"count": 1, "examples": [ARRIVING]}
    assert f"added       1  ({ARRIVING})" in desk.run("diff", desk.dataset, first["version"], second["version"])[1]

    assert desk.ask("verify", desk.dataset)["records"] == 9
    assert "8 records, all as the manifest says" in desk.run("verify", desk.dataset, "--version", first["version"])[1]
    pulled = desk.ask("pull", desk.dataset, str(tmp_path / "local"), "--split", "train")
    assert pulled["version"] == second["version"]
    assert [Path(name).name for name in pulled["files"]] == sorted(
        path.name for path in (tmp_path / "local").glob("*.tfrecord")
    )
    assert desk.ask("rollback", desk.dataset, first["version"]) == {"version": first["version"]}
    assert desk.ask("show", desk.dataset)["version"] == first["version"]
    assert desk.ask("expire", desk.dataset, "--keep", "1", "--grace", "0d", "--yes")["versions"] == []
    assert desk.ask("rollback", desk.dataset, second["version"]) == {"version": second["version"]}
    assert desk.ask("expire", desk.dataset, "--keep", "1", "--grace", "0d", "--yes")["versions"] == [first["version"]]
    assert desk.ask("verify", desk.dataset)["records"] == 9


@pytest.mark.parametrize("command", ["show", "verify", "versions", "pull", "rollback", "diff", "expire"])
def test_a_dataset_that_was_never_published_is_named_with_the_next_step(
    files: Desk, command: str, tmp_path: Path
) -> None:
    more = {"pull": [str(tmp_path / "x")], "rollback": ["v1"], "diff": ["v1", "v2"], "expire": ["--keep", "1"]}
    status, out, err = files.run(command, files.dataset, *more.get(command, []), "--json")
    assert status == 1
    assert json.loads(out)["error"]["type"] == "NoSuchVersionError"
    assert files.dataset in err
    assert "run a build" in err or "`aesthetics-ops versions`" in err


class TestPhotos:
    """Photos that are not there, or cannot be read."""

    def test_a_prefix_without_photos_is_named(self, desk: Desk) -> None:
        message = desk.refused(1, "PlanError", photos=f"{desk.url}elsewhere/")
        assert message == f"no objects under '{desk.url}elsewhere/'; check the photos prefix, or upload photos first"
        assert not desk.is_published()

    def test_photos_without_any_score_are_counted_and_both_sides_of_the_join_are_shown(self, desk: Desk) -> None:
        desk.store.put("scores.csv", b"id,score\nA1,5\nA2,6\n")
        message = desk.refused(1, "PlanError")
        assert "8 unlabelled; the first photo is '907402.jpg', the first label 'A1'" in message
        assert "set id_column to the column that names the photos, or key_template to join several" in message
        assert not desk.is_published()

    def test_photos_that_cannot_be_read_are_rejects_until_the_gate(self, files: Desk, quick: None) -> None:
        desk = files
        desk.store.put(f"photos/{SOME[0]}.jpg", photo(SOME[0])[:5000])
        message = desk.refused(1, "GateError")
        assert "max_reject_fraction allows 0.05, measured 0.125: 1 of 8 labelled photos" in message
        assert f"1 corrupt; for example ['{SOME[0]}.jpg']" in message
        assert "mend the photos or scores, or change the gate's setting" in message
        assert not desk.is_published()
        assert desk.build(max_reject_fraction=0.2)["rejected"] == 1


class TestScores:
    """Score files that cannot be used say why; odd ones that can are used."""

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (b"", "is empty"),
            (b"\n  \n", "is empty"),
            (b"id,score\n", "has a header but no rows"),
            (b"id,score\n907402,\xff\x00\n", "is no text: byte 17 is 0x00"),
            (
                b"who,stars\n907402,5\n",
                "has no column 'key' or 'path'.* its columns are 'who', 'stars'; set id_column",
            ),
            (b"id,stars\n907402,5\n", "has no column 'score' or .* its columns are 'id', 'stars'; set score_column"),
            (b"id,score\n907402,5,6\n", "has 3 fields in line 2, '907402,5,6', but its header has 2"),
        ],
        ids=["empty", "blank", "header alone", "undecodable", "no id column", "no score column", "ragged"],
    )
    def test_a_file_that_makes_no_sense_is_refused(self, files: Desk, content: bytes, said: str) -> None:
        files.store.put("scores.csv", content)
        message = files.refused(1, "LabelError")
        assert f"label file '{files.url}scores.csv'" in message
        assert re.search(said, message), message
        assert not files.is_published()

    def test_a_file_without_a_range_cannot_be_scaled_by_one(self, files: Desk) -> None:
        message = files.refused(1, "LabelError", label_scale="unit", label_format="csv")
        assert "is csv without a declared range, but label_scale is 'unit'; set label_min and label_max" in message
        assert not files.is_published()

    def test_a_missing_file_is_named(self, desk: Desk) -> None:
        message = desk.refused(1, "LabelError", labels=f"{desk.url}sub/nowhere.csv")
        assert f"score file '{desk.url}sub/nowhere.csv' does not exist; check the labels setting" in message
        assert not desk.is_published()

    @pytest.mark.parametrize(
        "content",
        [b"\xef\xbb\xbf" + SCORES.encode(), SCORES.replace("\n", "\r\n").encode() + b"\r\n", SCORES.encode()],
        ids=["byte order mark", "CRLF", "no final newline"],
    )
    def test_odd_ends_and_beginnings_are_fine(self, files: Desk, quick: None, content: bytes) -> None:
        files.store.put("scores.csv", content)
        summary = files.build()
        assert (summary["records"], summary["rejected"]) == (8, 0)

    def test_one_photo_with_two_scores_has_none(self, files: Desk, quick: None) -> None:
        files.store.put("scores.csv", f"{SCORES}\n{SOME[3]},9\n{SOME[4]},4".encode())
        message = files.refused(1, "GateError")
        assert f"1 label_invalid; for example ['{SOME[3]}.jpg']" in message
        assert not files.is_published()
        assert files.build(max_reject_fraction=0.5)["records"] == 7
        assert files.ask("show", files.dataset)["rejects"] == {"label_invalid": 1}

    def test_a_file_name_with_a_space_is_found(self, tmp_path: Path, files: Desk, quick: None) -> None:
        path = tmp_path / "my scores.csv"
        path.write_text(SCORES, encoding="utf-8")
        assert files.build(labels=path.as_uri())["records"] == 8


class TestSettings:
    """Wrong settings are refused before anything is asked of a store."""

    @pytest.mark.parametrize(
        ("flags", "said"),
        [
            ({"quality": 0}, "quality is '0', but input should be greater than or equal to 1"),
            ({"quality": "high"}, "quality is 'high', but input should be a valid integer"),
            ({"shard_bytes": 1}, "shard_bytes is '1', but input should be greater than or equal to 1024"),
            ({"test_fraction": 1.5}, "test_fraction is '1.5', but input should be less than or equal to 1"),
            ({"encoding": "webp"}, "encoding is 'webp', but input should be 'keep' or 'reencode'"),
            ({"photos": "data/photos"}, "photos: 'data/photos' is a relative path; write an absolute path"),
            ({"labels": "scores.csv"}, "labels: 'scores.csv' is a relative path; write an absolute path"),
            ({"min_records": 0}, "min_records is '0', but"),
        ],
        ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
    )
    def test_a_value_out_of_range_is_named_with_its_rule(self, files: Desk, flags: dict[str, Any], said: str) -> None:
        message = files.refused(2, "SettingsError", **flags)
        assert said in message
        assert message.startswith("flags: ")
        assert not files.is_published()

    @pytest.mark.parametrize(
        ("flags", "said"),
        [
            (
                {"test_fraction": 0.6, "validation_fraction": 0.4},
                "leave nothing to train on; their sum must be below 1",
            ),
            ({"label_min": 5, "label_max": 5}, "label_min 5.0 must be below label_max 5.0"),
            ({"label_range": "3,2"}, "label_range is 3, 2; give the lowest and the highest score"),
            ({"exclude_tags": "Nude", "label_format": "csv"}, "label_format is csv, but exclude_tags needs AVA scores"),
            ({"label_format": "xls"}, "label_format is 'xls', but the formats are ava, csv, json, jsonl, parquet"),
        ],
        ids=["splits", "range", "kept range", "tags", "format"],
    )
    def test_settings_that_contradict_each_other_are_refused(
        self, files: Desk, flags: dict[str, Any], said: str
    ) -> None:
        assert said in files.refused(2, "SettingsError", **flags)
        assert not files.is_published()

    def test_a_dataset_inside_the_photos_is_refused(self, files: Desk) -> None:
        message = files.refused(2, "SettingsError", dataset=f"{files.url}photos/dataset")
        assert f"dataset '{files.url}photos/dataset/' lies inside photos '{files.url}photos/'" in message
        assert "give each a prefix of its own" in message

    def test_all_that_is_wrong_is_said_at_once(self, files: Desk) -> None:
        message = files.refused(2, "SettingsError", quality=101, seed=-1)
        assert "quality is '101'" in message
        assert "seed is '-1'" in message

    @pytest.mark.parametrize("flag", ["--colour", "--qual", "--photo"])
    def test_an_unknown_or_shortened_flag_is_refused(self, files: Desk, flag: str) -> None:
        message = files.refused(2, "SettingsError", flag, "80")
        assert f"unrecognized arguments: {flag} 80" in message
        assert "--help` lists what there is" in message
        assert not files.is_published()

    def test_a_missing_flag_and_a_missing_command_are_named(self, files: Desk) -> None:
        status, out, err = files.run("build", "--photos", files.url)
        assert (status, out) == (2, "")
        assert "required: --labels, --dataset" in err
        status, _, err = files.run()
        assert status == 2
        assert "COMMAND" in err

    @pytest.mark.parametrize("keep", ["0", "-1", "some", "²", "9999999999"])
    def test_a_number_to_keep_must_be_one(self, files: Desk, keep: str) -> None:
        status, out, _ = files.run("expire", files.dataset, f"--keep={keep}", "--json")
        assert status == 2
        assert f"'{keep}' is not a whole number from 1 to 1000000000" in json.loads(out)["error"]["message"]


class TestStores:
    """A store that says no, or nothing, is named; nothing is published."""

    @pytest.mark.parametrize("setting", ["photos", "labels", "dataset"])
    def test_a_missing_bucket_is_named(self, s3: Desk, setting: str) -> None:
        message = s3.refused(3, "StoreRefusedError", **{setting: "s3://no-such-bucket-here/some/thing.csv"})
        assert "s3://no-such-bucket-here does not exist" in message
        assert "create the bucket or correct the URL" in message
        assert not s3.is_published()

    @pytest.mark.parametrize(("part", "right"), [("scores.csv", "GetObject"), ("dataset/*", "DeleteObject")])
    def test_a_missing_permission_is_named(self, s3: Desk, s3_bucket: Any, part: str, right: str) -> None:
        deny = {
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": f"arn:aws:s3:::{s3_bucket.name}/{part}",
        }
        s3_bucket.client.put_bucket_policy(
            Bucket=s3_bucket.name, Policy=json.dumps({"Version": "2012-10-17", "Statement": [deny]})
        )
        message = s3.refused(3, "AccessDeniedError")
        assert f"access to '{s3.url}{part.rstrip('*')}" in message
        assert "is denied" in message
        assert f"check the credentials, and that they have s3:{right} there" in message
        assert not s3.is_published()

    def test_scores_with_blanks_in_their_name_are_read_without_the_right_to_list(
        self, s3: Desk, s3_bucket: Any
    ) -> None:
        key = f"{s3.url.split('/', 3)[3]}My Scores/MOS and Image attribute scores.csv"
        s3_bucket.client.put_object(Bucket=s3_bucket.name, Key=key, Body=SCORES.encode())
        deny = {
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:ListBucket",
            "Resource": f"arn:aws:s3:::{s3_bucket.name}",
            "Condition": {"StringLike": {"s3:prefix": "*My Scores*"}},
        }
        s3_bucket.client.put_bucket_policy(
            Bucket=s3_bucket.name, Policy=json.dumps({"Version": "2012-10-17", "Statement": [deny]})
        )
        summary = s3.build(labels=f"s3://{s3_bucket.name}/{key}")
        assert summary["records"] == 8
        assert "id in 'id', score in 'score'" in s3.run("show", s3.dataset)[1]

    def test_missing_credentials_are_named(self, s3: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        with monkeypatch.context() as patch:
            patch.delenv("AWS_ACCESS_KEY_ID")
            patch.delenv("AWS_SECRET_ACCESS_KEY")
            message = s3.refused(3, "StoreRefusedError")
        assert "no complete AWS credentials" in message
        assert not s3.is_published()

    def test_a_store_that_does_not_answer_is_asked_three_times_and_named(
        self, s3: Desk, s3_endpoint_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with running_proxy(s3_endpoint_url) as proxy, monkeypatch.context() as patch:
            proxy.fault = lambda method, number: "hang up"
            patch.setenv("AWS_ENDPOINT_URL", proxy.url)
            message = s3.refused(3, "StoreUnavailableError")
        assert proxy.methods == ["GET"] * 3
        assert f"no answer from {proxy.url} (RemoteDisconnected) about '{s3.dataset}'; tried 3 times" in message
        assert "check the endpoint and the network, or try again later" in message
        assert not s3.is_published()

    @pytest.mark.parametrize("setting", ["photos", "labels", "dataset"])
    def test_a_kind_of_store_that_nobody_knows_is_refused_with_those_that_are(self, files: Desk, setting: str) -> None:
        before = files.store.list()
        message = files.refused(2, "SettingsError", **{setting: "ftp://host/some/thing.csv"})
        assert message.startswith("'ftp://host/some/")
        assert "is not a store; write s3://bucket/prefix/, file:///directory/, memory://name/" in message
        assert files.store.list() == before, "nothing was written"

    def test_a_directory_that_may_not_be_written_is_named(self, files: Desk, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"")
        message = files.refused(3, "StoreRefusedError", dataset=f"{files.url}file/dataset")
        assert f"{files.url}file/dataset" in message


def test_an_interrupted_build_says_that_the_same_command_goes_on(files: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(partition, "convert_partition", interrupt)
    status, out, err = files.run(*files.build_flags())
    assert (status, out) == (130, "")
    assert "the same command goes on where this one stopped" in err


def test_the_command_has_numpy_start_no_threads():
    code = """
import sys
from aesthetics_ops.__main__ import main
sys.argv[1:] = ["versions", sys.argv[1], "--json"]
main()
from threadpoolctl import threadpool_info
import numpy
print({pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"})
"""
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, "-c", code, "memory://nothing/here/"], capture_output=True, text=True, env=environment
    )
    said, threads = done.stdout.splitlines()
    assert json.loads(said)["error"]["type"] == "NoSuchVersionError", "the command ran, and looked into the store"
    assert threads == "{1}", done.stderr
