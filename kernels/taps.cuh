// Pillow's resampling filters as rows of integer taps, one row an output pixel.
//
// A row is [first, n, weight 0, ..., weight n-1]: the output is the sum of n source pixels, from `first`
// on, each times its 22-bit weight. n = 0 stands for padding. Weights are made in double precision with
// every operation rounded by itself (compile with --fmad=false or -ffp-contract=off): then box, bilinear
// and bicubic come out the same from any compiler. Nearest (a running sum), Hamming and Lanczos (sines) are
// made on the host alone.
#pragma once
#include "sample.cuh"

constexpr int WEIGHT_BITS = 22;
constexpr int ONE = 1 << WEIGHT_BITS;
constexpr int ROW_HEAD = 2;

GPULOAD_FN double filter_support(int filter) {
    switch (filter) {
        case BOX: return 0.5;
        case BICUBIC: return 2.0;
        case LANCZOS: return 3.0;
        default: return 1.0;
    }
}

GPULOAD_FN double bicubic(double x) {
    if (x < 1.0) return (1.5 * x - 2.5) * x * x + 1.0;
    if (x < 2.0) return (((x - 5.0) * x + 8.0) * x - 4.0) * -0.5;
    return 0.0;
}

#if !defined(__CUDACC__)
GPULOAD_FN double sinc(double x) {
    if (x == 0.0) return 1.0;
    const double p = x * 3.14159265358979323846;
    return std::sin(p) / p;
}

GPULOAD_FN double hamming(double x) {
    if (x == 0.0) return 1.0;
    if (x >= 1.0) return 0.0;
    const double p = x * 3.14159265358979323846;
    return std::sin(p) / p * (double(0.54f) + double(0.46f) * std::cos(p));
}
#endif

GPULOAD_FN double filter_weight(int filter, double x) {
    const double a = x < 0.0 ? -x : x;
    switch (filter) {
        case BOX: return x > -0.5 && x <= 0.5 ? 1.0 : 0.0;
        case BILINEAR: return a < 1.0 ? 1.0 - a : 0.0;
        case BICUBIC: return bicubic(a);
#if !defined(__CUDACC__)
        case HAMMING: return hamming(a);
        case LANCZOS: return x >= -3.0 && x < 3.0 ? sinc(x) * sinc(x / 3.0) : 0.0;
#endif
        default: return 0.0;
    }
}

GPULOAD_FN int quantise(double weight) {
    const double scaled = weight * double(ONE);
    return int(weight < 0.0 ? scaled - 0.5 : scaled + 0.5);
}

// Which position of the window does output i show? -1: the padding colour.
GPULOAD_FN int window_position(const Axis& axis, int i) {
    const int at = axis.begin + axis.step * i, n = axis.kept;
    if (at >= 0 && at < n) return at;
    if (axis.padding == CONSTANT || n == 0) return -1;
    if (axis.padding == EDGE) return at < 0 ? 0 : n - 1;
    const int period = axis.padding == REFLECT ? (n > 1 ? 2 * n - 2 : 1) : 2 * n;
    int p = at % period;
    if (p < 0) p += period;
    if (p < n) return p;
    return axis.padding == REFLECT ? period - p : period - 1 - p;
}

// The taps of position v of the resized axis, in the crop's own direction.
GPULOAD_FN void resample_taps(const Axis& axis, int filter, int v, int* row) {
    const double scale = double(axis.length) / double(axis.resized);
    const double stretch = scale > 1.0 ? scale : 1.0;
    const double support = filter_support(filter) * stretch, inverse = 1.0 / stretch;
    const double centre = (v + 0.5) * scale;
    int first = int(centre - support + 0.5), end = int(centre + support + 0.5);
    if (first < 0) first = 0;
    if (end > axis.length) end = axis.length;

    double sum = 0.0;
    for (int j = first; j < end; ++j) sum += filter_weight(filter, (j - centre + 0.5) * inverse);
    row[0] = first;
    row[1] = end - first;
    for (int j = first; j < end; ++j) {
        const double w = filter_weight(filter, (j - centre + 0.5) * inverse);
        row[ROW_HEAD + j - first] = quantise(sum != 0.0 ? w / sum : w);
    }
}

GPULOAD_FN void mirror_row(int length, int* row) {
    row[0] = length - row[0] - row[1];
    int *left = row + ROW_HEAD, *right = left + row[1] - 1;
    for (; left < right; ++left, --right) {
        const int kept = *left;
        *left = *right;
        *right = kept;
    }
}

// The row of output i, its sources counted from the first decoded pixel. `taps(v, row)` gives the taps of
// position v of an axis that is resampled.
template <class Taps>
GPULOAD_FN void make_row(const Axis& axis, int i, int* row, Taps taps) {
    const int at = window_position(axis, i);
    if (at < 0) {
        row[0] = row[1] = 0;
        return;
    }
    const int v = axis.window + at;
    if (axis.length == axis.resized) {
        row[0] = v;
        row[1] = 1;
        row[ROW_HEAD] = ONE;
    } else {
        taps(v, row);
    }
    if (axis.mirrored) mirror_row(axis.length, row);
    row[0] -= axis.decoded;
}

GPULOAD_FN uint8_t to_byte(int sum) {
    const int v = sum >> WEIGHT_BITS;
    return uint8_t(v < 0 ? 0 : v > 255 ? 255 : v);
}

constexpr int HALF = 1 << (WEIGHT_BITS - 1);  // every sum starts here, so that the shift rounds

// Pillow's RGB -> L.
GPULOAD_FN uint8_t luma(int r, int g, int b) {
    return uint8_t((19595 * r + 38470 * g + 7471 * b + 32768) >> 16);
}
