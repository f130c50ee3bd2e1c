"""Runs of DAGs, by Airflow's REST API: what the tests of the stack and of the containers ask alike."""

from typing import Any


class AirflowRuns:
    """Starts runs and looks at them, wherever Airflow is reached."""

    def ask(self, path: str, body: object = None, *, method: str | None = None) -> Any:
        """Send a request to the REST API as the admin; return the JSON document."""
        raise NotImplementedError

    def trigger(self, dag: str, date: str, **conf: object) -> str:
        """Start a run of a DAG for a date; return the run's id."""
        body = {"logical_date": f"{date}T00:00:00Z", "conf": conf}
        return str(self.ask(f"/dags/{dag}/dagRuns", body)["dag_run_id"])

    def tasks(self, dag: str, run: str, task: str | None = None) -> list[dict[str, Any]]:
        """Return a run's task instances, or those of one task, in the order of their map index."""
        found = self.ask(f"/dags/{dag}/dagRuns/{run}/taskInstances?limit=100")["task_instances"]
        return sorted((one for one in found if task in (None, one["task_id"])), key=lambda one: one["map_index"])
