"""Samplers whose indices are made where they are needed: on the GPU by a kernel, on the CPU by numpy.

All are torch ``Sampler`` s. What stands at position p of epoch e depends on (seed, e, p) alone, and is bit-exact
on every device. Iterating a sampler yields one epoch of Python ints and moves on to the next epoch;
`CounterSampler.indices` gives any stretch of any epoch as a tensor.
"""

from gpuload.samplers.base import CounterSampler
from gpuload.samplers.uniform import RandomSampler, SequentialSampler, SubsetRandomSampler
from gpuload.samplers.weighted import ClassBalancedSampler, ClassDistributionSampler, WeightedRandomSampler

__all__ = [
    "ClassBalancedSampler",
    "ClassDistributionSampler",
    "CounterSampler",
    "RandomSampler",
    "SequentialSampler",
    "SubsetRandomSampler",
    "WeightedRandomSampler",
]
