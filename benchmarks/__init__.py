"""Benchmarks: they measure, and compare side by side in one run. Run each with ``python -m benchmarks.NAME``.

- ``race``: whole loaders, gpuload against torch, DALI, FFCV and older gpuloads.
- ``ceiling``: what the loader allows where decoding is no limit.
- ``startup``: time to the first batch, and what a ready batch costs the training loop.
- ``folders``: bytes of state of a large ImageFolder.
- ``kernels``: each kernel alone.
- ``gpu``: all that needs a GPU, in one command.
"""
