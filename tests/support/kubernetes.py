"""Names of the deployment that several tests look at."""

import re

from tests.support.paths import ROOT

KUBERNETES = ROOT / "deploy" / "kubernetes"


def option_of(variable: str) -> str | None:
    """Return `section/key` of an `AIRFLOW__SECTION__KEY`, or None of any other name."""
    found = re.fullmatch(r"AIRFLOW__(.+?)__(.+)", variable)
    return f"{found[1]}/{found[2]}".lower() if found else None
