"""From a published version to a training job."""

__all__: list[str] = []
