"""What is done with published versions: list, verify, compare, go back, delete, look at rejects."""

__all__: list[str] = []
