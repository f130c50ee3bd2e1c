"""The configuration file of scheduled builds: TOML, one table per dataset (`AESTHETICS_CONFIG`).

In: a path.  Out: per table the settings of its builds, and how Airflow runs them; or what is wrong with the table.
Promised: a table that cannot be used hides no other.
"""

import os
import re
import tomllib
from collections.abc import Container
from dataclasses import dataclass, replace
from itertools import combinations, count, permutations
from pathlib import Path
from typing import Any, Final, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from aesthetics_ops.errors import SettingsError
from aesthetics_ops.parsing import parse_model, whole_number
from aesthetics_ops.settings import Addressing, BuildSettings, Encryption, parse_settings
from aesthetics_ops.training_settings import TrainingSettings, inside_of, training_settings
from aesthetics_ops.urls import is_shared

__all__ = [
    "EXPIRY_DAG",
    "PARTITIONS_VARIABLE",
    "AirflowSettings",
    "Configuration",
    "DatasetConfig",
    "FaultyTable",
    "config_path",
    "load_configuration",
    "mapped_tasks",
]

PARTITIONS_VARIABLE: Final = "AESTHETICS_PARTITIONS"
_PARTITIONS: Final = 8
_MOST_PARTITIONS: Final = 1024  # what Airflow maps a task over at most, unless max_map_length says otherwise
EXPIRY_DAG: Final = "expire_versions"
_TRAINING_DAG: Final = "train_on_new_version"  # begins the ids of DAGs that train; no table may have such a name
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")  # what can be a DAG's id, and part of an address
_SAMPLE: Final = Path(__file__).parents[1] / "samples" / "datasets.toml"


