// What is done to the colors of a whole RGB image, after its geometry: bit for bit what Pillow 13 does
// (ImageEnhance, ImageOps, libImaging's Blend.c, Filter.c and Convert.c).
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "blur.h"
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
    for (uint8_t* at = pixels + i * 3; i < count; ++i, at += 3)
        at[0] = from.red[i], at[1] = from.green[i], at[2] = from.blue[i];
}

// Do something to all pixels, so many at a time: work(colors, count); `Writes`: what that leaves stays.
template <bool Writes, class Work>
void each_color(const Picture& picture, Work work) {
    Colors colors = {};
    const int64_t pixels = picture.height * picture.width;
    for (int64_t first = 0; first < pixels; first += TOGETHER) {
        uint8_t* at = picture.pixels + first * 3;
        const int count = int(std::min<int64_t>(TOGETHER, pixels - first));
        part(at, count, colors);
        work(colors, count);
        if (Writes) join(colors, count, at);
    }
}

// Each value of these pixels: change(value).
template <class Change>
void each_value(Colors& colors, Change change) {
    for (uint8_t* values : {colors.red, colors.green, colors.blue})
        for (int i = 0; i < TOGETHER; ++i) values[i] = uint8_t(change(values[i]));
}

inline int luma(const Colors& of, int i) {
    return (19595 * of.red[i] + 38470 * of.green[i] + 7471 * of.blue[i] + 32768) >> 16;
}

inline void lumas(const Colors& of, uint8_t* to) {
    for (int i = 0; i < TOGETHER; ++i) to[i] = uint8_t(luma(of, i));
}

inline void blend(const uint8_t* from, uint8_t* values, float factor) {
    for (int i = 0; i < TOGETHER; i += simd::BLENDED) simd::blend(from + i, values + i, factor, values + i);
}

inline void blend(const uint8_t* from, Colors& colors, float factor) {
    for (uint8_t* values : {colors.red, colors.green, colors.blue}) blend(from, values, factor);
}

inline void blend(int from, Colors& colors, float factor) {
    uint8_t alike[TOGETHER];
    std::memset(alike, from, TOGETHER);
    blend(alike, colors, factor);
}

inline void saturation(Colors& colors, float factor) {
    uint8_t grays[TOGETHER];
    lumas(colors, grays);
    blend(grays, colors, factor);
}

inline void grayscale(Colors& colors) {
    lumas(colors, colors.red);
    std::memcpy(colors.green, colors.red, TOGETHER);
    std::memcpy(colors.blue, colors.red, TOGETHER);
}

// ---- hue ----
//
// Pillow goes to HSV, as bytes, and back, in floats and doubles. The same bytes come of less: where they differ from
// the exact values' whole part is known, and of all colors and all hues none is different (tests/test_adjust.py).

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
    static float lacks(int away) {
        return float(std::min(std::max(std::min(away, 1020 - away) - 170, 0), 170)) / 170.0f;
    }
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

constexpr float PART = 1.0f / (255 * 255);  // of whole numbers below 2^24, which floats hold

inline void to_rgb(const Hsv& from, Colors& to) {
    uint8_t mosts[TOGETHER], leasts[TOGETHER], others[TOGETHER], sectors[TOGETHER];
    for (int i = 0; i < TOGETHER; ++i) {
        const int sixths = from.hue[i] * 6, sector = (sixths * 257 + 257) >> 16, within = sixths - sector * 255;
        const int most = from.value[i], s = from.saturation[i];
        const int share = within ^ (~sector & 1) * 255;  // in even ones, what is left of 255
        const int least = int(float(most * (255 - s) * 255) * PART + 0.5f);
        const int other = int(float(most * (255 * 255 - s * share)) * PART + 0.5f);
        mosts[i] = uint8_t(most), leasts[i] = uint8_t(least), others[i] = uint8_t(other), sectors[i] = uint8_t(sector);
    }
    for (int i = 0; i < TOGETHER; ++i) {  // without a branch, for the compiler
        const uint8_t most = mosts[i], least = leasts[i], other = others[i], sector = sectors[i];  // 6 is 0 again
        const uint8_t red = (sector == 2) | (sector == 3) ? least : most;
        const uint8_t green = (sector == 1) | (sector == 2) ? most : other;
        const uint8_t blue = (sector == 3) | (sector == 4) ? most : least;
        to.red[i] = (sector == 1) | (sector == 4) ? other : red;
        to.green[i] = (sector == 4) | (sector == 5) ? least : green;
        to.blue[i] = (sector == 2) | (sector == 5) ? other : blue;
    }
}

