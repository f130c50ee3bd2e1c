"""What is done with versions: list, verify, compare, go back, promote, point, pin, delete, look at rejects."""

__all__: list[str] = []
