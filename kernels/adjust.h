// What is done to the colors of a whole RGB image, after its geometry: bit for bit what Pillow 13 does
// (ImageEnhance, ImageOps, libImaging's Blend.c, Filter.c and Convert.c).
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "blur.h"
#include "colors.cuh"
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

inline int luma(const Colors& of, int i) { return ::luma(of.red[i], of.green[i], of.blue[i]); }

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

struct Hsv {
    int hue[TOGETHER], saturation[TOGETHER], value[TOGETHER];
};

struct Lates {
    float of[HUES];
    Lates() {
        for (int hue = 0; hue < HUES; ++hue) of[hue] = late(hue);
    }
};

inline void to_hsv(const Colors& from, const Lates& lates, Hsv& to) {
    int ways[TOGETHER], ranges[TOGETHER];
    for (int i = 0; i < TOGETHER; ++i) {
        const Around found = around(from.red[i], from.green[i], from.blue[i]);
        ways[i] = found.way, ranges[i] = found.range, to.value[i] = found.most;
    }
    for (int i = 0; i < TOGETHER; ++i) {
        to.hue[i] = hue_of(ways[i], ranges[i], lates.of);
        to.saturation[i] = saturation_of(ranges[i], to.value[i]);
    }
}

inline void to_rgb(const Hsv& from, Colors& to) {
    uint8_t mosts[TOGETHER], leasts[TOGETHER], others[TOGETHER], sectors[TOGETHER];
    for (int i = 0; i < TOGETHER; ++i) {
        const Shades made = shades(from.hue[i], from.saturation[i], from.value[i]);
        mosts[i] = made.most, leasts[i] = made.least, others[i] = made.other, sectors[i] = made.sector;
    }
    for (int i = 0; i < TOGETHER; ++i) {
        const Shades of = {mosts[i], leasts[i], others[i], sectors[i]};
        to.red[i] = red_of(of), to.green[i] = green_of(of), to.blue[i] = blue_of(of);
    }
}

inline void hue(Colors& colors, int shift) {
    static const Lates lates;
    Hsv hsv;
    to_hsv(colors, lates, hsv);
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
    return mean_of(sum, picture.height * picture.width);
}

inline void change(Colors& colors, const Adjustment& step, int mean) {
    const float factor = step.value;
    const int value = std::fabs(factor) <= 256 ? int(factor) : 0;  // of those that have a whole number
    switch (step.kind) {
        case BRIGHTNESS: return blend(0, colors, factor);
        case CONTRAST: return blend(mean, colors, factor);
        case SATURATION: return saturation(colors, factor);
        case HUE: return hue(colors, value);
        case POSTERIZE: return each_value(colors, [=](uint8_t v) { return posterized(v, value); });
        case SOLARIZE: return each_value(colors, [=](uint8_t v) { return solarized(v, value); });
        case SOLARIZE_ADD: return each_value(colors, [=](uint8_t v) { return solarized_sum(v, value); });
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

// Blended with ImageFilter.SMOOTH, whose edges are the image's.
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
            out[x] = smoothed(sum);
        }
        int64_t x = 3;
        for (; x + simd::BLENDED <= pitch - 3; x += simd::BLENDED) simd::blend(out + x, here + x, factor, out + x);
        for (; x < pitch - 3; ++x) out[x] = ::blend(out[x], here[x], factor);
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
    const Stretched made = stretched(levels(counts));
    for (int i = 0; i < 256; ++i) table[i] = made.of(i);
}

inline void autocontrast(const Picture& picture) {
    const Histogram counted = histogram(picture);
    Table table;
    for (int c = 0; c < 3; ++c) stretch(counted.of[c], table.of[c]);
    look_up(picture, table);
}

inline void equalize(const int64_t* counts, int64_t pixels, uint8_t* table) {
    const Levels found = levels(counts);
    const Spread<int64_t> made = spread(found, pixels, counts[found.high]);
    int64_t below = 0;
    for (int i = 0; i < 256; ++i) {
        table[i] = made.of(i, below);
        below += counts[i];
    }
}

inline void equalize(const Picture& picture) {
    const Histogram counted = histogram(picture);
    Table table;
    for (int c = 0; c < 3; ++c) equalize(counted.of[c], picture.height * picture.width, table.of[c]);
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
