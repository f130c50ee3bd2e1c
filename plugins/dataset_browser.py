"""Puts the dataset browser into Airflow's UI: the nav entry "Datasets", and links from tasks to what they made.

Airflow executes this file in every one of its processes, so it wires what is light and leaves the rest to the first request.
The datasets are those of the TOML file that `AESTHETICS_CONFIG` names, as for the DAGs.
"""

from airflow.plugins_manager import AirflowPlugin

from aesthetics_ops.airflow.guard import serve
from aesthetics_ops.airflow.links import ROUTE, ShardsLink, VersionLink, base_path


class DatasetBrowser(AirflowPlugin):
    """What Airflow takes from this file."""

    name = "dataset_browser"
    fastapi_apps = [{"app": serve, "url_prefix": f"/{ROUTE}", "name": "Dataset browser"}]  # noqa: RUF012
    external_views = [  # noqa: RUF012
        {
            "name": "Datasets",
            "href": f"{base_path()}/{ROUTE}/",
            "destination": "nav",
            "nav_top_level": True,
            "url_route": "datasets",
        }
    ]
    global_operator_extra_links = [VersionLink(), ShardsLink()]  # noqa: RUF012
