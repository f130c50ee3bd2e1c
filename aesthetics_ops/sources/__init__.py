"""Stage 1 of the data flow, what a build is made from: the listing of the photos and the file of their scores."""

__all__: list[str] = []
