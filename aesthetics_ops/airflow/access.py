"""Which datasets this Airflow knows, and how to reach them with its connections."""

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aesthetics_ops.config import DatasetConfig
    from aesthetics_ops.store import S3Access, Store

__all__ = ["configured", "open_configured", "s3_access"]


@cache
def configured() -> "dict[str, DatasetConfig]":
    """Return the datasets of the configuration file by name; read once in a process.

    Raises:
        SettingsError: as `load_datasets`.
    """
    from aesthetics_ops.config import config_path, load_datasets

    return {config.name: config for config in load_datasets(config_path())}


def s3_access(config: "DatasetConfig") -> "S3Access":
    """Return how a dataset's s3:// URLs are reached: with the Airflow connection that its table names."""
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    from aesthetics_ops.store import S3Access

    hook = S3Hook(aws_conn_id=config.airflow.aws_conn_id)
    return S3Access(
        hook.get_session(), endpoint_url=hook.conn_config.get_service_endpoint_url("s3"), verify=hook.verify
    )


def open_configured(config: "DatasetConfig") -> "Store":
    """Open the store that a dataset is published in.

    Raises:
        StoreRefusedError: its URL is none.
    """
    from aesthetics_ops.store import open_store

    return open_store(config.build.dataset, s3=s3_access(config))
