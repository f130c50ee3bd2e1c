"""From a published version to a training job; `dataset` is the door, and the others are its readers."""

__all__: list[str] = []
