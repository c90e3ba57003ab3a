// adjust: pictures that render has made as bytes, and the steps of each -> the batch. One launch per batch.
//
// Block x has picture x, and goes over it pass by pass. A pass opens with a step that must know more than a pixel, if that
// is the next one: contrast the mean of all, autocontrast and equalize their histograms, sharpness the pixels around, a
// warp those of other places. The steps after it that need the pixel alone follow in registers, and the last pass ends in
// the output. What a whole picture must be looked through for first lies in shared memory.
#include "bounds.cuh"
#include "colors.cuh"
#include "pixel.cuh"
#include "places.cuh"
#include "share.h"
#include "weights.cuh"

// One picture, of 2^22 pixels at most: the sum of their lumas fits in 32 bits. Written by
// gpuload/engines/cuda/adjusting.py; a test compares the two layouts.
struct Adjusted {
    int64_t pixels;  // byte offset in scratch memory of its packed RGB rows
    int64_t beside;  // of room for as many bytes, then an int for each column and row: where a step moves pixels
    int64_t output;  // element offset in the output
    int32_t height, width;
    int32_t first, count;  // of its steps
};

constexpr int SUMS = 32;       // of lumas: each thread of a warp has its own
constexpr int COPIES = 8;      // of each count: threads that find the same value seldom wait for each other
constexpr int BINS = 3 * 256;  // of the histograms

// What is known of the whole picture.
struct Whole {
    float lates[HUES];
    uint32_t sums[SUMS];
    uint32_t counts[BINS * COPIES];
    uint32_t histogram[BINS];
    uint8_t table[BINS];
};

GPULOAD_FN bool looks_through(int kind) { return kind == CONTRAST || kind == AUTOCONTRAST || kind == EQUALIZE; }
GPULOAD_FN bool opens(int kind) { return looks_through(kind) || kind == SHARPNESS || kind == WARPED; }

GPULOAD_FN Pixel load(const uint8_t* at) { return {{at[0], at[1], at[2]}}; }

GPULOAD_FN void keep(Pixel pixel, uint8_t* to) {
    for (int c = 0; c < 3; ++c) to[c] = pixel.channel[c];
}

// ---- what needs the pixel alone ----

GPULOAD_FN Pixel blended(int from, Pixel pixel, float factor) {
    for (int c = 0; c < 3; ++c) pixel.channel[c] = blend(from, pixel.channel[c], factor);
    return pixel;
}

GPULOAD_FN uint8_t luma_of(Pixel pixel) { return luma(pixel.channel[0], pixel.channel[1], pixel.channel[2]); }

GPULOAD_FN Pixel with_hue(Pixel pixel, int shift, const float* lates) {
    const Around found = around(pixel.channel[0], pixel.channel[1], pixel.channel[2]);
    const int hue = (hue_of(found.way, found.range, lates) + shift) & 255;
    const Shades made = shades(hue, saturation_of(found.range, found.most), found.most);
    return {{red_of(made), green_of(made), blue_of(made)}};
}

GPULOAD_FN Pixel changed(Pixel pixel, const Adjustment& step, const float* lates) {
    const uint8_t l = luma_of(pixel);
    switch (step.kind) {
        case BRIGHTNESS: return blended(0, pixel, step.value);
        case SATURATION: return blended(l, pixel, step.value);
        case HUE: return with_hue(pixel, int(step.value), lates);
        case POSTERIZE:
            for (int c = 0; c < 3; ++c) pixel.channel[c] = posterized(pixel.channel[c], int(step.value));
            return pixel;
        case SOLARIZE:
            for (int c = 0; c < 3; ++c) pixel.channel[c] = solarized(pixel.channel[c], int(step.value));
            return pixel;
        case SOLARIZE_ADD:
            for (int c = 0; c < 3; ++c) pixel.channel[c] = solarized_sum(pixel.channel[c], int(step.value));
            return pixel;
        default: return {{l, l, l}};  // LUMA
    }
}

// ---- what a pass looks for first: all threads of the block ----

GPULOAD_FN void add_lumas(const Source& from, Whole& whole) {
    uint32_t sum = 0;
    for (int i = lane(); i < from.height * from.width; i += lanes()) sum += luma_of(load(from.pixels + i * 3));
    add_atomically(&whole.sums[lane() % SUMS], sum);
}

GPULOAD_FN int mean_luma(const Source& from, const Whole& whole) {
    uint32_t sum = 0;
    for (int i = 0; i < SUMS; ++i) sum += whole.sums[i];
    return mean_of(sum, from.height * from.width);
}

GPULOAD_FN void count_values(const Source& from, Whole& whole) {
    for (int i = lane(); i < from.height * from.width; i += lanes()) {
        const Pixel pixel = load(from.pixels + i * 3);
        for (int c = 0; c < 3; ++c)
            add_atomically(&whole.counts[(c * 256 + pixel.channel[c]) * COPIES + lane() % COPIES], 1);
    }
}

GPULOAD_FN uint32_t counted(const Whole& whole, int bin) {
    uint32_t count = 0;
    for (int k = 0; k < COPIES; ++k) count += whole.counts[bin * COPIES + k];
    return count;
}

