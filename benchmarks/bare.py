"""The limits that a build is compared with: the codec functions alone, and S3's GET alone.

    .venv/bin/python benchmarks/bare.py codec FOLDER COUNT {keep,reencode,reencode-simplejpeg,resize,keep-tensorflow,reencode-tensorflow}
    .venv/bin/python benchmarks/bare.py get ENDPOINT BUCKET FILE_OF_IDS

`codec` reads photos into memory first; then one thread per core does nothing but call the codec.  `-tensorflow` is what reading back
cannot do without: TensorFlow decodes each photo, as it was stored, at 1/8.  `get` downloads every
photo with 16 threads and forgets it.  Prints one JSON object; imports and reading into memory are not in it.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

__all__ = ["RESIZED_PX"]

RESIZED_PX = 512
_AREA_BELOW_SCALE = 0.6
_GETS = 16
_CHUNK = 8


def codec(what: str) -> Callable[[bytes], object]:
    """Return the function that does to one photo what the encoding cannot do without."""
    import cv2
    import numpy as np
    import simplejpeg

    cv2.setNumThreads(0)
    quality = (cv2.IMWRITE_JPEG_QUALITY, 95)

    def keep(data: bytes) -> object:
        return simplejpeg.decode_jpeg(data, "GRAY", min_height=1, min_width=1, min_factor=8, strict=True)

    def reencode(data: bytes) -> object:
        array = np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))
        return cv2.imencode(".jpg", array, quality)[1]

    def reencode_simplejpeg(data: bytes) -> object:
        return cv2.imencode(".jpg", simplejpeg.decode_jpeg(data, "BGR", strict=True), quality)[1]

    def resize(data: bytes) -> object:
        height, width, _, _ = simplejpeg.decode_jpeg_header(data)
        factor = next((factor for factor in (8, 4, 2) if max(height, width) >= 2 * factor * RESIZED_PX), 1)
        small = (-(-height // factor), -(-width // factor))
        array = simplejpeg.decode_jpeg(
            data, "BGR", min_height=small[0], min_width=small[1], min_factor=factor, strict=True
        )
        scale = RESIZED_PX / max(height, width)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        method = cv2.INTER_AREA if RESIZED_PX / max(small) < _AREA_BELOW_SCALE else cv2.INTER_CUBIC
        return cv2.imencode(".jpg", cv2.resize(array, size, interpolation=method), quality)[1]

    return {
        "keep": keep,
        "reencode": reencode,
        "reencode-simplejpeg": reencode_simplejpeg,
        "resize": resize,
        "keep-tensorflow": _read_back,
        "reencode-tensorflow": _read_back,
    }[what]


def _read_back(data: bytes) -> object:
    from aesthetics_ops.validation.kernels import kernels

    return kernels().decode_jpeg(data, channels=3, ratio=8, dct_method="INTEGER_ACCURATE")


def run_codec(photos: Sequence[bytes], work: Callable[[bytes], object], threads: int) -> dict[str, float]:
    """Do the work on every photo; return wall and CPU seconds."""
    lock = threading.Lock()
    chunk = 1 if len(photos) < 100 * threads else _CHUNK
    queue: Iterator[int] = iter(range(0, len(photos), chunk))

    def drain() -> None:
        while True:
            with lock:
                first = next(queue, None)
            if first is None:
                return
            for data in photos[first : first + chunk]:
                work(data)

    for data in photos[:threads]:
        work(data)
    return _timed(drain, threads)


def run_get(endpoint: str, bucket: str, ids: Sequence[str]) -> dict[str, float]:
    """Download every photo and forget it; return wall and CPU seconds."""
    import obstore
    from obstore.store import S3Store

    store = S3Store(
        bucket,
        region="us-east-1",
        endpoint=endpoint,
        access_key_id="bench",
        secret_access_key="bench",  # noqa: S106 - the server looks at no signature
        virtual_hosted_style_request=False,
        client_options={"allow_http": True, "timeout": timedelta(seconds=120)},
    )
    queue = iter([f"photos/{name}.jpg" for name in ids])
    lock = threading.Lock()

    def drain() -> None:
        while True:
            with lock:
                key = next(queue, None)
            if key is None:
                return
            obstore.get(store, key).bytes()

    obstore.get(store, f"photos/{ids[0]}.jpg").bytes()
    return _timed(drain, _GETS)


def _timed(work: Callable[[], None], threads: int) -> dict[str, float]:
    with ThreadPoolExecutor(threads) as pool:
        started, cpu = time.perf_counter(), time.process_time()
        for done in [pool.submit(work) for _ in range(threads)]:
            done.result()
        return {"wall_seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - cpu}


def main() -> int:
    """Measure one limit and print it."""
    kind, *arguments = sys.argv[1:]
    if kind == "codec":
        folder, count, what = arguments
        photos = [path.read_bytes() for path in sorted(Path(folder).glob("*.jpg"))[: int(count)]]
        if what == "reencode-tensorflow":
            photos = [bytes(codec("reencode")(data)) for data in photos]  # type: ignore[call-overload]
        result = run_codec(photos, codec(what), len(os.sched_getaffinity(0)))
        total = len(photos)
    else:
        endpoint, bucket, ids = arguments
        names = Path(ids).read_text().split()
        result = run_get(endpoint, bucket, names)
        total = len(names)
    print(json.dumps(result | {"photos": total}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
