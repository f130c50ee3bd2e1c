"""Stage 3, download_and_convert: make the shards of one partition."""

__all__: list[str] = []
