// The CPU engine: one sample a call, on the worker thread that decoded it. Same taps and same rounding as
// render.cu, in an order that suits a CPU: whole passes over whole rows, 16 lanes of integers at a time.
// Below it, the CUDA kernels' own entry points, block by block, for the tests.
#include <algorithm>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "gather.cu"
#include "order.cu"
#include "render.cu"

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace {

typedef uint8_t Bytes16 __attribute__((vector_size(16)));
typedef uint16_t Halves16 __attribute__((vector_size(32)));
typedef int32_t Lanes __attribute__((vector_size(64)));
constexpr int LANES = 16;
constexpr int STRIP = 4;  // rows that share a vector: 4 rows x (3 channels + 1 unused)

// 16 bytes as integers. Compilers make of the plain conversion many instructions where x86 has one.
Lanes widen(const uint8_t* p) {
#if defined(__AVX512F__)
    return (Lanes)_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i*)p));
#elif defined(__AVX2__)
    struct Halves {
        __m256i low, high;
    } halves = {_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)p)),
                _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)(p + 8)))};
    Lanes lanes;
    std::memcpy(&lanes, &halves, sizeof lanes);
    return lanes;
#else
    Bytes16 bytes;
    std::memcpy(&bytes, p, sizeof bytes);
    return __builtin_convertvector(__builtin_convertvector(bytes, Halves16), Lanes);
#endif
}

// Sums as 16 rounded and clipped bytes.
Bytes16 narrow(Lanes sums) {
    const Lanes zero = {}, most = zero + 255;
    Lanes v = sums >> WEIGHT_BITS;
    v = v > zero ? v : zero;
    v = v < most ? v : most;
#if defined(__AVX512F__)
    return (Bytes16)_mm512_cvtepi32_epi8((__m512i)v);
#else
    return __builtin_convertvector(__builtin_convertvector(v, Halves16), Bytes16);
#endif
}

// Taps of every output of an axis, one row each.
struct Rows {
    std::vector<int> data;
    int stride = 0, count = 0;
    int begin = 0, end = 0;  // the sources that any row reads
    bool plain = true;       // every row is one source, unweighted
    bool padded = false;     // some rows are padding

    const int* operator[](int i) const { return data.data() + size_t(i) * stride; }

    void make(const Axis& axis, int filter) {
        stride = ROW_HEAD + axis.ksize;
        count = axis.extent;
        data.resize(size_t(count) * stride);
        fill(axis, filter, data.data());
        begin = INT32_MAX;
        end = 0;
        padded = false;
        for (int i = 0; i < count; ++i) {
            const int* row = (*this)[i];
            if (row[1] == 0) {
                padded = true;
                continue;
            }
            begin = std::min(begin, row[0]);
            end = std::max(end, row[0] + row[1]);
        }
        plain = axis.length == axis.resized || filter == NEAREST;
    }

    static void fill(const Axis& axis, int filter, int* rows) {
        const int stride = ROW_HEAD + axis.ksize;
        std::vector<int> nearest;
        if (filter == NEAREST && axis.length != axis.resized) {
            // Pillow adds the scale up pixel by pixel, and the rounding of that sum shows.
            const double scale = double(axis.length) / double(axis.resized);
            double at = scale * 0.5;
            for (int v = 0; v < axis.resized; ++v, at += scale) nearest.push_back(int(at));
        }
        for (int i = 0; i < axis.extent; ++i)
            make_row(axis, i, rows + size_t(i) * stride, [&](int v, int* row) {
                if (nearest.empty()) return resample_taps(axis, filter, v, row);
                row[0] = nearest[v];
                row[1] = 1;
                row[ROW_HEAD] = ONE;
            });
    }
};

// Buffers of one thread: they grow to the largest sample and stay.
struct Scratch {
    Rows x, y;
    std::vector<uint8_t> grey, middle, lines, strip;
};

uint8_t* room(std::vector<uint8_t>& buffer, size_t bytes) {
    if (buffer.size() < bytes) buffer.resize(bytes);
    return buffer.data();
}

// Four rows side by side, 4 bytes a pixel each: one vector access then holds one pixel of all four.
void interleave(const uint8_t* const source[STRIP], int begin, int end, uint8_t* strip) {
    for (int r = 0; r < STRIP; ++r) {
        const uint8_t* from = source[r] + begin * 3;
        uint8_t* to = strip + r * 4;
        for (int x = begin; x < end - 1; ++x, from += 3, to += LANES) std::memcpy(to, from, 4);
        std::memcpy(to, from, 3);  // the last pixel may end the buffer
    }
}

