"""A version comes to this machine: pieces over many connections, checked as they arrive."""

__all__: list[str] = []
