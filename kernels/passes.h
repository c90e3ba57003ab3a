// Whole passes over whole rows of packed RGB pixels.
#pragma once
#include <algorithm>
#include <cstring>
#include <type_traits>

#include "files.h"
#include "rows.h"
#include "simd.h"

namespace passes {

using rows::Rows;
using simd::GROUP;
using simd::LANES;
using simd::STRIP;

// Rows of pixels in memory, from row `top` on; bytes before `limit` may be read.
struct Image {
    const uint8_t* pixels;
    int64_t pitch;
    const uint8_t* limit;
    int64_t top;

    const uint8_t* row(int64_t y) const { return pixels + (y - top) * pitch; }
};

// A region (top, left, height, width) of an image of packed rows, where it lies.
inline Image part(const uint8_t* pixels, const int32_t* size, const int32_t* region, int channels) {
    const int64_t pitch = int64_t(size[1]) * channels, begin = region[0] * pitch + int64_t(region[1]) * channels;
    return {pixels + begin, pitch, pixels + size[0] * pitch, 0};
}

// Rows of so many bytes, packed.
inline void pack(const Image& source, int64_t height, int64_t bytes, uint8_t* out) {
    if (source.pitch == bytes) return void(std::memcpy(out, source.pixels, size_t(height * bytes)));
    for (int64_t y = 0; y < height; ++y) std::memcpy(out + y * bytes, source.row(y), size_t(bytes));
}

// Gray pixels as RGB.
inline void to_rgb(const uint8_t* gray, int64_t pixels, uint8_t* out) {
    int64_t x = 0;
    for (; x + simd::GRAYS <= pixels; x += simd::GRAYS) simd::to_rgb(gray + x, out + x * 3);
    for (; x < pixels; ++x) std::memset(out + x * 3, gray[x], 3);
}

// Rows of gray pixels as packed RGB.
inline void pack_rgb(const Image& gray, int64_t height, int64_t width, uint8_t* out) {
    if (gray.pitch == width) return to_rgb(gray.pixels, height * width, out);
    for (int64_t y = 0; y < height; ++y) to_rgb(gray.row(y), width, out + y * width * 3);
}

// Bytes from row to row of an image of the engine's own.
inline int64_t pitch_of(int64_t width) { return (width * 3 + 2 * simd::SLACK - 1) / simd::SLACK * simd::SLACK; }

// How many groups of pixels can be loaded from `from` on without reading behind `limit`.
inline int64_t loadable(const uint8_t* from, const uint8_t* limit) {
    constexpr int64_t STEP = 3 * simd::TOGETHER;
    return std::max<int64_t>((limit - from - simd::BYTES_LOADED + STEP) / STEP, 0);
}

// `columns` pixels of four rows side by side.
inline void interleave(const uint8_t* const* source, int64_t columns, const uint8_t* limit, uint8_t* strip) {
    const int64_t wanted = (columns + simd::TOGETHER - 1) / simd::TOGETHER;
    const int64_t groups = std::min(wanted, loadable(*std::max_element(source, source + STRIP), limit));
    int64_t x = 0;
    for (; x < groups * simd::TOGETHER; x += simd::TOGETHER) simd::interleave(source, x * 3, strip + x * LANES);
    for (; x < columns; ++x)
        for (int r = 0; r < STRIP; ++r) std::memcpy(strip + x * LANES + r * 4, source[r] + x * 3, 3);
}

// Pixels become their luma, in place or elsewhere.
inline void to_grayscale(const uint8_t* source, int64_t pixels, const uint8_t* limit, uint8_t* out) {
    const int64_t groups = std::min(pixels / simd::TOGETHER, loadable(source, limit));
    int64_t x = 0;
    for (; x < groups * simd::TOGETHER; x += simd::TOGETHER) simd::grayscale(source + x * 3, out + x * 3);
    for (; x < pixels; ++x) std::memset(out + x * 3, luma(source[x * 3], source[x * 3 + 1], source[x * 3 + 2]), 3);
}

// Call `pass` with the number of weights as a constant where it is small, so that its loops are unrolled; else with 0.
template <class Pass>
void with_constant(int weights, Pass pass) {
    switch (weights) {
        case 1: return pass(std::integral_constant<int, 1>());
        case 2: return pass(std::integral_constant<int, 2>());
        case 3: return pass(std::integral_constant<int, 3>());
        case 4: return pass(std::integral_constant<int, 4>());
        case 5: return pass(std::integral_constant<int, 5>());
        case 6: return pass(std::integral_constant<int, 6>());
        case 7: return pass(std::integral_constant<int, 7>());
        case 8: return pass(std::integral_constant<int, 8>());
        default: return pass(std::integral_constant<int, 0>());
    }
}

// One output of a strip: the weighted sum of `most` columns, or of rows.most where that is 0.
template <int most>
simd::Lanes weigh(const uint8_t* strip, const Rows& rows, int i) {
    const uint8_t* p = strip + int64_t(rows.column(i)) * LANES;
    const int* weights = rows.weights(i);
    simd::Lanes sum;
    for (int64_t j = 0; j < (most ? most : rows.most); ++j) sum.add(p + j * LANES, weights[j]);
    return sum;
}

// Horizontal pass over four rows; up to SLACK bytes behind an output row are written, too.
inline void across(const uint8_t* const* source, const uint8_t* limit, const Rows& rows, Buffer& memory,
                   uint8_t* const* out) {
    const int64_t columns = rows.end - rows.begin, begin = int64_t(rows.begin) * 3;
    uint8_t* strip = memory.room((columns + rows.most + simd::TOGETHER) * LANES);
    const uint8_t* from[STRIP];
    for (int r = 0; r < STRIP; ++r) from[r] = source[r] + begin;
    interleave(from, columns, limit, strip);
    with_constant(rows.most, [&](auto most) {
        for (int i = 0; i < rows.count; i += GROUP) {
            const int last = rows.count - 1;
            const simd::Lanes sums[GROUP] = {
                weigh<most>(strip, rows, i), weigh<most>(strip, rows, std::min(i + 1, last)),
                weigh<most>(strip, rows, std::min(i + 2, last)), weigh<most>(strip, rows, std::min(i + 3, last))};
            simd::narrow_group(sums, out, int64_t(i) * 3);
        }
    });
}

// Vertical pass: one row of `bytes` bytes, the weighted sum of n rows.
inline void down(const Image& source, int first, const int* weights, int n, int64_t bytes, uint8_t* out) {
    const uint8_t* from = source.row(first);
    with_constant(bytes < LANES ? 0 : n, [&](auto most) {
        for (int64_t x = 0; bytes >= LANES && x < bytes; x += LANES) {
            const int64_t at = std::min(x, bytes - LANES);  // the last ones overlap
            const uint8_t* p = from + at;
            simd::Lanes sums;
            for (int j = 0; j < (most ? most : n); ++j) sums.add(p + j * source.pitch, weights[j]);
            simd::narrow(sums, out + at);
        }
    });
    for (int64_t x = 0; bytes < LANES && x < bytes; ++x) {
        int sum = HALF;
        for (int j = 0; j < n; ++j) sum += from[j * source.pitch + x] * weights[j];
        out[x] = to_byte(sum);
    }
}

// The pixels that a plain axis shows, of one row, without its padding; a byte behind them is written, too.
inline void pick(const uint8_t* source, const uint8_t* limit, const Rows& rows, uint8_t* out) {
    const int *first = rows.sources() + rows.shown_begin, *end = rows.sources() + rows.shown_end;
    out += int64_t(rows.shown_begin) * 3;
    if (rows.straight) return void(std::memcpy(out, source + int64_t(rows.begin) * 3, size_t(end - first) * 3));
    const auto move = [&](auto bytes) {
        for (; first < end; ++first, out += 3) std::memcpy(out, source + int64_t(*first) * 3, bytes);
    };
    if (source + int64_t(rows.end) * 3 < limit)
        move(std::integral_constant<int, 4>());  // at once, where 3 bytes are two moves
    else
        move(std::integral_constant<int, 3>());
}

// Pixels begin ... end - 1 get a color.
inline void paint(const uint8_t* color, int64_t begin, int64_t end, uint8_t* out) {
    for (int64_t x = begin; x < end; ++x) std::memcpy(out + x * 3, color, 3);
}

// One channel of finished pixels through its table of output values; 8 bytes are stored at once
// (little-endian, as x86-64 and aarch64 are).
template <class Out>
void look_up(const uint8_t* bytes, int64_t count, const Out* table, Out* out) {
    constexpr int WORD = 8 / sizeof(Out), TOGETHER = 8;
    const Out* end = out + count;
    for (; end - out >= TOGETHER; out += TOGETHER, bytes += 3 * TOGETHER) {
#pragma GCC unroll 8
        for (int i = 0; i < TOGETHER; i += WORD) {
            uint64_t word = 0;
#pragma GCC unroll 8
            for (int k = 0; k < WORD; ++k) word |= uint64_t(table[bytes[3 * (i + k)]]) << (8 * sizeof(Out) * k);
            std::memcpy(out + i, &word, sizeof word);
        }
    }
    for (; out < end; ++out, bytes += 3) *out = table[*bytes];
}

// The same, of all channels, side by side.
template <int channels, class Out>
void look_up_together(const uint8_t* line, int64_t width, const Out* table, Out* out) {
    for (int64_t x = 0; x < width; ++x, line += 3, out += channels)
        for (int c = 0; c < channels; ++c) out[c] = table[c * 256 + line[c]];
}

// One row of finished bytes through the table of output values.
template <class Out>
void emit(const uint8_t* line, int64_t width, const Out* table, int channels, int64_t plane, bool channels_last,
          Out* out) {
    if (channels_last && channels == 3) return look_up_together<3>(line, width, table, out);
    if (channels_last && channels == 2) return look_up_together<2>(line, width, table, out);
    for (int c = 0; c < channels; ++c) look_up(line + c, width, table + c * 256, out + c * plane);
}

}  // namespace passes
