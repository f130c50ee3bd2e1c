"""What the readers give a GPU: pixels and refusals of a decoder on it, pinned memory, photos a second, and what training waits.

    .venv/bin/python benchmarks/gpu.py DATASET [--split train] [--batch 64] [--threads 16] [--epochs 2] [--seconds 4] [--only speed train]

For a machine with an NVIDIA GPU, PyTorch for its CUDA, and torchvision or torchcodec.  DATASET holds a few thousand photos.  Without
a GPU it runs on the CPU, to see that it works.  Prints one table in Markdown, row by row; a step that fails is a row too.

- `pixels`: what decode_on makes of photos, beside antialias="exact" on the CPU, in levels of 255; and beside decode_on="cpu", since
  `exact` decodes at a reduced scale what becomes a third of its size or less.
- `odd`: JPEGs that a dataset may hold, or that are damaged, each with a good one before it.
- `pinned`: while the GPU is kept busy, batches are copied to it without waiting and let go; their sums there are compared with those
  before.  The control overwrites memory during such a copy, which has to be seen.
- `speed`: each way of reading, with the copy to the GPU, for `--epochs`, at most `--seconds`, from its first batch on.  CPU is that of
  this process and of its workers.
- `train`: ResNet-50 in bfloat16 from each way, over the same with a batch that lies on the GPU.
"""

import argparse
import io
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from aesthetics_ops import Dataset, open_dataset
from aesthetics_ops.errors import AestheticsOpsError
from aesthetics_ops.machine import cpus
from aesthetics_ops.readers.pixels import Pixels
from aesthetics_ops.readers.torch.decode import DeviceDecoder, jpeg_decoder

DEVICE: Final = "cuda" if torch.cuda.is_available() else "cpu"
SIZE: Final = 224
MATRIX: Final = (
    Pixels(33, antialias="exact"),
    Pixels((40, 30), "squash", "exact", flip=True),
    Pixels(48, "random_crop", "exact", flip=True),
    Pixels((60, 50), "pad", "exact", fill=(1, 2, 3), flip=True),
    Pixels(160, antialias="exact"),
    Pixels(224, "random_crop", "exact", flip=True),
    Pixels(40, "short_side", "exact"),
)
PIXEL_BATCHES, PIXEL_BATCH = 2, 64  # for each of them
PINNED_BATCHES: Final = 60
BUSY_SIDE: Final = 8192 if DEVICE == "cuda" else 64
BUSY_TIMES: Final = 20  # products of such matrices: 40 ms of an H100
LIMIT_STEPS: Final = 40

Way = Callable[[], Any]
Step = Callable[[Any, Any], None]


def row(step: str, what: str, *found: object) -> None:
    """Print a row of the table."""
    cells = [step, what, *map(str, found), "", ""][:4]
    print("|", " | ".join(cells), "|", flush=True)


def attempted(step: str, what: str, work: Callable[[], None]) -> None:
    """Do something whose failure is a row."""
    try:
        work()
    except (AestheticsOpsError, ImportError, OSError, RuntimeError, ValueError) as error:
        row(step, what, f"FAILED: {described(error)}")


def described(error: BaseException) -> str:
    """Return an error in one line that fits a table."""
    words = " ".join(str(error).replace("|", "/").split())
    return f"{type(error).__name__}: {words[:200]}"


