"""A person decides about a version that a gate refused: Airflow's human-in-the-loop operator, with the gates' numbers in its text.

In: the candidate that `publish` left.  Out: who approved it, and why, for the task that promotes it.
Promised: any other answer, none in time, and a candidate that is gone fail the task in one line; nothing is published here.
"""

import re
import shlex
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import Param
from airflow.sdk.definitions.param import ParamsDict
from airflow.sdk.exceptions import TaskAwaitingInput

from aesthetics_ops.airflow import tasks
from aesthetics_ops.airflow.links import version_page
from aesthetics_ops.airflow.notices import tell_asked
from aesthetics_ops.config import DatasetConfig

if TYPE_CHECKING:
    from aesthetics_ops.airflow.tasks import Question

__all__ = ["AskPerson"]

_APPROVE: Final = "Approve"
_REJECT: Final = "Reject"
_ASKED: Final = "asked"  # the XCom with the version that the question is about
_MOST_CHARACTERS: Final = 1000  # of a reason, as in `dataset.moves`, which is not imported to parse a DAG


class AskPerson(HITLOperator):
    """Waits until a person approves or rejects a version that a gate refused.

    It returns the version, who approved it, and why.

    Args:
        config: of the dataset.
        kwargs: of any operator.
    """

    def __init__(self, *, config: DatasetConfig, **kwargs: Any) -> None:
        super().__init__(
            subject=f"{config.name}: a gate refused a version",
            options=[_APPROVE, _REJECT],
            response_timeout=timedelta(hours=config.airflow.answer_within_h),
            **kwargs,
        )
        reason = Param(
            "", type=["string", "null"], title="Reason", description="the log keeps it", maxLength=_MOST_CHARACTERS
        )
        self.params = ParamsDict({"reason": reason})  # Airflow hands those of the DAG to every operator
        self.config = config

    def execute(self, context: Any) -> Any:
        """Put the question, and tell those who hear of refusals that it waits."""
        asked = tasks.question(self.config)
        version = asked.manifest.version
        if asked.mark is None:
            self.log.info("version %s is published already, so nobody is asked", version)
            return {"version": version, "by": "nobody", "reason": "published already"}
        context["ti"].xcom_push(key=_ASKED, value=version)
        page = version_page(self.config.name, {"dataset": asked.url}, version)
        self.subject = f"{self.config.name}: publish version {version} all the same?"
        self.body = _in_words(asked, page, self.config.airflow.answer_within_h)
        try:
            return super().execute(context)
        except TaskAwaitingInput:
            tell_asked(self.config, context, asked.url, version, asked.refusal)
            raise

    def execute_complete(self, context: Any, event: Mapping[str, Any]) -> dict[str, str]:
        """Take the answer."""
        version = context["ti"].xcom_pull(task_ids=self.task_id, key=_ASKED)
        return tasks.take_answer(self.config, version, event, approve=_APPROVE)


def _in_words(asked: "Question", page: str, hours: float) -> str:
    """Return the question as Markdown; what comes from photos and scores stands in code, where it has no other meaning."""
    manifest, mark = asked.manifest, asked.mark
    refused = mark.refused if mark is not None else ()
    bounds = {"most": "at most", "least": "at least"}
    gates = [
        f"- **{gate.name}**: measured {gate.measured:.4g}, allowed is {bounds[gate.bound]} {gate.limit:g}: {_as_code(gate.found)}"
        for gate in refused
    ]
    url, version = shlex.quote(asked.url), manifest.version
    commands = [f"aesthetics-ops show {url} --version {version}", f"aesthetics-ops rejects {url} --version {version}"]
    commands += [f"aesthetics-ops diff {url} {manifest.parent} {version}"] if manifest.parent else []
    parent = f"LATEST names {_as_code(manifest.parent)}." if manifest.parent else "Nothing is published yet."
    return "\n".join(
        [
            f"Version {_as_code(version)} of {_as_code(asked.url)} is whole, and not published. It has {manifest.records:,} records; "
            f"{manifest.accounting.rejected:,} of {manifest.accounting.listed:,} photos were left out. {parent}",
            "",
            *gates,
            "",
            *([f"[Its page]({page}) shows it. On a command line:"] if page else ["On a command line:"]),
            "",
            *(f"- {_as_code(command)}" for command in commands),
            "",
            f"**{_APPROVE}** publishes it: the gates are noted as overruled, with your name and the reason. **{_REJECT}** publishes "
            f"nothing, and the version stays a candidate; so does no answer within {hours:g} hours.",
        ]
    )


def _as_code(text: str) -> str:
    """Return a text as Markdown's code, in more backquotes than it has in a row."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    marks, space = "`" * (longest + 1), " " if longest else ""
    return f"{marks}{space}{' '.join(text.split())}{space}{marks}"
