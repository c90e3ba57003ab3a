// render: ragged pixels + one Record each -> the batch. One launch per batch.
//
// Block (x, y) makes tile y (32 x 8 output pixels, walking on by the grid's height) of sample x:
//   1. the rows of weights of the tile's columns and rows, into shared memory;
//   2. the first pass, source -> bytes in shared memory, for as many source lines as fit;
//   3. the second pass, shared memory -> sums; then grayscale, the table of output values, the store.
// 2 and 3 repeat until the tile's weights are used up: one round, unless the image shrinks very far.
// "First" and "second" name the axes in the order of their passes, which the record decides.
#include "bounds.cuh"
#include "pixel.cuh"
#include "weights.cuh"

constexpr int TILE_W = 32;
constexpr int TILE_H = 8;
constexpr int TILE_SIDE = 32;  // the longer of the two
constexpr int MADE_STRIDE = ROW_HEAD + KERNEL_WEIGHTS;
constexpr int MIDDLE_PIXELS = 4 * 1024;  // first-pass results held at a time

// Outputs of one axis that a block makes together.
struct Tile {
    int begin, count;
};

// One of the two passes over a tile.
struct Pass {
    const int* rows;  // of weights, one for each of `count` outputs, `stride` ints apart
    int stride, count;
    int64_t along;  // bytes from one source pixel to the next

    GPULOAD_MEMBER const int* row(int i) const { return rows + int64_t(i) * stride; }
};

GPULOAD_FN Pass make_pass(const Axis& axis, const uint8_t* staging, int64_t host_made, Tile tile, int64_t along,
                          const int* made) {
    if (host_made < 0) return {made, MADE_STRIDE, tile.count, along};
    const int stride = ROW_HEAD + axis.ksize;
    const int* rows = reinterpret_cast<const int*>(staging + host_made);
    return {rows + int64_t(tile.begin) * stride, stride, tile.count, along};
}

GPULOAD_FN void make_tile_row(const Axis& axis, int filter, Tile tile, int i, int* made) {
    make_row(axis, tile.begin + i, made + i * MADE_STRIDE,
             [&](int v, int* row) { resample_weights(axis, filter, v, row); });
}

// The rows of weights that the host has not made; both axes side by side, for they keep different warps busy.
GPULOAD_FN void make_tile_rows(const Record& record, Tile tile_y, Tile tile_x, int* made_y, int* made_x) {
    const int of_x = record.weights_x < 0 ? tile_x.count : 0, of_y = record.weights_y < 0 ? tile_y.count : 0;
    for (int i = lane(); i < of_x + of_y; i += lanes()) {
        if (i < of_x)
            make_tile_row(record.x, record.filter, tile_x, i, made_x);
        else
            make_tile_row(record.y, record.filter, tile_y, i - of_x, made_y);
    }
}

// The source lines that a pass reads: [begin, end).
GPULOAD_FN void lines_read(const Pass& pass, int* begin, int* end) {
    *begin = 0x7fffffff;
    *end = 0;
    for (int k = 0; k < pass.count; ++k) {
        const int* row = pass.row(k);
        if (row[1] == 0) continue;
        *begin = row[0] < *begin ? row[0] : *begin;
        *end = row[0] + row[1] > *end ? row[0] + row[1] : *end;
    }
    if (*end == 0) *begin = 0;
}

// A weighted sum of n source pixels, `along` bytes apart, as bytes.
GPULOAD_FN Pixel weigh(const uint8_t* source, int64_t along, const int* row, int grayscale) {
    int sum[3] = {HALF, HALF, HALF};
    for (int j = 0; j < row[1]; ++j) {
        const uint8_t* p = source + (row[0] + j) * along;
        const int w = row[ROW_HEAD + j];
        int r = p[0], g = p[1], b = p[2];
        if (grayscale & GRAYSCALE_BEFORE_RESIZE) r = g = b = luma(r, g, b);
        sum[0] += w * r;
        sum[1] += w * g;
        sum[2] += w * b;
    }
    return {{to_byte(sum[0]), to_byte(sum[1]), to_byte(sum[2])}};
}

// The first pass over `lines` source lines from `source` on: middle[line][output].
GPULOAD_FN void first_pass(const Record& record, const uint8_t* source, const Pass& pass, int64_t line_bytes, int lines,
                           Pixel* middle) {
    const bool vertical = record.vertical_first;
    for (int e = lane(); e < lines * pass.count; e += lanes()) {
        const int i = vertical ? e / lines : e % pass.count;  // neighbors read neighboring bytes
        const int s = vertical ? e % lines : e / pass.count;
        middle[s * pass.count + i] = weigh(source + s * line_bytes, pass.along, pass.row(i), record.grayscale);
    }
}

