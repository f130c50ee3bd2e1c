"""MosaicML streaming: ROWS OUT {keep,reencode}."""

import csv
import io
import json
import sys
from pathlib import Path

from PIL import Image
from streaming import MDSWriter


def main() -> None:
    """Write every row's photo and score."""
    rows, out, encoding = sys.argv[1:]
    with MDSWriter(out=out, columns={"image": "bytes", "label": "float64"}) as writer, Path(rows).open() as file:
        for row in csv.DictReader(file):
            image = Path(row["path"]).read_bytes()
            if encoding == "reencode":
                buffer = io.BytesIO()
                Image.open(io.BytesIO(image)).convert("RGB").save(buffer, "JPEG", quality=95)
                image = buffer.getvalue()
            writer.write({"image": image, "label": float(row["label"])})
    index = json.loads((Path(out) / "index.json").read_text())
    print("\n" + json.dumps({"photos": sum(shard["samples"] for shard in index["shards"])}))


if __name__ == "__main__":
    main()
