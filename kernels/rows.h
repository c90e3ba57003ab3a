// The host's rows of weights: for the CPU engine, and for a CUDA kernel that does not make them itself.
#pragma once
#include <algorithm>
#include <climits>
#include <cstring>
#include <vector>

#include "nearest.h"
#include "weights.cuh"

namespace rows {

// Is every output one source, unweighted?
inline bool plain(const Axis& axis, int filter) { return axis.length == axis.resized || nearest::is(filter); }

// The weights of position v of the resized axis, not rounded yet. Kept between sum and division: sines are dear.
inline Sources weigh(const Axis& axis, int filter, int v, std::vector<double>& weights) {
    const Sources sources = resample_sources(axis, filter, v);
    const int n = sources.end - sources.first;
    if (weights.size() < size_t(n)) weights.resize(size_t(n));
    double sum = 0.0;
    for (int j = 0; j < n; ++j) sum += weights[j] = sources.weight(filter, sources.first + j);
    for (int j = 0; sum != 0.0 && j < n; ++j) weights[j] /= sum;
    return sources;
}

constexpr int TORCH_ONE = 1 << 15;     // what torch's weights, of 16 bits, stay below
constexpr int TORCH_FEWEST_BITS = 14;  // no weight reaches 2

// The bits behind the point of an axis's weights. Torch's have as many as the greatest weight of the whole axis, be it
// shown or not, leaves.
template <int filter>
int weight_bits(const Axis& axis, std::vector<double>& weights) {
    int bits = WEIGHT_BITS;
    if (filter < TORCH_BILINEAR) return bits;
    for (int v = 0; v < axis.resized && bits > TORCH_FEWEST_BITS; ++v) {
        const Sources sources = weigh(axis, filter, v, weights);
        for (int j = 0; j < sources.end - sources.first; ++j)
            while (quantize(weights[j], 1 << bits) >= TORCH_ONE) --bits;
    }
    return bits;
}

// resample_weights for the host, whose weights have so many bits; all rows are scaled to WEIGHT_BITS.
inline void resample(const Axis& axis, int filter, int v, int bits, std::vector<double>& weights, int* row) {
    const Sources sources = weigh(axis, filter, v, weights);
    row[0] = sources.first;
    row[1] = sources.end - sources.first;
    for (int j = 0; j < row[1]; ++j) row[ROW_HEAD + j] = quantize(weights[j], 1 << bits) * (ONE >> bits);
}

// The source of each output of a plain axis, counted from the first decoded pixel: `take(i, source)`, -1 for padding.
template <class Take>
void each_source(const Axis& axis, int filter, Take take) {
    static thread_local std::vector<int> sources;
    const bool scaled = axis.length != axis.resized;
    if (scaled) nearest::sources(axis, filter, sources);
    for (int i = 0; i < axis.extent; ++i) {
        const int at = window_position(axis, i), v = axis.window + at;
        const int source = at < 0 || !scaled ? v : sources[v];
        take(i, at < 0 ? -1 : (axis.mirrored ? axis.length - 1 - source : source) - axis.decoded);
    }
}

// The row of each output of an axis that is resampled: `take(i, row)`. The filter is known at compile time.
template <int filter, class Take>
void each_row(Axis axis, Take take) {
    static thread_local std::vector<double> weights;
    static thread_local std::vector<int> row;
    row.resize(size_t(ROW_HEAD) + axis.ksize);
    const int bits = weight_bits<filter>(axis, weights);
    for (int i = 0; i < axis.extent; ++i) {
        make_row(axis, i, row.data(), [&](int v, int* to) { resample(axis, filter, v, bits, weights, to); });
        take(i, row.data());
    }
}

template <class Take>
void each_row(const Axis& axis, int filter, Take take) {
    switch (filter) {
        case BOX: return each_row<BOX>(axis, take);
        case BILINEAR: return each_row<BILINEAR>(axis, take);
        case HAMMING: return each_row<HAMMING>(axis, take);
        case BICUBIC: return each_row<BICUBIC>(axis, take);
        case TORCH_BILINEAR: return each_row<TORCH_BILINEAR>(axis, take);
        case TORCH_BICUBIC: return each_row<TORCH_BICUBIC>(axis, take);
        case TORCH_LANCZOS: return each_row<TORCH_LANCZOS>(axis, take);
        default: return each_row<LANCZOS>(axis, take);
    }
}

// All rows as a CUDA kernel reads them: int32, extent x (2 + ksize).
inline void fill(const Axis& axis, int filter, int* out) {
    const int64_t stride = ROW_HEAD + int64_t(axis.ksize);
    if (plain(axis, filter))
        return each_source(axis, filter, [&](int i, int source) {
            int* row = out + i * stride;
            copy_row(source, row);
            if (source < 0) row[0] = row[1] = 0;
        });
    each_row(axis, filter, [&](int i, const int* row) { std::copy_n(row, ROW_HEAD + row[1], out + i * stride); });
}

// What the CPU engine knows of one axis. Made again only where the axis is another one than last time.
class Rows {
  public:
    bool plain = true;                   // every output is one source, unweighted
    bool straight = false;               // and each one's source follows the last one's
    int count = 0;                       // outputs
    int shown_begin = 0, shown_end = 0;  // those that have sources; the others, on both sides, are padding
    int begin = 0, end = 0;              // the sources that any output reads; none: both 0
    int most = 1;                        // most weights of one output

