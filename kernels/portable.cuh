// One source, two compilers: what a kernel may use of CUDA, and its meaning for a C++ compiler.
//
// A kernel here is written for a block of any size: work is shared out by
// `for (int i = lane(); i < n; i += lanes())` and phases are parted by `barrier()`. CUDA runs such a
// block with hundreds of threads; the C++ build runs it with one, and so executes the same arithmetic.
#pragma once

#if defined(__CUDACC__)

#if defined(__CUDACC_RTC__)  // NVRTC has no C++ headers
using int8_t = signed char;
using uint8_t = unsigned char;
using uint16_t = unsigned short;
using int32_t = int;
using uint32_t = unsigned int;
using int64_t = long long;
using uint64_t = unsigned long long;
#else
#include <cstdint>
#endif

#define GPULOAD_FN __device__ __forceinline__
#define GPULOAD_MEMBER __device__ __forceinline__
// blocks of 512 threads at most, of which a multiprocessor holds two: 64 registers a thread
#define GPULOAD_KERNEL extern "C" __global__ void __launch_bounds__(512, 2)
#define GPULOAD_SHARED __shared__

GPULOAD_FN int lane() { return threadIdx.x; }
GPULOAD_FN int lanes() { return blockDim.x; }
GPULOAD_FN int block_x() { return blockIdx.x; }
GPULOAD_FN int block_y() { return blockIdx.y; }
GPULOAD_FN int blocks_x() { return gridDim.x; }
GPULOAD_FN int blocks_y() { return gridDim.y; }
GPULOAD_FN void barrier() { __syncthreads(); }
GPULOAD_FN void add_atomically(uint32_t* sum, uint32_t value) { atomicAdd(sum, value); }

#else

#include <cmath>
#include <cstdint>
#include <cstring>

#define GPULOAD_FN static inline
#define GPULOAD_MEMBER inline
#define GPULOAD_KERNEL static void
#define GPULOAD_SHARED static thread_local

struct alignas(16) uint4 {
    uint32_t x, y, z, w;
};

static thread_local int current_block[2];
static thread_local int current_grid[2];

GPULOAD_FN int lane() { return 0; }
GPULOAD_FN int lanes() { return 1; }
GPULOAD_FN int block_x() { return current_block[0]; }
GPULOAD_FN int block_y() { return current_block[1]; }
GPULOAD_FN int blocks_x() { return current_grid[0]; }
GPULOAD_FN int blocks_y() { return current_grid[1]; }
GPULOAD_FN void barrier() {}
GPULOAD_FN void add_atomically(uint32_t* sum, uint32_t value) { *sum += value; }

// Run a kernel's whole grid, block after block, on the calling thread.
template <class Kernel>
static void launch_on_cpu(int grid_x, int grid_y, Kernel kernel) {
    current_grid[0] = grid_x;
    current_grid[1] = grid_y;
    for (int y = 0; y < grid_y; ++y)
        for (int x = 0; x < grid_x; ++x) {
            current_block[0] = x;
            current_block[1] = y;
            kernel();
        }
}

#endif
