"""Who hears of a run: Airflow's notifiers, as a table of the configuration file names them, with the reason in the message.

In: how a run ended.  Out: a message to each notifier of that end.
Promised: a notifier that fails costs a line in a log and nothing else; what is wrong with one is said when the DAG is made.

What a task found out lies in its XCom `problem`; the messages go out where Airflow runs callbacks of DAGs, in the DAG
processor, so that a run that lost its worker is told of, too.  The alarm about an old dataset runs in the triggerer; that a
question waits for a person is told by the task that asks.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Literal, cast

from airflow.sdk import BaseNotifier
from airflow.sdk.definitions.callback import AsyncCallback
from airflow.sdk.definitions.deadline import DeadlineAlert, DeadlineReference
from asgiref.sync import sync_to_async

from aesthetics_ops.airflow.access import configured, open_configured, xcom_in_database
from aesthetics_ops.airflow.log import without_addresses
from aesthetics_ops.errors import AestheticsOpsError, GateError, SettingsError

if TYPE_CHECKING:
    from aesthetics_ops.config import DatasetConfig

__all__ = [
    "Notice",
    "PostJson",
    "keep_news",
    "keep_problem",
    "notifying",
    "tell_asked",
    "tell_late",
    "telling_failures",
]

_log = logging.getLogger(__name__)

Event = Literal["failed", "refused", "asked", "published", "late"]
_SETTINGS: Final[Mapping[Event, str]] = {
    "failed": "on_failure", "refused": "on_refused", "asked": "on_refused", "published": "on_published", "late": "on_late",
}  # fmt: skip
_PROBLEM: Final = "problem"  # the XCom in which a task that fails leaves what went wrong
_NEWS: Final = "news"  # the XCom in which `publish` leaves a new version of the table's own dataset
_TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Notice:
    """What a notifier is told; templates of its arguments know it as `notice`.

    Attributes:
        event: what happened: the run failed, a gate refused the version, a person is asked about one that a gate refused, a version
            was published, or none is new enough.
        dataset: its URL.
        dag_id, run_id: of the run.
        task_id: of the task that failed; empty where there is none.
        reason: the line of the error or of the gates; of a published version its name and what is in it.
        version: its name; empty where none was published, nor is asked about.
        counts: of the version, or of the plan where there is no version.
    """

    event: Event
    dataset: str
    dag_id: str
    run_id: str
    task_id: str
    reason: str
    version: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """All of it for a person, in one line."""
        where = f" in task {self.task_id}" if self.task_id else ""
        return f"{self.dag_id}: {self.event}{where}: {self.reason} (run {self.run_id}, dataset {self.dataset})"


class PostJson(BaseNotifier):
    """Posts a notice as JSON to the URL of an Airflow connection of type `http`.

    The body is an object with the fields of `Notice` and its `text`.

    Args:
        conn_id: of the connection: its host is the URL, its login and password are sent, its extra holds headers.
        endpoint: goes behind that URL.
    """

    template_fields = ("endpoint",)

    def __init__(self, *, conn_id: str, endpoint: str = "") -> None:
        super().__init__()
        if not isinstance(conn_id, str) or not conn_id or not isinstance(endpoint, str):
            raise ValueError("conn_id names a connection, and endpoint is a text")
        self.conn_id, self.endpoint = conn_id, endpoint

    def notify(self, context: Any) -> None:
        """Send it.

        Raises:
            RuntimeError: it did not arrive; the text has the connection's name, and nothing that may be a secret of it.
        """
        from airflow.providers.http.hooks.http import HttpHook
        from airflow.sdk.exceptions import AirflowException
        from requests import RequestException

        notice: Notice = context["notice"]
        body = {**asdict(notice), "text": notice.text}
        hook = HttpHook(method="POST", http_conn_id=self.conn_id)
        try:
            hook.run(self.endpoint or None, json=body, extra_options={"timeout": _TIMEOUT_S})
        except (AirflowException, RequestException, OSError, ValueError) as error:
            answer = getattr(getattr(error, "response", None), "status_code", None)
            said = f"status {answer}" if answer else type(error).__name__
            raise RuntimeError(f"no answer of success from connection {self.conn_id!r} ({said})") from None


def notifying(config: "DatasetConfig") -> dict[str, Any]:
    """Return the arguments of a DAG that let its ends be told.

    Raises:
        SettingsError: a notifier of the table cannot be made: no such class, or wrong arguments.
    """
    how = config.airflow
    for setting in _SETTINGS.values():
        for table in getattr(how, setting):
            _made(config.name, setting, table)
    arguments: dict[str, Any] = {}
    if how.on_failure or how.on_refused:
        arguments["on_failure_callback"] = lambda context: _tell_failure(config, context)
    if how.on_published:
        arguments["on_success_callback"] = lambda context: _tell_published(config, context)
    if how.alarm_after_h is not None:
        arguments["deadline"] = DeadlineAlert(
            reference=DeadlineReference.DAGRUN_QUEUED_AT,
            interval=timedelta(hours=how.alarm_after_h),
            callback=AsyncCallback(tell_late, {"table": config.name}),
        )
    return arguments


def telling_failures(config: "DatasetConfig", dag_id: str) -> dict[str, Any]:
    """Return the arguments of a DAG beside the table's own, whose failures those of `on_failure` are told of."""
    if not config.airflow.on_failure:
        return {}
    return {"on_failure_callback": lambda context: _tell_failure(config, context, dag_id)}


