"""img2dataset: ROWS OUT {keep,reencode} {tfrecord,webdataset}."""

import json
import sys
from pathlib import Path

from img2dataset import download


def main() -> None:
    """Download and convert every row's URL."""
    rows, out, encoding, output_format = sys.argv[1:]
    photos = len(Path(rows).read_text().splitlines()) - 1
    download(
        url_list=rows,
        input_format="csv",
        url_col="url",
        save_additional_columns=["label"],
        output_folder=out,
        output_format=output_format,
        processes_count=2,
        thread_count=16,
        number_sample_per_shard=min(600, -(-photos // 2)),  # work for both processes,
        resize_mode="no",
        disable_all_reencoding=encoding == "keep",
        encode_quality=95,
    )
    done = sum(json.loads(path.read_text())["successes"] for path in Path(out).glob("*_stats.json"))
    print("\n" + json.dumps({"photos": done}))


if __name__ == "__main__":
    main()
