"""Which samples a rank learns from, also where an epoch was interrupted."""

import itertools
from collections.abc import Iterator

from torch.utils.data import DistributedSampler


class ResumableSampler(DistributedSampler[int]):
    """DistributedSampler that can start in the middle of an epoch.

    Sample i of the shuffled epoch goes to rank i mod world_size, so after any number of steps the samples
    seen by all ranks together are the first `seen` of that order, whatever the world size was.
    """

    seen = 0

    def __iter__(self) -> Iterator[int]:
        return itertools.islice(super().__iter__(), self.seen // self.num_replicas, None)

    def __len__(self) -> int:
        return self.num_samples - self.seen // self.num_replicas
