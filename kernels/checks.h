// What is checked of a sample before any of its memory is touched: a record that passes reads and writes nothing
// outside the pixels of its region, its place in staging and its place in the output.
#pragma once
#include <algorithm>
#include <cmath>

#include "nearest.h"
#include "share.h"
#include "weights.cuh"

namespace checks {

constexpr int64_t MOST = (1 << 30) - 1;  // pixels of anything along one axis: sums of two fit in 32 bits

inline bool in(int64_t value, int64_t low, int64_t high) { return value >= low && value <= high; }

inline bool resampled(const Axis& axis) { return axis.length != axis.resized; }

// The most weights of one output, as the record must state it: rows are laid out by this number.
inline int64_t ksize(const Axis& axis, int filter) {
    if (!resampled(axis) || nearest::is(filter)) return 1;
    const double scale = double(axis.length) / double(axis.resized);
    const double support = filter_support(filter) * (scale > 1.0 ? scale : 1.0);
    return 2 * int64_t(std::ceil(support)) + 1;
}

// Must the host make the axis's rows of weights for a CUDA kernel?
inline bool host_makes(const Axis& axis, int filter) {
    const bool kernel_can = filter == BOX || filter == BILINEAR || filter == BICUBIC;
    return resampled(axis) && (!kernel_can || axis.ksize > KERNEL_WEIGHTS);
}

// The first and last position of the window that the output shows; the first is greater: it shows none.
inline void shown(const Axis& axis, int64_t* low, int64_t* high) {
    const int64_t last = axis.begin + int64_t(axis.step) * (axis.extent - 1), most = int64_t(axis.kept) - 1;
    *low = std::min<int64_t>(axis.begin, last);
    *high = std::max<int64_t>(axis.begin, last);
    const bool outside = *low < 0 || *high > most;
    if (outside && (axis.padding == REFLECT || axis.padding == SYMMETRIC)) {
        *low = 0;
        *high = most;
    }
    if (axis.padding == EDGE) {
        *low = std::min(*low, most);
        *high = std::max<int64_t>(*high, 0);
    }
    *low = std::max<int64_t>(*low, 0);
    *high = std::min(*high, most);
}

// Do all rows of weights stay inside the decoded span, and within ksize? Sources never decrease along the axis: its
// ends decide.
inline bool rows_inside(const Axis& axis, int filter) {
    int64_t low, high;
    shown(axis, &low, &high);
    if (low > high) return axis.ksize == 1;  // all is padding
    if (axis.ksize != ksize(axis, filter)) return false;
    low += axis.window;
    high += axis.window;
    int64_t first = low, end = high + 1;
    if (resampled(axis) && nearest::is(filter)) {
        first = nearest::source(axis, filter, low);
        end = nearest::source(axis, filter, high) + 1;
    } else if (resampled(axis)) {
        first = resample_sources(axis, filter, int(low)).first;
        end = resample_sources(axis, filter, int(high)).end;
    }
    const int64_t begin = axis.mirrored ? axis.length - end : first, stop = axis.mirrored ? axis.length - first : end;
    return begin >= axis.decoded && stop <= int64_t(axis.decoded) + axis.span;
}

inline bool axis_fits(const Axis& axis, int filter) {
    return in(axis.length, 1, MOST) && in(axis.resized, 1, MOST) && in(axis.mirrored, 0, 1) &&
           in(axis.kept, 0, axis.resized) && in(axis.window, 0, axis.resized - axis.kept) && in(axis.extent, 1, MOST) &&
           (axis.step == 1 || axis.step == -1) && in(axis.begin, -MOST, MOST) &&
           in(axis.padding, CONSTANT, SYMMETRIC) && in(axis.decoded, -MOST, axis.length - 1) &&
           in(axis.span, 1, MOST) && rows_inside(axis, filter);
}

// Are the decoded pixels all of the crop? Those that views share in staging may begin before it, and end behind it.
inline bool of_crop(const Axis& axis) { return axis.decoded >= 0 && axis.span <= axis.length - axis.decoded; }

// Does `count` times `size` from `at` on fit into `room`? None is negative; nothing here overflows 64 bits.
inline bool fits(int64_t at, int64_t count, int64_t size, int64_t room) {
    return at >= 0 && at <= room && count <= (room - at) / size;
}

inline bool rows_fit(const Work& work, const Axis& axis, int filter, int64_t at) {
    if (at == -1) return !host_makes(axis, filter);
    const int64_t row = (ROW_HEAD + int64_t(axis.ksize)) * int64_t(sizeof(int32_t));
    return at % int64_t(sizeof(int32_t)) == 0 && fits(at, axis.extent, row, work.staging_bytes);
}

// Does the region (top, left, height, width) lie in the image, and is it one?
inline bool region_fits(const int32_t* region, const int32_t* size) {
    for (int k = 0; k < 2; ++k)
        if (region[k] < 0 || region[2 + k] < 1 || int64_t(region[k]) + region[2 + k] > size[k]) return false;
    return true;
}

// Can such a record be, whatever the offsets are?
inline bool axes_fit(const Record& record, const int32_t* region) {
    return in(record.filter, NEAREST, TORCH_NEAREST) && in(record.grayscale, 0, 3) && axis_fits(record.y, record.filter) &&
           axis_fits(record.x, record.filter) && region[2] == record.y.span && region[3] == record.x.span;
}

// Is it the index of an entry that there is?
inline bool index_fits(float index, const void* entries, int64_t count) {
    return entries && index >= 0 && index < float(count) && index == std::floor(index);
}

// Is it a warp that there can be?
inline bool warp_fits(const Warp& warp) {
    return in(warp.kind, AFFINE, PERSPECTIVE) && in(warp.height, 1, MOST) && in(warp.width, 1, MOST) &&
           (warp.filter == NEAREST || warp.filter == BILINEAR || warp.filter == BICUBIC) &&
           std::all_of(warp.numbers, warp.numbers + 8, [](double number) { return std::isfinite(number); });
}

// Can it be a grid? What it makes of a place outside is a fill of three bytes.
inline bool grid_fits(const Grid& grid) {
    return in(grid.filled, 0, 2) && (grid.filter == NEAREST || grid.filter == BILINEAR) &&
           std::all_of(grid.theta, grid.theta + 6, [](float number) { return std::isfinite(number); }) &&
           std::all_of(grid.fill, grid.fill + 3, [](float value) { return value >= 0 && value <= 255; });
}

// Height and width of a picture; and whether a sum of such pictures has begun.
struct Size {
    int32_t of[2];
    bool is_mixing = false;
};

// Can it be a kernel for such a picture, whose mirrored edges it reaches? No sum of its products overflows.
inline bool kernel_fits(const Kernel& kernel, const Size& size) {
    const auto is_weight = [](float number) { return std::fabs(number) <= 1 << 20; };
    return in(kernel.across, 1, MOST_KERNEL) && kernel.across % 2 == 1 && kernel.across / 2 < size.of[1] &&
           in(kernel.down, 1, MOST_KERNEL) && kernel.down % 2 == 1 && kernel.down / 2 < size.of[0] &&
           std::all_of(kernel.x, kernel.x + kernel.across, is_weight) &&
           std::all_of(kernel.y, kernel.y + kernel.down, is_weight);
}

// Is it a step that there can be? The picture has another size after it.
inline bool step_fits(const Work& work, const Adjustment& step, Size* size) {
    switch (step.kind) {
        case HUE: return step.value >= -255 && step.value <= 255;
        case POSTERIZE: return step.value >= 0 && step.value <= 8;
        case SOLARIZE: return step.value >= 0 && step.value <= 256;
        case SOLARIZE_ADD: return step.value >= 0 && step.value <= 128;
        case BLUR: return step.value >= 0 && step.value <= 32768;  // sums fit in 32 bits
        case WARPED: {
            if (size->is_mixing || !index_fits(step.value, work.warps, work.warp_count)) return false;
            const Warp& warp = work.warps[int64_t(step.value)];
            *size = {{warp.height, warp.width}};
            return warp_fits(warp);
        }
        case FRAMED: {
            if (size->is_mixing || !index_fits(step.value, work.frames, work.frame_count)) return false;
            const Frame& frame = work.frames[int64_t(step.value)];
            const bool is_inside = region_fits(frame.region, size->of);
            *size = {{frame.record.y.extent, frame.record.x.extent}};
            return is_inside && axes_fit(frame.record, frame.region) && of_crop(frame.record.y) && of_crop(frame.record.x);
        }
        case GRIDDED:
            return index_fits(step.value, work.grids, work.grid_count) && grid_fits(work.grids[int64_t(step.value)]);
        case BLURRED:
            return index_fits(step.value, work.kernels, work.kernel_count) &&
                   kernel_fits(work.kernels[int64_t(step.value)], *size);
        case CHANNELS: return step.value >= 0 && step.value < PERMUTATIONS;
        case MIXING:
        case MIXED: {
            const bool is_turn = size->is_mixing == (step.kind == MIXED);
            size->is_mixing = step.kind == MIXING;
            return is_turn && std::isfinite(step.value);
        }
        case ADDED: return size->is_mixing && std::isfinite(step.value);
        default:
            return (in(step.kind, BRIGHTNESS, LUMA) || in(step.kind, TENSOR_BRIGHTNESS, FIRST_AUTOCONTRAST)) &&
                   std::isfinite(step.value);
    }
}

// Are the adjustments of sample i there, and can all of them be? What leaves has another size after them.
inline bool adjustments_fit(const Work& work, int64_t i, Size* size) {
    if (!work.adjustments) return true;
    const int64_t begin = work.adjusted_at[i], end = work.adjusted_at[i + 1];
    if (begin < 0 || end < begin || end > work.adjustment_count) return false;
    return std::all_of(work.adjustments + begin, work.adjustments + end,
                       [&](const Adjustment& step) { return step_fits(work, step, size); }) &&
           !size->is_mixing;
}

// Has sample i, whose adjustments fit, any?
inline bool is_adjusted(const Work& work, int64_t i) {
    return work.adjustments && work.adjusted_at[i + 1] > work.adjusted_at[i];
}

// Is sample i rendered into staging, as bytes?
inline bool is_rendered(const Work& work, int64_t i) { return work.rendered && work.rendered[i]; }

// Is it inside the output, and are its values there?
inline bool rectangle_fits(const Work& work, const Size& size, const Rectangle& of) {
    const int64_t values = of.cover == COLOR ? 1 : NOISE_LEVELS;
    return in(of.cover, COLOR, NOISE) && in(of.top, 0, size.of[0] - 1) && in(of.left, 0, size.of[1] - 1) &&
           in(of.height, 1, size.of[0] - of.top) && in(of.width, 1, size.of[1] - of.left) &&
           fits(of.fill, values, 1, work.fill_columns);
}

// Are the rectangles of sample i there, and inside what leaves, whose size is known to fit?
inline bool rectangles_fit(const Work& work, int64_t i, const Size& size) {
    if (!work.rectangles) return true;
    const int64_t begin = work.erased_at[i], end = work.erased_at[i + 1];
    if (begin < 0 || end < begin || end > work.rectangle_count) return false;
    return std::all_of(work.rectangles + begin, work.rectangles + end,
                       [&](const Rectangle& one) { return rectangle_fits(work, size, one); });
}

// Is sample i as it must be for its pixels to be put where they belong?
inline bool record_fits(const Work& work, int64_t i) {
    const Record& record = work.records[i];
    Size size = {{record.y.extent, record.x.extent}};
    if (!axes_fit(record, work.regions + 4 * i) || !adjustments_fit(work, i, &size) || !rectangles_fit(work, i, size))
        return false;
    const int64_t height = size.of[0], width = size.of[1];
    const bool known = work.element_bytes == 1 || work.element_bytes == 2 || work.element_bytes == 4;
    const bool rendered = !work.staging || is_rendered(work, i);
    if (rendered && !(of_crop(record.y) && of_crop(record.x))) return false;
    if (!work.staging)
        return known && in(work.channels, 1, 3) && fits(record.output, height, width * work.channels, work.out_elements);
    if (is_rendered(work, i)) return fits(record.pixels, height, width * 3, work.staging_bytes);
    return fits(record.pixels, record.y.span, int64_t(record.x.span) * 3, work.staging_bytes) &&
           rows_fit(work, record.y, record.filter, record.weights_y) &&
           rows_fit(work, record.x, record.filter, record.weights_x);
}

// Does image i lie in memory?
inline bool in_memory(const Work& work, int64_t i) { return work.memory && work.memory[i]; }

// Are the image's rows in memory such that nothing overflows 64 bits? That they are there must be believed.
inline bool memory_fits(const Work& work, int64_t i) {
    const int channels = work.memory_channels[i];
    return (channels == 1 || channels == 3) && in(work.sizes[2 * i], 1, MOST) && in(work.sizes[2 * i + 1], 1, MOST);
}

// Does file name i begin, and end, among the file names?
inline bool path_fits(const Work& work, int64_t i) {
    return in(work.path_at[i], 0, work.paths_bytes - 1) && work.paths[work.paths_bytes - 1] == 0;
}

}  // namespace checks
