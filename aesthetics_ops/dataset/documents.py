"""What the JSON documents of a dataset have in common."""

from pydantic import BaseModel, ConfigDict

__all__ = ["Document"]


class Document(BaseModel):
    """Immutable; written with exactly the fields that the class has."""

    model_config = ConfigDict(frozen=True, extra="forbid")