// The second pass at one place, as far as the lines [line, stop) go: `middle` points at the first of them.
GPULOAD_FN void add_lines(const Pixel* middle, int pitch, int line, int stop, const int* row, int* sum) {
    const int from = row[0] > line ? row[0] : line;
    const int to = row[0] + row[1] < stop ? row[0] + row[1] : stop;
    for (int s = from; s < to; ++s) {
        const Pixel p = middle[(s - line) * pitch];
        const int w = row[ROW_HEAD + s - row[0]];
        for (int c = 0; c < 3; ++c) sum[c] += w * p.channel[c];
    }
}

GPULOAD_FN Pixel finish(const Record& record, const int* sum, bool padding) {
    if (padding) return {{record.fill[0], record.fill[1], record.fill[2]}};
    const Pixel pixel = {{to_byte(sum[0]), to_byte(sum[1]), to_byte(sum[2])}};
    if (!(record.grayscale & GRAYSCALE_AFTER_RESIZE)) return pixel;
    const uint8_t l = luma(pixel.channel[0], pixel.channel[1], pixel.channel[2]);
    return {{l, l, l}};
}

template <class Out>
GPULOAD_FN void render_tile(const Record& record, const uint8_t* staging, Values<Out> values, Tile tile_y, Tile tile_x,
                            Out* out) {
    GPULOAD_SHARED int made_x[TILE_SIDE * MADE_STRIDE];
    GPULOAD_SHARED int made_y[TILE_SIDE * MADE_STRIDE];
    GPULOAD_SHARED Pixel middle[MIDDLE_PIXELS];
    GPULOAD_SHARED int sums[TILE_W * TILE_H][3];  // of the second pass, between rounds

    make_tile_rows(record, tile_y, tile_x, made_y, made_x);
    barrier();

    const bool vertical = record.vertical_first;
    const int64_t width = record.x.extent, plane = width * record.y.extent;
    const Pass x = make_pass(record.x, staging, record.weights_x, tile_x, 3, made_x);
    const Pass y = make_pass(record.y, staging, record.weights_y, tile_y, int64_t(record.x.span) * 3, made_y);
    const Pass first = vertical ? y : x, second = vertical ? x : y;
    int line, end;
    lines_read(second, &line, &end);

    const int fits = MIDDLE_PIXELS / first.count;
    bool begun = false;
    do {
        const int stop = end - line > fits ? line + fits : end;
        first_pass(record, staging + record.pixels + line * second.along, first, second.along, stop - line, middle);
        barrier();
        for (int o = lane(); o < x.count * y.count; o += lanes()) {
            const int at_x = o % x.count, at_y = o / x.count;
            const int i = vertical ? at_y : at_x;
            const int* row = second.row(vertical ? at_x : at_y);
            int sum[3] = {HALF, HALF, HALF};
            for (int c = 0; begun && c < 3; ++c) sum[c] = sums[o][c];
            add_lines(middle + i, first.count, line, stop, row, sum);
            if (stop < end) {
                for (int c = 0; c < 3; ++c) sums[o][c] = sum[c];
                continue;
            }
            const Pixel pixel = finish(record, sum, row[1] == 0 || first.row(i)[1] == 0);
            const int64_t at = (tile_y.begin + at_y) * width + tile_x.begin + at_x;
            store(pixel, at, plane, values, out + record.output);
        }
        barrier();
        begun = true;
        line = stop;
    } while (line < end);
}

template <class Out>
GPULOAD_FN void render(const Record* records, const uint8_t* staging, Values<Out> values, Out* out) {
    const Record& record = records[block_x()];
    const int height = record.y.extent, width = record.x.extent;
    const int across = (width + TILE_W - 1) / TILE_W, down = (height + TILE_H - 1) / TILE_H;
    for (int64_t tile = block_y(); tile < int64_t(across) * down; tile += blocks_y()) {
        const int y = int(tile / across) * TILE_H, x = int(tile % across) * TILE_W;
        render_tile(record, staging, values, {y, smaller(TILE_H, height - y)}, {x, smaller(TILE_W, width - x)}, out);
    }
}

// The output type is known by its width alone: the table holds the bits of float32, float16, bfloat16, uint8.
GPULOAD_KERNEL render_1(const Record* records, const uint8_t* staging, const uint8_t* table, int channels,
                        int channels_last, uint8_t* out) {
    render(records, staging, Values<uint8_t>{table, channels, channels_last}, out);
}
GPULOAD_KERNEL render_2(const Record* records, const uint8_t* staging, const uint16_t* table, int channels,
                        int channels_last, uint16_t* out) {
    render(records, staging, Values<uint16_t>{table, channels, channels_last}, out);
}
GPULOAD_KERNEL render_4(const Record* records, const uint8_t* staging, const uint32_t* table, int channels,
                        int channels_last, uint32_t* out) {
    render(records, staging, Values<uint32_t>{table, channels, channels_last}, out);
}
