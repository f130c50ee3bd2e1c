"""Deal shards out to parallel tasks."""

__all__ = ["balance"]


def balance(work: list[tuple[str, int]], *, partitions: int, partition_bytes: int) -> list[list[str]]:
    """Deal shards out to parallel tasks, largest first, each to the task with the least so far.

    Args:
        work: (digest, source bytes) of each shard.
        partitions: most tasks; > 0.
        partition_bytes: bytes that are worth one more task; > 0.

    Returns:
        Digests per task; no list is empty, and there are no more lists than the work is worth.
    """
    total = sum(size for _, size in work)
    count = min(partitions, len(work), max(1, -(-total // partition_bytes)))
    loads = [0] * count
    parts: list[list[str]] = [[] for _ in range(count)]
    for digest, size in sorted(work, key=lambda shard: (-shard[1], shard[0])):
        lightest = min(range(count), key=loads.__getitem__)
        loads[lightest] += size
        parts[lightest].append(digest)
    return parts
