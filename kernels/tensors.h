// What torchvision does to a uint8 tensor, bit for bit, which is not what Pillow does to an image: AugMix makes tensors of
// PIL images. In floats, with products and sums fused where torch's kernels on a CPU with AVX2 fuse them; whether this
// machine's torch does is tried out before any of it is used (gpuload/transforms/auto/mix.py). The first version of some
// effects is that of torchvision's v1.
#pragma once
#include <cmath>

#include "adjust.h"
#include "share.h"

namespace tensors {

using adjust::Picture;

inline uint8_t truncated(float value) { return uint8_t(std::min(std::max(value, 0.0f), 255.0f)); }
inline uint8_t rounded(float value) { return truncated(std::nearbyint(value)); }

// ---- a weighted sum of pictures ----

inline void begin(const Picture& picture, float weight, float* sums) {
    for (int64_t i = 0; i < picture.bytes(); ++i) sums[i] = weight * float(picture.pixels[i]);
}

inline void add(const Picture& picture, float weight, float* sums) {
    for (int64_t i = 0; i < picture.bytes(); ++i) sums[i] += weight * float(picture.pixels[i]);
}

inline void end(const float* sums, const Picture& picture) {
    for (int64_t i = 0; i < picture.bytes(); ++i) picture.pixels[i] = truncated(sums[i]);
}

// ---- colors: a factor is given as what it is more than 1 ----

struct Blend {
    Blend(float more, bool first) : ratio(float(1.0 + double(more))), rest(-more), first(first) {}
    uint8_t operator()(float value, float other) const {
        const float share = value * ratio;
        return truncated(first ? share + rest * other : std::fma(other, rest, share));
    }
    float ratio, rest;
    bool first;
};

inline float luma(const uint8_t* at, bool first) {
    const float r = at[0], g = at[1], b = at[2];
    if (first) return std::floor(0.2989f * r + 0.587f * g + 0.114f * b);
    return std::floor(std::fma(b, 0.114f, std::fma(g, 0.587f, r * 0.2989f)));
}

template <class Other>
void blend(const Picture& picture, const Blend& blend, Other other) {
    for (uint8_t *at = picture.pixels, *end = at + picture.bytes(); at < end; at += 3) {
        const float to = other(at);
        for (int c = 0; c < 3; ++c) at[c] = blend(at[c], to);
    }
}

inline void brightness(const Picture& picture, float more) {
    blend(picture, Blend(more, true), [](const uint8_t*) { return 0.0f; });
}

inline void saturation(const Picture& picture, float more, bool first) {
    blend(picture, Blend(more, first), [=](const uint8_t* at) { return luma(at, first); });
}

// Exact where the sum is below 2^24: torch adds floats, in an order of its own.
inline void contrast(const Picture& picture, float more, bool first) {
    int64_t sum = 0;
    for (const uint8_t *at = picture.pixels, *end = at + picture.bytes(); at < end; at += 3) sum += int(luma(at, first));
    const float mean = float(sum) / float(picture.height * picture.width);
    blend(picture, Blend(more, first), [=](const uint8_t*) { return mean; });
}

// A sum of 13ths is never near enough to one and a half for floats to round otherwise. The edges stay.
inline void sharpness(const Picture& picture, float more, bool first, Buffer& memory) {
    if (picture.height < 3 || picture.width < 3) return;
    const int64_t pitch = picture.width * 3;
    const Blend blend(more, first);
    uint8_t* from = memory.room(picture.bytes());
    std::memcpy(from, picture.pixels, size_t(picture.bytes()));
    if (first)
        for (int64_t i = 0; i < picture.bytes(); ++i) picture.pixels[i] = blend(from[i], from[i]);
    for (int64_t y = 1; y < picture.height - 1; ++y)
        for (int64_t i = y * pitch + 3; i < (y + 1) * pitch - 3; ++i) {
            int sum = 4 * from[i];
            for (int64_t row = i - pitch; row <= i + pitch; row += pitch) sum += from[row - 3] + from[row] + from[row + 3];
            const float smooth = float((2 * sum + 13) / 26), value = from[i];
            picture.pixels[i] = first ? blend(value, smooth) : truncated(std::fma(smooth - value, -more, value));
        }
}

inline void autocontrast(const Picture& picture, bool first) {
    const adjust::Histogram counted = adjust::histogram(picture);
    adjust::Table table;
    for (int c = 0; c < 3; ++c) {
        const int64_t* counts = counted.of[c];
        int low = 0, high = 255;
        while (low < 255 && !counts[low]) ++low;
        while (high > low && !counts[high]) --high;
        const float range = float(high - low), scale = 1.0f / range * 255.0f, share = range * float(1.0 / 255.0);
        for (int i = 0; i < 256; ++i) {
            const float above = float(i - low);
            table.of[c][i] = range == 0 ? uint8_t(i) : truncated(first ? above * scale : above / share);
        }
    }
    adjust::look_up(picture, table);
}

inline void apply(const Picture& picture, const Adjustment& step, Buffer& memory) {
    switch (step.kind) {
        case TENSOR_BRIGHTNESS: return brightness(picture, step.value);
        case TENSOR_SATURATION:
        case FIRST_SATURATION: return saturation(picture, step.value, step.kind == FIRST_SATURATION);
        case TENSOR_CONTRAST:
        case FIRST_CONTRAST: return contrast(picture, step.value, step.kind == FIRST_CONTRAST);
        case TENSOR_SHARPNESS:
        case FIRST_SHARPNESS: return sharpness(picture, step.value, step.kind == FIRST_SHARPNESS, memory);
        default: return autocontrast(picture, step.kind == FIRST_AUTOCONTRAST);
    }
}

// ---- pixels that move: an affine grid, and what `grid_sample` makes of it, with zeros outside ----

class Sampling {
  public:
    Sampling(const Grid& grid, const Picture& from, const Picture& to) : grid_(grid), from_(from), to_(to) {}

