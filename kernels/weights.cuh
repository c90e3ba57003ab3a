// Pillow's resampling filters, and torch's, as rows of integer weights, one row per output pixel.
//
// A row is [first, n, weight 0, ..., weight n-1]: the output is the sum of n source pixels, from `first`
// on, each times its 22-bit weight. n = 0 stands for padding. Weights are made in double precision with
// every operation rounded by itself (compile with --fmad=false or -ffp-contract=off): then box, bilinear
// and bicubic come out the same from any compiler. Nearest (a running sum), Hamming and Lanczos (sines) are
// made on the host alone, and so are torch's, whose weights have a precision that a whole axis decides (rows.h).
#pragma once
#include "record.cuh"

constexpr int WEIGHT_BITS = 22;
constexpr int ONE = 1 << WEIGHT_BITS;
constexpr int HALF = 1 << (WEIGHT_BITS - 1);  // every sum starts here, so that the shift rounds
constexpr int ROW_HEAD = 2;
constexpr int KERNEL_WEIGHTS = 32;  // a CUDA kernel makes rows of at most so many weights itself

GPULOAD_FN double filter_support(int filter) {
    switch (filter) {
        case BOX: return 0.5;
        case BICUBIC:
        case TORCH_BICUBIC: return 2.0;
        case LANCZOS:
        case TORCH_LANCZOS: return 3.0;
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
        case TORCH_BILINEAR: return a < 1.0 ? 1.0 - a : 0.0;
        case TORCH_BICUBIC: return bicubic(a);
        case TORCH_LANCZOS: return a < 3.0 ? sinc(a) * sinc(a / 3.0) : 0.0;
#endif
        default: return 0.0;
    }
}

GPULOAD_FN int quantize(double weight, int one) {
    const double scaled = weight * double(one);
    return int(weight < 0.0 ? scaled - 0.5 : scaled + 0.5);
}

// Which position of the window does output i show? -1: the padding color.
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

// The sources of one resized pixel: [first, end) of the crop, and where the filter's middle lies among them.
struct Sources {
    int first, end;
    double center, inverse;

    GPULOAD_MEMBER double weight(int filter, int j) const {
        return filter_weight(filter, (j - center + 0.5) * inverse);
    }
};

GPULOAD_FN Sources resample_sources(const Axis& axis, int filter, int v) {
    const double scale = double(axis.length) / double(axis.resized);
    const double stretch = scale > 1.0 ? scale : 1.0;
    const double support = filter_support(filter) * stretch;
    const double center = (v + 0.5) * scale;
    const int first = int(center - support + 0.5), end = int(center + support + 0.5);
    return {first < 0 ? 0 : first, end > axis.length ? axis.length : end, center, 1.0 / stretch};
}

// The weights of position v of the resized axis, in the crop's own direction.
GPULOAD_FN void resample_weights(const Axis& axis, int filter, int v, int* row) {
    const Sources sources = resample_sources(axis, filter, v);
    double sum = 0.0;
    for (int j = sources.first; j < sources.end; ++j) sum += sources.weight(filter, j);
    row[0] = sources.first;
    row[1] = sources.end - sources.first;
    for (int j = sources.first; j < sources.end; ++j) {
        const double w = sources.weight(filter, j);
        row[ROW_HEAD + j - sources.first] = quantize(sum != 0.0 ? w / sum : w, ONE);
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

GPULOAD_FN void copy_row(int source, int* row) {
    row[0] = source;
    row[1] = 1;
    row[ROW_HEAD] = ONE;
}

// The row of output i, its sources counted from the first decoded pixel. `weights(v, row)` gives the weights of
// position v of an axis that is resampled.
template <class Weights>
GPULOAD_FN void make_row(const Axis& axis, int i, int* row, Weights weights) {
    const int at = window_position(axis, i);
    if (at < 0) {
        row[0] = row[1] = 0;
        return;
    }
    const int v = axis.window + at;
    if (axis.length == axis.resized)
        copy_row(v, row);
    else
        weights(v, row);
    if (axis.mirrored) mirror_row(axis.length, row);
    row[0] -= axis.decoded;
}

GPULOAD_FN uint8_t to_byte(int sum) {
    const int v = sum >> WEIGHT_BITS;
    return uint8_t(v < 0 ? 0 : v > 255 ? 255 : v);
}

// Pillow's RGB -> L.
GPULOAD_FN uint8_t luma(int r, int g, int b) {
    return uint8_t((19595 * r + 38470 * g + 7471 * b + 32768) >> 16);
}