def keep_problem(context: Mapping[str, Any], error: BaseException, message: str) -> None:
    """Leave what went wrong in a task where the notifiers of its run find it."""
    event: Event = "refused" if isinstance(error, GateError) else "failed"
    try:
        context["ti"].xcom_push(key=_PROBLEM, value={"event": event, "reason": message})
    except Exception as lost:  # the task's own error is what counts
        _log.warning("the reason of this failure cannot be kept for a message: %s", lost)


def keep_news(context: Mapping[str, Any], summary: Mapping[str, Any]) -> None:
    """Leave what a new version is where the notifiers of the run find it."""
    context["ti"].xcom_push(key=_NEWS, value=dict(summary))


def tell_asked(config: "DatasetConfig", context: Mapping[str, Any], url: str, version: str, refusal: str) -> None:
    """Tell that a person is to decide about a version that a gate refused.

    Args:
        config: of the dataset.
        context: of the task that asks.
        url: of the dataset.
        version: its name.
        refusal: the line of the gates.
    """
    reason = f"approve or reject it in Airflow within {config.airflow.answer_within_h:g} hours: {refusal}"
    counts = _counts(_xcom(context, "plan") or {})
    task_id = context["ti"].task_id
    _tell(config, Notice("asked", url, config.name, _run_id(context), task_id, reason, version, counts), context)


async def tell_late(table: str, context: Mapping[str, Any]) -> None:
    """Tell that a run has not ended well in time and that no version appeared meanwhile: called by the triggerer at the deadline.

    The triggerer, since what Airflow 3.3 runs on an executor at a deadline may ask for no connection that lies in the database.

    Args:
        table: of the configuration file.
        context: the run and its deadline, as JSON.
    """
    await sync_to_async(_tell_late)(table, context)


def _tell_late(table: str, context: Mapping[str, Any]) -> None:
    run = context["dag_run"]
    config = next((config for config in configured().datasets if config.name == table), None)
    if config is None or config.airflow.alarm_after_h is None:
        _log.info("no alarm: the configuration file asks for none for %s any more", table)
        return
    hours = config.airflow.alarm_after_h
    version, made_at, trouble = _newest(config)
    if made_at is not None and datetime.now(UTC) - made_at < timedelta(hours=hours):
        _log.info("no alarm: version %s of %s appeared meanwhile", version, config.build.dataset)
        return
    newest = f"the newest version is {version} of {made_at:%Y-%m-%d %H:%M} UTC" if made_at else trouble
    reason = f"a run that began {hours:g} h ago has not ended well, and {newest}"
    notice = Notice("late", config.build.dataset, table, str(run["dag_run_id"]), "", reason, version)
    _tell(config, notice, context)


def _newest(config: "DatasetConfig") -> tuple[str, datetime | None, str]:
    """Return the version that LATEST names and when it was made, or why there is none."""
    from aesthetics_ops.dataset.reading_manifests import read_manifest

    try:
        manifest = read_manifest(open_configured(config))
    except AestheticsOpsError as error:
        return "", None, f"no version can be read: {error}"
    return manifest.version, manifest.created_at, ""


