"""The configuration file of scheduled builds: TOML, one table per dataset (`AESTHETICS_CONFIG`).

In: a path.  Out: per table the settings of its builds, and how Airflow runs them.
"""

import os
import posixpath
import tomllib
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from pydantic import BaseModel, ConfigDict, Field

from aesthetics_ops.errors import SettingsError
from aesthetics_ops.settings import BuildSettings, parse_model, parse_settings

__all__ = ["PARTITIONS_VARIABLE", "AirflowSettings", "DatasetConfig", "config_path", "load_datasets", "mapped_tasks"]

PARTITIONS_VARIABLE: Final = "AESTHETICS_PARTITIONS"
_PARTITIONS: Final = 8
_MOST_PARTITIONS: Final = 1024  # what Airflow maps a task over at most, unless max_map_length says otherwise
_SAMPLE: Final = Path(__file__).parents[1] / "samples" / "datasets.toml"


class AirflowSettings(BaseModel):
    """How Airflow runs a dataset's DAG: the `airflow` table inside the dataset's table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schedule: str | None = Field("0 2 * * *", description="cron expression; an empty text runs on request only")
    aws_conn_id: str = Field("aws_default", min_length=1, description="Airflow connection for s3:// URLs")


@dataclass(frozen=True, slots=True)
class DatasetConfig:
    """One table of the configuration file.

    Attributes:
        name: the table's name; also the DAG's id.
        build: the settings of its scheduled builds.
        airflow: how Airflow runs it.
    """

    name: str
    build: BuildSettings
    airflow: AirflowSettings


def config_path() -> Path:
    """Return where the configuration file lies: what AESTHETICS_CONFIG names, or in a checkout the bundled sample's."""
    return Path(os.environ.get("AESTHETICS_CONFIG") or _SAMPLE)


def load_datasets(path: Path) -> tuple[DatasetConfig, ...]:
    """Read the configuration file: TOML, one table per dataset.

    Raises:
        SettingsError: the file is missing, is not TOML, has no table, a table is not valid, or two tables would write into
            each other's prefixes.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(
            f"configuration file {str(path)!r} cannot be read: {error.strerror}; set AESTHETICS_CONFIG"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"configuration file {str(path)!r} is not TOML: {error}") from error
    if not tables:
        raise SettingsError(f"configuration file {str(path)!r} has no table; add one per dataset, such as [my_dataset]")
    datasets = tuple(_dataset(path, name, table) for name, table in tables.items())
    for one, other in combinations(datasets, 2):
        _refuse_overlap(path, one, other)
    return datasets


def mapped_tasks() -> int:
    """Return how many parallel tasks a stage of a DAG has: what AESTHETICS_PARTITIONS says, by default 8.

    Raises:
        SettingsError: it says no whole number from 1 to 1024.
    """
    text = os.environ.get(PARTITIONS_VARIABLE, "").strip()
    if not text:
        return _PARTITIONS
    if not (text.isascii() and text.isdecimal()) or not 1 <= int(text[:9]) <= _MOST_PARTITIONS:
        raise SettingsError(
            f"{PARTITIONS_VARIABLE} is {text!r}, but must be a whole number from 1 to {_MOST_PARTITIONS}: the parallel tasks "
            f"of a stage; correct it for the scheduler and the workers, or unset it for {_PARTITIONS}"
        )
    return int(text)


def _refuse_overlap(path: Path, one: DatasetConfig, other: DatasetConfig) -> None:
    """Refuse two tables when one would publish into what the other publishes, or reads its photos from."""
    for (first, this), (second, that) in (
        (("dataset", one), ("dataset", other)),
        (("dataset", one), ("photos", other)),
        (("dataset", other), ("photos", one)),
    ):
        urls = getattr(this.build, first), getattr(that.build, second)
        inner, outer = map(_parts_of, urls)
        shorter = min(len(inner), len(outer))
        if inner[:shorter] == outer[:shorter]:
            raise SettingsError(
                f"tables [{this.name}] and [{that.name}] of {str(path)!r} share a prefix: {first} {urls[0]!r} of "
                f"[{this.name}] and {second} {urls[1]!r} of [{that.name}] are equal or one lies inside the other, so one "
                "build would damage what the other needs; give each a prefix of its own"
            )


def _parts_of(url: str) -> tuple[str, ...]:
    """Return what a prefix is made of, the same for every way to write it."""
    scheme, _, rest = url.partition("://")
    if scheme == "file":
        rest = posixpath.normpath(unquote(rest.removeprefix("localhost")))
        return (scheme, *rest.strip("/").split("/")) if rest.strip("/") else (scheme,)
    return (scheme, *rest.rstrip("/").split("/"))


def _dataset(path: Path, name: str, table: object) -> DatasetConfig:
    where = f"table [{name}] of {str(path)!r}"
    if not isinstance(table, dict):
        raise SettingsError(f"{name!r} in configuration file {str(path)!r} is not a table; write [{name}]")
    values = dict(table)
    airflow = parse_model(AirflowSettings, values.pop("airflow", {}), f"{where}, airflow")
    return DatasetConfig(name, parse_settings(values, where=where), airflow)
