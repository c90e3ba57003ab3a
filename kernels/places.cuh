// Where the pixels of a warped image come from, and what lies there: the arithmetic of Pillow 13's Image.transform
// (libImaging's Geometry.c), fixed-point and double, for the CPU's passes (warp.h) and for the kernel (adjust.cu).
#pragma once
#include "bounds.cuh"
#include "share.h"

// Where a pixel of the output lies in the source.
struct Place {
    double x, y;
};

// The image that is warped: packed rows of RGB.
struct Source {
    const uint8_t* pixels;
    int height, width;

    GPULOAD_MEMBER const uint8_t* at(int row, int column) const {
        return pixels + (int64_t(row) * width + column) * 3;
    }
};

// The pixel that a place lies in, of so many; -1: none. What is not a number lies in none.
GPULOAD_FN int within(double at, int length) { return at >= 0.0 && at < double(length) ? int(at) : -1; }

GPULOAD_FN bool is_within(Place place, const Source& source) {
    return within(place.x, source.width) >= 0 && within(place.y, source.height) >= 0;
}

// ---- which way Pillow takes ----

enum Way {
    BY_AXES,         // columns and rows each by themselves: ImagingScaleAffine
    IN_FIXED_POINT,  // affine_fixed
    STEP_BY_STEP,    // the nearest pixel of any other affine map: ImagingTransformAffine
    BY_MAP           // any map, and any filter: ImagingGenericTransform
};

GPULOAD_FN bool is_small(double value) { return value > -32768.0 && value < 32768.0; }

// Do the numbers of all corners fit into 16.16 bits?
GPULOAD_FN bool fits_fixed_point(const double* a, int height, int width) {
    for (int corner = 0; corner < 4; ++corner) {
        const double x = corner & 1 ? width : 0, y = corner & 2 ? height : 0;
        if (!is_small(x * a[0] + y * a[1] + a[2]) || !is_small(x * a[3] + y * a[4] + a[5])) return false;
    }
    return true;
}

GPULOAD_FN Way way_of(const Warp& warp, int height, int width) {
    const double* a = warp.numbers;
    if (warp.kind == PERSPECTIVE || warp.filter != NEAREST) return BY_MAP;
    if (a[1] == 0 && a[3] == 0) return BY_AXES;
    return fits_fixed_point(a, height, width) ? IN_FIXED_POINT : STEP_BY_STEP;
}

// ---- the nearest pixel of an affine map ----

// In the middle of the first pixel. The sums are in Pillow's order.
GPULOAD_FN Place first_by_axes(const double* a) { return {a[2] + a[0] * 0.5, a[5] + a[4] * 0.5}; }
GPULOAD_FN Place first_step(const double* a) {
    return {a[2] + a[1] * 0.5 + a[0] * 0.5, a[5] + a[4] * 0.5 + a[3] * 0.5};
}

// A number of 16.16 bits; unsigned, as it is stepped, for what leaves its 32 bits: only steps that are not taken are too
// large for them.
GPULOAD_FN uint32_t fixed(double value) {
    const double rounded = floor(value * 65536.0 + 0.5);
    return rounded >= -2147483648.0 && rounded < 2147483648.0 ? uint32_t(int32_t(rounded)) : 0x80000000u;
}

struct FixedMap {
    uint32_t x, y, x_by_column, y_by_column, x_by_row, y_by_row;
};

GPULOAD_FN FixedMap fixed_map(const double* a) {
    return {fixed(a[2] + a[0] * 0.5 + a[1] * 0.5), fixed(a[5] + a[3] * 0.5 + a[4] * 0.5),
            fixed(a[0]), fixed(a[3]), fixed(a[1]), fixed(a[4])};
}

// The pixel that a place in fixed point lies in; null: none.
GPULOAD_FN const uint8_t* at_fixed(const Source& source, uint32_t x, uint32_t y) {
    const int column = int32_t(x) >> 16, row = int32_t(y) >> 16;
    const bool inside = uint32_t(column) < uint32_t(source.width) && uint32_t(row) < uint32_t(source.height);
    return inside ? source.at(row, column) : nullptr;
}

// The pixel that a place lies in; null: none.
GPULOAD_FN const uint8_t* at_nearest(const Source& source, Place place) {
    return is_within(place, source) ? source.at(int(place.y), int(place.x)) : nullptr;
}

// ---- any map, and any filter ----

GPULOAD_FN Place affine(const double* a, double x, double y) {
    return {a[0] * x + a[1] * y + a[2], a[3] * x + a[4] * y + a[5]};
}

GPULOAD_FN Place in_perspective(const double* a, double x, double y) {
    const double depth = a[6] * x + a[7] * y + 1;
    const Place place = affine(a, x, y);
    return {place.x / depth, place.y / depth};
}

// Where the pixels on both sides of a place lie along one axis, those outside at the edge, in steps of `pitch` bytes; and
// how far it is between them. `Offset`: an integer that holds all of an image's bytes.
template <int COUNT, class Offset>
struct Between {
    Offset at[COUNT];
    double share;
};

template <int COUNT, class Offset>
GPULOAD_FN Between<COUNT, Offset> between(double place, int length, Offset pitch) {
    Between<COUNT, Offset> made;
    const double middle = place - 0.5;  // -0.5 or more
    const Offset first = Offset(middle) - (middle < 0.0);
    made.share = middle - double(first);
    for (int k = 0; k < COUNT; ++k) made.at[k] = clamped<Offset>(first + k - (COUNT / 2 - 1), 0, length - 1) * pitch;
    return made;
}

// Differences of pixels are integers.
template <class Value>
GPULOAD_FN double linear(Value from, Value to, double share) {
    return double(from) + double(to - from) * share;
}

template <class Value>
GPULOAD_FN double cubic(Value a, Value b, Value c, Value d, double share) {
    const double p2 = double(-a + c), p3 = double(2 * (a - b) + c - d), p4 = double(-a + b - c + d);
    return double(b) + share * (p2 + share * (p3 + share * p4));
}

// One channel of what lies between four pixels, or sixteen. `values`: the channel of the first pixel.
template <class Offset>
GPULOAD_FN uint8_t between_pixels(const uint8_t* values, const Between<2, Offset>& x, const Between<2, Offset>& y) {
    const uint8_t *above = values + y.at[0], *below = values + y.at[1];
    const double high = linear(int(above[x.at[0]]), int(above[x.at[1]]), x.share);
    const double low = linear(int(below[x.at[0]]), int(below[x.at[1]]), x.share);
    return uint8_t(int(linear(high, low, y.share)));
}

template <class Offset>
GPULOAD_FN uint8_t between_pixels(const uint8_t* values, const Between<4, Offset>& x, const Between<4, Offset>& y) {
    double across[4];
    for (int k = 0; k < 4; ++k) {
        const uint8_t* row = values + y.at[k];
        across[k] = cubic<int>(row[x.at[0]], row[x.at[1]], row[x.at[2]], row[x.at[3]], x.share);
    }
    const double value = cubic<double>(across[0], across[1], across[2], across[3], y.share);
    return uint8_t(int(clamped(value, 0.0, 255.0)));
}