inline void hue(Colors& colors, int shift) {
    static const Late late;
    Hsv hsv;
    to_hsv(colors, late, hsv);
    for (int i = 0; i < TOGETHER; ++i) hsv.hue[i] = (hsv.hue[i] + shift) & 255;
    to_rgb(hsv, colors);
}

// ---- channels that change places ----

constexpr uint8_t ORDERS[PERMUTATIONS][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};

inline void permute(Colors& colors, int permutation) {
    const Colors from = colors;
    const uint8_t* channels[3] = {from.red, from.green, from.blue};
    const uint8_t* order = ORDERS[permutation];
    std::memcpy(colors.red, channels[order[0]], TOGETHER);
    std::memcpy(colors.green, channels[order[1]], TOGETHER);
    std::memcpy(colors.blue, channels[order[2]], TOGETHER);
}

// ---- pixel by pixel ----

// Is it one of this file's?
inline bool is_color(const Adjustment& step) { return step.kind < WARPED || step.kind == CHANNELS; }


inline int mean_luma(const Picture& picture) {
    int64_t sum = 0;
    each_color<false>(picture, [&](const Colors& colors, int count) {
        int some = 0;
        for (int i = 0; i < count; ++i) some += luma(colors, i);
        sum += some;
    });
    return int(double(sum) / double(picture.height * picture.width) + 0.5);
}

inline void change(Colors& colors, const Adjustment& step, int mean) {
    const float factor = step.value;
    const int value = std::fabs(factor) <= 256 ? int(factor) : 0;  // of those that have a whole number
    switch (step.kind) {
        case BRIGHTNESS: return blend(0, colors, factor);
        case CONTRAST: return blend(mean, colors, factor);
        case SATURATION: return saturation(colors, factor);
        case HUE: return hue(colors, value);
        case POSTERIZE: return each_value(colors, [=](uint8_t v) { return v & uint8_t(255 << (8 - value)); });
        case SOLARIZE: return each_value(colors, [=](uint8_t v) { return v < value ? v : uint8_t(255 - v); });
        case SOLARIZE_ADD: return each_value(colors, [=](uint8_t v) { return v < 128 ? std::min(255, v + value) : v; });
        case CHANNELS: return permute(colors, value);
        default: return grayscale(colors);
    }
}

inline bool is_by_pixel(const Adjustment& step) {
    return step.kind != SHARPNESS && step.kind != AUTOCONTRAST && step.kind != EQUALIZE && step.kind != BLUR;
}

// The first steps that can be done in one pass, and how many these are: contrast must see all pixels first.
inline int64_t one_pass(const Picture& picture, const Adjustment* steps, int64_t count) {
    int64_t end = 1;
    while (end < count && is_by_pixel(steps[end]) && steps[end].kind != CONTRAST) ++end;
    const int mean = steps->kind == CONTRAST ? mean_luma(picture) : 0;
    each_color<true>(picture, [&](Colors& colors, int) {
        for (int64_t at = 0; at < end; ++at) change(colors, steps[at], mean);
    });
    return end;
}

// ---- whole images ----

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
        const uint8_t* __restrict above = rows + (y - 1) % 2 * pitch;
        const uint8_t* __restrict below = picture.pixels + (y + 1) * pitch;
        std::memcpy(here, out, size_t(pitch));
        for (int64_t x = 3; x < pitch - 3; ++x) {
            const int column = above[x] + below[x] + above[x - 3] + below[x - 3] + above[x + 3] + below[x + 3];
            const int sum = column + here[x - 3] + here[x + 3] + 5 * here[x];
            out[x] = uint8_t((2 * sum + 13) / 26);
        }
        int64_t x = 3;
        for (; x + simd::BLENDED <= pitch - 3; x += simd::BLENDED) simd::blend(out + x, here + x, factor, out + x);
        for (; x < pitch - 3; ++x) out[x] = simd::blend(out[x], here[x], factor);
    }
}

// Each channel's new values.
struct Table {
    uint8_t of[3][256];
};

inline void look_up(const Picture& picture, const Table& table) {
    for (uint8_t *at = picture.pixels, *end = at + picture.bytes(); at < end; at += 3)
        for (int c = 0; c < 3; ++c) at[c] = table.of[c][at[c]];
}

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

inline void apply(const Picture& picture, const Adjustment* steps, int64_t count, Buffer& memory) {
    for (int64_t at = 0; at < count;) {
        switch (steps[at].kind) {
            case SHARPNESS: sharpness(picture, steps[at++].value, memory); break;
            case AUTOCONTRAST: autocontrast(picture), ++at; break;
            case EQUALIZE: equalize(picture), ++at; break;
            case BLUR: blur::apply(picture.pixels, picture.height, picture.width, steps[at++].value, memory); break;
            default: at += one_pass(picture, steps + at, count - at);
        }
    }
}

}  // namespace adjust
