// The pixel that nearest shows at a position of a resized axis: Pillow's, and torch's.
#pragma once
#include <algorithm>
#include <vector>

#include "record.cuh"

namespace nearest {

inline bool is(int filter) { return filter == NEAREST || filter == TORCH_NEAREST; }

inline int64_t of_torch(const Axis& axis, int64_t v) {
    const float scale = float(axis.length) / float(axis.resized);
    return std::min(int64_t(float(v) * scale), int64_t(axis.length) - 1);
}

// Pillow adds the scale up pixel by pixel; the sum's rounding shows. Calls `take(source)` for positions 0 to n - 1.
template <class Take>
void each_of_pillow(const Axis& axis, int64_t n, Take take) {
    const double scale = double(axis.length) / double(axis.resized);
    double at = scale * 0.5;
    for (int64_t v = 0; v < n; ++v, at += scale) take(int64_t(at));
}

inline int64_t source(const Axis& axis, int filter, int64_t v) {
    if (filter == TORCH_NEAREST) return of_torch(axis, v);
    int64_t found = 0;
    each_of_pillow(axis, v + 1, [&](int64_t source) { found = source; });
    return found;
}

// Of every position up to the last one of the window.
inline void sources(const Axis& axis, int filter, std::vector<int>& out) {
    const int64_t n = int64_t(axis.window) + axis.kept;
    out.clear();
    if (filter == TORCH_NEAREST)
        for (int64_t v = 0; v < n; ++v) out.push_back(int(of_torch(axis, v)));
    else
        each_of_pillow(axis, n, [&](int64_t source) { out.push_back(int(source)); });
}

}  // namespace nearest
