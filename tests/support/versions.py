"""What several tests publish: the sample's photos, hostile names, and rejects of many kinds."""

import itertools

from aesthetics_ops.dataset.layout import VersionFile
from aesthetics_ops.publishing.documents import Shown
from aesthetics_ops.rejects import RejectReason
from aesthetics_ops.store import Store, open_store
from aesthetics_ops.testing.datasets import LeftOut, Photo, SyntheticDataset, SyntheticVersion
from tests.support.paths import ROOT

PHOTOS = ROOT / "samples" / "photos"
HOSTILE = '<script>alert(1)</script>"><img src=x onerror=alert(2)>/../../x.jpg'
_NO_RECORDS = {"927155", "937125", "948740", "959620"}  # turned by EXIF, a PNG, CMYK, cut off
_names = itertools.count()


def new_store(dataset: str = "flowers") -> Store:
    return open_store(f"memory://versions{next(_names)}/datasets/{dataset}/")


def _small_report(shown: Shown) -> str:
    return f"<!doctype html><title>{shown.manifest.version}</title><style>p{{color:red}}</style><p>the report"


def new_dataset(*, per_shard: int = 10) -> SyntheticDataset:
    """A dataset whose versions have a report of one line."""
    return SyntheticDataset(new_store(), per_shard=per_shard, documents={VersionFile.REPORT: _small_report})


def publish_once(photos: list[Photo], left_out: list[LeftOut], *, per_shard: int = 10) -> SyntheticVersion:
    """The only version of a dataset."""
    return new_dataset(per_shard=per_shard).publish(photos, left_out)


def sample_photos(count: int = 30) -> list[Photo]:
    """Photos of the sample that are records as they are; scores of 3 and more, a tenth apart."""
    files = [path for path in sorted(PHOTOS.glob("*.jpg")) if path.stem not in _NO_RECORDS][:count]
    assert len(files) == count
    splits = itertools.cycle(["train"] * 8 + ["validation", "test"])
    return [
        Photo(path.stem, path.read_bytes(), 3.0 + number / 10, split)
        for number, (path, split) in enumerate(zip(files, splits, strict=False))
    ]


def sample_rejects() -> list[LeftOut]:
    """Enough for several pages; but for one their files are gone."""
    return [
        LeftOut("959620.jpg", RejectReason.CORRUPT, "Premature end of JPEG file", bytes(100)),
        LeftOut(HOSTILE, RejectReason.NOT_A_PHOTO, HOSTILE),
        LeftOut(None, RejectReason.LABEL_WITHOUT_PHOTO, "row 17 of the score file"),
        *(LeftOut(f"tagged/{n}.jpg", RejectReason.UNLABELLED, "no row names it") for n in range(120)),
    ]


def rejects_with_files() -> list[LeftOut]:
    """What a report shows pictures of, and what it cannot show."""
    photo = (PHOTOS / "959620.jpg").read_bytes()
    duplicate, unlabelled = ((PHOTOS / name).read_bytes() for name in ("952299.jpg", "937125.jpg"))
    return [
        LeftOut("959620.jpg", RejectReason.CORRUPT, "Premature end of JPEG file", photo),
        LeftOut("952299.jpg", RejectReason.DUPLICATE_PHOTO, "same bytes as 926301", duplicate),
        LeftOut("a/937125.png", RejectReason.UNLABELLED, "no row names it", unlabelled),
        LeftOut("empty.jpg", RejectReason.EMPTY, "the object holds no bytes", b""),
        LeftOut("fake.jpg", RejectReason.UNLABELLED, "no row names it", b"GIF, honestly"),
        LeftOut(HOSTILE, RejectReason.NOT_A_PHOTO, HOSTILE),
        LeftOut("<script>\"'.jpg", RejectReason.CORRUPT, "<b>Premature</b> end of JPEG file", photo[:9000]),
        LeftOut(None, RejectReason.LABEL_WITHOUT_PHOTO, "row 17 of the score file"),
        LeftOut("gone.jpg", RejectReason.SOURCE_MISSING, "listed, but gone when it was read"),
    ]
