"""The configuration file of scheduled builds: TOML, one table per dataset (`AESTHETICS_CONFIG`).

In: a path.  Out: per table the settings of its builds, and how Airflow runs them.
"""

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from aesthetics_ops.errors import SettingsError
from aesthetics_ops.settings import BuildSettings, parse_model, parse_settings

__all__ = ["AirflowSettings", "DatasetConfig", "config_path", "load_datasets"]

_SAMPLE = Path(__file__).parents[1] / "samples" / "datasets.toml"


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
        SettingsError: the file is missing, is not TOML, has no table, or a table is not valid.
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
    return tuple(_dataset(path, name, table) for name, table in tables.items())


def _dataset(path: Path, name: str, table: object) -> DatasetConfig:
    where = f"table [{name}] of {str(path)!r}"
    if not isinstance(table, dict):
        raise SettingsError(f"{name!r} in configuration file {str(path)!r} is not a table; write [{name}]")
    values = dict(table)
    airflow = parse_model(AirflowSettings, values.pop("airflow", {}), f"{where}, airflow")
    return DatasetConfig(name, parse_settings(values, where=where), airflow)
