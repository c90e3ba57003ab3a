// A finished pixel, and what becomes of it: values of the output.
#pragma once
#include "portable.cuh"

struct Pixel {
    uint8_t channel[3];
};

// What a finished pixel becomes: values of the table (channels x 256) in one of two layouts.
template <class Out>
struct Values {
    const Out* table;
    int channels, channels_last;
};

// Pixel number `at` of the `plane` pixels of an image that begins at `out`.
template <class Out>
GPULOAD_FN void store(Pixel pixel, int64_t at, int64_t plane, Values<Out> values, Out* out) {
    for (int c = 0; c < 3; ++c)  // a constant, so that the pixel stays in registers
        if (c < values.channels)
            out[values.channels_last ? at * values.channels + c : c * plane + at] =
                values.table[c * 256 + pixel.channel[c]];
}
