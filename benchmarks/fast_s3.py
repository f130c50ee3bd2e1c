"""A loopback S3 that is fast enough not to be the limit: nginx, with listings made beforehand.

In: folders of photos.  Out: buckets that can be listed (ListObjectsV2) and read, and nothing else; no signature is
looked at.  A bucket `files`, which cannot be listed, holds whatever lies in one more folder.  A bucket may hold each file up to ten times, under keys and ETags of their own, so that ten times more photos
take no more disk.  One nginx process serves all, and its CPU can be asked for.  Beside the way to it that is as short as can be there may
be longer ones, on which each request waits in nginx's event loop, so that waiting costs hardly any CPU.
"""

import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self
from urllib.parse import urlencode

from measure import cpu_of

from aesthetics_ops.testing.loopback import free_port

__all__ = ["Bucket", "FastS3", "find_nginx"]

_PAGE: Final = 1000
_OPEN_FILES: Final = 4000  # kept open; a growing run reads more files than that, each once
_CONNECTIONS: Final = 600  # and other descriptors
_ETAG_ZEROS: Final = "0" * 25  # an ETag is as long as a real one: 25 digits and the seven of the key

_ECHO: Final = "ngx_http_echo_module.so"  # Debian's nginx-light has it
_CONFIGURATION: Final = """\
{modules}
daemon off;
master_process off;
pid {home}/nginx.pid;
error_log {home}/error.log warn;
events {{ worker_connections 512; }}
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  etag off;
  default_type image/jpeg;
  keepalive_timeout 3600;
  keepalive_requests 1000000000;
  open_file_cache max={open_files} inactive=3600s;
  open_file_cache_valid 3600s;
  client_body_temp_path {home}/tmp;
  proxy_temp_path {home}/tmp;
  fastcgi_temp_path {home}/tmp;
  uwsgi_temp_path {home}/tmp;
  scgi_temp_path {home}/tmp;
  map $args $page {{
    "~(^|&)max-keys=1(&|$)" first;
    "~continuation-token=(?<number>[0-9]+)" $number;
    default 0;
  }}
  map $request_uri $listed {{
    "~^/([a-z0-9-]+)/?([?]|$)" /$1;
  }}
  map $request_uri $photo {{
    "~^/([a-z]+)-[0-9]+x[0-9]+/photos/[0-9]([0-9]{{6}})[.]jpg$" /$1/$2.jpg;
  }}
  map $request_uri $photo_etag {{
    "~/photos/([0-9]+)[.]jpg$" '"{zeros}$1"';
  }}
  server {{
    listen 127.0.0.1:{port};
    location ~ "^/(?<bucket>[a-z0-9-]+)/?$" {{
      default_type application/xml;
      root {home}/listings;
      try_files /$bucket/$page.xml =404;
    }}
    location ~ "^/(?<set>[a-z]+)-[0-9]+x[0-9]+/photos/(?<key>[0-9](?<file>[0-9]{{6}}))\\.jpg$" {{
      alias {photos}/$set/$file.jpg;
      add_header ETag '"{zeros}$key"';
    }}
    location /files/ {{
      alias {files}/;
      etag on;
      default_type application/octet-stream;
    }}
  }}
{ways}
}}
"""
_WAY: Final = """\
  server {{
    listen 127.0.0.1:{port};
    location @listing {{
      default_type application/xml;
      root {home}/listings;
      try_files $listed/$page.xml =404;
    }}
    location @photo {{
      root {photos};
      try_files $photo =404;
      add_header ETag $photo_etag;
    }}
    location ~ /photos/ {{
      echo_sleep {seconds};
      echo_exec @photo;
    }}
    location / {{
      echo_sleep {seconds};
      echo_exec @listing;
    }}
  }}
"""


@dataclass(frozen=True, slots=True)
class Bucket:
    """Photos that the server holds.

    Attributes:
        name: of the bucket.
        url: s3:// prefix of its photos.
        ids: of the photos, which are their keys without folder and `.jpg`.
        files: the photos on disk, copies left out.
        http: URL that a photo's key is appended to.
    """

    name: str
    url: str
    ids: tuple[str, ...]
    files: tuple[Path, ...]
    http: str

    @property
    def photos(self) -> int:
        """How many there are."""
        return len(self.ids)


def find_nginx(*, install: bool) -> str | None:
    """Return nginx's path; None where it is missing and could not be installed."""
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/opt/homebrew/bin")
    if found is not None or not install:
        return found
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        print(
            "bench: nginx is missing and cannot be installed from here; install it (apt install nginx)", file=sys.stderr
        )
        return None
    print("bench: installing nginx with apt-get", file=sys.stderr)
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (
        ["apt-get", "update", "-q"],
        ["apt-get", "install", "-qy", "--no-install-recommends", "nginx-light"],
    ):
        subprocess.run(command, env=quiet, stdout=subprocess.DEVNULL, check=False)
    return find_nginx(install=False)


