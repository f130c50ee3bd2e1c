"""A version whose ids are hard on other tools: dots, slashes, blanks, letters beyond ASCII, two hundred characters."""

from pathlib import Path

from aesthetics_ops import open_store
from aesthetics_ops.testing.datasets import Photo, SyntheticDataset, SyntheticVersion, synthetic_photos

__all__ = ["ODD_IDS", "publish_odd_ids"]

ODD_IDS = ("a.b.c", "folder/name", "folder/other/name", "..", "Grüße 猫", "x" * 200, "a_b", "a b", "-", "name.jpg")


def publish_odd_ids(folder: Path) -> SyntheticVersion:
    """Publish records with odd ids among others, in four shards of the train split, below a folder."""
    photos = synthetic_photos(30)
    odd = [Photo(name, photos[number].jpeg, 5.5) for number, name in enumerate(ODD_IDS)]
    return SyntheticDataset(open_store(f"{folder.as_uri()}/"), per_shard=9).publish([*odd, *photos])
