"""The records of a split where they lie, by their numbers: from files, or from a store by ranges."""

__all__: list[str] = []