// Horizontal pass over up to four rows of packed pixels.
void pass_x(const uint8_t* const source[STRIP], const Rows& rows, uint8_t* strip, uint8_t* const out[STRIP], int used) {
    if (rows.plain) {
        for (int r = 0; r < used; ++r)
            for (int i = 0; i < rows.count; ++i)
                if (rows[i][1]) std::memcpy(out[r] + i * 3, source[r] + rows[i][0] * 3, 3);
        return;
    }
    interleave(source, rows.begin, rows.end, strip);
    for (int i = 0; i < rows.count; ++i) {
        const int* row = rows[i];
        const uint8_t* p = strip + size_t(row[0] - rows.begin) * LANES;
        Lanes sum = Lanes{} + HALF;
        for (int j = 0; j < row[1]; ++j, p += LANES) sum += widen(p) * row[ROW_HEAD + j];
        const Bytes16 bytes = narrow(sum);
        uint8_t packed[LANES];
        std::memcpy(packed, &bytes, sizeof bytes);
        for (int r = 0; r < used; ++r) std::memcpy(out[r] + i * 3, packed + r * 4, 3);
    }
}

void pass_x(const uint8_t* source, int64_t pitch, int lines, const Rows& rows, uint8_t* strip, uint8_t* out,
            int64_t out_pitch) {
    for (int y = 0; y < lines; y += STRIP) {
        const int used = std::min(STRIP, lines - y);
        const uint8_t* from[STRIP];
        uint8_t* to[STRIP];
        for (int r = 0; r < STRIP; ++r) {
            const int at = y + std::min(r, used - 1);
            from[r] = source + at * pitch;
            to[r] = out + at * out_pitch;
        }
        pass_x(from, rows, strip, to, used);
    }
}

// Vertical pass: one output row of `bytes` bytes.
void pass_y(const uint8_t* source, int64_t pitch, const int* row, int64_t bytes, uint8_t* out) {
    if (row[1] == 0) return;  // padding
    source += row[0] * pitch;
    if (row[1] == 1 && row[ROW_HEAD] == ONE) {
        std::memcpy(out, source, bytes);
        return;
    }
    int64_t x = 0;
    for (; x + LANES <= bytes; x += LANES) {
        Lanes sum = Lanes{} + HALF;
        for (int j = 0; j < row[1]; ++j) sum += widen(source + j * pitch + x) * row[ROW_HEAD + j];
        const Bytes16 packed = narrow(sum);
        std::memcpy(out + x, &packed, sizeof packed);
    }
    for (; x < bytes; ++x) {
        int sum = HALF;
        for (int j = 0; j < row[1]; ++j) sum += source[j * pitch + x] * row[ROW_HEAD + j];
        out[x] = to_byte(sum);
    }
}

void turn_grey(const uint8_t* source, int64_t pixels, uint8_t* out) {
    for (int64_t i = 0; i < pixels; ++i) {
        const uint8_t l = luma(source[i * 3], source[i * 3 + 1], source[i * 3 + 2]);
        out[i * 3] = out[i * 3 + 1] = out[i * 3 + 2] = l;
    }
}

void paint(const uint8_t* fill, uint8_t* pixel) {
    for (int c = 0; c < 3; ++c) pixel[c] = fill[c];
}

// One row of finished bytes, through the table of output values.
template <class Out>
void emit(const Sample& sample, const uint8_t* line, int y, const Out* table, int channels, int channels_last,
          Out* out) {
    const int64_t width = sample.x.extent, plane = width * sample.y.extent;
    out += sample.output;
    if (channels_last) {
        Out* to = out + y * width * channels;
        for (int64_t x = 0; x < width; ++x)
            for (int c = 0; c < channels; ++c) to[x * channels + c] = table[c * 256 + line[x * 3 + c]];
        return;
    }
    for (int c = 0; c < channels; ++c) {
        Out* to = out + c * plane + y * width;
        const Out* values = table + c * 256;
        for (int64_t x = 0; x < width; ++x) to[x] = values[line[x * 3 + c]];
    }
}

// What follows the resize in one row: grey, then padding over it.
void finish_line(const Sample& sample, const Rows& rows_x, bool blank, uint8_t* line) {
    if (sample.grey & GREY_AFTER_RESIZE && !blank) turn_grey(line, rows_x.count, line);
    if (!blank && !rows_x.padded) return;
    for (int x = 0; x < rows_x.count; ++x)
        if (blank || rows_x[x][1] == 0) paint(sample.fill, line + x * 3);
}

