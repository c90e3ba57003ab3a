// A whole RGB image that is turned, sheared, moved or seen from aside: bit for bit what Pillow 13 does
// (Image.transform with libImaging's Geometry.c, with the same fixed-point and double arithmetic).
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>

#include "adjust.h"
#include "places.cuh"
#include "share.h"
#include "simd.h"

namespace warp {

using adjust::Picture;

// A warp of one image. Pixels are written from left to right, four bytes each, of which the next one keeps three.
class Warping {
  public:
    Warping(const Warp& warp, const Picture& from, const Picture& to, Buffer& memory)
        : warp_(warp), a_(warp.numbers), from_({from.pixels, int(from.height), int(from.width)}), to_(to) {
        columns_ = reinterpret_cast<int32_t*>(memory.room(to.width * int64_t(sizeof(int32_t))));
    }

    void run() {
        switch (way_of(warp_, int(to_.height), int(to_.width))) {
            case BY_AXES: return by_axes();
            case IN_FIXED_POINT: return in_fixed_point();
            case STEP_BY_STEP: return step_by_step();
            case BY_MAP: break;
        }
        if (warp_.kind == PERSPECTIVE) return filtered([this](double x, double y) { return in_perspective(a_, x, y); });
        return filtered([this](double x, double y) { return affine(a_, x, y); });
    }

  private:
    // ---- the nearest pixel of an affine map, by running sums ----

    void by_axes() {
        const int width = int(to_.width);
        int begin = width, end = 0;
        bool straight = true;  // each column is the one after the last
        Place place = first_by_axes(a_);
        for (int x = 0; x < width; ++x, place.x += a_[0]) {
            const int column = within(place.x, from_.width);
            if (column < 0) continue;
            begin = std::min(begin, x);
            end = x + 1;
            columns_[x] = column;
            straight = straight && column == columns_[begin] + (x - begin);
        }
        for (int y = 0; y < to_.height; ++y, place.y += a_[4]) {
            const int row = within(place.y, from_.height);
            paint(y, 0, row < 0 ? width : begin);
            if (row < 0) continue;
            if (straight && begin < end)
                std::memcpy(out(y, begin), from_.at(row, columns_[begin]), size_t(end - begin) * 3);
            else
                for (int x = begin; x < end; ++x) std::memcpy(out(y, x), from_.at(row, columns_[x]), 4);
            paint(y, end, width);
        }
    }

    void in_fixed_point() {
        FixedMap at = fixed_map(a_);
        for (int y = 0; y < to_.height; ++y, at.x += at.x_by_row, at.y += at.y_by_row) {
            uint32_t x_at = at.x, y_at = at.y;
            uint8_t* to = out(y, 0);
            for (int x = 0; x < to_.width; ++x, x_at += at.x_by_column, y_at += at.y_by_column, to += 3)
                put(at_fixed(from_, x_at, y_at), to);
        }
    }

    void step_by_step() {
        Place row = first_step(a_);
        for (int y = 0; y < to_.height; ++y, row.x += a_[1], row.y += a_[4]) {
            Place place = row;
            for (int x = 0; x < to_.width; ++x, place.x += a_[0], place.y += a_[3])
                put(at_nearest(from_, place), out(y, x));
        }
    }

    // ---- any map, and any filter ----

    template <class Map>
    void filtered(Map map) {
        switch (warp_.filter) {
            case NEAREST: return each(map, [this](Place place, uint8_t* to) { put(at_nearest(from_, place), to); });
            case BILINEAR: return interpolated<2>(map);
            default: return interpolated<4>(map);
        }
    }

    // Between so many pixels along each axis.
    template <int COUNT, class Map>
    void interpolated(Map map) {
        each(map, [this](Place place, uint8_t* to) {
            if (!is_within(place, from_)) return void(std::memcpy(to, warp_.fill, 3));
            const auto x = between<COUNT>(place.x, from_.width, int64_t(3));
            const auto y = between<COUNT>(place.y, from_.height, int64_t(from_.width) * 3);
            for (int c = 0; c < 3; ++c) to[c] = between_pixels(from_.pixels + c, x, y);
        });
    }

    template <class Map, class Put>
    void each(Map map, Put put) {
        for (int y = 0; y < to_.height; ++y)
            for (int x = 0; x < to_.width; ++x) put(map(double(x) + 0.5, double(y) + 0.5), out(y, x));
    }

    // ---- pixels ----

    void put(const uint8_t* found, uint8_t* to) const { std::memcpy(to, found ? found : warp_.fill, 4); }
    uint8_t* out(int y, int x) const { return to_.pixels + (y * to_.width + x) * 3; }
    void paint(int y, int begin, int end) const { passes::paint(warp_.fill, begin, end, out(y, 0)); }

    const Warp& warp_;
    const double* a_;
    const Source from_;
    const Picture& to_;
    int32_t* columns_;
};

// `memory` is the thread's own; behind both pictures there are `simd::SLACK` bytes, of which some are written.
inline void apply(const Warp& warp, const Picture& from, const Picture& to, Buffer& memory) {
    Warping(warp, from, to, memory).run();
}

}  // namespace warp
