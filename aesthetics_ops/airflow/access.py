"""Which datasets this Airflow knows, how to reach them with its connections, and what their tasks left for each other."""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aesthetics_ops.errors import SettingsError

if TYPE_CHECKING:
    from aesthetics_ops.config import Configuration, DatasetConfig
    from aesthetics_ops.store import S3Access, S3Options, Store

__all__ = ["configured", "open_configured", "s3_access", "xcom_in_database"]


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
    """Return how a dataset's s3:// URLs are reached: with the Airflow connections that its table names.

    Raises:
        SettingsError: the table names a connection that Airflow does not have, or what it says of encryption contradicts itself.
            The worker's own credentials, which may reach something else, stand in for none but the default's.
        StoreRefusedError, StoreUnavailableError: a connection's role is denied, or STS does not answer.
    """
    from aesthetics_ops.store import S3Options

    how = config.airflow
    options = S3Options.of(encryption=how.encryption, kms_key_id=how.kms_key_id, addressing=how.addressing)
    paying = S3Options.of(requester_pays=how.requester_pays, addressing=how.addressing)
    setting = "aws_conn_id" if how.sources_conn_id is None else "sources_conn_id"
    sources = _with_connection(config, setting, paying)
    return replace(_with_connection(config, "aws_conn_id", options), sources=sources)


def _with_connection(config: "DatasetConfig", setting: str, options: "S3Options") -> "S3Access":
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook
    from airflow.sdk.exceptions import AirflowNotFoundException

    from aesthetics_ops.store import S3Access
    from aesthetics_ops.store.credentials import explain_provider

    name = getattr(config.airflow, setting)
    hook = S3Hook(aws_conn_id=name)
    if name is not None and setting in config.airflow.model_fields_set:
        try:
            hook.get_connection(name)
        except AirflowNotFoundException as error:
            otherwise = ', or write "" for the credentials of the worker' if setting == "aws_conn_id" else ""
            raise SettingsError(
                f"Airflow has no connection {name!r}, which table [{config.name}] names as {setting}; add it, or correct the "
                f"name{otherwise}"
            ) from error
    endpoint = hook.conn_config.get_service_endpoint_url("s3")
    try:
        session = hook.get_session()  # asks STS where the connection names a role
    except Exception as error:  # botocore's, requests', Airflow's
        explained = explain_provider(f"Airflow connection {name!r}", error)
        if explained is None:
            raise
        raise explained from error
    return S3Access(session, endpoint_url=endpoint, verify=hook.verify, options=options)


def open_configured(config: "DatasetConfig") -> "Store":
    """Open the store that a dataset is published in.

    Raises:
        SettingsError: as `s3_access`.
        StoreRefusedError: its URL is none.
    """
    from aesthetics_ops.store import open_store

    return open_store(config.build.dataset, s3=s3_access(config))


def xcom_in_database(dag_id: str, run_id: str, task_id: str, key: str = "return_value", map_index: int = -1) -> Any:
    """Return an XCom, in a process that may read the metadata database; None where there is none."""
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session

    query = XComModel.get_many(run_id=run_id, dag_ids=dag_id, task_ids=task_id, key=key, map_indexes=map_index)
    with create_session() as session:
        found = session.scalars(query).first()
        return XComModel.deserialize_value(found) if found else None