// What becomes of a channel's value; each thread looks at the channel's whole histogram.
GPULOAD_FN uint8_t new_value(int kind, const uint32_t* histogram, int value, uint32_t pixels) {
    const Levels found = levels(histogram);
    if (kind == AUTOCONTRAST) return stretched(found).of(value);
    uint32_t below = 0;
    for (int i = 0; i < value; ++i) below += histogram[i];
    return spread(found, pixels, histogram[found.high]).of(value, below);
}

GPULOAD_FN void look_through(int kind, const Source& picture, Whole& whole) {
    for (int i = lane(); i < SUMS; i += lanes()) whole.sums[i] = 0;
    for (int i = lane(); i < BINS * COPIES; i += lanes()) whole.counts[i] = 0;
    barrier();
    if (kind == CONTRAST)
        add_lumas(picture, whole);
    else
        count_values(picture, whole);
    barrier();
    if (kind == CONTRAST) return;
    for (int bin = lane(); bin < BINS; bin += lanes()) whole.histogram[bin] = counted(whole, bin);
    barrier();
    const uint32_t pixels = picture.height * picture.width;
    for (int bin = lane(); bin < BINS; bin += lanes())
        whole.table[bin] = new_value(kind, whole.histogram + bin / 256 * 256, bin % 256, pixels);
    barrier();
}

// ---- warps ----

// A picture that is warped.
struct Warping {
    const Warp& warp;
    Source from;
    uint8_t* to;
    int* sources;  // of each column, then of each row: where these are by themselves
};

GPULOAD_FN Pixel found_or_fill(const uint8_t* found, const Warp& warp) { return load(found ? found : warp.fill); }

// Pillow's running sum is added up by each thread as far as it needs it.
GPULOAD_FN void find_sources(double at, double step, int length, int* sources) {
    for (int i = lane(), done = 0; i < length; i += lanes()) {
        for (; done < i; ++done) at += step;
        sources[i] = within(at, length);
    }
}

GPULOAD_FN void by_axes(const Warping& mine) {
    const Source& from = mine.from;
    const double* a = mine.warp.numbers;
    const Place first = first_by_axes(a);
    const int *columns = mine.sources, *rows = columns + from.width;
    find_sources(first.x, a[0], from.width, mine.sources);
    find_sources(first.y, a[4], from.height, mine.sources + from.width);
    barrier();
    for (int i = lane(); i < from.height * from.width; i += lanes()) {
        const int column = columns[i % from.width], row = rows[i / from.width];
        const uint8_t* found = column >= 0 && row >= 0 ? from.at(row, column) : nullptr;
        keep(found_or_fill(found, mine.warp), mine.to + i * 3);
    }
}

// Likewise, down to the thread's rows, and then along each.
GPULOAD_FN void step_by_step(const Warping& mine) {
    const Source& from = mine.from;
    const double* a = mine.warp.numbers;
    Place row = first_step(a);
    for (int y = lane(), done = 0; y < from.height; y += lanes()) {
        for (; done < y; ++done) row.x += a[1], row.y += a[4];
        Place place = row;
        for (int x = 0; x < from.width; ++x, place.x += a[0], place.y += a[3])
            keep(found_or_fill(at_nearest(from, place), mine.warp), mine.to + (y * from.width + x) * 3);
    }
}

GPULOAD_FN void in_fixed_point(const Warping& mine) {
    const Source& from = mine.from;
    const FixedMap map = fixed_map(mine.warp.numbers);
    for (int i = lane(); i < from.height * from.width; i += lanes()) {
        const uint32_t y = i / from.width, x = i % from.width;
        const uint32_t at_x = map.x + x * map.x_by_column + y * map.x_by_row;
        const uint32_t at_y = map.y + x * map.y_by_column + y * map.y_by_row;
        keep(found_or_fill(at_fixed(from, at_x, at_y), mine.warp), mine.to + i * 3);
    }
}

// Between so many pixels along each axis.
template <int COUNT>
GPULOAD_FN Pixel interpolated(const Source& from, Place place) {
    const Between<COUNT, int> x = between<COUNT>(place.x, from.width, 3);
    const Between<COUNT, int> y = between<COUNT>(place.y, from.height, from.width * 3);
    uint32_t made = 0;
#pragma unroll 1  // of all three at once the numbers would not fit into registers
    for (int c = 0; c < 3; ++c) made |= between_pixels(from.pixels + c, x, y) << (8 * c);
    return {{uint8_t(made), uint8_t(made >> 8), uint8_t(made >> 16)}};
}

GPULOAD_FN Pixel at_place(const Warping& mine, Place place) {
    if (mine.warp.filter == NEAREST) return found_or_fill(at_nearest(mine.from, place), mine.warp);
    if (!is_within(place, mine.from)) return load(mine.warp.fill);
    return mine.warp.filter == BILINEAR ? interpolated<2>(mine.from, place) : interpolated<4>(mine.from, place);
}

