// order: position in the epoch -> sample index. Each output depends on its position alone, so that a
// batch, a rank or a resumed run asks for just the positions it needs.
#include "random.cuh"

constexpr uint32_t SAMPLER_DRAW = 0x80000000u;  // apart from the draws of the transforms

// A permutation of range(n): every index once.
GPULOAD_KERNEL order_permuted(Permutation permutation, int64_t start, int64_t count, int64_t* indices) {
    for (int64_t i = int64_t(block_x()) * lanes() + lane(); i < count; i += int64_t(blocks_x()) * lanes())
        indices[i] = permute(permutation, start + i);
}

// Uniform, with replacement, from range(n).
GPULOAD_KERNEL order_replaced(uint64_t seed, uint32_t epoch, uint64_t n, int64_t start, int64_t count,
                              int64_t* indices) {
    for (int64_t i = int64_t(block_x()) * lanes() + lane(); i < count; i += int64_t(blocks_x()) * lanes())
        indices[i] = int64_t(high_word(philox_word(seed, SAMPLER_DRAW, uint64_t(start + i), epoch), n));
}

// With replacement, index k as often as ends[k] - ends[k - 1] says; ends: inclusive integer sums.
GPULOAD_KERNEL order_weighted(uint64_t seed, uint32_t epoch, const int64_t* ends, int64_t n, int64_t start,
                              int64_t count, int64_t* indices) {
    const uint64_t total = uint64_t(ends[n - 1]);
    for (int64_t i = int64_t(block_x()) * lanes() + lane(); i < count; i += int64_t(blocks_x()) * lanes()) {
        const int64_t target =
            int64_t(high_word(philox_word(seed, SAMPLER_DRAW, uint64_t(start + i), epoch), total));
        int64_t low = 0, high = n - 1;
        while (low < high) {
            const int64_t middle = (low + high) / 2;
            if (ends[middle] > target)
                high = middle;
            else
                low = middle + 1;
        }
        indices[i] = low;
    }
}