def finished() -> None:
    """Wait until the GPU has nothing to do."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def pixels(dataset: Dataset, asked: argparse.Namespace) -> None:
    """Compare what the device makes with `exact`."""
    for wanted in MATRIX:
        attempted("pixels", f"{wanted.fit}, {wanted.size}", lambda wanted=wanted: compared(dataset, asked, wanted))  # type: ignore[misc]


def compared(dataset: Dataset, asked: argparse.Namespace, wanted: Pixels) -> None:
    """Compare some batches."""
    options: dict[str, Any] = {"batch": PIXEL_BATCH, "shuffle": True, "seed": 1, "pixels": wanted}
    ways = (
        dataset.torch(asked.split, decode_on=DEVICE, layout="hwc", **options),
        dataset.numpy(asked.split, **options),
        dataset.torch(asked.split, decode_on="cpu", layout="hwc", **options),
    )
    from_exact, from_whole = [], []
    for ours, exact, whole in islice(zip(*ways, strict=True), PIXEL_BATCHES):
        require(ours[0][0].device.type == ours[1].device.type == DEVICE, "photos or labels lie elsewhere")
        require(np.array_equal(ours[1].cpu().numpy(), exact[1]), "labels differ")
        for image, array, other in zip(ours[0], exact[0], whole[0], strict=True):
            require(tuple(image.shape) == array.shape, f"shape {tuple(image.shape)}, not {array.shape}")
            levels = image.cpu().numpy().astype(np.int16)
            from_exact.append(np.abs(levels - array).ravel())
            from_whole.append(np.abs(levels - other.numpy()).ravel())
    row("pixels", f"{wanted.fit}, {wanted.size}", apart(from_exact), f"from decode_on='cpu': {apart(from_whole)}")


def apart(levels: list[NDArray[np.int16]]) -> str:
    """Return how far pixels are apart."""
    together = np.concatenate(levels)
    return f"max {together.max()}, 99.9 % within {np.percentile(together, 99.9):.0f}, mean {together.mean():.2f}"


def require(holds: bool, otherwise: str) -> None:
    """Fail a step.

    Raises:
        ValueError: it does not hold.
    """
    if not holds:
        raise ValueError(otherwise)


def odd_jpegs() -> Iterator[tuple[str, bytes, str]]:
    """Give a JPEG's name, the JPEG, and what is expected of it."""
    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    photo = np.asarray(cv2.GaussianBlur(noise, (0, 0), 3), np.uint8)
    good = encoded(photo)
    file = io.BytesIO()
    Image.fromarray(photo).convert("CMYK").save(file, "JPEG")
    ended = bytearray(good)
    ended[len(good) // 2 : len(good) // 2 + 40] = b"\xff\xd9" * 20
    yield "good", good, "decoded"
    yield "gray", encoded(photo[:, :, 0]), "decoded"
    yield "progressive", encoded(photo, cv2.IMWRITE_JPEG_PROGRESSIVE, 1), "decoded"
    yield "4:4:4", encoded(photo, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444), "decoded"
    yield "one pixel", encoded(photo[:1, :1]), "decoded"
    yield "CMYK", file.getvalue(), "named"
    yield "cut in its header", good[:100], "named"
    yield "zeros", bytes(1000), "named"
    yield "empty", b"", "named"
    yield "cut in the middle", good[: len(good) // 2], "decoded by nvJPEG, named on the CPU"
    yield "early end", bytes(ended), "decoded by nvJPEG, named on the CPU"


def encoded(photo: NDArray[np.uint8], *options: int) -> bytes:
    """Return a photo as a JPEG."""
    return cv2.imencode(".jpg", photo, list(options))[1].tobytes()


def odd(dataset: Dataset, asked: argparse.Namespace) -> None:
    """See what becomes of odd JPEGs."""
    for name, jpeg, expected in odd_jpegs():
        attempted("odd", name, lambda name=name, jpeg=jpeg, expected=expected: tried(name, jpeg, expected))  # type: ignore[misc]


def tried(name: str, jpeg: bytes, expected: str) -> None:
    """Decode one odd JPEG after a good one."""
    good = next(odd_jpegs())[1]
    device, draws = torch.empty(0, device=DEVICE).device, np.zeros(2, np.uint64)  # with its number, as readers have it
    whole = Pixels(64, "squash", "exact")

    def named(number: int, error: AestheticsOpsError) -> Any:
        return type(error)(f"number {number}: {error}")

    try:
        images = DeviceDecoder(device, whole, jpeg_decoder(device)).decode([good, jpeg], draws, named)
        finished()
    except AestheticsOpsError as error:
        row("odd", name, described(error), f"expected: {expected}")
        return
    try:
        cpu = DeviceDecoder(torch.device("cpu"), whole, jpeg_decoder(torch.device("cpu"))).decode(
            [jpeg], draws[:1], named
        )
        beside = f"max {(images[1].cpu().int() - cpu[0].int()).abs().max()} levels from the CPU's"
    except AestheticsOpsError as error:
        beside = f"the CPU: {described(error)}"
    row("odd", name, f"decoded; {beside}", f"expected: {expected}")


def pinned(dataset: Dataset, asked: argparse.Namespace) -> None:
    """See that no memory is used again while a copy from it is under way."""
    if DEVICE == "cpu":
        row("pinned", "copies without waiting", "no GPU, not tried")
        return
    matrix = torch.ones((BUSY_SIDE, BUSY_SIDE), dtype=torch.bfloat16, device=DEVICE)
    busy(matrix)
    finished()
    overwritten = control(matrix)
    under_way, there, sums = 0, [], []
    batches = dataset.torch(asked.split, pin_memory=True, **read_options(asked))
    for images, labels in islice(repeated(batches, 1000), PINNED_BATCHES):
        require(images.is_pinned() and labels.is_pinned(), "photos or labels are not in pinned memory")
        sums.append((int(images.sum(dtype=torch.int64)), float(labels.sum(dtype=torch.float64))))
        busy(matrix)
        there.append((images.to(DEVICE, non_blocking=True), labels.to(DEVICE, non_blocking=True)))
        copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
        copied.record()
        del images, labels
        under_way += not copied.query()  # type: ignore[no-untyped-call]
    finished()
    found = [(int(images.sum(dtype=torch.int64)), float(labels.double().sum())) for images, labels in there]
    wrong = sum(one[0] != other[0] or abs(one[1] - other[1]) > 1e-6 for one, other in zip(found, sums, strict=True))
    batches.close()
    row(
        "pinned",
        f"{len(sums)} batches, {under_way} let go during the copy",
        f"{wrong} changed",
        f"control: {overwritten} of 1",
    )


def busy(matrix: torch.Tensor) -> None:
    """Give the GPU work for some time."""
    for _ in range(BUSY_TIMES):
        matrix @ matrix


def control(matrix: torch.Tensor) -> int:
    """Overwrite memory while it is copied; return 1 if that is seen."""
    memory = torch.zeros(10_000_000, dtype=torch.uint8, pin_memory=True)
    busy(matrix)
    there = memory.to(DEVICE, non_blocking=True)
    memory.fill_(1)
    finished()
    return int(there.sum(dtype=torch.int64) > 0)


def read_options(asked: argparse.Namespace) -> dict[str, Any]:
    """Return how photos are read where speed is measured."""
    whole = Pixels(SIZE, "random_crop", flip=True)
    return {"batch": asked.batch, "shuffle": True, "seed": 1, "pixels": whole, "last": "drop"}


def ways(dataset: Dataset, asked: argparse.Namespace) -> dict[str, Way]:
    """Return each way of reading."""
    options, split, threads = read_options(asked), asked.split, asked.threads
    by_threads: dict[str, Any] = options | {"threads": threads}
    by_workers: dict[str, Any] = options | {"num_workers": threads, "pin_memory": True, "persistent_workers": True}
    return {
        f"torch, {threads} threads": lambda: dataset.torch(split, **by_threads),
        f"torch, {threads} threads, ahead=2": lambda: dataset.torch(split, ahead=2, **by_threads),
        f"torch, {threads} threads, pinned": lambda: dataset.torch(split, pin_memory=True, **by_threads),
        f"torch_loader, {threads} workers, pinned": lambda: dataset.torch_loader(split, **by_workers),
        f"torch, decode_on={DEVICE}": lambda: dataset.torch(split, decode_on=DEVICE, **options),
    }


def repeated(batches: Any, epochs: int) -> Iterator[Any]:
    """Give the batches of some epochs."""
    for _ in range(epochs):
        yield from batches


def cpu_seconds() -> float:
    """Return the CPU that this process and its workers have taken."""
    total = time.process_time()
    for child in multiprocessing.active_children():
        fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def timed(make: Way, asked: argparse.Namespace, use: Step) -> tuple[float, float, float, int]:
    """Read for a while.

    Returns:
        Seconds to the first batch, photos/s after it, CPU in ms a photo after it, photos.
    """
    began, photos = time.perf_counter(), 0
    batches = make()
    coming = repeated(batches, asked.epochs)
    use(*next(coming))
    finished()
    first, cpu = time.perf_counter(), cpu_seconds()
    for images, labels in coming:
        use(images, labels)
        photos += len(labels)
        if time.perf_counter() - first > asked.seconds:
            break
    finished()
    seconds, cpu = time.perf_counter() - first, cpu_seconds() - cpu
    getattr(coming, "close", lambda: None)()
    getattr(batches, "close", lambda: None)()
    if not photos:
        raise ValueError("an epoch has one batch; give a larger dataset or a smaller --batch")
    return first - began, photos / seconds, 1000 * cpu / photos, photos


def measured(step: str, dataset: Dataset, asked: argparse.Namespace, use: Step, limit: float | None = None) -> None:
    """Print a row for each way."""

    def one(name: str, make: Way) -> None:
        first, rate, cpu_ms, photos = timed(make, asked, use)
        of_limit = "" if limit is None else f", {rate / limit:.2f} of the limit"
        row(
            step,
            name,
            f"{rate:,.0f} photos/s{of_limit}",
            f"CPU {cpu_ms:.2f} ms a photo; first {first:.1f} s; {photos:,} photos",
        )

    for name, make in ways(dataset, asked).items():
        attempted(step, name, lambda name=name, make=make: one(name, make))  # type: ignore[misc]


def speed(dataset: Dataset, asked: argparse.Namespace) -> None:
    """Read without training."""

    def use(images: Any, labels: Any) -> None:
        images.to(DEVICE, non_blocking=True)
        labels.to(DEVICE, non_blocking=True)

    measured("speed", dataset, asked, use)


def train(dataset: Dataset, asked: argparse.Namespace) -> None:
    """Train from each way, and from a batch that lies on the device."""
    use = training_step()
    images = torch.randint(0, 256, (asked.batch, 3, SIZE, SIZE), dtype=torch.uint8, device=DEVICE)
    labels = torch.rand(asked.batch, device=DEVICE)

    def limit() -> float:
        finished()
        began, done = time.perf_counter(), 0
        while done < LIMIT_STEPS and time.perf_counter() - began < asked.seconds:
            use(images, labels)
            done += 1
        finished()
        return float(done * asked.batch / (time.perf_counter() - began))

    limit()
    before = limit()
    row("train", "limit: a batch that lies there", f"{before:,.0f} photos/s")
    measured("train", dataset, asked, use, before)
    row("train", "limit, afterwards", f"{limit():,.0f} photos/s")


def training_step() -> Step:
    """Return what trains on a batch."""
    from torchvision.models import resnet50

    model = resnet50(num_classes=1).to(DEVICE, memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)

    def use(images: Any, labels: Any) -> None:
        with torch.autocast(DEVICE, torch.bfloat16):
            scaled = (
                images.to(DEVICE, non_blocking=True).float().div_(255).contiguous(memory_format=torch.channels_last)
            )
            predicted = model(scaled)
            loss = torch.nn.functional.mse_loss(predicted[:, 0].float(), labels.to(DEVICE, non_blocking=True))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return use


STEPS: Final[dict[str, Callable[[Dataset, argparse.Namespace], None]]] = {
    "pixels": pixels,
    "odd": odd,
    "pinned": pinned,
    "speed": speed,
    "train": train,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the steps, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", help="a URL, or a directory")
    parser.add_argument("--split", default="train")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=cpus(), help="and worker processes; by default one per core")
    parser.add_argument("--epochs", type=int, default=2, help="most of them for each way")
    parser.add_argument("--seconds", type=float, default=4, help="most of them for each way")
    parser.add_argument("--only", nargs="+", choices=list(STEPS), default=list(STEPS))
    asked = parser.parse_args(arguments)
    dataset = open_dataset(asked.dataset)
    device = torch.cuda.get_device_name() if DEVICE == "cuda" else "no GPU"
    records = dataset.splits[asked.split].records
    print(f"{device}, {cpus()} cores, torch {torch.__version__}, {records:,} records, batch {asked.batch}, {SIZE} px\n")
    print("| step | what | found | more |\n|---|---|---|---|", flush=True)
    for name in asked.only:
        began = time.perf_counter()
        attempted(name, "all", lambda name=name: STEPS[name](dataset, asked))  # type: ignore[misc]
        row(name, "took", f"{time.perf_counter() - began:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
