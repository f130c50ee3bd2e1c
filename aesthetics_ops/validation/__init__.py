"""Stage 4, validate: read the shards of one partition back, with the code that training reads them with."""

__all__: list[str] = []
