// pad: rows of different size, packed one behind the other, into one tensor that a value fills up.
//
// A row has up to four dimensions: the host joins those that all rows fill, so that rows of (length, features) are lines
// of one dimension. A thread makes 16 bytes of the output, wherever rows begin and end in them: every store of 16 bytes
// is one access, and so is every load that is aligned. Only what crosses from one line to the next goes by elements.
#include "portable.cuh"

constexpr int DIMS = 4;
constexpr int PLACE = 1 + DIMS;  // numbers of a row in `places`: where its elements start, its extents

// What holds for all rows.
struct Filling {
    int64_t rows;
    int64_t extents[DIMS];  // of a padded row
    int64_t in_front;       // 1: padding comes before the elements, in every dimension; 0: behind them
    uint32_t fill[4];       // the value, again and again
};

// One line of the output: column x is values[first + x] from `begin` up to `end`, and filled elsewhere.
struct Line {
    int64_t first, begin, end;
};

// Where a coordinate of the output lies in a row, in one dimension; outside of [0, extent): in the filling.
GPULOAD_FN int64_t in_row(const Filling& filling, int dim, int64_t at, int64_t extent) {
    return filling.in_front ? at - (filling.extents[dim] - extent) : at;
}

GPULOAD_FN Line line_of(const int64_t* places, const Filling& filling, uint64_t number) {
    int64_t at[DIMS - 1];
    for (int dim = DIMS - 2; dim >= 0; --dim) {
        at[dim] = int64_t(number % uint64_t(filling.extents[dim]));
        number /= uint64_t(filling.extents[dim]);
    }
    const int64_t* extents = places + number * PLACE + 1;
    int64_t line = 0;
    bool filled = false;
    for (int dim = 0; dim < DIMS - 1; ++dim) {
        const int64_t inside = in_row(filling, dim, at[dim], extents[dim]);
        filled |= inside < 0 || inside >= extents[dim];
        line = line * extents[dim] + inside;
    }
    if (filled) return {0, 0, 0};
    const int64_t width = extents[DIMS - 1];
    const int64_t begin = filling.in_front ? filling.extents[DIMS - 1] - width : 0;
    return {extents[-1] + line * width - begin, begin, begin + width};
}

// 16 bytes of the output.
template <class Element>
union Chunk {
    static constexpr int COUNT = sizeof(uint4) / sizeof(Element);
    uint4 whole;
    Element elements[COUNT];
};

// A chunk that lies in one line.
template <class Element>
GPULOAD_FN uint4 chunk_of(const Element* values, const Line& line, int64_t x, const uint4& fill) {
    constexpr int COUNT = Chunk<Element>::COUNT;
    Chunk<Element> chunk;
    chunk.whole = fill;
    if (x >= line.end || x + COUNT <= line.begin) return chunk.whole;
    const Element* source = values + (line.first + x);
    const bool is_inside = x >= line.begin && x + COUNT <= line.end;
    if (is_inside && uint64_t(source) % sizeof(uint4) == 0) return *reinterpret_cast<const uint4*>(source);
    for (int i = 0; i < COUNT; ++i)
        if (x + i >= line.begin && x + i < line.end) chunk.elements[i] = source[i];
    return chunk.whole;
}

template <class Element>
GPULOAD_FN void pad(const Element* values, const int64_t* places, const Filling& filling, Element* out) {
    constexpr int COUNT = Chunk<Element>::COUNT;
    const int64_t width = filling.extents[DIMS - 1];
    int64_t count = filling.rows;
    for (int dim = 0; dim < DIMS; ++dim) count *= filling.extents[dim];
    Chunk<Element> fill;
    fill.whole = {filling.fill[0], filling.fill[1], filling.fill[2], filling.fill[3]};
    const int64_t step = int64_t(blocks_x()) * lanes() * COUNT;
    for (int64_t first = (int64_t(block_x()) * lanes() + lane()) * COUNT; first < count; first += step) {
        uint64_t number = uint64_t(first) / uint64_t(width);
        int64_t x = first - int64_t(number) * width;
        Line line = line_of(places, filling, number);
        if (x + COUNT <= width) {
            *reinterpret_cast<uint4*>(out + first) = chunk_of(values, line, x, fill.whole);
            continue;
        }
#pragma unroll 1
        for (int64_t i = first; i < first + COUNT && i < count; ++i, ++x) {
            if (x == width) {
                line = line_of(places, filling, ++number);
                x = 0;
            }
            out[i] = x >= line.begin && x < line.end ? values[line.first + x] : fill.elements[0];
        }
    }
}

GPULOAD_KERNEL pad_1(const uint8_t* values, const int64_t* places, Filling filling, uint8_t* out) {
    pad(values, places, filling, out);
}
GPULOAD_KERNEL pad_2(const uint16_t* values, const int64_t* places, Filling filling, uint16_t* out) {
    pad(values, places, filling, out);
}
GPULOAD_KERNEL pad_4(const uint32_t* values, const int64_t* places, Filling filling, uint32_t* out) {
    pad(values, places, filling, out);
}
GPULOAD_KERNEL pad_8(const uint64_t* values, const int64_t* places, Filling filling, uint64_t* out) {
    pad(values, places, filling, out);
}
GPULOAD_KERNEL pad_16(const uint4* values, const int64_t* places, Filling filling, uint4* out) {
    pad(values, places, filling, out);
}
