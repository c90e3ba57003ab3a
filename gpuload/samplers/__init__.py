"""Samplers whose indices are made where they are needed: on the GPU by a kernel, on the CPU by numpy.

Those that torch has, too, are torch's by class and attributes, and what is changed of them counts from the next
epoch. What stands at position p of epoch e depends on (seed, e, p) alone, and is bit-exact on every device. Iterating
a sampler yields one epoch of Python ints and moves on to the next epoch; `CounterSampler.order` gives the order of any
epoch, and that any stretch of it as a tensor.
"""

from gpuload.samplers.base import CounterSampler
from gpuload.samplers.orders import EpochOrder
from gpuload.samplers.sharded import Shard, ShardedBatches
from gpuload.samplers.uniform import RandomSampler, SequentialSampler, SubsetRandomSampler
from gpuload.samplers.weighted import ClassBalancedSampler, ClassDistributionSampler, WeightedRandomSampler

__all__ = [
    "ClassBalancedSampler",
    "ClassDistributionSampler",
    "CounterSampler",
    "EpochOrder",
    "RandomSampler",
    "SequentialSampler",
    "Shard",
    "ShardedBatches",
    "SubsetRandomSampler",
    "WeightedRandomSampler",
]
