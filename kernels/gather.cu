// gather: rows of a tensor, in the order of the indices, into the batch.
//
// A row is `row_bytes` bytes. Word is the widest type that divides the row and both addresses, so that rows
// of a multiple of 16 bytes move 16 bytes an access. Neighbouring lanes move neighbouring words.
#include "portable.cuh"

template <class Word>
GPULOAD_FN void gather(const Word* source, const int64_t* indices, int64_t rows, int64_t row_words, Word* out) {
    const int64_t words = rows * row_words;
    for (int64_t i = int64_t(block_x()) * lanes() + lane(); i < words; i += int64_t(blocks_x()) * lanes()) {
        const int64_t row = i / row_words;
        out[i] = source[indices[row] * row_words + (i - row * row_words)];
    }
}

GPULOAD_KERNEL gather_1(const uint8_t* source, const int64_t* indices, int64_t rows, int64_t row_words,
                        uint8_t* out) {
    gather(source, indices, rows, row_words, out);
}
GPULOAD_KERNEL gather_4(const uint32_t* source, const int64_t* indices, int64_t rows, int64_t row_words,
                        uint32_t* out) {
    gather(source, indices, rows, row_words, out);
}
GPULOAD_KERNEL gather_16(const uint4* source, const int64_t* indices, int64_t rows, int64_t row_words,
                         uint4* out) {
    gather(source, indices, rows, row_words, out);
}