template <class Out>
void render_sample(const Sample& sample, const uint8_t* pixels, const Out* table, int channels, int channels_last,
                   Out* out) {
    static thread_local Scratch scratch;
    Rows &rows_x = scratch.x, &rows_y = scratch.y;
    rows_x.make(sample.x, sample.filter);
    rows_y.make(sample.y, sample.filter);
    const int64_t pitch = int64_t(sample.x.span) * 3, line_pitch = int64_t(rows_x.count) * 3;
    const bool blank = rows_x.end == 0 || rows_y.end == 0;

    if (sample.grey & GREY_BEFORE_RESIZE && !blank) {
        const int64_t count = int64_t(sample.x.span) * sample.y.span;
        uint8_t* grey = room(scratch.grey, count * 3);
        turn_grey(pixels, count, grey);
        pixels = grey;
    }
    uint8_t* lines = room(scratch.lines, STRIP * line_pitch);
    uint8_t* strip = room(scratch.strip, size_t(std::max(0, rows_x.end - rows_x.begin)) * LANES);

    // the horizontal pass over the whole image, unless the vertical one comes first
    const uint8_t* middle = nullptr;
    if (!sample.vertical_first && !blank) {
        const int count = rows_y.end - rows_y.begin;
        uint8_t* made = room(scratch.middle, size_t(count) * line_pitch);
        pass_x(pixels + rows_y.begin * pitch, pitch, count, rows_x, strip, made, line_pitch);
        middle = made - rows_y.begin * line_pitch;
    }
    for (int y = 0; y < rows_y.count; y += STRIP) {
        const int used = std::min(STRIP, rows_y.count - y);
        if (!blank && sample.vertical_first) {
            uint8_t* across = room(scratch.middle, STRIP * pitch);
            for (int r = 0; r < used; ++r) pass_y(pixels, pitch, rows_y[y + r], pitch, across + r * pitch);
            pass_x(across, pitch, used, rows_x, strip, lines, line_pitch);
        } else if (!blank) {
            for (int r = 0; r < used; ++r) pass_y(middle, line_pitch, rows_y[y + r], line_pitch, lines + r * line_pitch);
        }
        for (int r = 0; r < used; ++r) {
            uint8_t* line = lines + r * line_pitch;
            finish_line(sample, rows_x, blank || rows_y[y + r][1] == 0, line);
            emit(sample, line, y + r, table, channels, channels_last, out);
        }
    }
}

}  // namespace

EXPORT int gpuload_sample_bytes() { return sizeof(Sample); }

// Rows of taps for one axis: int32, count x (2 + ksize).
EXPORT void gpuload_taps(const Axis* axis, int filter, int* rows) { Rows::fill(*axis, filter, rows); }

// One sample into its place in the batch; `width` is the byte width of an output value.
EXPORT void gpuload_render(const Sample* sample, const uint8_t* pixels, const void* table, int width, int channels,
                           int channels_last, void* out) {
    switch (width) {
        case 1:
            return render_sample(*sample, pixels, (const uint8_t*)table, channels, channels_last, (uint8_t*)out);
        case 2:
            return render_sample(*sample, pixels, (const uint16_t*)table, channels, channels_last, (uint16_t*)out);
        default:
            return render_sample(*sample, pixels, (const uint32_t*)table, channels, channels_last, (uint32_t*)out);
    }
}

// ---- the CUDA kernels, as C++: the arithmetic that ships, on a machine without a GPU ----

EXPORT void cuda_render(const Sample* samples, int count, const uint8_t* slab, const void* table, int width,
                        int channels, int channels_last, int tiles, void* out) {
    launch_on_cpu(count, tiles, [&] {
        switch (width) {
            case 1:
                return render_1(samples, slab, (const uint8_t*)table, channels, channels_last, (uint8_t*)out);
            case 2:
                return render_2(samples, slab, (const uint16_t*)table, channels, channels_last, (uint16_t*)out);
            default:
                return render_4(samples, slab, (const uint32_t*)table, channels, channels_last, (uint32_t*)out);
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

EXPORT void cuda_gather(const void* source, const int64_t* indices, int64_t rows, int64_t row_words, int width,
                        void* out) {
    launch_on_cpu(3, 1, [&] {
        switch (width) {
            case 1:
                return gather_1((const uint8_t*)source, indices, rows, row_words, (uint8_t*)out);
            case 4:
                return gather_4((const uint32_t*)source, indices, rows, row_words, (uint32_t*)out);
            default:
                return gather_16((const uint4*)source, indices, rows, row_words, (uint4*)out);
        }
    });
}
