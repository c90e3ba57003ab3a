// A whole RGB image that is turned, sheared, moved or seen from aside: bit for bit what Pillow 13 does
// (Image.transform with libImaging's Geometry.c, with the same fixed-point and double arithmetic).
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "adjust.h"
#include "share.h"
#include "simd.h"

namespace warp {

using adjust::Picture;

// Where a pixel of the output lies in the source.
struct Place {
    double x, y;
};

// The pixel that a place lies in, of so many; -1: none. What is not a number lies in none.
inline int64_t within(double at, int64_t length) { return at >= 0.0 && at < double(length) ? int64_t(at) : -1; }

// A warp of one image. Pixels are written from left to right, four bytes each, of which the next one keeps three.
class Warping {
  public:
    Warping(const Warp& warp, const Picture& from, const Picture& to, Buffer& memory)
        : warp_(warp), a_(warp.numbers), from_(from), to_(to) {
        columns_ = reinterpret_cast<int32_t*>(memory.room(to.width * int64_t(sizeof(int32_t))));
    }

    void run() {
        if (warp_.kind == PERSPECTIVE) return filtered([this](double x, double y) { return in_perspective(x, y); });
        if (warp_.filter != NEAREST) return filtered([this](double x, double y) { return affine(x, y); });
        if (a_[1] == 0 && a_[3] == 0) return scaled();
        return in_fixed_point() ? nearest_fixed() : nearest();
    }

  private:
    // ---- the nearest pixel of an affine map, by running sums ----

    // Columns and rows each by themselves: ImagingScaleAffine.
    void scaled() {
        int64_t begin = to_.width, end = 0;
        bool straight = true;  // each column is the one after the last
        double x_at = a_[2] + a_[0] * 0.5, y_at = a_[5] + a_[4] * 0.5;
        for (int64_t x = 0; x < to_.width; ++x, x_at += a_[0]) {
            const int64_t column = within(x_at, from_.width);
            if (column < 0) continue;
            begin = std::min(begin, x);
            end = x + 1;
            columns_[x] = int32_t(column);
            straight = straight && column == columns_[begin] + (x - begin);
        }
        for (int64_t y = 0; y < to_.height; ++y, y_at += a_[4]) {
            const int64_t row = within(y_at, from_.height);
            paint(y, 0, row < 0 ? to_.width : begin);
            if (row < 0) continue;
            if (straight && begin < end)
                std::memcpy(out(y, begin), at(row, columns_[begin]), size_t(end - begin) * 3);
            else
                for (int64_t x = begin; x < end; ++x) std::memcpy(out(y, x), at(row, columns_[x]), 4);
            paint(y, end, to_.width);
        }
    }

    // Do the numbers of all corners fit into 16.16 bits?
    bool in_fixed_point() const {
        for (const int64_t x : {int64_t(0), to_.width})
            for (const int64_t y : {int64_t(0), to_.height})
                if (!(std::fabs(double(x) * a_[0] + double(y) * a_[1] + a_[2]) < 32768.0 &&
                      std::fabs(double(x) * a_[3] + double(y) * a_[4] + a_[5]) < 32768.0))
                    return false;
        return true;
    }

    // Unsigned, as it is stepped, for what leaves its 32 bits: only steps that are not taken are too large for them.
    static uint32_t fixed(double value) {
        const double floor = std::floor(value * 65536.0 + 0.5);
        return floor >= -2147483648.0 && floor < 2147483648.0 ? uint32_t(int32_t(floor)) : 0x80000000u;
    }

    // affine_fixed
    void nearest_fixed() {
        const uint32_t a0 = fixed(a_[0]), a1 = fixed(a_[1]), a3 = fixed(a_[3]), a4 = fixed(a_[4]);
        uint32_t x_row = fixed(a_[2] + a_[0] * 0.5 + a_[1] * 0.5), y_row = fixed(a_[5] + a_[3] * 0.5 + a_[4] * 0.5);
        for (int64_t y = 0; y < to_.height; ++y, x_row += a1, y_row += a4) {
            uint32_t x_at = x_row, y_at = y_row;
            uint8_t* to = out(y, 0);
            for (int64_t x = 0; x < to_.width; ++x, x_at += a0, y_at += a3, to += 3) {
                const int64_t column = int32_t(x_at) >> 16, row = int32_t(y_at) >> 16;
                const bool inside = uint64_t(column) < uint64_t(from_.width) && uint64_t(row) < uint64_t(from_.height);
                std::memcpy(to, inside ? at(row, column) : warp_.fill, 4);
            }
        }
    }

    // ImagingTransformAffine, whatever its numbers.
    void nearest() {
        double x_row = a_[2] + a_[1] * 0.5 + a_[0] * 0.5, y_row = a_[5] + a_[4] * 0.5 + a_[3] * 0.5;
        for (int64_t y = 0; y < to_.height; ++y, x_row += a_[1], y_row += a_[4]) {
            Place place = {x_row, y_row};
            for (int64_t x = 0; x < to_.width; ++x, place.x += a_[0], place.y += a_[3]) nearest_at(place, out(y, x));
        }
    }