class FastS3:
    """The server; a context manager.

    Attributes:
        endpoint, port: where it listens.
        ways: where else it listens, by the milliseconds that each request waits there; listings and photos alone.
        files: the folder whose files the bucket `files` holds.
    """

    def __init__(self, nginx: str, home: Path, photos: Path, latencies_ms: Sequence[int] = ()) -> None:
        """Prepare a server.

        Args:
            nginx: path of the program.
            home: a folder of its own, which does not exist yet.
            photos: holds one folder of `000000.jpg`, `000001.jpg`, ... per photo set.
            latencies_ms: of the longer ways.

        Raises:
            SystemExit: there are to be longer ways, and this nginx has no module for them.
        """
        self._home, self._photos, self._nginx = home.resolve(), photos.resolve(), nginx
        (home / "tmp").mkdir(parents=True)
        self.files = self._home / "files"
        self.files.mkdir()
        (home / "listings").mkdir()
        self._modules = f"load_module {_echo_of(nginx)};" if latencies_ms else ""
        self.port, *others = (free_port() for _ in range(1 + len(latencies_ms)))
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self._ports = dict(zip(latencies_ms, others, strict=True))
        self.ways = {latency: f"http://127.0.0.1:{port}" for latency, port in self._ports.items()}

    def __enter__(self) -> Self:
        _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
        configuration = self._home / "nginx.conf"
        configuration.write_text(
            _CONFIGURATION.format(
                home=self._home,
                photos=self._photos,
                files=self.files,
                port=self.port,
                modules=self._modules,
                ways="".join(self._longer_ways()),
                zeros=_ETAG_ZEROS,
                open_files=min(_OPEN_FILES, most_files - _CONNECTIONS),
            )
        )
        command = [self._nginx, "-p", str(self._home), "-e", str(self._home / "error.log"), "-c", str(configuration)]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        resource.prlimit(self._process.pid, resource.RLIMIT_NOFILE, (most_files, most_files))
        for _ in range(100):
            try:
                with urllib.request.urlopen(self.endpoint + "/", timeout=1):  # noqa: S310
                    return self
            except urllib.error.HTTPError:
                return self
            except OSError:
                time.sleep(0.05)
        self.__exit__()
        raise SystemExit(f"bench: nginx does not answer; see {self._home / 'error.log'}")

    def _longer_ways(self) -> Iterator[str]:
        for latency_ms, port in self._ports.items():
            yield _WAY.format(port=port, home=self._home, photos=self._photos, seconds=f"{latency_ms / 1000:.3f}")

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait()

    def bucket(self, photo_set: str, files: Sequence[Path], copies: int = 1) -> Bucket:
        """Make a bucket of these files of one set, each `copies` times."""
        name = f"{photo_set}-{len(files)}x{copies}"
        ids = tuple(f"{copy}{path.stem}" for copy in range(copies) for path in files)
        sizes = [path.stat().st_size for path in files] * copies
        pages = self._home / "listings" / name
        pages.mkdir(exist_ok=True)
        rows = list(map(_row, ids, sizes))
        (pages / "first.xml").write_text(_listing(name, rows[:1], 1, 1 if len(rows) > 1 else None))
        for first in range(0, len(rows), _PAGE):
            number, last = first // _PAGE, first + _PAGE >= len(rows)
            page = _listing(name, rows[first : first + _PAGE], _PAGE, None if last else number + 1)
            (pages / f"{number}.xml").write_text(page)
        return Bucket(name, f"s3://{name}/photos/", ids, tuple(files), f"{self.endpoint}/{name}/photos/")

    def cpu_seconds(self) -> float:
        """Return the CPU that the server has used so far."""
        return cpu_of(self._process.pid)

    def pin(self, cpus: frozenset[int]) -> None:
        """Let the server run on these cores only."""
        os.sched_setaffinity(self._process.pid, cpus)

    def environment(self, endpoint: str = "") -> dict[str, str]:
        """Return what a client's environment needs for boto3 to find this server, or a way to it, and nothing else."""
        return {
            "AWS_ENDPOINT_URL": endpoint or self.endpoint,
            "AWS_ACCESS_KEY_ID": "bench",
            "AWS_SECRET_ACCESS_KEY": "bench",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }

    def probe(self, bucket: Bucket) -> None:
        """Make sure that a listing and its last photo agree with what is served.

        Raises:
            SystemExit: they do not.
        """
        pages = -(-bucket.photos // _PAGE)
        query = urlencode({"list-type": 2, "prefix": "photos/", "continuation-token": pages - 1})
        with urllib.request.urlopen(f"{self.endpoint}/{bucket.name}?{query}", timeout=5) as reply:  # noqa: S310
            page = reply.read().decode()
        with urllib.request.urlopen(f"{bucket.http}{bucket.ids[-1]}.jpg", timeout=5) as reply:  # noqa: S310
            row = _row(bucket.ids[-1], len(reply.read()))
            etag = reply.headers["ETag"].strip('"')
        if row not in page or etag not in row:
            raise SystemExit(f"bench: the S3 server's listing and photos differ: {row} with ETag {etag}")


def _echo_of(nginx: str) -> Path:
    """Return nginx's module that lets a request wait.

    Raises:
        SystemExit: it is not there.
    """
    told = subprocess.run([nginx, "-V"], capture_output=True, text=True, check=True).stderr
    folder = re.search(r"--modules-path=(\S+)", told)
    module = Path(folder[1] if folder else "modules") / _ECHO
    if not module.is_file():
        raise SystemExit(f"bench: {module} is missing, which lets requests wait; install it (apt install nginx-light)")
    return module


def _listing(bucket: str, rows: Sequence[str], most: int, following: int | None) -> str:
    """Return a page of a listing; `following` is the number of the next one."""
    more = "" if following is None else f"<NextContinuationToken>{following}</NextContinuationToken>"
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<Name>{bucket}</Name><Prefix>photos/</Prefix><KeyCount>{len(rows)}</KeyCount><MaxKeys>{most}</MaxKeys>"
        f"<IsTruncated>{'false' if following is None else 'true'}</IsTruncated>{more}{''.join(rows)}</ListBucketResult>"
    )


def _row(photo_id: str, size: int) -> str:
    return (
        f"<Contents><Key>photos/{photo_id}.jpg</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
        f"<ETag>&quot;{_ETAG_ZEROS}{photo_id}&quot;</ETag><Size>{size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
    )
