"""Stage 2, plan: which photo goes into which shard, before any pixel is read."""

__all__: list[str] = []
