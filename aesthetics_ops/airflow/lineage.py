"""What OpenLineage is told of a new version, where Airflow's provider for it is installed and has a transport.

In: the manifest.  Out: an event of the running task: photos and scores as inputs, and the dataset as output, with its version, its
schema, how much it holds, and each gate as an assertion.
Promised: a lineage that cannot be told costs a line in the log, and nothing else.
"""

import logging
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from aesthetics_ops.airflow.log import without_addresses
from aesthetics_ops.settings import BuildSettings

if TYPE_CHECKING:
    from aesthetics_ops.dataset.manifest import GateResult, Manifest

__all__ = ["emit_lineage"]

_log = logging.getLogger(__name__)

_PROVIDER = "airflow.providers.openlineage"


def emit_lineage(manifest: "Manifest", latest_url: str) -> None:
    """Tell OpenLineage of a new version; nothing where the provider is not installed, or says that it is off.

    Args:
        manifest: of the version.
        latest_url: of LATEST, which is also the name of the asset, so that lineage through assets meets this one.
    """
    if find_spec(_PROVIDER) is None:
        return
    from airflow.providers.openlineage.api import emit_dataset_lineage, is_openlineage_active

    if not is_openlineage_active():
        return
    try:
        emit_dataset_lineage(inputs=_inputs(manifest), outputs=[_output(manifest, latest_url)])
    except Exception as error:  # of a client that anyone may replace; the version is published
        said = without_addresses(error)
        _log.warning("OpenLineage is not told of version %s: %s: %s", manifest.version, type(error).__name__, said)


def _inputs(manifest: "Manifest") -> list[Any]:
    from openlineage.client.event_v2 import InputDataset
    from openlineage.client.facet_v2 import InputDatasetFacet
    from openlineage.client.facet_v2 import input_statistics_input_dataset as statistics

    settings, counts = BuildSettings.model_validate(manifest.settings), manifest.accounting
    photos = statistics.InputStatisticsInputDatasetFacet(rowCount=counts.listed, fileCount=counts.listed)
    scores = statistics.InputStatisticsInputDatasetFacet(rowCount=counts.label_rows)
    # of several files the rows are counted together
    rows: dict[str, InputDatasetFacet] = {"inputStatistics": scores} if len(settings.label_urls) == 1 else {}
    return [
        InputDataset(*_named(settings.photos), inputFacets={"inputStatistics": photos}),
        *(InputDataset(*_named(url), inputFacets=rows) for url in settings.label_urls),
    ]


def _output(manifest: "Manifest", url: str) -> Any:
    from openlineage.client.event_v2 import OutputDataset
    from openlineage.client.facet_v2 import data_quality_assertions_dataset as assertions
    from openlineage.client.facet_v2 import data_quality_metrics_dataset as metrics
    from openlineage.client.facet_v2 import dataset_version_dataset as version
    from openlineage.client.facet_v2 import output_statistics_output_dataset as statistics
    from openlineage.client.facet_v2 import schema_dataset as schema

    fields = [
        schema.SchemaDatasetFacetFields(name=name, type=feature["dtype"], description=f"shape {feature['shape']}")
        for name, feature in manifest.features.items()
    ]
    labels = metrics.ColumnMetrics(
        count=manifest.records, min=manifest.labels.min, max=manifest.labels.max, nullCount=0
    )
    shards = sum(len(split.shards) for split in manifest.splits.values())
    facets: dict[str, Any] = {
        "version": version.DatasetVersionDatasetFacet(datasetVersion=manifest.version),
        "schema": schema.SchemaDatasetFacet(fields=fields),
        "dataQualityMetrics": metrics.DataQualityMetricsDatasetFacet(
            rowCount=manifest.records, bytes=manifest.bytes, fileCount=shards, columnMetrics={"image/label": labels}
        ),
        # the client has it for inputs only; any dataset may have more facets
        "dataQualityAssertions": assertions.DataQualityAssertionsDatasetFacet(
            assertions=[assertions.Assertion(**_assertion(gate)) for gate in manifest.gates]
        ),
    }
    written = statistics.OutputStatisticsOutputDatasetFacet(
        rowCount=manifest.records, size=manifest.bytes, fileCount=shards
    )
    return OutputDataset(*_named(url), facets=facets, outputFacets={"outputStatistics": written})


def _assertion(gate: "GateResult") -> dict[str, Any]:
    sign = "<=" if gate.bound != "least" else ">="
    return {
        "assertion": gate.name, "name": gate.name, "success": gate.passed, "severity": "error",
        "expected": f"{sign} {gate.limit:g} {gate.unit}", "actual": f"{gate.measured:g}",
    }  # fmt: skip


def _named(url: str) -> tuple[str, str]:
    """Return namespace and name of what a URL names, as OpenLineage writes them and Airflow's assets do."""
    scheme, _, rest = url.partition("://")
    if scheme == "file":
        return "file", "/" + rest.removeprefix("localhost").strip("/")
    place, _, path = rest.partition("/")
    return f"{scheme}://{place}", path.strip("/") or "/"
