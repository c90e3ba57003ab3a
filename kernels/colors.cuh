// What Pillow 13 does to the colors of one pixel (libImaging's Blend.c, Filter.c and Convert.c, ImageOps), for the CPU's
// passes (adjust.h) and for the kernel (adjust.cu): each operation of floats is rounded by itself.
#pragma once
#include "bounds.cuh"
#include "portable.cuh"

// As Image.blend: from + factor * (to - from), as floats, clipped.
GPULOAD_FN uint8_t blend(int from, int to, float factor) {
    const float mixed = float(from) + factor * float(to - from);
    return uint8_t(int(clamped(mixed, 0.0f, 255.0f)));
}

GPULOAD_FN uint8_t posterized(uint8_t value, int bits) { return uint8_t(value & (255 << (8 - bits))); }
GPULOAD_FN uint8_t solarized(uint8_t value, int threshold) { return value < threshold ? value : uint8_t(255 - value); }
GPULOAD_FN uint8_t solarized_sum(uint8_t value, int added) {
    return value < 128 ? uint8_t(smaller(255, value + added)) : value;
}

// The pixel of ImageFilter.SMOOTH: weights of 1 and 5 in the middle, over 13. Pillow adds floats, and a half; a sum of
// 13ths is never near enough to one and a half for these to round otherwise.
GPULOAD_FN uint8_t smoothed(int sum) { return uint8_t((2 * sum + 13) / 26); }

// The mean of so many lumas.
GPULOAD_FN int mean_of(int64_t sum, int64_t pixels) { return int(double(sum) / double(pixels) + 0.5); }

// ---- hue ----
//
// Pillow goes to HSV, as bytes, and back, in floats and doubles. The same bytes come of less: where they differ from
// the exact values' whole part is known, and of all colors and all hues none is different (tests/test_adjust.py).

// What a color has less of than the most, of 170: so far from where it has the most, around 1020 hues.
GPULOAD_FN float lacks(int hue) {
    const int away = hue < 0 ? -hue : hue;
    return float(clamped(smaller(away, 1020 - away) - 170, 0, 170)) / 170.0f;
}

// Where a hue's exact value is a whole number, Pillow's floats come to that or to a bit less, by the number alone: what
// to take off. Asked of a color that has this hue.
GPULOAD_FN float late(int hue) {
    const float r = lacks(hue * 4), g = lacks(hue * 4 - 340), b = lacks(hue * 4 - 680);
    const float sixths = r == 0 ? b - g : g == 0 ? float(2.0 + r - b) : float(4.0 + g - r);
    const double turns = sixths / 6.0 + 1.0;
    return int(float(turns - int(turns)) * 255.0) < hue ? 1.0f / 4096 : 0.0f;
}

constexpr int HUES = 256;

// Where a color lies: how far around the hues, in sixths of the range of its channels; that range; the most of them.
struct Around {
    int way, range, most;
};

GPULOAD_FN Around around(int r, int g, int b) {
    const int most = larger(r, larger(g, b)), range = most - smaller(r, smaller(g, b));
    const int of_red = g - b + (g < b) * 6 * range, of_green = b - r + 2 * range, of_blue = r - g + 4 * range;
    const int later = g == most ? of_green : of_blue;
    return {r == most ? of_red : later, range, most};
}

// `lates`: `late` of each hue.
GPULOAD_FN int hue_of(int way, int range, const float* lates) {
    const float exact = float(way) * 42.5f / float(larger(range, 1));
    return int(exact - lates[int(exact)]);
}

GPULOAD_FN int saturation_of(int range, int most) { return int(float(range * 255) / float(larger(most, 1))); }

// The three values of a color, and which of its channels have which: of six sectors of the hues; 6 is 0 again.
struct Shades {
    uint8_t most, least, other, sector;
};

GPULOAD_FN Shades shades(int hue, int saturation, int most) {
    constexpr float PART = 1.0f / (255 * 255);  // of whole numbers below 2^24, which floats hold
    const int sixths = hue * 6, sector = (sixths * 257 + 257) >> 16, within = sixths - sector * 255;
    const int share = within ^ (~sector & 1) * 255;  // in even ones, what is left of 255
    const int least = int(float(most * (255 - saturation) * 255) * PART + 0.5f);
    const int other = int(float(most * (255 * 255 - saturation * share)) * PART + 0.5f);
    return {uint8_t(most), uint8_t(least), uint8_t(other), uint8_t(sector)};
}

// Without a branch, for a compiler that makes vectors of it.
GPULOAD_FN uint8_t red_of(Shades of) {
    const uint8_t red = (of.sector == 2) | (of.sector == 3) ? of.least : of.most;
    return (of.sector == 1) | (of.sector == 4) ? of.other : red;
}

GPULOAD_FN uint8_t green_of(Shades of) {
    const uint8_t green = (of.sector == 1) | (of.sector == 2) ? of.most : of.other;
    return (of.sector == 4) | (of.sector == 5) ? of.least : green;
}

GPULOAD_FN uint8_t blue_of(Shades of) {
    const uint8_t blue = (of.sector == 3) | (of.sector == 4) ? of.most : of.least;
    return (of.sector == 2) | (of.sector == 5) ? of.other : blue;
}

// ---- a channel's new values, from the histogram of all that it has ----

// The lowest and the highest value that is there, and how many are.
struct Levels {
    int low, high, used;
};

template <class Count>
GPULOAD_FN Levels levels(const Count* counts) {
    Levels found = {255, 0, 0};
    for (int i = 0; i < 256; ++i) {
        if (!counts[i]) continue;
        found.low = smaller(found.low, i);
        found.high = i;
        ++found.used;
    }
    return found;
}

// As ImageOps.autocontrast: the lowest becomes 0, the highest 255.
struct Stretched {
    double scale, offset;

    GPULOAD_MEMBER uint8_t of(int value) const { return uint8_t(clamped(int(value * scale + offset), 0, 255)); }
};

GPULOAD_FN Stretched stretched(Levels found) {
    const double scale = found.high > found.low ? 255.0 / (found.high - found.low) : 1.0;
    return {scale, found.high > found.low ? -found.low * scale : 0.0};
}

// As ImageOps.equalize: values get as far apart as there are pixels between them.
template <class Count>
struct Spread {
    Count step;

    GPULOAD_MEMBER uint8_t of(int value, Count below) const {
        return uint8_t(step ? int(smaller(Count((step / 2 + below) / step), Count(255))) : value);
    }
};

template <class Count>
GPULOAD_FN Spread<Count> spread(Levels found, Count pixels, Count highest) {
    return {found.used > 1 ? Count((pixels - highest) / 255) : Count(0)};
}
