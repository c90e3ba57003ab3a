// render: ragged pixels + one Sample each -> the batch. One launch a batch.
//
// Block (x, y) makes tile y (32 x 8 output pixels, walking on by the grid's height) of sample x:
//   1. the taps of the tile's columns and rows, into shared memory;
//   2. the first pass, source -> bytes in shared memory, for as many source lines as fit;
//   3. the second pass, shared memory -> sums; then grey, the table of output values, the store.
// 2 and 3 repeat until the tile's taps are used up: one round, unless the image shrinks very far.
// "First" and "second" name the axes in the order of their passes, which the sample decides.
#include "taps.cuh"

constexpr int TILE_W = 32;
constexpr int TILE_H = 8;
constexpr int TILE_SIDE = 32;           // the longer of the two
constexpr int MAX_TAPS = 32;            // rows with more taps are made on the host
constexpr int MIDDLE_BYTES = 12 * 1024;  // first-pass results held at a time

struct Tile {
    int begin;  // first output of the tile along this axis
    int count;
};

// The tile's rows of taps along one axis: the host's, or those that `make_tile_row` makes.
struct TileRows {
    const int* rows;
    int stride;
    int to_make;
};

GPULOAD_FN TileRows tile_rows(const Axis& axis, const uint8_t* slab, int64_t host_taps, Tile tile, const int* made) {
    if (host_taps < 0) return {made, ROW_HEAD + MAX_TAPS, tile.count};
    const int stride = ROW_HEAD + axis.ksize;
    return {reinterpret_cast<const int*>(slab + host_taps) + int64_t(tile.begin) * stride, stride, 0};
}

GPULOAD_FN void make_tile_row(const Axis& axis, int filter, Tile tile, int i, int* made) {
    make_row(axis, tile.begin + i, made + i * (ROW_HEAD + MAX_TAPS),
             [&](int v, int* row) { resample_taps(axis, filter, v, row); });
}

struct Pixel {
    uint8_t channel[3];
};

// The first pass at one place: a weighted sum of n source pixels, `stride` bytes apart.
GPULOAD_FN Pixel weigh(const uint8_t* source, int64_t stride, const int* row, int grey) {
    int sum[3] = {HALF, HALF, HALF};
    for (int j = 0; j < row[1]; ++j) {
        const uint8_t* p = source + (row[0] + j) * stride;
        const int w = row[ROW_HEAD + j];
        int r = p[0], g = p[1], b = p[2];
        if (grey & GREY_BEFORE_RESIZE) r = g = b = luma(r, g, b);
        sum[0] += w * r;
        sum[1] += w * g;
        sum[2] += w * b;
    }
    return {{to_byte(sum[0]), to_byte(sum[1]), to_byte(sum[2])}};
}

template <class Out>
GPULOAD_FN void store(const Sample& sample, int x, int y, Pixel pixel, const Out* table, int channels,
                      int channels_last, Out* out) {
    const int64_t at = int64_t(y) * sample.x.extent + x;
    const int64_t plane = int64_t(sample.x.extent) * sample.y.extent;
    for (int c = 0; c < 3; ++c)  // a constant, so that the pixel stays in registers
        if (c < channels)
            out[sample.output + (channels_last ? at * channels + c : c * plane + at)] =
                table[c * 256 + pixel.channel[c]];
}

