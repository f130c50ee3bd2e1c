"""LitData: ROWS OUT {keep,reencode}."""

import csv
import io
import json
import sys
from functools import partial
from pathlib import Path

from litdata import optimize
from PIL import Image


def example(row: tuple[str, float], *, reencodes: bool) -> dict[str, object]:
    """Make one item."""
    path, label = row
    image = Path(path).read_bytes()
    if reencodes:
        buffer = io.BytesIO()
        Image.open(io.BytesIO(image)).convert("RGB").save(buffer, "JPEG", quality=95)
        image = buffer.getvalue()
    return {"image": image, "label": label}


def main() -> None:
    """Convert every row's photo with two workers."""
    rows, out, encoding = sys.argv[1:]
    with Path(rows).open() as file:
        inputs = [(row["path"], float(row["label"])) for row in csv.DictReader(file)]
    optimize(
        fn=partial(example, reencodes=encoding == "reencode"),
        inputs=inputs,
        output_dir=out,
        num_workers=2,
        chunk_bytes="64MB",
    )
    index = json.loads((Path(out) / "index.json").read_text())
    print("\n" + json.dumps({"photos": sum(chunk["chunk_size"] for chunk in index["chunks"])}))


if __name__ == "__main__":
    main()
