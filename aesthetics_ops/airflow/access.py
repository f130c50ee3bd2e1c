"""Which datasets this Airflow knows, and how to reach them with its connections."""

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from aesthetics_ops.errors import SettingsError

if TYPE_CHECKING:
    from aesthetics_ops.config import Configuration, DatasetConfig
    from aesthetics_ops.store import S3Access, Store

__all__ = ["configured", "open_configured", "s3_access"]


def configured() -> "Configuration":
    """Return what the configuration file says; it is read again when it has changed, and then is another object.

    Raises:
        SettingsError: as `load_configuration`.
    """
    from aesthetics_ops.config import config_path

    path = config_path()
    try:
        looks = path.stat()
    except OSError:  # reading says why
        return _read(path, None)
    return _read(path, (looks.st_mtime_ns, looks.st_size, looks.st_ino))


@lru_cache(maxsize=1)
def _read(path: Path, looks: tuple[int, ...] | None) -> "Configuration":
    from aesthetics_ops.config import load_configuration

    return load_configuration(path)


def s3_access(config: "DatasetConfig") -> "S3Access":
    """Return how a dataset's s3:// URLs are reached: with the Airflow connection that its table names.

    Raises:
        SettingsError: the table names a connection that Airflow does not have.  The worker's own credentials, which may reach
            something else, stand in for none but the default's.
    """
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook
    from airflow.sdk.exceptions import AirflowNotFoundException

    from aesthetics_ops.store import S3Access

    name = config.airflow.aws_conn_id
    hook = S3Hook(aws_conn_id=name)
    if name is not None and "aws_conn_id" in config.airflow.model_fields_set:
        try:
            hook.get_connection(name)
        except AirflowNotFoundException as error:
            raise SettingsError(
                f"Airflow has no connection {name!r}, which table [{config.name}] names as aws_conn_id; add it, correct the "
                'name, or write "" for the credentials of the worker'
            ) from error
    return S3Access(
        hook.get_session(), endpoint_url=hook.conn_config.get_service_endpoint_url("s3"), verify=hook.verify
    )


def open_configured(config: "DatasetConfig") -> "Store":
    """Open the store that a dataset is published in.

    Raises:
        SettingsError: as `s3_access`.
        StoreRefusedError: its URL is none.
    """
    from aesthetics_ops.store import open_store

    return open_store(config.build.dataset, s3=s3_access(config))
