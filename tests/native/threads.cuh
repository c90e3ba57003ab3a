// In the place of kernels/portable.cuh: the same names for real threads, so that sanitizers see what a kernel does.
//
// Teams of LANES threads take the blocks of a grid in turn. One team of many lanes shows how a block's threads share
// memory; many teams of one lane show what blocks that run at once do to each other.
#pragma once
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

#define GPULOAD_FN static inline
#define GPULOAD_MEMBER inline
#define GPULOAD_KERNEL static void

struct alignas(16) uint4 {
    uint32_t x, y, z, w;
};

constexpr int THREADS = 16;
#if defined(BLOCKS_AT_ONCE)
constexpr int LANES = 1;
#define GPULOAD_SHARED static thread_local
#else
constexpr int LANES = THREADS;
#define GPULOAD_SHARED static
#endif
constexpr int TEAMS = THREADS / LANES;
constexpr int END_OF_BLOCK = 0;  // no line of a source
constexpr int DIVERGED = 3;      // the exit status

static thread_local int current_lane, current_block[2];
static int current_grid[2];

// A barrier that orders what it must and nothing more. std::barrier may let a thread that leaves it see what those did
// that have come to the next one, which would hide races.
static std::atomic<int> arrived, phase;
static int waits_at[2][LANES];  // the line of the barrier where each lane is, of this phase and the one before

// Where threads of a block wait at different barriers, or some at none, CUDA does not say what happens.
static void check_same_line(const int* lines) {
    if (lines[current_lane] == lines[0]) return;
    std::fprintf(stderr, "threads of a block wait at lines %d and %d\n", lines[0], lines[current_lane]);
    std::_Exit(DIVERGED);
}

static void meet(int line) {
    const int now = phase.load(std::memory_order_relaxed);
    waits_at[now & 1][current_lane] = line;
    if (arrived.fetch_add(1, std::memory_order_acq_rel) == LANES - 1) {
        arrived.store(0, std::memory_order_relaxed);
        phase.store(now + 1, std::memory_order_release);
    }
    while (phase.load(std::memory_order_acquire) == now) std::this_thread::yield();
    check_same_line(waits_at[now & 1]);
}

GPULOAD_FN int lane() { return current_lane; }
GPULOAD_FN int lanes() { return LANES; }
GPULOAD_FN int block_x() { return current_block[0]; }
GPULOAD_FN int block_y() { return current_block[1]; }
GPULOAD_FN int blocks_x() { return current_grid[0]; }
GPULOAD_FN int blocks_y() { return current_grid[1]; }
GPULOAD_FN void barrier(int line = __builtin_LINE()) {
    if (LANES > 1) meet(line);
}
GPULOAD_FN void add_atomically(uint32_t* sum, uint32_t value) {
    std::atomic_ref<uint32_t>(*sum).fetch_add(value, std::memory_order_relaxed);
}

template <class Kernel>
static void launch_on_cpu(int grid_x, int grid_y, Kernel kernel) {
    current_grid[0] = grid_x;
    current_grid[1] = grid_y;
    const auto run = [&](int thread) {
        current_lane = thread % LANES;
        for (int block = thread / LANES; block < grid_x * grid_y; block += TEAMS) {
            current_block[0] = block % grid_x;
            current_block[1] = block / grid_x;
            kernel();
            barrier(END_OF_BLOCK);
        }
    };
    std::vector<std::thread> threads;
    for (int thread = 0; thread < THREADS; ++thread) threads.emplace_back(run, thread);
    for (std::thread& thread : threads) thread.join();
}