class AirflowSettings(BaseModel):
    """How Airflow runs a dataset's DAG: the `airflow` table inside the dataset's table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schedule: str | None = Field("0 2 * * *", description="cron expression; an empty text runs on request only")
    timezone: str = Field("UTC", description="of the schedule, as the IANA database names it, such as Europe/Berlin")
    run_on: tuple[str, ...] = Field(
        (), description="URIs of Airflow assets: a run starts when all of them were updated, in place of a schedule"
    )
    aws_conn_id: str | None = Field(
        "aws_default",
        min_length=1,
        description="Airflow connection for s3:// URLs; an empty text takes the worker's own credentials",
    )
    sources_conn_id: str | None = Field(
        None,
        min_length=1,
        description="Airflow connection for s3:// URLs of photos, scores and the inventory; by default that of the dataset",
    )
    requester_pays: bool | None = Field(
        None, description="say with each request for photos, scores and the inventory that this side pays for it"
    )
    encryption: Encryption | None = Field(
        None, description="how the store is told to encrypt what is written; by default the bucket's own setting"
    )
    kms_key_id: str | None = Field(None, min_length=1, description="of the key, where KMS encrypts")
    addressing: Addressing | None = Field(
        None, description="where requests name the bucket: path, virtual (before the host), or auto"
    )
    partitions: int | None = Field(
        None,
        ge=1,
        le=_MOST_PARTITIONS,
        description=f"parallel tasks of a stage; by default what {PARTITIONS_VARIABLE} says",
    )
    retries: int = Field(4, ge=0, le=100, description="how often a task that failed is tried again")
    retry_delay_s: float = Field(
        60, ge=0, le=86_400, description="before the first of these, s; each next one waits twice as long"
    )
    task_timeout_h: float | None = Field(
        None, gt=0, le=8_760, description="a task that runs longer is stopped and tried again, h"
    )
    run_timeout_h: float | None = Field(None, gt=0, le=8_760, description="a run that takes longer fails, h")
    pool: str | None = Field(None, min_length=1, description="Airflow pool that every task takes a slot of")
    queue: str | None = Field(None, min_length=1, description="queue of the workers that run the tasks")
    owner: str = Field("airflow", min_length=1, description="shown in the list of DAGs")
    tags: tuple[str, ...] = Field(("dataset",), description="shown in the list of DAGs, to filter by")
    executor_config: dict[str, Any] = Field({}, description="handed to the executor with every task")
    on_failure: tuple[dict[str, Any], ...] = Field((), description="notifiers that are told when a run has failed")
    on_refused: tuple[dict[str, Any], ...] = Field(
        (), description="notifiers that are told when a gate refused the version; by default those of on_failure"
    )
    on_published: tuple[dict[str, Any], ...] = Field((), description="notifiers that are told of a new version")
    on_late: tuple[dict[str, Any], ...] = Field(
        (), description="notifiers of the alarm of alarm_after_h; by default those of on_failure"
    )
    alarm_after_h: float | None = Field(
        None,
        gt=0,
        le=8_760,
        description="an alarm where a run has not ended well so long after it was due, and no version appeared meanwhile, h",
    )
    ask_on_refusal: bool = Field(
        False,
        description="when a gate refuses the version, a person is asked in Airflow whether to publish it all the same",
    )
    answer_within_h: float = Field(
        12, gt=0, le=8_760, description="of that question; no answer in this time counts as a rejection, h"
    )

    expire_keep: int | None = Field(
        None,
        ge=1,
        description="the newest so many versions stay when the DAG expire_versions runs; without this and the next, all do",
    )
    expire_older_than_days: float | None = Field(
        None, gt=0, le=36_500, description="versions planned less long ago stay when the DAG expire_versions runs, days"
    )

    @field_validator("on_failure", "on_refused", "on_published", "on_late", mode="before")
    @classmethod
    def _one_is_a_list_of_one(cls, value: object) -> object:
        return (value,) if isinstance(value, dict) else value

    @property
    def expires(self) -> bool:
        """Whether the DAG expire_versions looks at the dataset."""
        return self.expire_keep is not None or self.expire_older_than_days is not None

    @field_validator("timezone")
    @classmethod
    def _is_a_timezone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(
                f"timezone is {name!r}, which the IANA database does not have; write one such as Europe/Berlin"
            ) from None
        return name

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.run_on and "schedule" in self.model_fields_set and self.schedule is not None:
            raise ValueError(
                "schedule and run_on are both set; a run starts by the clock or when assets are updated: leave one out"
            )
        if self.kms_key_id is not None and self.encryption == "AES256":
            raise ValueError("kms_key_id is set, but encryption 'AES256' takes no key; set encryption to 'aws:kms'")
        if self.alarm_after_h is not None and not self.on_late and not self.on_failure:
            raise ValueError(
                f"alarm_after_h is {self.alarm_after_h:g}, but nobody is told of the alarm; name a notifier as on_late or on_failure"
            )
        if "answer_within_h" in self.model_fields_set and not self.ask_on_refusal:
            raise ValueError(
                f"answer_within_h is {self.answer_within_h:g}, but nobody is asked; set ask_on_refusal to true, or leave it out"
            )
        if self.ask_on_refusal and self.run_timeout_h is not None and self.run_timeout_h <= self.answer_within_h:
            raise ValueError(
                f"run_timeout_h is {self.run_timeout_h:g}, and a person may take {self.answer_within_h:g} hours of it to answer "
                "(answer_within_h); make run_timeout_h longer than that and a build together, or answer_within_h shorter"
            )
        return self


@dataclass(frozen=True, slots=True)
class DatasetConfig:
    """One table of the configuration file.

    Attributes:
        name: the table's name; also the DAG's id.
        build: the settings of its scheduled builds.
        airflow: how Airflow runs it.
        training: what is trained on each new version, its URL known; None where nothing is, or that table cannot be used.
        training_problem: what is wrong with the table of the training, in one line; empty where nothing is.
    """

    name: str
    build: BuildSettings
    airflow: AirflowSettings
    training: TrainingSettings | None = None
    training_problem: str = ""

    @property
    def training_dag(self) -> str:
        """Id of the DAG that trains."""
        return f"{_TRAINING_DAG}.{self.name}"


@dataclass(frozen=True, slots=True)
class FaultyTable:
    """A table that no dataset can be built from.

    Attributes:
        name: the table's name.
        dag_id: of the DAG that fails with `problem`: the name, made harmless, and no other table's.
        problem: what is wrong, in one line.
    """

    name: str
    dag_id: str
    problem: str


@dataclass(frozen=True, slots=True, eq=False)  # equal to itself alone, so that it can be a key
class Configuration:
    """What the configuration file says, in its order.

    Attributes:
        datasets: the tables that can be used.
        faulty: the others.
    """

    datasets: tuple[DatasetConfig, ...]
    faulty: tuple[FaultyTable, ...]


def config_path() -> Path:
    """Return where the configuration file lies: what AESTHETICS_CONFIG names, or in a checkout the bundled sample's."""
    return Path(os.environ.get("AESTHETICS_CONFIG") or _SAMPLE)


