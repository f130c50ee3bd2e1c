"""What a task's log says of a build, and the numbers that a collector gets through Airflow's metrics."""

import contextlib
import os
import socket
import subprocess
import sys
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from aesthetics_ops.testing.loopback import LoopbackServer, serving
from tests.support.airflow_home import AirflowHome

_SAY = """
import logging, sys, warnings
warnings.simplefilter("ignore")
from airflow.sdk.observability import stats
from airflow.sdk.observability.metrics import stats_utils
stats.initialize(factory=stats_utils.get_stats_factory(), export_legacy_names=False)  # as Airflow does for each task

from aesthetics_ops.airflow.log import count_photos, gauge_figures, gauge_version, say_settings, say_version
from aesthetics_ops.conversion.partition import ConversionSummary
from aesthetics_ops.pipeline import build_dataset
from aesthetics_ops.settings import BuildSettings

log = logging.getLogger("aesthetics_ops.airflow.log")  # after Airflow, which sets up logging of its own
handler = logging.StreamHandler(sys.stdout)
handler.setFormatter(logging.Formatter("%(name)s|%(message)s"))
log.addHandler(handler)
log.setLevel(logging.INFO)
log.disabled = log.propagate = False
url = sys.argv[1]
settings = BuildSettings(photos=url + "/photos/", labels=url + "/scores.csv", dataset=url + "/set/", quality=90, max_reject_fraction=0.5)
say_settings(settings, "night")
count_photos("cats", ConversionSummary(3, 2, 100, 1000, {"corrupt": 1, "too_large": 4}))
gauge_figures("cats", "conversion", 3, {"seconds": 1.5, "photos_per_second": 8.0})
gauge_figures("cats", "conversion", 4, {"seconds": 0, "photos_per_second": 0})
gauge_figures("cats", "validation", 3, {"seconds": 0.5, "records_per_second": 16.0})
manifest = build_dataset(settings).manifest
say_version(manifest)
gauge_version("cats", manifest)
"""


def said_in(home: AirflowHome, **variables: str) -> list[str]:
    """Say and count a night in a process of its own; return the lines."""
    absent = {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home.directory}/absent/airflow.db"}
    command = [sys.executable, "-c", _SAY, home.directory.as_uri()]
    done = subprocess.run(
        command,
        env=home.env | absent | variables,
        cwd=os.environ.get("TMPDIR", "/"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [
        line.partition("|")[2] for line in done.stdout.splitlines() if line.startswith("aesthetics_ops.airflow.log|")
    ]


def test_statsd_gets_the_numbers_with_the_dag_in_the_form_that_airflow_is_told_to_write(tmp_path: Path) -> None:
    home = AirflowHome(tmp_path / "home")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(5)
        said_in(
            home,
            AIRFLOW__METRICS__STATSD_ON="True",
            AIRFLOW__METRICS__STATSD_HOST="127.0.0.1",
            AIRFLOW__METRICS__STATSD_PORT=str(server.getsockname()[1]),
            AIRFLOW__METRICS__STATSD_INFLUXDB_ENABLED="True",
        )
        heard: set[str] = set()
        with contextlib.suppress(TimeoutError):
            while not {line for line in heard if "aesthetics.bytes" in line}:
                heard |= set(server.recv(65_536).decode().splitlines())
    ours = {line.rpartition("aesthetics.")[2] for line in heard if "aesthetics." in line}
    assert {line for line in ours if not line.startswith("bytes")} == {
        "photos,dag_id=cats:100|c",
        "photos_rejected,dag_id=cats:5|c",
        "versions,dag_id=cats:1|c",
        "records,dag_id=cats:6|g",
        "rejects,dag_id=cats:0|g",
        "conversion.seconds,dag_id=cats,partition=3:1.5|g",
        "conversion.photos_per_second,dag_id=cats,partition=3:8.0|g",
        "validation.seconds,dag_id=cats,partition=3:0.5|g",
        "validation.records_per_second,dag_id=cats,partition=3:16.0|g",
    }
    assert any(line.startswith("bytes,dag_id=cats:") for line in ours)


_BROKEN_CLIENT = """
from statsd import StatsClient

class Broken(StatsClient):
    def _send(self, data):
        raise ConnectionResetError(f"https://somebody:hush-password-0004@host/{data}")
"""


def test_metrics_that_cannot_be_sent_cost_a_line_without_secrets_and_no_task(tmp_path: Path) -> None:
    home = AirflowHome(tmp_path / "home")
    (home.directory / "broken_client.py").write_text(_BROKEN_CLIENT)
    said = said_in(
        home,
        PYTHONPATH=f"{home.env['PYTHONPATH']}{os.pathsep}{home.directory}",
        AIRFLOW__METRICS__STATSD_ON="True",
        AIRFLOW__METRICS__STATSD_CUSTOM_CLIENT_PATH="broken_client.Broken",
    )
    line = "Airflow's metrics did not take this task's numbers: ConnectionResetError"
    assert said.count(line) == 4  # photos, figures of two tasks, the version
    assert not any("hush" in line for line in said)
    assert any(line.startswith("version ") for line in said)


def test_lines_for_an_operator_and_numbers_for_a_collector(tmp_path: Path) -> None:
    home = AirflowHome(tmp_path / "home")
    (home.directory / "photos" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no photo")
    with (home.directory / "scores.csv").open("a") as file:
        file.write("broken,5\nabsent,5\n")
    numbers: dict[str, float] = {}

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = ExportMetricsServiceRequest()
            request.ParseFromString(self.rfile.read(int(self.headers["Content-Length"])))
            for resource in request.resource_metrics:
                for scope in resource.scope_metrics:
                    for metric in scope.metrics:
                        for point in (*metric.sum.data_points, *metric.gauge.data_points):
                            if {one.key: one.value.string_value for one in point.attributes}.get("dag_id") == "cats":
                                numbers[metric.name] = point.as_double or point.as_int
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with serving(LoopbackServer(Collector)) as server:
        said = said_in(
            home,
            AIRFLOW__METRICS__OTEL_ON="True",
            OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=f"{server.url}/v1/metrics",
            OTEL_EXPORTER_OTLP_METRICS_PROTOCOL="http/protobuf",
        )
    url = home.directory.as_uri()
    assert said[0] == f"photos {url}/photos/, scores {url}/scores.csv, dataset {url}/set/, build night"
    assert said[1] == "settings that differ from the defaults: quality = 90, max_reject_fraction = 0.5"
    assert said[2].startswith("listing the photos")
    assert (
        said[3]
        == "2 of 3 shards made by this task, 100 photos read, 1000 copied from the version before, left out: 4 too_large, 1 corrupt"
    )
    assert " 6 records, " in said[4]
    assert "made of 7 listed photos; left out: 1 corrupt, 1 label_without_photo" in said[4]
    assert "gate max_reject_fraction: measured 0.1429, at most 0.5 fraction" in said
    named = {name.rpartition("aesthetics.")[2]: value for name, value in numbers.items()}
    assert {name: named[name] for name in ("photos", "photos_rejected", "versions", "records", "rejects")} == {
        "photos": 100, "photos_rejected": 5, "versions": 1, "records": 6, "rejects": 1,
    }  # fmt: skip
    assert named["bytes"] > 10_000
