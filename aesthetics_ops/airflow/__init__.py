"""This project inside Airflow: the only package that imports it.

`dags/` and `plugins/` wire what stands here; the stages know nothing of Airflow.  Airflow executes those files in each of its
processes, so these modules import stages, fastapi and the object store in functions only.
"""

__all__: list[str] = []