def load_configuration(path: Path) -> Configuration:
    """Read the configuration file: TOML, one table per dataset.

    Of two tables that would write into each other's prefixes neither can be used: nothing says which is meant.

    Raises:
        SettingsError: the file is missing, is not TOML, or has no table.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise SettingsError(
            f"configuration file {str(path)!r} cannot be read: {error.strerror}; set AESTHETICS_CONFIG"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"configuration file {str(path)!r} is not TOML: {error}") from error
    if not tables:
        raise SettingsError(f"configuration file {str(path)!r} has no table; add one per dataset, such as [my_dataset]")
    read: dict[str, DatasetConfig] = {}
    problems: dict[str, str] = {}
    for name, table in tables.items():
        try:
            read[name] = _dataset(path, name, table)
        except SettingsError as error:
            problems[name] = str(error)
    for one, other in combinations(read.values(), 2):
        if shared := _shared_prefix(path, one, other):
            problems |= {config.name: shared for config in (one, other) if config.name not in problems}
    for one, other in permutations(read.values(), 2):
        if shared := _shared_training(path, one, other):
            read[one.name] = replace(read[one.name], training=None, training_problem=shared)
    taken = read.keys() - problems.keys()
    faulty = []
    for name in sorted(problems, key=list(tables).index):
        faulty.append(FaultyTable(name, _dag_id(name, taken | {EXPIRY_DAG}), problems[name]))
        taken |= {faulty[-1].dag_id}
    return Configuration(tuple(config for name, config in read.items() if name not in problems), tuple(faulty))


def _dag_id(name: str, taken: Container[str]) -> str:
    """Return an id that Airflow takes, for a table whose name may be anything."""
    harmless = re.sub(r"[^A-Za-z0-9_.-]", "_", name)[:190].lstrip(".-") or "table"
    return next(found for number in count(1) if (found := harmless + f"_{number}" * (number > 1)) not in taken)


def mapped_tasks() -> int:
    """Return how many parallel tasks a stage of a DAG has: what AESTHETICS_PARTITIONS says, by default 8.

    Raises:
        SettingsError: it says no whole number from 1 to 1024.
    """
    text = os.environ.get(PARTITIONS_VARIABLE, "").strip()
    if not text:
        return _PARTITIONS
    number = whole_number(text, 1, _MOST_PARTITIONS)
    if number is None:
        raise SettingsError(
            f"{PARTITIONS_VARIABLE} is {text[:40]!r}, but must be a whole number from 1 to {_MOST_PARTITIONS}: the parallel tasks "
            f"of a stage; correct it for the scheduler and the workers, or unset it for {_PARTITIONS}"
        )
    return number


def _shared_prefix(path: Path, one: DatasetConfig, other: DatasetConfig) -> str:
    """Say where one table would publish into what the other publishes, or reads its photos from; empty: nowhere."""
    for (first, this), (second, that) in (
        (("dataset", one), ("dataset", other)),
        (("dataset", one), ("photos", other)),
        (("dataset", other), ("photos", one)),
    ):
        urls = getattr(this.build, first), getattr(that.build, second)
        if is_shared(*urls):
            return (
                f"tables [{this.name}] and [{that.name}] of {str(path)!r} share a prefix: {first} {urls[0]!r} of "
                f"[{this.name}] and {second} {urls[1]!r} of [{that.name}] are equal or one lies inside the other, so one "
                "build would damage what the other needs; give each a prefix of its own"
            )
    return ""


def _shared_training(path: Path, one: DatasetConfig, other: DatasetConfig) -> str:
    """Say where the trainings of one table would lie in what another table reads or writes; empty: nowhere."""
    if one.training is None:
        return ""
    theirs: dict[str, Any] = {"dataset": other.build.dataset, "photos": other.build.photos}
    if other.training is not None:
        theirs["training"] = other.training.url
    return inside_of(f"table [{one.name}.training] of {str(path)!r}", one.training.url, theirs, f" of [{other.name}]")


def _dataset(path: Path, name: str, table: object) -> DatasetConfig:
    where = f"table [{name}] of {str(path)!r}"
    if not isinstance(table, dict):
        raise SettingsError(f"{name!r} in configuration file {str(path)!r} is not a table; write [{name}]")
    if not _NAME.fullmatch(name):
        raise SettingsError(
            f"table [{name!r}] of {str(path)!r} cannot name a DAG: letters, digits, '_', '-' and '.' can, at most 200, and not "
            "first '-' or '.'; give it another name, its dataset stays the same"
        )
    if name == EXPIRY_DAG or name.partition(".")[0] == _TRAINING_DAG:
        what = "expires versions" if name == EXPIRY_DAG else "trains"
        raise SettingsError(
            f"{where} has the name of the DAG that {what}; give it another name, its dataset stays the same"
        )
    values = dict(table)
    training = values.pop("training", None)
    airflow = parse_model(AirflowSettings, values.pop("airflow", {}), f"{where}, airflow")
    inner = [key for key, value in values.items() if isinstance(value, dict) and key not in BuildSettings.model_fields]
    if inner:
        raise SettingsError(
            f"{where} has a table [{name}.{inner[0]}] inside it: a dot makes a table in a table; for a dataset of its own write "
            f'[{name}_{inner[0]}], or with quotes ["{name}.{inner[0]}"]; only [{name}.airflow] and [{name}.training] belong in here'
        )
    config = DatasetConfig(name, parse_settings(values, where=where), airflow)
    return config if training is None else _with_training(config, training, f"{where}, training")


def _with_training(config: DatasetConfig, table: object, where: str) -> DatasetConfig:
    """Add what the inner table says of trainings; one that is wrong stops no build."""
    if not isinstance(table, dict):
        return replace(config, training_problem=f"{where} is {table!r}, and no table; write [{config.name}.training]")
    build = config.build
    try:
        training = training_settings(dict(table), build.dataset, where)
    except SettingsError as error:
        return replace(config, training_problem=str(error))
    problem = inside_of(where, training.url, {"photos": build.photos})
    return replace(config, training=None if problem else training, training_problem=problem)
