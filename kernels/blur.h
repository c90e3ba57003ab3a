// A blurred image: bit for bit what Pillow 13 does (ImageFilter.GaussianBlur with libImaging's BoxBlur.c): three
// boxes one after the other along each axis, whose ends count by a fraction.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>

#include "files.h"

namespace blur {

constexpr int BOXES = 3;

// Of `radius` pixels on both sides and a fraction: what pixels inside and at the ends count, times 2^24.
struct Box {
    explicit Box(float with_fraction) : radius(int64_t(with_fraction)) {
        inside = uint32_t(float(1 << 24) / (with_fraction * 2 + 1));
        ends = ((1u << 24) - uint32_t(radius * 2 + 1) * inside) / 2;
    }
    int64_t radius;
    uint32_t inside, ends;
};

// Each column of `height` rows of so many bytes; pixels outside are those at the edge. `sums`: one for each byte.
inline void down(const Box& box, const uint8_t* from, int64_t height, int64_t bytes, uint32_t* sums, uint8_t* to) {
    const auto row = [=](int64_t y) { return from + std::min(std::max<int64_t>(y, 0), height - 1) * bytes; };
    for (int64_t x = 0; x < bytes; ++x) sums[x] = uint32_t(row(0)[x]) * uint32_t(box.radius + 1);
    const int64_t inside = std::min(box.radius, height - 1);
    for (int64_t y = 0; y < inside; ++y)
        for (int64_t x = 0; x < bytes; ++x) sums[x] += from[y * bytes + x];
    for (int64_t x = 0; x < bytes; ++x) sums[x] += row(height - 1)[x] * uint32_t(box.radius - inside);
    for (int64_t y = 0; y < height; ++y) {
        const uint8_t* __restrict left = row(y - box.radius - 1);
        const uint8_t* __restrict last = row(y + box.radius);
        const uint8_t* __restrict right = row(y + box.radius + 1);
        uint8_t* __restrict out = to + y * bytes;
        for (int64_t x = 0; x < bytes; ++x) {
            sums[x] += uint32_t(last[x]) - left[x];
            out[x] = uint8_t((sums[x] * box.inside + uint32_t(left[x] + right[x]) * box.ends + (1u << 23)) >> 24);
        }
    }
}

inline void transpose(const uint8_t* from, int64_t height, int64_t width, uint8_t* to) {
    constexpr int64_t SIDE = 16;  // of a tile, whose lines stay in the cache
    for (int64_t top = 0; top < height; top += SIDE)
        for (int64_t x = 0; x < width; ++x)
            for (int64_t y = top, end = std::min(top + SIDE, height); y < end; ++y)
                std::memcpy(to + (x * height + y) * 3, from + (y * width + x) * 3, 3);
}

// Of packed RGB rows, in place. `radius`: of each box, with its fraction; not negative.
inline void apply(uint8_t* pixels, int64_t height, int64_t width, float radius, Buffer& memory) {
    if (radius == 0) return;
    const Box box(radius);
    const int64_t bytes = height * width * 3, longer = std::max(height, width) * 3 * int64_t(sizeof(uint32_t));
    uint8_t* sums = memory.room(longer + bytes);
    uint8_t *here = pixels, *there = sums + longer;
    for (const int64_t lines : {width, height}) {  // of the transposed image, then of the image
        transpose(here, bytes / 3 / lines, lines, there);
        std::swap(here, there);
        for (int i = 0; i < BOXES; ++i, std::swap(here, there))
            down(box, here, lines, bytes / lines, reinterpret_cast<uint32_t*>(sums), there);
    }
    static_assert(BOXES % 2 == 1, "it ends where it began");
}

}  // namespace blur
