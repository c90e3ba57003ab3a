"""CUDA without a GPU: what `gpuload.device` calls of torch, CuPy and the driver, simulated.

gpuload runs on it as it ships. Streams are queues whose work runs at any time that CUDA allows, in an order drawn from
a seed; kernels are the shipped ones, compiled as C++. Every access to memory is known with all that must have happened
before it, so that two that could collide are found even where they did not.

| file | idea |
|---|---|
| `clocks.py` | what happened before what; memory that notices accesses which nothing orders |
| `gpu.py` | streams, events, the order in which their work runs, and its time |
| `memory.py` | the allocators of device and page-locked memory, which hand out again at once what they may |
| `tensors.py` | torch's tensors in such memory |
| `kernels.py` | launches: what a kernel reads and writes, and its run |
| `runtime.py` | torch.cuda, CuPy and the driver, as far as gpuload calls them |
| `threads.py` | threads of which one runs at a time, chosen by the seed, and their time |
| `epochs.py` | a user who plays epochs: other streams, batches kept or dropped, early ends, samples that fail |
"""
