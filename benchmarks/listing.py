"""How long a listing takes by ranges, and page after page, where each request takes a while.

    .venv/bin/python benchmarks/listing.py [--keys 100000] [--latency-ms 20] [--rounds 3]

A server in a process of its own makes up pages of a thousand numbered keys; listings of both kinds take turns.  Page after page is the
same store, whose server refuses `start-after`.  Prints seconds, CPU of the client, requests, and load.
"""

import argparse
import multiprocessing
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

_PAGE: Final = 1000
_STEP: Final = 7  # between numbers


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, keys: int, latency_seconds: float) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.keys, self.latency_seconds = keys, latency_seconds


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_GET(self) -> None:
        time.sleep(self.server.latency_seconds)
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if "start-after" in query and parts.path.startswith("/pages"):
            self._reply(400, b"<Error><Code>InvalidArgument</Code></Error>")
            return
        after = query.get("continuation-token") or query.get("start-after", "")
        first = _number_after(after.removeprefix("p/")) if after else 0
        last = min(first + int(query.get("max-keys", _PAGE)), self.server.keys)
        rows = "".join(
            f"<Contents><Key>p/{number * _STEP:09}.jpg</Key><ETag>&quot;{number:032x}&quot;</ETag><Size>{number}</Size></Contents>"
            for number in range(first, last)
        )
        more = last < self.server.keys
        token = f"<NextContinuationToken>p/{(last - 1) * _STEP:09}.jpg</NextContinuationToken>" if more else ""
        truncated = f"<IsTruncated>{str(more).lower()}</IsTruncated>"
        self._reply(200, f"<ListBucketResult>{truncated}{token}{rows}</ListBucketResult>".encode())

    def _reply(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def _number_after(name: str) -> int:
    """Return the number of the first key that is larger, by its bytes."""
    digits = ""
    for place in range(9):
        letter = name[place : place + 1]
        if not letter or letter < "0":
            return -(-int(digits.ljust(9, "0")) // _STEP)
        if letter > "9":
            return -(-int(digits.ljust(9, "9")) // _STEP) + (int(digits.ljust(9, "9")) % _STEP == 0)
        digits += letter
    number = int(digits)
    is_after = number % _STEP == 0 and name[9:] >= ".jpg"
    return -(-number // _STEP) + is_after


def _serve(keys: int, latency_seconds: float, told: "Connection") -> None:
    server = _Server(keys, latency_seconds)
    told.send(server.server_port)
    server.serve_forever()


def main() -> int:
    """List, in turns, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, default=100_000)
    parser.add_argument("--latency-ms", type=float, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    here, there = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=_serve, args=(options.keys, options.latency_ms / 1000, there), daemon=True
    )
    process.start()
    try:
        return _measured(here.recv(), options)
    finally:
        process.terminate()
        process.join()


def _measured(port: int, options: argparse.Namespace) -> int:
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "bench",
        "AWS_SECRET_ACCESS_KEY": "bench",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    from aesthetics_ops.store import open_store

    print("| keys | ms | listed | seconds | CPU s | load |\n|---|---|---|---|---|---|")
    found = []
    for turn in range(options.rounds):
        for bucket in ("ranges", "pages") if turn % 2 == 0 else ("pages", "ranges"):
            started, cpu = time.perf_counter(), time.process_time()
            table = open_store(f"s3://{bucket}/p/").list()
            seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
            found.append(table.combine_chunks())
            load = os.getloadavg()[0]
            print(
                f"| {table.num_rows:,} | {options.latency_ms:g} | by {bucket} | {seconds:.1f} | {cpu:.1f} | {load:.1f} |"
            )
    return 0 if all(table.equals(found[0]) for table in found) and found[0].num_rows == options.keys else 1


if __name__ == "__main__":
    sys.exit(main())
