"""From a published version to a model that names it: one function trains, the rest is done around it."""

__all__: list[str] = []
