// Rectangles of the output that get other values: a color, or noise.
#pragma once
#include "random.cuh"
#include "record.cuh"

enum Cover : int32_t { COLOR = 0, NOISY_COLOR = 1, NOISE = 2 };

constexpr int NOISE_LEVELS = 1 << 16;  // values that noise is looked up among

struct Rectangle {
    uint64_t key;  // of its random numbers
    int32_t top, left, height, width;
    int32_t fill;   // the first of its values, in each row of Fills: one, or NOISE_LEVELS
    int32_t cover;  // Cover
};

// Values of the output: a row of `columns` for each channel.
template <class Out>
struct Fills {
    const Out* values;
    int64_t columns;
};

// The random number of 16 bits that decides a channel of one of two neighboring pixels.
GPULOAD_FN int level(const Words& words, bool second, int channel) {
    const uint32_t word = second ? words.word[2 + channel / 2] : words.word[channel / 2];
    return int(word >> 16 * (channel % 2) & 0xffffu);
}

// One sample's output.
template <class Out>
struct Canvas {
    Out* values;
    int height, width, channels, channels_last;
};

// A rectangle's pixels in every `step`-th row of the output, from row `begin` on.
template <class Out>
GPULOAD_FN void erase(const Canvas<Out>& canvas, const Rectangle& of, Fills<Out> fills, int begin, int step) {
    const int first = of.top + ((begin - of.top) % step + step) % step, end = of.top + of.height;
    const int rows = first < end ? (end - first + step - 1) / step : 0;
    const int pairs = (of.width + 1) / 2;
    const int64_t plane = int64_t(canvas.width) * canvas.height;
    for (int64_t e = lane(); e < int64_t(rows) * pairs; e += lanes()) {
        const int y = first + int(e / pairs) * step, pair = int(e % pairs);
        const bool each = of.cover == NOISE;  // pixel has numbers of its own
        Words words = {};
        if (of.cover != COLOR) words = philox(of.key, each ? pair : 0, each ? y - of.top : 0, 0);
        for (int second = 0; second < 2; ++second) {
            const int x = 2 * pair + second;
            if (x == of.width) break;
            const int64_t at = int64_t(y) * canvas.width + of.left + x;
            for (int c = 0; c < 3; ++c)  // a constant, so that words stay in registers
                if (c < canvas.channels)
                    canvas.values[canvas.channels_last ? at * canvas.channels + c : c * plane + at] =
                        fills.values[c * fills.columns + of.fill + level(words, each && second, c)];
        }
    }
}
