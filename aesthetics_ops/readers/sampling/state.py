"""The state of a reader: which records it has handed out, of which version, in which order.

A state is a few numbers and names, as JSON keeps them.  It says where training stood, and it is a receipt: from it and the
version that it names, the records of every batch of the epoch follow (`replay`).
"""

import json
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from aesthetics_ops.dataset.documents import problems_of
from aesthetics_ops.errors import SettingsError
from aesthetics_ops.readers.sampling.steps import Last, Steps

__all__ = ["SCHEMA_VERSION", "Layout", "ReaderState", "Receipt"]

_KIND: Final = "aesthetics-ops/reader-state"
SCHEMA_VERSION: Final = 1

_Count = Annotated[int, Field(ge=0, lt=1 << 63)]
_Positive = Annotated[int, Field(ge=1, lt=1 << 63)]

Layout = tuple[_Count, _Positive, _Positive, Last]  # from which position on which batch, ranks and last held

# What makes a state foreign, in the order in which it is asked, and what to do about it.
_SAME: Final = {
    "dataset": "open that dataset",
    "version": "open that version: open_dataset(url, version)",
    "manifest_sha256": "read the manifest that it names, for this one was published anew",
    "split": "read that split",
    "where": "read with that filter",
    "selection": "select the same rows",
    "records": "read the same records",
    "weights": "give the same weights, or the same balance",
    "shuffle": "give that shuffle",
    "block": "give that block",
    "window": "give that window",
    "seed": "give that seed",
}


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a reader reads; each is None where it is not known, or does not apply.

    Attributes:
        dataset: URL that the dataset is published under.
        version: its name.
        manifest_sha256: of the version's manifest, in hex.
        split: train, validation or test.
        where: the SQL filter.
        selection: sha256 of the rows of a selection by mask or row numbers.
    """

    dataset: str | None = None
    version: str | None = None
    manifest_sha256: str | None = None
    split: str | None = None
    where: str | None = None
    selection: str | None = None


class ReaderState(BaseModel):
    """A state, checked."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", populate_by_name=True)

    kind: Literal["aesthetics-ops/reader-state"] = _KIND
    schema_version: Literal[1] = Field(SCHEMA_VERSION, alias="schema")
    dataset: str | None
    version: str | None
    manifest_sha256: str | None
    split: str | None
    where: str | None
    selection: str | None
    records: _Count
    seed: _Count
    shuffle: bool | Literal["block"]
    block: _Positive | None = Field(description="records of a block; null without shuffle='block'")
    window: _Positive | None = Field(description="blocks of a group; null likewise")
    weights: str | None = Field(description="balance=label, or sha256=... of the weights; null without")
    epoch: _Count
    position: _Count = Field(description="records handed out in this epoch, over all ranks")
    layouts: tuple[Layout, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        starts = [layout[0] for layout in self.layouts]
        if (self.shuffle == "block") != (self.block is not None) or (self.block is None) != (self.window is None):
            raise ValueError(f"shuffle {self.shuffle!r} does not go with block {self.block} and window {self.window}")
        if self.position > self.records:
            raise ValueError(f"position {self.position} is beyond the {self.records} records")
        if (
            starts != sorted(set(starts))
            or starts[0] != 0
            or starts[-1] > self.position
            or starts[-1] == self.position > 0
        ):
            raise ValueError(f"layouts do not lead from position 0 to {self.position}")
        for steps, end in self.stretches():
            if steps.until(end) is None:
                raise ValueError(f"position {end} is not the end of a batch of {steps.batch} on {steps.ranks} ranks")
        return self

    @classmethod
    def parse(cls, state: Any) -> Self:
        """Check what claims to be a state.

        Args:
            state: as `encoded` gave it, perhaps through JSON.

        Raises:
            SettingsError: it is none, it is damaged, or another release wrote it.
        """
        if not isinstance(state, dict) or state.get("kind") != _KIND:
            found = f"of kind {state.get('kind')!r}" if isinstance(state, dict) else f"a {type(state).__name__}"
            raise SettingsError(
                f"a reader's state has kind {_KIND!r}, and this is {found}; give what state_dict() returned"
            )
        if state.get("schema") != SCHEMA_VERSION or isinstance(state["schema"], bool):
            raise SettingsError(
                f"the state has schema {state.get('schema')!r}, and this release reads {SCHEMA_VERSION}; use the release "
                "that wrote it"
            )
        try:
            return cls.model_validate_json(json.dumps(state))
        except (ValidationError, TypeError, ValueError, RecursionError) as error:
            problems = problems_of(error) if isinstance(error, ValidationError) else str(error)
            raise SettingsError(
                f"the reader's state is damaged: {problems}; give one that state_dict() returned, unchanged"
            ) from error

    def encoded(self) -> dict[str, Any]:
        """Return the state as JSON keeps it."""
        return self.model_dump(mode="json", by_alias=True)

    def stretches(self) -> list[tuple[Steps, int]]:
        """Return the steps of each layout, with the position where the layout ends."""
        ends = [layout[0] for layout in self.layouts[1:]] + [self.position]
        return [
            (Steps(self.records, start, batch, ranks, last), end)
            for (start, batch, ranks, last), end in zip(self.layouts, ends, strict=True)
        ]

    def check_same(self, own: "ReaderState") -> None:
        """Refuse a state of other data or of another order than this reader's own.

        A dataset that moved, with the same manifest, is the same.

        Raises:
            SettingsError: names the first field that differs.
        """
        is_same_manifest = self.manifest_sha256 is not None and self.manifest_sha256 == own.manifest_sha256
        for field, way in _SAME.items():
            theirs, ours = getattr(self, field), getattr(own, field)
            if theirs != ours and not (field == "dataset" and is_same_manifest):
                raise SettingsError(
                    f"the state has {field} {theirs!r}, and this reader {ours!r}; {way}, or begin without the state"
                )
