// What is done to the colors of a whole RGB image, after its geometry: bit for bit what Pillow 13 does
// (ImageEnhance, ImageOps, libImaging's Blend.c, Filter.c and Convert.c, with the same float and double arithmetic).
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "passes.h"
#include "share.h"

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

inline int gray(const uint8_t* rgb) { return (19595 * rgb[0] + 38470 * rgb[1] + 7471 * rgb[2] + 32768) >> 16; }

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

inline void contrast(const Picture& picture, float factor) {
    int64_t sum = 0;
    for (const uint8_t *at = picture.pixels, *end = at + picture.bytes(); at < end; at += 3) sum += gray(at);
    const int mean = int(double(sum) / double(picture.height * picture.width) + 0.5);
    look_up(picture, all_alike([&](int i) { return blend(mean, i, factor); }));
}

inline void saturation(const Picture& picture, float factor) {
    for (uint8_t *at = picture.pixels, *end = at + picture.bytes(); at < end; at += 3) {
        const int luma = gray(at);
        for (int c = 0; c < 3; ++c) at[c] = blend(luma, at[c], factor);
    }
}

inline void grayscale(const Picture& picture) {
    for (uint8_t *at = picture.pixels, *end = at + picture.bytes(); at < end; at += 3)
        std::memset(at, gray(at), 3);
}

// Pixels of a picture that are worked at together, color by color, so that a compiler makes vectors of them.
constexpr int TOGETHER = 64;

struct Colors {
    int red[TOGETHER], green[TOGETHER], blue[TOGETHER];
};

struct Hsv {
    int hue[TOGETHER], saturation[TOGETHER], value[TOGETHER];
};

// As Pillow's, whose value is the greatest of the three colors. Doubles are doubles there, too. Loops without a branch:
// what is chosen from has been computed before.
inline void to_hsv(const Colors& from, Hsv& to) {
    int range[TOGETHER], highest[TOGETHER];  // 0 red, 1 green, 2 blue
    float of_red[TOGETHER], of_green[TOGETHER], of_blue[TOGETHER], s[TOGETHER];
    for (int i = 0; i < TOGETHER; ++i) {
        const int r = from.red[i], g = from.green[i], b = from.blue[i];
        const int most = std::max(r, std::max(g, b));
        range[i] = most - std::min(r, std::min(g, b));
        highest[i] = (r != most) * (1 + (g != most));
        to.value[i] = most;
    }
    for (int i = 0; i < TOGETHER; ++i) {
        const int most = to.value[i];
        const float whole = float(std::max(range[i], 1));
        const float rc = float(most - from.red[i]) / whole, gc = float(most - from.green[i]) / whole,
                    bc = float(most - from.blue[i]) / whole;
        s[i] = float(range[i]) / float(std::max(most, 1));
        of_red[i] = bc - gc;
        of_green[i] = float(2.0 + rc - bc);
        of_blue[i] = float(4.0 + gc - rc);
    }
    for (int i = 0; i < TOGETHER; ++i) {
        const float later = highest[i] == 1 ? of_green[i] : of_blue[i];
        of_red[i] = highest[i] == 0 ? of_red[i] : later;
    }
    for (int i = 0; i < TOGETHER; ++i) {
        const double turns = of_red[i] / 6.0 + 1.0;  // from 5/6 to 11/6: of that, fmod would leave the fraction
        const int hue = int(float(turns - int(turns)) * 255.0);
        to.hue[i] = hue * (range[i] > 0);
        to.saturation[i] = int(s[i] * 255.0);
    }
}

// What round() gives: nothing here is negative.
inline int rounded(double value) { return int(value + 0.5); }

inline void to_rgb(const Hsv& from, Colors& to) {
    int sector[TOGETHER], p[TOGETHER], q[TOGETHER], t[TOGETHER];
    for (int i = 0; i < TOGETHER; ++i) {
        const double sixths = from.hue[i] * 6.0 / 255.0, v = from.value[i];
        const double f = float(sixths - int(sixths)), fs = float(from.saturation[i] / 255.0);
        sector[i] = int(sixths);
        p[i] = rounded(v * (1.0 - fs));
        q[i] = rounded(v * (1.0 - float(fs * f)));  // a product of floats, there
        t[i] = rounded(v * (1.0 - fs * (1.0 - f)));
    }
    for (int i = 0; i < TOGETHER; ++i) {
        const int u = from.value[i], at = sector[i];  // 6 is 0 again
        to.red[i] = at == 1 ? q[i] : at == 4 ? t[i] : at == 2 || at == 3 ? p[i] : u;
        to.green[i] = at == 1 || at == 2 ? u : at == 3 ? q[i] : at == 4 || at == 5 ? p[i] : t[i];
        to.blue[i] = at == 3 || at == 4 ? u : at == 2 ? t[i] : at == 5 ? q[i] : p[i];
    }
}

inline void hue(const Picture& picture, int shift) {
    Colors colors = {};
    Hsv hsv;
    const int64_t pixels = picture.height * picture.width;
    for (int64_t first = 0; first < pixels; first += TOGETHER) {
        uint8_t* at = picture.pixels + first * 3;
        const int count = int(std::min<int64_t>(TOGETHER, pixels - first));
        for (int i = 0; i < count; ++i)
            colors.red[i] = at[i * 3], colors.green[i] = at[i * 3 + 1], colors.blue[i] = at[i * 3 + 2];
        to_hsv(colors, hsv);
        for (int i = 0; i < TOGETHER; ++i) hsv.hue[i] = (hsv.hue[i] + shift) & 255;
        to_rgb(hsv, colors);
        for (int i = 0; i < count; ++i) {
            at[i * 3] = uint8_t(colors.red[i]);
            at[i * 3 + 1] = uint8_t(colors.green[i]);
            at[i * 3 + 2] = uint8_t(colors.blue[i]);
        }
    }
}

// Blended with ImageFilter.SMOOTH, whose edges are the image's.
inline void sharpness(const Picture& picture, float factor, Buffer& memory) {
    const int64_t pitch = picture.width * 3;
    if (picture.height < 3 || picture.width < 3 || factor == 1.0f) return;
    const float side = 1.0f / 13.0f, middle = 5.0f / 13.0f;
    uint8_t* rows = memory.room(2 * pitch);  // as they were: the one above, and this one
    std::memcpy(rows, picture.pixels, size_t(pitch));
    for (int64_t y = 1; y < picture.height - 1; ++y) {
        uint8_t* __restrict out = picture.pixels + y * pitch;
        uint8_t* __restrict here = rows + y % 2 * pitch;
        const uint8_t *__restrict above = rows + (y - 1) % 2 * pitch, *__restrict below = picture.pixels + (y + 1) * pitch;
        std::memcpy(here, out, size_t(pitch));
        for (int64_t x = 3; x < pitch - 3; ++x) {
            float sum = 0.5f;
            sum += float(below[x - 3]) * side + float(below[x]) * side + float(below[x + 3]) * side;
            sum += float(here[x - 3]) * side + float(here[x]) * middle + float(here[x + 3]) * side;
            sum += float(above[x - 3]) * side + float(above[x]) * side + float(above[x + 3]) * side;
            out[x] = blend(int(sum), here[x], factor);  // the weights are 1 together: 255 at most
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
