"""Stage 5, publish: account for every photo, pass the gates, and move LATEST."""

__all__: list[str] = []
