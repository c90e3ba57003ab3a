// The CUDA kernels as C++, block by block on the calling thread: the arithmetic that ships, without a GPU.
#include "adjust.cu"
#include "erase.cu"
#include "gather.cu"
#include "order.cu"
#include "pad.cu"
#include "render.cu"

#define EXPORT extern "C" __attribute__((visibility("default")))

EXPORT void cuda_render(const Record* records, int count, const uint8_t* staging, const void* table, int element_bytes,
                        int channels, int channels_last, int tiles, void* out) {
    launch_on_cpu(count, tiles, [&] {
        switch (element_bytes) {
            case 1:
                return render_1(records, staging, (const uint8_t*)table, channels, channels_last, (uint8_t*)out);
            case 2:
                return render_2(records, staging, (const uint16_t*)table, channels, channels_last, (uint16_t*)out);
            default:
                return render_4(records, staging, (const uint32_t*)table, channels, channels_last, (uint32_t*)out);
        }
    });
}

EXPORT int cuda_adjusted_bytes() { return sizeof(Adjusted); }

EXPORT void cuda_adjust(const Adjusted* pictures, int count, const Adjustment* steps, const Warp* warps, uint8_t* scratch,
                        const void* table, int element_bytes, int channels, int channels_last, void* out) {
    launch_on_cpu(count, 1, [&] {
        adjust_pictures(pictures, steps, warps, scratch, table, element_bytes, channels, channels_last, out);
    });
}

EXPORT void cuda_erase(const Record* records, int count, const Rectangle* rectangles, const int64_t* begins,
                       const void* fills, int64_t columns, int element_bytes, int channels, int channels_last,
                       int blocks, void* out) {
    launch_on_cpu(count, blocks, [&] {
        switch (element_bytes) {
            case 1:
                return erase_1(records, rectangles, begins, (const uint8_t*)fills, columns, channels, channels_last,
                               (uint8_t*)out);
            case 2:
                return erase_2(records, rectangles, begins, (const uint16_t*)fills, columns, channels, channels_last,
                               (uint16_t*)out);
            default:
                return erase_4(records, rectangles, begins, (const uint32_t*)fills, columns, channels, channels_last,
                               (uint32_t*)out);
        }
    });
}

EXPORT void cuda_order_permuted(const Permutation* permutation, int64_t start, int64_t count, int64_t* indices) {
    launch_on_cpu(3, 1, [&] { order_permuted(*permutation, start, count, indices); });
}

EXPORT void cuda_order_replaced(uint64_t seed, uint32_t epoch, uint64_t n, int64_t start, int64_t count,
                                int64_t* indices) {
    launch_on_cpu(3, 1, [&] { order_replaced(seed, epoch, n, start, count, indices); });
}

EXPORT void cuda_order_weighted(uint64_t seed, uint32_t epoch, const int64_t* ends, int64_t n, int64_t start,
                                int64_t count, int64_t* indices) {
    launch_on_cpu(3, 1, [&] { order_weighted(seed, epoch, ends, n, start, count, indices); });
}

EXPORT void cuda_gather(const void* source, const int64_t* indices, int64_t rows, int64_t row_words, int word,
                        void* out) {
    launch_on_cpu(3, 1, [&] {
        switch (word) {
            case 1:
                return gather_1((const uint8_t*)source, indices, rows, row_words, (uint8_t*)out);
            case 4:
                return gather_4((const uint32_t*)source, indices, rows, row_words, (uint32_t*)out);
            default:
                return gather_16((const uint4*)source, indices, rows, row_words, (uint4*)out);
        }
    });
}

EXPORT void cuda_pad(const void* values, const int64_t* places, const Filling* filling, int element_bytes, void* out) {
    launch_on_cpu(3, 1, [&] {
        switch (element_bytes) {
            case 1:
                return pad_1((const uint8_t*)values, places, *filling, (uint8_t*)out);
            case 2:
                return pad_2((const uint16_t*)values, places, *filling, (uint16_t*)out);
            case 4:
                return pad_4((const uint32_t*)values, places, *filling, (uint32_t*)out);
            case 8:
                return pad_8((const uint64_t*)values, places, *filling, (uint64_t*)out);
            default:
                return pad_16((const uint4*)values, places, *filling, (uint4*)out);
        }
    });
}