    // ---- any map, and any filter: ImagingGenericTransform ----

    Place affine(double x, double y) const { return {a_[0] * x + a_[1] * y + a_[2], a_[3] * x + a_[4] * y + a_[5]}; }

    Place in_perspective(double x, double y) const {
        const double depth = a_[6] * x + a_[7] * y + 1;
        return {(a_[0] * x + a_[1] * y + a_[2]) / depth, (a_[3] * x + a_[4] * y + a_[5]) / depth};
    }

    template <class Map>
    void filtered(Map map) {
        switch (warp_.filter) {
            case NEAREST: return each(map, [this](Place place, uint8_t* to) { nearest_at(place, to); });
            case BILINEAR: return each(map, [this](Place place, uint8_t* to) { bilinear_at(place, to); });
            default: return each(map, [this](Place place, uint8_t* to) { bicubic_at(place, to); });
        }
    }

    template <class Map, class Put>
    void each(Map map, Put put) {
        for (int64_t y = 0; y < to_.height; ++y)
            for (int64_t x = 0; x < to_.width; ++x) put(map(double(x) + 0.5, double(y) + 0.5), out(y, x));
    }

    void nearest_at(Place place, uint8_t* to) const {
        const int64_t column = within(place.x, from_.width), row = within(place.y, from_.height);
        std::memcpy(to, column >= 0 && row >= 0 ? at(row, column) : warp_.fill, 4);
    }

    void bilinear_at(Place place, uint8_t* to) const {
        if (within(place.x, from_.width) < 0 || within(place.y, from_.height) < 0) return blank(to);
        const Between<2> x(place.x, from_.width, 3), y(place.y, from_.height, from_.width * 3);
        const uint8_t *above = from_.pixels + y.at[0], *below = from_.pixels + y.at[1];
        for (int c = 0; c < 3; ++c, ++above, ++below) {
            const double high = linear(int(above[x.at[0]]), int(above[x.at[1]]), x.share);
            const double low = linear(int(below[x.at[0]]), int(below[x.at[1]]), x.share);
            to[c] = uint8_t(int(linear(high, low, y.share)));
        }
    }

    void bicubic_at(Place place, uint8_t* to) const {
        if (within(place.x, from_.width) < 0 || within(place.y, from_.height) < 0) return blank(to);
        const Between<4> x(place.x, from_.width, 3), y(place.y, from_.height, from_.width * 3);
        for (int c = 0; c < 3; ++c) {
            double across[4];
            for (int k = 0; k < 4; ++k) {
                const uint8_t* row = from_.pixels + y.at[k] + c;
                across[k] = cubic<int>(row[x.at[0]], row[x.at[1]], row[x.at[2]], row[x.at[3]], x.share);
            }
            const double value = cubic<double>(across[0], across[1], across[2], across[3], y.share);
            to[c] = uint8_t(std::min(std::max(value, 0.0), 255.0));
        }
    }

    // Where the pixels on both sides of a place lie along one axis, those outside at the edge, in steps of `pitch`
    // bytes; and how far it is between them.
    template <int COUNT>
    struct Between {
        Between(double place, int64_t length, int64_t pitch) {
            const double middle = place - 0.5;  // -0.5 or more
            const int64_t first = int64_t(middle) - (middle < 0.0);
            share = middle - double(first);
            for (int k = 0; k < COUNT; ++k)
                at[k] = std::min(std::max<int64_t>(first + k - (COUNT / 2 - 1), 0), length - 1) * pitch;
        }
        int64_t at[COUNT];
        double share;
    };

    // Differences of pixels are integers.
    template <class Value>
    static double linear(Value from, Value to, double share) {
        return double(from) + double(to - from) * share;
    }

    template <class Value>
    static double cubic(Value a, Value b, Value c, Value d, double share) {
        const double p2 = double(-a + c), p3 = double(2 * (a - b) + c - d), p4 = double(-a + b - c + d);
        return double(b) + share * (p2 + share * (p3 + share * p4));
    }

    // ---- pixels ----

    const uint8_t* at(int64_t row, int64_t column) const { return from_.pixels + (row * from_.width + column) * 3; }
    uint8_t* out(int64_t y, int64_t x) const { return to_.pixels + (y * to_.width + x) * 3; }
    void blank(uint8_t* to) const { std::memcpy(to, warp_.fill, 3); }
    void paint(int64_t y, int64_t begin, int64_t end) const { passes::paint(warp_.fill, begin, end, out(y, 0)); }

    const Warp& warp_;
    const double* a_;
    const Picture &from_, &to_;
    int32_t* columns_;
};

// `memory` is the thread's own; behind both pictures there are `simd::SLACK` bytes, of which some are written.
inline void apply(const Warp& warp, const Picture& from, const Picture& to, Buffer& memory) {
    Warping(warp, from, to, memory).run();
}

}  // namespace warp
