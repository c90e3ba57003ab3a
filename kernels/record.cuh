// What the host says of one sample: all integers, so that every engine gets the same input.
// Written by gpuload/recipes/record.py; a test compares the two layouts.
#pragma once
#include "portable.cuh"

enum Filter {
    NEAREST = 0,
    BOX = 1,
    BILINEAR = 2,
    HAMMING = 3,
    BICUBIC = 4,
    LANCZOS = 5,
    TORCH_BILINEAR = 6,
    TORCH_BICUBIC = 7,
    TORCH_LANCZOS = 8,
    TORCH_NEAREST = 9
};
enum Padding { CONSTANT = 0, EDGE = 1, REFLECT = 2, SYMMETRIC = 3 };
enum Grayscale { GRAYSCALE_BEFORE_RESIZE = 1, GRAYSCALE_AFTER_RESIZE = 2 };

// One axis of the journey crop -> mirror -> resize -> keep a window -> pad, crop and flip that window.
struct Axis {
    int32_t length;    // pixels of the crop that is resized
    int32_t resized;   // its size after the resize; equal to length: no resampling
    int32_t mirrored;  // 1: the crop is flipped before it is resized
    int32_t window;    // first resized pixel of the window that is kept
    int32_t kept;      // size of that window; what lies outside it is padding
    int32_t begin;     // output i shows position begin + step * i of the window
    int32_t step;      // 1, or -1 where the output is flipped
    int32_t extent;    // output pixels
    int32_t padding;   // Padding: what positions outside the window show
    int32_t decoded;   // first pixel that is decoded, counted from the crop's first: all that is read, or more
    int32_t span;      // how many are
    int32_t ksize;     // most weights of one output pixel
};

struct Record {
    int64_t pixels;     // byte offset of the decoded pixels (uint8, HWC, 3 channels, rows of x.span) in staging
    int64_t output;     // element offset of the sample in the output
    int64_t weights_y;  // byte offset of host-made rows of weights in staging; -1: the kernel makes them
    int64_t weights_x;
    Axis y;
    Axis x;
    int32_t filter;
    int32_t vertical_first;  // 1: the vertical pass runs first (the rounding between the passes shows)
    int32_t grayscale;       // bits of Grayscale
    uint8_t fill[4];         // padding color, as it looks after every later operation
};
