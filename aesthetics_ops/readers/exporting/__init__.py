"""A version in other tools' containers: the same ids, labels and JPEG bytes."""

__all__: list[str] = []