GPULOAD_FN void by_map(const Warping& mine) {
    const double* a = mine.warp.numbers;
    const bool is_affine = mine.warp.kind == AFFINE;
    for (int i = lane(); i < mine.from.height * mine.from.width; i += lanes()) {
        const double x = i % mine.from.width + 0.5, y = i / mine.from.width + 0.5;
        keep(at_place(mine, is_affine ? affine(a, x, y) : in_perspective(a, x, y)), mine.to + i * 3);
    }
}

GPULOAD_FN void warp_all(const Warping& mine) {
    switch (way_of(mine.warp, mine.from.height, mine.from.width)) {
        case BY_AXES: by_axes(mine); break;
        case IN_FIXED_POINT: in_fixed_point(mine); break;
        case STEP_BY_STEP: step_by_step(mine); break;
        case BY_MAP: by_map(mine); break;
    }
}

// ---- a pass ----

GPULOAD_FN Pixel sharpened(const Source& picture, int i, float factor) {
    const int y = i / picture.width, x = i % picture.width, pitch = picture.width * 3;
    const uint8_t* at = picture.pixels + i * 3;
    Pixel pixel = load(at);
    if (y == 0 || y == picture.height - 1 || x == 0 || x == picture.width - 1) return pixel;
    for (int c = 0; c < 3; ++c, ++at) {
        int sum = 4 * at[0];
        for (int row = -pitch; row <= pitch; row += pitch) sum += at[row - 3] + at[row] + at[row + 3];
        pixel.channel[c] = blend(smoothed(sum), at[0], factor);
    }
    return pixel;
}

// Pixel i after the step that the pass opens with.
GPULOAD_FN Pixel opened(const Adjustment& step, const Source& picture, int mean, const Whole& whole, int i) {
    const uint8_t* at = picture.pixels + i * 3;
    switch (step.kind) {
        case CONTRAST: return blended(mean, load(at), step.value);
        case SHARPNESS: return sharpened(picture, i, step.value);
        case AUTOCONTRAST:
        case EQUALIZE: return {{whole.table[at[0]], whole.table[256 + at[1]], whole.table[512 + at[2]]}};
        default: return load(at);  // a warp is done, others follow
    }
}

GPULOAD_FN uint8_t* place(const Adjusted& mine, uint8_t* scratch, bool is_beside) {
    return scratch + (is_beside ? mine.beside : mine.pixels);
}

GPULOAD_FN int* sources(const Adjusted& mine, uint8_t* scratch) {
    return reinterpret_cast<int*>(scratch + mine.beside + (mine.height * mine.width * 3 + 3) / 4 * 4);
}

// The table and the output, of elements of 1, 2 or 4 bytes: a kernel for each would take three times as long to compile.
struct Target {
    const void* table;
    int element_bytes, channels, channels_last;
    void* out;
    int64_t first;  // element of the output
    int64_t plane;

    template <class Out>
    GPULOAD_MEMBER void put_as(Pixel pixel, int i) const {
        const Values<Out> values = {static_cast<const Out*>(table), channels, channels_last};
        store(pixel, i, plane, values, static_cast<Out*>(out) + first);
    }

    GPULOAD_MEMBER void put(Pixel pixel, int i) const {
        switch (element_bytes) {
            case 1: return put_as<uint8_t>(pixel, i);
            case 2: return put_as<uint16_t>(pixel, i);
            default: return put_as<uint32_t>(pixel, i);
        }
    }
};

GPULOAD_KERNEL adjust_pictures(const Adjusted* pictures, const Adjustment* steps, const Warp* warps, uint8_t* scratch,
                               const void* table, int element_bytes, int channels, int channels_last, void* out) {
    GPULOAD_SHARED Whole whole;
    const Adjusted& mine = pictures[block_x()];
    const int pixels = mine.height * mine.width;
    for (int hue = lane(); hue < HUES; hue += lanes()) whole.lates[hue] = late(hue);
    barrier();
    bool is_beside = false;  // is the picture there now? Few numbers are kept over a pass, for registers are scarce
    for (int at = mine.first, end = mine.first + mine.count; at < end;) {
        const int kind = steps[at].kind;
        if (kind == WARPED) {
            const Source from = {place(mine, scratch, is_beside), mine.height, mine.width};
            warp_all({warps[int(steps[at].value)], from, place(mine, scratch, !is_beside), sources(mine, scratch)});
            is_beside = !is_beside;
            barrier();
        }
        const Source picture = {place(mine, scratch, is_beside), mine.height, mine.width};
        if (looks_through(kind)) look_through(kind, picture, whole);
        const int mean = kind == CONTRAST ? mean_luma(picture, whole) : 0;
        is_beside ^= kind == SHARPNESS;
        uint8_t* to = place(mine, scratch, is_beside);
        const int opening = at, first = at + opens(kind);
        do ++at;
        while (at < end && !opens(steps[at].kind));
        const Target target = {table, element_bytes, channels, channels_last, out, mine.output, pixels};
        for (int i = lane(); i < pixels; i += lanes()) {
            Pixel pixel = opened(steps[opening], picture, mean, whole, i);
            for (int each = first; each < at; ++each) pixel = changed(pixel, steps[each], whole.lates);
            if (at == end)
                target.put(pixel, i);
            else
                keep(pixel, to + i * 3);
        }
        barrier();
    }
}
