// What is done to the colors of a whole RGB image, after its geometry: bit for bit what Pillow 13 does
// (ImageEnhance, ImageOps, libImaging's Blend.c, Filter.c and Convert.c, with the same float and double arithmetic).
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "passes.h"
#include "share.h"
#include "simd.h"

namespace adjust {

// A whole image: packed rows of RGB.
struct Picture {
    uint8_t* pixels;
    int64_t height, width;
    int64_t bytes() const { return height * width * 3; }
};

// Each channel's new values.
struct Table {
    uint8_t of[3][256];
};

// Image.blend of two values. Between 0 and 1 nothing has to be clipped: the result is the same.
inline uint8_t blend(int from, int to, float factor) {
    const float mixed = float(from) + factor * float(to - from);
    return uint8_t(std::min(std::max(mixed, 0.0f), 255.0f));
}

template <class Value>
Table all_alike(Value value) {
    Table table;
    for (int i = 0; i < 256; ++i) table.of[0][i] = table.of[1][i] = table.of[2][i] = value(i);
    return table;
}

inline void look_up(const Picture& picture, const Table& table) {
    for (uint8_t *at = picture.pixels, *end = at + picture.bytes(); at < end; at += 3)
        for (int c = 0; c < 3; ++c) at[c] = table.of[c][at[c]];
}

inline void brightness(const Picture& picture, float factor) {
    look_up(picture, all_alike([&](int i) { return blend(0, i, factor); }));
}

// Pixels that are worked at together, color by color, so that a compiler makes vectors of them.
constexpr int TOGETHER = 64;

struct Colors {
    uint8_t red[TOGETHER], green[TOGETHER], blue[TOGETHER];
};

// Pixels by color, and back.
inline void part(const uint8_t* pixels, int count, Colors& to) {
    int i = 0;
    for (; i + simd::PARTED <= count; i += simd::PARTED)
        simd::part(pixels + i * 3, to.red + i, to.green + i, to.blue + i);
    for (; i < count; ++i) to.red[i] = pixels[i * 3], to.green[i] = pixels[i * 3 + 1], to.blue[i] = pixels[i * 3 + 2];
}

inline void join(const Colors& from, int count, uint8_t* pixels) {
    int i = 0;
    for (; i + simd::PARTED <= count; i += simd::PARTED)
        simd::join(from.red + i, from.green + i, from.blue + i, pixels + i * 3);
    for (; i < count; ++i) pixels[i * 3] = from.red[i], pixels[i * 3 + 1] = from.green[i], pixels[i * 3 + 2] = from.blue[i];
}

// Do something to all pixels, so many at a time: work(colors, count).
template <class Work>
void each_color(const Picture& picture, Work work) {
    Colors colors = {};
    const int64_t pixels = picture.height * picture.width;
    for (int64_t first = 0; first < pixels; first += TOGETHER) {
        uint8_t* at = picture.pixels + first * 3;
        const int count = int(std::min<int64_t>(TOGETHER, pixels - first));
        part(at, count, colors);
        if (work(colors, count)) join(colors, count, at);
    }
}

inline int gray(const Colors& of, int i) {
    return (19595 * of.red[i] + 38470 * of.green[i] + 7471 * of.blue[i] + 32768) >> 16;
}

inline void contrast(const Picture& picture, float factor) {
    int64_t sum = 0;
    each_color(picture, [&](const Colors& colors, int count) {
        int grays = 0;
        for (int i = 0; i < count; ++i) grays += gray(colors, i);
        sum += grays;
        return false;
    });
    const int mean = int(double(sum) / double(picture.height * picture.width) + 0.5);
    look_up(picture, all_alike([&](int i) { return blend(mean, i, factor); }));
}

inline void saturation(const Picture& picture, float factor) {
    each_color(picture, [&](Colors& colors, int) {
        for (int i = 0; i < TOGETHER; ++i) {
            const int luma = gray(colors, i);
            colors.red[i] = blend(luma, colors.red[i], factor);
            colors.green[i] = blend(luma, colors.green[i], factor);
            colors.blue[i] = blend(luma, colors.blue[i], factor);
        }
        return true;
    });
}

inline void grayscale(const Picture& picture) {
    passes::to_grayscale(picture.pixels, picture.height * picture.width, picture.pixels + picture.bytes(), picture.pixels);
}

// ---- hue ----
//
// Pillow goes to HSV, as bytes, and back, in floats and doubles. The same bytes come of less: where they differ from the
// exact values' whole part is known, and of all colors and all hues none is different (tests/test_adjust.py).

struct Hsv {
    int hue[TOGETHER], saturation[TOGETHER], value[TOGETHER];
};

// Where a hue's exact value is a whole number, Pillow's floats come to that or to a bit less, by the number alone: what
// to take off.
struct Late {
    float by[256] = {};
    Late() {
        for (int n = 0; n < 255; ++n) {  // asked of a color that has it
            const float r = lacks(n * 4), g = lacks(std::abs(n * 4 - 340)), b = lacks(std::abs(n * 4 - 680));
            const float sixths = r == 0 ? b - g : g == 0 ? float(2.0 + r - b) : float(4.0 + g - r);
            const double turns = sixths / 6.0 + 1.0;
            by[n] = int(float(turns - int(turns)) * 255.0) < n ? 1.0f / 4096 : 0.0f;
        }
    }
    // What a color has less of than the most, of 170: so far from where it has the most, around 1020 hues.
    static float lacks(int away) { return float(std::min(std::max(std::min(away, 1020 - away) - 170, 0), 170)) / 170.0f; }
};

inline void to_hsv(const Colors& from, const Late& late, Hsv& to) {
    int ways[TOGETHER], ranges[TOGETHER];  // around the hues, in sixths of a color's range
    for (int i = 0; i < TOGETHER; ++i) {
        const int r = from.red[i], g = from.green[i], b = from.blue[i];
        const int most = std::max(r, std::max(g, b)), range = most - std::min(r, std::min(g, b));
        const int of_red = g - b + (g < b) * 6 * range, of_green = b - r + 2 * range, of_blue = r - g + 4 * range;
        const int later = g == most ? of_green : of_blue;
        ways[i] = r == most ? of_red : later, ranges[i] = range, to.value[i] = most;
    }
    for (int i = 0; i < TOGETHER; ++i) {
        const float exact = float(ways[i]) * 42.5f / float(std::max(ranges[i], 1));
        to.hue[i] = int(exact - late.by[int(exact)]);
        to.saturation[i] = int(float(ranges[i] * 255) / float(std::max(to.value[i], 1)));
    }
}

inline void to_rgb(const Hsv& from, Colors& to) {
    int for_red[TOGETHER], for_green[TOGETHER], for_blue[TOGETHER], sectors[TOGETHER];
    for (int i = 0; i < TOGETHER; ++i) {
        const int sixths = from.hue[i] * 6, sector = (sixths * 257 + 257) >> 16, within = sixths - sector * 255;
        const float v = float(from.value[i]), s = float(from.saturation[i]) / 255.0f;
        const float share = float(within ^ (~sector & 1) * 255) / 255.0f;  // in even ones, of what is left of 255
        const int most = from.value[i], least = int(v * (1.0f - s) + 0.5f), other = int(v * (1.0f - s * share) + 0.5f);
        for_red[i] = most, for_green[i] = other, for_blue[i] = least, sectors[i] = sector;
    }
    for (int i = 0; i < TOGETHER; ++i) {  // without a branch, for the compiler
        const int most = for_red[i], other = for_green[i], least = for_blue[i], sector = sectors[i];  // 6 is 0 again
        const int red = (sector == 2) | (sector == 3) ? least : most;
        const int green = (sector == 1) | (sector == 2) ? most : other;
        const int blue = (sector == 3) | (sector == 4) ? most : least;
        to.red[i] = uint8_t((sector == 1) | (sector == 4) ? other : red);
        to.green[i] = uint8_t((sector == 4) | (sector == 5) ? least : green);
        to.blue[i] = uint8_t((sector == 2) | (sector == 5) ? other : blue);
    }
}

inline void hue(const Picture& picture, int shift) {
    static const Late late;
    Hsv hsv;
    each_color(picture, [&](Colors& colors, int) {
        to_hsv(colors, late, hsv);
        for (int i = 0; i < TOGETHER; ++i) hsv.hue[i] = (hsv.hue[i] + shift) & 255;
        to_rgb(hsv, colors);
        return true;
    });
}

// Blended with ImageFilter.SMOOTH, whose edges are the image's: weights of 1 and 5 in the middle, over 13. Pillow adds
// floats, and a half; a sum of 13ths is never near enough to one and a half for these to round otherwise.
inline void sharpness(const Picture& picture, float factor, Buffer& memory) {
    const int64_t pitch = picture.width * 3;
    if (picture.height < 3 || picture.width < 3) return;
    uint8_t* rows = memory.room(2 * pitch);  // as they were: the one above, and this one
    std::memcpy(rows, picture.pixels, size_t(pitch));
    for (int64_t y = 1; y < picture.height - 1; ++y) {
        uint8_t* __restrict out = picture.pixels + y * pitch;
        uint8_t* __restrict here = rows + y % 2 * pitch;
        const uint8_t *__restrict above = rows + (y - 1) % 2 * pitch, *__restrict below = picture.pixels + (y + 1) * pitch;
        std::memcpy(here, out, size_t(pitch));
        for (int64_t x = 3; x < pitch - 3; ++x) {
            const int column = above[x] + below[x] + above[x - 3] + below[x - 3] + above[x + 3] + below[x + 3];
            const int sum = column + here[x - 3] + here[x + 3] + 5 * here[x];
            out[x] = blend((2 * sum + 13) / 26, here[x], factor);
        }
    }
}

// ---- tables of histograms ----

struct Histogram {
    int64_t of[3][256];
};

inline Histogram histogram(const Picture& picture) {
    Histogram counted = {};
    for (const uint8_t *at = picture.pixels, *end = at + picture.bytes(); at < end; at += 3)
        for (int c = 0; c < 3; ++c) ++counted.of[c][at[c]];
    return counted;
}

inline void stretch(const int64_t* counts, uint8_t* table) {
    int low = 0, high = 255;
    while (low < 255 && !counts[low]) ++low;
    while (high > 0 && !counts[high]) --high;
    const double scale = high > low ? 255.0 / (high - low) : 1.0, offset = high > low ? -low * scale : 0.0;
    for (int i = 0; i < 256; ++i) table[i] = uint8_t(std::min(std::max(int(i * scale + offset), 0), 255));
}

inline void autocontrast(const Picture& picture) {
    const Histogram counted = histogram(picture);
    Table table;
    for (int c = 0; c < 3; ++c) stretch(counted.of[c], table.of[c]);
    look_up(picture, table);
}

inline void spread(const int64_t* counts, int64_t pixels, uint8_t* table) {
    int last = 255, used = 0;
    while (last > 0 && !counts[last]) --last;
    for (int i = 0; i < 256; ++i) used += counts[i] > 0;
    const int64_t step = used > 1 ? (pixels - counts[last]) / 255 : 0;
    int64_t at = step / 2;
    for (int i = 0; i < 256; ++i) {
        table[i] = uint8_t(step ? std::min<int64_t>(at / step, 255) : i);
        at += counts[i];
    }
}

inline void equalize(const Picture& picture) {
    const Histogram counted = histogram(picture);
    Table table;
    for (int c = 0; c < 3; ++c) spread(counted.of[c], picture.height * picture.width, table.of[c]);
    look_up(picture, table);
}

// ---- all of them ----

inline void apply(const Adjustment& step, const Picture& picture, Buffer& memory) {
    const int value = int(step.value);
    switch (step.kind) {
        case BRIGHTNESS: return brightness(picture, step.value);
        case CONTRAST: return contrast(picture, step.value);
        case SATURATION: return saturation(picture, step.value);
        case HUE: return hue(picture, value);
        case SHARPNESS: return sharpness(picture, step.value, memory);
        case POSTERIZE: return look_up(picture, all_alike([&](int i) { return uint8_t(i & ~((1 << (8 - value)) - 1)); }));
        case SOLARIZE: return look_up(picture, all_alike([&](int i) { return uint8_t(i < value ? i : 255 - i); }));
        case AUTOCONTRAST: return autocontrast(picture);
        case EQUALIZE: return equalize(picture);
        default: return grayscale(picture);
    }
}

}  // namespace adjust
