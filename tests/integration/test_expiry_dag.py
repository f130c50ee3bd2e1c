"""The weekly DAG of expiry under `airflow dags test`, over two datasets."""

from pathlib import Path

from aesthetics_ops.pipeline import build_dataset
from aesthetics_ops.settings import BuildSettings
from aesthetics_ops.store import open_store
from aesthetics_ops.versions.listing import list_versions
from tests.support.airflow_home import AirflowHome


def test_old_versions_go_of_the_datasets_that_say_so_and_of_no_other(tmp_path: Path) -> None:
    home = AirflowHome(tmp_path / "home")
    home.configure(
        home.table("cats", "expire_keep = 1"), home.table("dogs"), home.table("young", "expire_older_than_days = 1")
    )
    here = home.directory.as_uri()
    for name in ("cats", "dogs", "young"):
        for quality in (70, 80, 90):
            build_dataset(
                BuildSettings(
                    photos=f"{here}/photos/", labels=f"{here}/scores.csv", dataset=f"{here}/datasets/{name}/", encoding="reencode",
                    quality=quality,
                )
            )  # fmt: skip
    stores = {name: open_store(f"{here}/datasets/{name}/") for name in ("cats", "dogs", "young")}
    before = {name: [info.version for info in list_versions(store)] for name, store in stores.items()}
    # as if the moves were long ago: LATEST itself still says what it named before
    stores["cats"].delete(stores["cats"].list("log/")["key"].to_pylist())
    home.migrate()
    status, log = home.run("dags", "test", "expire_versions", "2026-11-01")
    assert status == 0, log[-3000:]
    after = {name: [info.version for info in list_versions(store)] for name, store in stores.items()}
    assert after == {**before, "cats": before["cats"][:2]}
    for version in after["cats"] + after["young"]:
        assert f"{version} stays: " in log
    assert not any(f"{version} stays: " in log for version in before["dogs"])
