"""What one of several training processes does: it meets the others and reads its part of a dataset."""

from multiprocessing.queues import SimpleQueue

import torch.distributed as distributed

from aesthetics_ops import open_dataset

__all__ = ["read_as_rank"]


def read_as_rank(url: str, meeting: str, rank: int, reply: SimpleQueue[list[list[list[float]]]]) -> None:
    """Be one of two ranks; reply with the labels of each batch of two epochs, by each reader.

    Args:
        url: the dataset's.
        meeting: the URL of a file where the ranks meet.
        rank: 0 or 1.
        reply: takes the labels, by reader and epoch, batch and row.
    """
    distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
    dataset = open_dataset(url)
    found = []
    for read in (dataset.torch, dataset.torch_loader):
        batches = read("train", batch=7, shuffle=True, size=8)
        for _ in range(2):
            found.append([labels.tolist() for _, labels in batches])
    distributed.barrier()
    distributed.destroy_process_group()
    reply.put(found)
