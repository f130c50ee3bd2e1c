"""A clock that a test sets."""

__all__ = ["Clock"]


class Clock:
    """Seconds; `now` is what it says."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now