template <class Out>
GPULOAD_FN void render_tile(const Sample& sample, const uint8_t* slab, const Out* table, int channels,
                            int channels_last, Tile tile_x, Tile tile_y, Out* out) {
    GPULOAD_SHARED int made_x[TILE_SIDE * (ROW_HEAD + MAX_TAPS)];
    GPULOAD_SHARED int made_y[TILE_SIDE * (ROW_HEAD + MAX_TAPS)];
    GPULOAD_SHARED Pixel middle[MIDDLE_BYTES / 3];
    GPULOAD_SHARED int sums[TILE_W * TILE_H][3];

    const TileRows x_rows = tile_rows(sample.x, slab, sample.taps_x, tile_x, made_x);
    const TileRows y_rows = tile_rows(sample.y, slab, sample.taps_y, tile_y, made_y);
    for (int i = lane(); i < x_rows.to_make + y_rows.to_make; i += lanes()) {  // two warps side by side
        if (i < x_rows.to_make)
            make_tile_row(sample.x, sample.filter, tile_x, i, made_x);
        else
            make_tile_row(sample.y, sample.filter, tile_y, i - x_rows.to_make, made_y);
    }
    barrier();

    const bool vertical = sample.vertical_first;
    const int* first_rows = vertical ? y_rows.rows : x_rows.rows;
    const int* second_rows = vertical ? x_rows.rows : y_rows.rows;
    const int first_stride = vertical ? y_rows.stride : x_rows.stride;
    const int second_stride = vertical ? x_rows.stride : y_rows.stride;
    const int first_count = vertical ? tile_y.count : tile_x.count;
    const int second_count = vertical ? tile_x.count : tile_y.count;
    const int64_t pitch = int64_t(sample.x.span) * 3;
    const int64_t along_first = vertical ? pitch : 3, along_second = vertical ? 3 : pitch;

    // source lines that the second pass reads
    int line = 0x7fffffff, end = 0;
    for (int k = 0; k < second_count; ++k) {
        const int* row = second_rows + k * second_stride;
        if (row[1] == 0) continue;
        line = row[0] < line ? row[0] : line;
        end = row[0] + row[1] > end ? row[0] + row[1] : end;
    }

    const int fits = MIDDLE_BYTES / 3 / first_count;
    bool begun = false;
    do {
        const int stop = end - line > fits ? line + fits : end;
        const int lines = stop > line ? stop - line : 0;
        for (int e = lane(); e < lines * first_count; e += lanes()) {
            const int i = vertical ? e / lines : e % first_count;  // neighbours read neighbouring bytes
            const int s = vertical ? e % lines : e / first_count;
            middle[s * first_count + i] =
                weigh(slab + sample.pixels + (line + s) * along_second, along_first,
                      first_rows + i * first_stride, sample.grey);
        }
        barrier();
        for (int o = lane(); o < tile_x.count * tile_y.count; o += lanes()) {
            const int x = o % tile_x.count, y = o / tile_x.count;
            const int i = vertical ? y : x;
            const int* row = second_rows + (vertical ? x : y) * second_stride;
            int sum[3] = {HALF, HALF, HALF};
            if (begun)
                for (int c = 0; c < 3; ++c) sum[c] = sums[o][c];
            const int from = row[0] > line ? row[0] : line;
            const int to = row[0] + row[1] < stop ? row[0] + row[1] : stop;
            for (int s = from; s < to; ++s) {
                const Pixel p = middle[(s - line) * first_count + i];
                const int w = row[ROW_HEAD + s - row[0]];
                for (int c = 0; c < 3; ++c) sum[c] += w * p.channel[c];
            }
            if (stop < end) {
                for (int c = 0; c < 3; ++c) sums[o][c] = sum[c];
                continue;
            }
            Pixel pixel = {{to_byte(sum[0]), to_byte(sum[1]), to_byte(sum[2])}};
            if (sample.grey & GREY_AFTER_RESIZE) {
                const uint8_t l = luma(pixel.channel[0], pixel.channel[1], pixel.channel[2]);
                pixel = {{l, l, l}};
            }
            if (row[1] == 0 || first_rows[i * first_stride + 1] == 0)
                pixel = {{sample.fill[0], sample.fill[1], sample.fill[2]}};
            store(sample, tile_x.begin + x, tile_y.begin + y, pixel, table, channels, channels_last, out);
        }
        barrier();
        begun = true;
        line = stop;
    } while (line < end);
}

GPULOAD_FN int smaller(int a, int b) { return a < b ? a : b; }

template <class Out>
GPULOAD_FN void render(const Sample* samples, const uint8_t* slab, const Out* table, int channels,
                       int channels_last, Out* out) {
    const Sample& sample = samples[block_x()];
    const int across = (sample.x.extent + TILE_W - 1) / TILE_W, down = (sample.y.extent + TILE_H - 1) / TILE_H;
    for (int64_t tile = block_y(); tile < int64_t(across) * down; tile += blocks_y()) {
        const int x = int(tile % across) * TILE_W, y = int(tile / across) * TILE_H;
        render_tile(sample, slab, table, channels, channels_last, {x, smaller(TILE_W, sample.x.extent - x)},
                    {y, smaller(TILE_H, sample.y.extent - y)}, out);
    }
}

// The output type is known by its width alone: the table holds the bits of float32, float16, bfloat16, uint8.
GPULOAD_KERNEL render_1(const Sample* samples, const uint8_t* slab, const uint8_t* table, int channels,
                        int channels_last, uint8_t* out) {
    render(samples, slab, table, channels, channels_last, out);
}
GPULOAD_KERNEL render_2(const Sample* samples, const uint8_t* slab, const uint16_t* table, int channels,
                        int channels_last, uint16_t* out) {
    render(samples, slab, table, channels, channels_last, out);
}
GPULOAD_KERNEL render_4(const Sample* samples, const uint8_t* slab, const uint32_t* table, int channels,
                        int channels_last, uint32_t* out) {
    render(samples, slab, table, channels, channels_last, out);
}
