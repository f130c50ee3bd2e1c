"""Two nights of the DAG on the bundled sample, and a training, through Airflow and an embedded S3: what `make demo` runs.

The first night builds a dataset from nothing, and a batch is read back as a training job would.  Before the second
night one photo arrives, one is deleted and one gets another score: only the shards that this touches are built again.
Then a small model is trained on the second night's version, as its event would have it.
"""

import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from demo.sandbox import BUCKET, ROOT, Sandbox, open_sandbox

DATASET = f"s3://{BUCKET}/datasets/photo_dataset/"
REMOVED, RESCORED = "photos/902203.jpg", "904435"
NIGHTS = ("2026-11-21", "2026-11-22")
TRAINING = "train_on_new_version.photo_dataset"


def main() -> int:
    """Play both nights; return the exit status."""
    shutil.rmtree(ROOT / ".sandbox" / "demo", ignore_errors=True)
    print("Starting an S3 server and Airflow's database (15 s) ...", flush=True)
    with open_sandbox("demo") as sandbox:
        os.environ.update(sandbox.env)
        night(sandbox, 0, "the bundled sample, from nothing")
        first = describe()
        read_batch()
        change_the_input(sandbox)
        night(sandbox, 1, "1 photo added, 1 removed, 1 score changed")
        second = describe()
        if (first.version, 0) != (
            second.parent,
            second.reuse.shards_total - second.reuse.shards_added - second.reuse.shards_reused,
        ):
            sys.exit("the second night did not build on the first")
        train(sandbox, second.version)
        bucket = sandbox.snapshot()
    version = bucket / "datasets" / "photo_dataset" / "versions" / second.version
    print(f"\nOn disk, to look at:\n  report    {version / 'report.html'}\n  manifest  {version / 'manifest.json'}")
    print("Next: `make airflow` for the web UI, `make shell` to run single tasks, README.md for your own photos.")
    return 0


def night(sandbox: Sandbox, number: int, what: str) -> None:
    """Run the DAG for one date, or stop with the end of its log."""
    date = NIGHTS[number]
    log = sandbox.directory / f"night-{number + 1}.log"
    print(f"\nNight {number + 1}: {what}")
    run_dag(sandbox, "photo_dataset", date, log)


def run_dag(sandbox: Sandbox, name: str, date: str, log: Path) -> None:
    """Run a DAG for one date, or stop with the end of its log."""
    print(f"  airflow dags test {name} {date} ...", flush=True)
    started = time.monotonic()
    if sandbox.run("airflow", "dags", "test", name, date, log=log) != 0:
        print("\n".join(log.read_text(errors="replace").splitlines()[-30:]), file=sys.stderr)
        sys.exit(f"the DAG failed; the whole log is {log}")
    print(f"  done in {time.monotonic() - started:.0f} s, log in {log.relative_to(ROOT)}")


def train(sandbox: Sandbox, version: str) -> None:
    """Train on a version, and print what the model is worth and what it was made from."""
    from aesthetics_ops.dataset.pointers import read_pins
    from aesthetics_ops.store import open_store
    from aesthetics_ops.training.finding import find_receipt, replay_training
    from aesthetics_ops.training.receipt import Metrics

    print("\nTraining: a small Keras model on the new version")
    run_dag(sandbox, TRAINING, NIGHTS[1], sandbox.directory / "training.log")
    folder = f"{DATASET.removesuffix('/')}-training/{version}/"
    receipt, metrics = find_receipt(f"{folder}model.keras"), Metrics.read(open_store(folder), "metrics.json")
    pinned = [pin.version for pin in read_pins(open_store(DATASET))]
    if (receipt.version, pinned) != (version, [version]) or metrics is None:
        sys.exit("the model does not name the version, or it is not pinned")
    last = replay_training(receipt)
    print(
        f"  trained   {last.state.records} photos, {last.state.epoch + 1} epochs; the model names its version, which is pinned"
    )
    for split, found in metrics.splits.items():
        rank = "-" if found.spearman is None else f"{found.spearman:.2f}"
        judged = (
            f"MAE {found.mae:.2f} (who says the mean: {found.mae_of_mean:.2f}), Spearman {rank}, EMD {found.emd:.3f}"
        )
        print(f"  {split:<10} {found.records} photos: {judged}")
    print("  (the sample's scores are made up: there is little to learn)")
    ids = ", ".join(last.records["id"].to_pylist()[:3])
    print(f"  replayed  the last batch held {last.records.num_rows} photos: {ids}, ...")
    print(f"  model     {folder}model.keras")


def describe() -> Any:
    """Print what LATEST holds; return its manifest."""
    from aesthetics_ops import open_dataset

    manifest = open_dataset(DATASET).manifest
    counts, reuse = manifest.accounting, manifest.reuse
    rejects = ", ".join(f"{count} {reason}" for reason, count in manifest.rejects.items())
    rows = {
        "version": manifest.version,
        "photos": f"{counts.listed} listed = {counts.converted} converted + {counts.rejected} rejected",
        "scores": f"{counts.label_rows} rows = {counts.matched} matched + {counts.unmatched} without a photo",
        "left out": rejects,
        "changed": ", ".join(f"{count} {name}" for name, count in manifest.transforms.items()),
        "splits": ", ".join(f"{split.records} {name}" for name, split in manifest.splits.items()),
        "bytes": f"{manifest.source.bytes / 1e6:.1f} MB raw -> {manifest.bytes / 1e6:.1f} MB dataset "
        f"(as serialized uint8 tensors: {manifest.images.total_pixels * 3 / 1e6:.1f} MB)",
        "shards": f"{reuse.shards_total}: {reuse.shards_added} new, {reuse.shards_reused} reused",
        "manifest": f"{manifest.dataset}versions/{manifest.version}/manifest.json",
        "report": f"{manifest.dataset}versions/{manifest.version}/report.html",
    }
    for name, text in rows.items():
        print(f"  {name:<9} {text}")
    return manifest


def read_batch() -> None:
    """Read one batch of the train split as a training job would."""
    from aesthetics_ops import open_dataset

    train = open_dataset(DATASET).tf("train", batch=32, size=224, shuffle=True)
    images, labels = next(iter(train))
    print(
        f"  a batch   images {images.dtype.name} {tuple(images.shape)}, labels {labels.dtype.name} {tuple(labels.shape)}"
    )


def change_the_input(sandbox: Sandbox) -> None:
    """Do to the bucket what a day does: a photo comes, a photo goes, a score changes."""
    arrived = next((ROOT / "samples" / "second_night").glob("*.jpg"))
    sandbox.s3.put_object(Bucket=BUCKET, Key=f"photos/{arrived.name}", Body=arrived.read_bytes())
    sandbox.s3.delete_object(Bucket=BUCKET, Key=REMOVED)
    rows = [line.split() for line in (ROOT / "samples" / "AVA.txt").read_text().splitlines()]
    for row in rows:
        if row[1] == RESCORED:
            row[2:12] = row[11:1:-1]  # the same votes, upside down
    rows.append([str(len(rows) + 1), arrived.stem, *rows[0][2:]])
    text = "\n".join(" ".join(row) for row in rows)
    sandbox.s3.put_object(Bucket=BUCKET, Key="AVA.txt", Body=text.encode())


if __name__ == "__main__":
    sys.exit(main())
