"""What a training is told: the `training` table inside a dataset's table, or the flags of `aesthetics-ops train`.

In: plain values, and the dataset's URL.  Out: settings whose URL is known; or what is wrong with them.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, field_validator

from aesthetics_ops.errors import SettingsError
from aesthetics_ops.parsing import parse_model
from aesthetics_ops.urls import as_url, is_shared, prefix_parts

__all__ = ["TrainingSettings", "inside_of", "training_settings"]

_FUNCTION: Final = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


class TrainingSettings(BaseModel):
    """What is trained on each new version, and how: the `training` table inside the dataset's table."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    train: str = Field(
        "aesthetics_ops.training.keras_model:train",
        description="the function that trains, as module:function; docs/training.md has what it is given and returns",
    )
    url: str | None = Field(
        None,
        min_length=1,
        description="where trainings lie, in a folder for each version; by default beside the dataset, at <dataset>-training/",
    )
    seed: int = Field(0, ge=0, lt=1 << 32, description="handed to the function")
    options: dict[str, Any] = Field({}, description="handed to the function, which says what it takes")
    directory: str | None = Field(
        None,
        min_length=1,
        description="on the worker, that versions are pulled into; by default scratch, which goes afterwards",
    )
    keep_pins: int | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description="of how many of the newest trainings the versions stay pinned; by default of all",
    )
    retries: int = Field(2, ge=0, le=100, description="how often a training that failed is tried again")
    retry_delay_s: float = Field(
        300, ge=0, le=86_400, description="before the first of these, s; each next one waits twice as long"
    )
    task_timeout_h: float | None = Field(
        None, gt=0, description="a training that runs longer is stopped and tried again, h"
    )
    pool: str | None = Field(None, min_length=1, description="Airflow pool that the training takes a slot of")
    queue: str | None = Field(
        None, min_length=1, description="queue of the workers that train, such as those with a GPU"
    )
    executor_config: dict[str, Any] = Field({}, description="handed to the executor with the training")
    tags: tuple[str, ...] = Field(("training",), description="shown in the list of DAGs, to filter by")

    @field_validator("train")
    @classmethod
    def _is_a_path(cls, train: str) -> str:
        if not _FUNCTION.fullmatch(train):
            raise ValueError(f"train is {train!r}, and no module:function; write one such as my_models.nima:train")
        return train

    @field_validator("options")
    @classmethod
    def _is_json(cls, options: dict[str, Any]) -> dict[str, Any]:
        try:
            json.dumps(options, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"options hold what JSON cannot: {error}; write dates as text, and no nan or inf"
            ) from None
        return options

    @field_validator("directory")
    @classmethod
    def _is_absolute(cls, directory: str | None) -> str | None:
        if directory is not None and not Path(directory).is_absolute():
            raise ValueError(f"directory is {directory!r}, a relative path; write one from the root on")
        return directory

    @property
    def digest(self) -> str:
        """Sha256, in hex, of what decides the model beside the data: the function, its options and the seed."""
        content = {"train": self.train, "options": self.options, "seed": self.seed}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def training_settings(values: dict[str, Any], dataset: str, where: str) -> TrainingSettings:
    """Make the settings of a training from plain values.

    Args:
        values: as the table has them.
        dataset: the dataset's URL, beside which trainings lie by default.
        where: the origin of the values, for messages.

    Raises:
        SettingsError: a value is wrong; the url lies in the dataset, or around it; or none is given, and there is no place beside it.
    """
    settings = parse_model(TrainingSettings, values, where)
    url = settings.url
    if url is None:
        parts = prefix_parts(dataset)
        if len(parts) < (2 if parts[0] == "file" else 3):
            raise SettingsError(
                f"{where}: dataset {dataset!r} is a whole bucket, so nothing lies beside it; set url, where trainings lie"
            )
        url = dataset.rstrip("/") + "-training"
    url = as_url(url).rstrip("/") + "/"
    if problem := inside_of(where, url, {"dataset": dataset}):
        raise SettingsError(problem)
    return settings.model_copy(update={"url": url})


def inside_of(where: str, url: str | None, places: dict[str, Any], whose: str = "") -> str:
    """Say which of these prefixes a training's URL shares; empty: none."""
    for name, place in places.items():
        if is_shared(url or "", place):
            return (
                f"{where}: url {url!r} and {name} {place!r}{whose} are equal or one lies inside the other, so models would lie "
                "among other data; set url to a prefix of its own"
            )
    return ""