def _tell_failure(config: "DatasetConfig", context: Mapping[str, Any], dag_id: str | None = None) -> None:
    task_id, problem = "", None
    if "ti" in context:
        task_id = context["ti"].task_id
        problem = _xcom(context, task_id, _PROBLEM, context["ti"].map_index)
    if problem is None:
        ended = "ran longer than run_timeout_h" if context.get("reason") == "timed_out" else "ended without a word"
        what = "the run" if context.get("reason") == "timed_out" or not task_id else f"task {task_id}"
        problem = {"event": "failed", "reason": f"{what} {ended}; its log, or that of its worker, says more"}
    planned = _xcom(context, "plan") or {}
    event = problem["event"]
    notice = Notice(
        event, planned.get("dataset", config.build.dataset), dag_id or config.name, _run_id(context), task_id, problem["reason"],
        counts=_counts(planned),
    )  # fmt: skip
    _tell(config, notice, context)


def _tell_published(config: "DatasetConfig", context: Mapping[str, Any]) -> None:
    news = ((task_id, _xcom(context, task_id, _NEWS)) for task_id in ("publish", "promote"))
    task_id, published = next((found for found in news if found[1] is not None), ("", None))
    if published is None:  # nothing changed, or told before, or another dataset
        return
    counts = _counts(published)
    reason = f"version {published['version']}: " + ", ".join(f"{count} {name}" for name, count in counts.items())
    notice = Notice(
        "published",
        published["dataset"],
        config.name,
        _run_id(context),
        task_id,
        reason,
        published["version"],
        counts,
    )
    _tell(config, notice, context)


def _tell(config: "DatasetConfig", notice: Notice, context: Mapping[str, Any]) -> None:
    setting = _SETTINGS[notice.event]
    if not getattr(config.airflow, setting) and notice.event != "published":
        setting = "on_failure"  # whoever hears of failures hears of what has no notifier of its own
    told: dict[str, Any] = dict(context) | {"notice": notice}
    if not hasattr(
        told.get("dag"), "get_template_env"
    ):  # under `dags test` it is one that templates cannot be rendered for
        told.pop("dag", None)
    for table in getattr(config.airflow, setting):
        try:
            # each time a new one: it writes its rendered arguments over its templates
            _made(config.name, setting, table)(told.copy())
        except Exception as error:  # a notifier may raise anything, and what it tells of is past
            _log.warning(
                "table [%s]: a notifier of %s could not tell of %s: %s: %s; the run ends as it would have",
                config.name, setting, notice.event, type(error).__name__, without_addresses(error),
            )  # fmt: skip
        else:
            _log.info("table [%s]: told of %s through %s", config.name, notice.event, table.get("class", "PostJson"))


def _made(name: str, setting: str, table: Mapping[str, Any]) -> Callable[[Any], None]:
    """Return the notifier that an entry of the table describes."""
    arguments = dict(table)
    path = str(arguments.pop("class", f"{__name__}.PostJson"))
    module, _, class_name = path.rpartition(".")
    try:
        found = getattr(import_module(module), class_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise SettingsError(
            f"table [{name}], airflow: {setting} names the class {path!r}, which cannot be imported ({error}); "
            "correct the path, or install the provider that has it"
        ) from error
    if not isinstance(found, type) or not issubclass(found, BaseNotifier):
        raise SettingsError(
            f"table [{name}], airflow: {setting} names {path!r}, which is no notifier of Airflow; name a subclass of "
            "airflow.sdk.BaseNotifier"
        )
    try:
        return cast(Callable[[Any], None], found(**arguments))
    except Exception as error:  # it may be anyone's class
        raise SettingsError(
            f"table [{name}], airflow: {setting}: {class_name} does not take {', '.join(arguments) or 'no arguments'}: {error}; "
            "correct the arguments"
        ) from error


def _xcom(context: Mapping[str, Any], task_id: str, key: str = "return_value", map_index: int | None = -1) -> Any:
    if "ti" not in context:
        return None
    ti, index = context["ti"], -1 if map_index is None else map_index
    try:
        return ti.xcom_pull(task_ids=task_id, key=key, map_indexes=index)
    except ImportError:  # `dags test` calls from outside any task, in a process that has the database
        return xcom_in_database(ti.dag_id, ti.run_id, task_id, key, index)


def _run_id(context: Mapping[str, Any]) -> str:
    return str(context["ti"].run_id if "ti" in context else context.get("run_id", ""))


def _counts(summary: Mapping[str, Any]) -> dict[str, int]:
    """Return the numbers of a summary; what is yes or no is none."""
    return {name: value for name, value in summary.items() if isinstance(value, int) and not isinstance(value, bool)}