    void run() const {
        for (int64_t y = 0; y < to_.height; ++y)
            for (int64_t x = 0; x < to_.width; ++x) {
                const float across = float(x) - float(to_.width - 1) * 0.5f, down = float(y) - float(to_.height - 1) * 0.5f;
                put(place(grid_.theta, across, down, from_.width), place(grid_.theta + 3, across, down, from_.height),
                    to_.pixels + (y * to_.width + x) * 3);
            }
    }

  private:
    static float place(const float* theta, float across, float down, int64_t length) {
        const float at = std::fma(down, theta[1], across * theta[0]) + theta[2];
        return std::fma(at + 1.0f, float(length) / 2.0f, -0.5f);
    }

    void put(float x, float y, uint8_t* to) const {
        float values[4];
        grid_.filter == NEAREST ? nearest(x, y, values) : bilinear(x, y, values);
        for (int c = 0; c < 3; ++c) to[c] = rounded(grid_.filled ? filled(values[c], values[3], grid_.fill[c]) : values[c]);
    }

    float filled(float value, float share, float fill) const {
        if (grid_.filter == NEAREST) return share < 0.5f ? fill : value;
        if (grid_.filled == 1) return value * share + (1.0f - share) * fill;
        return (value - fill) * share + fill;
    }

    // Three colors, and what they would be of 1.
    void bilinear(float x, float y, float* values) const {
        const float left = std::floor(x), top = std::floor(y), east = x - left, west = 1.0f - east, south = y - top;
        const float north = 1.0f - south;
        const float weights[4] = {west * north, east * north, west * south, east * south};
        std::fill(values, values + 4, 0.0f);
        if (!(left >= -1.0f && left < float(from_.width) && top >= -1.0f && top < float(from_.height))) return;
        for (int k = 0; k < 4; ++k) gather(int64_t(top) + k / 2, int64_t(left) + k % 2, weights[k], values);
    }

    void nearest(float x, float y, float* values) const {
        std::fill(values, values + 4, 0.0f);
        const float column = std::nearbyint(x), row = std::nearbyint(y);
        if (column >= 0.0f && column < float(from_.width) && row >= 0.0f && row < float(from_.height))
            gather(int64_t(row), int64_t(column), 1.0f, values);
    }

    void gather(int64_t row, int64_t column, float weight, float* values) const {
        if (row < 0 || row >= from_.height || column < 0 || column >= from_.width) return;
        const uint8_t* at = from_.pixels + (row * from_.width + column) * 3;
        for (int c = 0; c < 3; ++c) values[c] = std::fma(float(at[c]), weight, values[c]);
        values[3] += weight;
    }

    const Grid& grid_;
    const Picture &from_, &to_;
};

}  // namespace tensors