    bool padded() const { return shown_end - shown_begin < count; }
    const int* sources() const { return first_.data(); }     // the first of each output
    int first(int i) const { return first_[size_t(i)]; }  // -1: padding
    int column(int i) const { return column_[size_t(i)]; }  // its first source, counted from `begin`; padding: 0
    int n(int i) const { return n_[size_t(i)]; }             // how many sources it has; of a plain axis: not kept
    const int* weights(int i) const { return weights_.data() + size_t(i) * stride_; }  // n of them, then zeros

    void make(const Axis& axis, int filter) {
        if (made_ && filter == filter_ && !std::memcmp(&axis, &axis_, sizeof axis)) return;
        made_ = false;  // should memory run out on the way
        plain = rows::plain(axis, filter);
        count = axis.extent;
        begin = INT_MAX;
        end = 0;
        most = 1;
        first_.resize(size_t(count));
        if (plain)
            each_source(axis, filter, [&](int i, int source) { add(i, source, 1); });
        else
            make_weights(axis, filter);
        begin = std::min(begin, end);
        find_shown();
        if (!plain) column_.resize(size_t(count));
        for (int i = 0; !plain && i < count; ++i) column_[size_t(i)] = std::max(first(i) - begin, 0);
        straight = plain;
        for (int i = shown_begin; straight && i < shown_end; ++i) straight = first(i) == begin + i - shown_begin;
        axis_ = axis;
        filter_ = filter;
        made_ = true;
    }

  private:
    void add(int i, int source, int n) {
        first_[size_t(i)] = source;
        if (source < 0) return;
        begin = std::min(begin, source);
        end = std::max(end, source + n);
        most = std::max(most, n);
    }

    void find_shown() {
        shown_begin = 0;
        shown_end = count;
        while (shown_begin < count && first(shown_begin) < 0) ++shown_begin;
        while (shown_end > shown_begin && first(shown_end - 1) < 0) --shown_end;
    }

    void make_weights(const Axis& axis, int filter) {
        stride_ = size_t(axis.ksize);
        n_.resize(size_t(count));
        weights_.assign(size_t(count) * stride_, 0);
        each_row(axis, filter, [&](int i, const int* row) {
            add(i, row[1] ? row[0] : -1, row[1]);
            n_[size_t(i)] = row[1];
            std::copy_n(row + ROW_HEAD, row[1], weights_.data() + size_t(i) * stride_);
        });
    }

    std::vector<int> first_, n_, column_, weights_;
    size_t stride_ = 0;
    Axis axis_ = {};
    int filter_ = 0;
    bool made_ = false;
};

}  // namespace rows
