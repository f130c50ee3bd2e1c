"""Which S3 Inventory the photos of a build were taken from: part of its plan and of its manifest."""

from pydantic import AwareDatetime, Field

from aesthetics_ops.dataset.documents import Document

__all__ = ["SourceInventory"]


class SourceInventory(Document):
    """The S3 Inventory that the photos were taken from."""

    manifest: str = Field(description="URL of its manifest.json")
    created_at: AwareDatetime = Field(description="when S3 began to write it; photos that came later are not in it")
