// The interface of the CPU's native code: one batch of images, as arrays. Its Python twin is gpuload/native.py.
#pragma once
#include "erase.cuh"
#include "record.cuh"

enum Status : uint8_t {
    OK = 0,
    TODO = 1,        // nothing has been done about this sample yet
    UNREADABLE = 2,  // no regular file, or reading it failed
    ODD = 3,         // not an ordinary JPEG, or no decoder
    CHANGED = 4,     // the file's size in pixels is not the one that the record was made for
    FAILED = 5,      // the decoder did not decode it, or memory ran out
    INVALID = 6,     // a record, region or offset that would lead outside its memory
    AWAY = 7         // another decoder's, on a GPU
};

// A file in memory of malloc's, which grows and stays.
struct Encoded {
    uint8_t* data;
    int64_t bytes, room;
};

// A region of a JPEG into packed RGB rows. size: height, width; region: top, left, height, width.
typedef bool (*Decode)(const uint8_t* data, int64_t bytes, const int32_t* size, const int32_t* region, uint8_t* out);

enum Kind : int32_t {
    BRIGHTNESS = 0,
    CONTRAST = 1,
    SATURATION = 2,
    HUE = 3,
    SHARPNESS = 4,
    POSTERIZE = 5,
    SOLARIZE = 6,
    AUTOCONTRAST = 7,
    EQUALIZE = 8,
    LUMA = 9,
    SOLARIZE_ADD = 10,
    BLUR = 11,
    WARPED = 12,
    FRAMED = 13,
    MIXING = 14,  // a weighted sum of pictures begins: of the picture as it is, from which all others are made
    ADDED = 15,   // one of these others
    MIXED = 16,   // the sum is the picture
    GRIDDED = 17,
    TENSOR_BRIGHTNESS = 18,
    TENSOR_SATURATION = 19,
    TENSOR_CONTRAST = 20,
    TENSOR_SHARPNESS = 21,
    TENSOR_AUTOCONTRAST = 22,
    FIRST_SATURATION = 23,
    FIRST_CONTRAST = 24,
    FIRST_SHARPNESS = 25,
    FIRST_AUTOCONTRAST = 26,
    BLURRED = 27,
    CHANNELS = 28
};

// What is done to a sample's whole picture once that is there: to its colors, a warp, or a later stage.
struct Adjustment {
    int32_t kind;  // Kind
    // a factor, a shift, a number of bits, a threshold, a radius, a permutation, which warp or frame; 0: there is none
    float value;
};

enum Map : int32_t { AFFINE = 0, PERSPECTIVE = 1 };

// Where each pixel of an image comes from: the numbers that Pillow's Image.transform gets.
struct Warp {
    double numbers[8];
    int32_t kind;           // Map
    int32_t filter;         // NEAREST, BILINEAR or BICUBIC
    int32_t height, width;  // of what leaves, in pixels
    uint8_t fill[4];
};

// An affine grid over a tensor: torchvision's, divided by half the size.
struct Grid {
    float theta[6];  // of x, then of y
    float fill[3];
    int32_t filled;  // 0: zeros outside; 1 or 2: the fill, blended as torchvision's v1 or v2 does
    int32_t filter;  // NEAREST or BILINEAR
};

constexpr int PERMUTATIONS = 6;  // of three channels
constexpr int MOST_KERNEL = 99;  // weights along an axis

// What pixels around each pixel count, an odd number each way: the products of x's weights and y's.
struct Kernel {
    int32_t across, down;  // how many of x, of y
    float x[MOST_KERNEL], y[MOST_KERNEL];
};

// A record of a later stage: what it reads is a region of the picture in memory; it has no offsets.
struct Frame {
    Record record;
    int32_t region[4];  // top, left, height, width
};

// One batch; the arrays have `count` entries. An image is a file, or lies in memory, decoded: uint8, packed rows. With
// `staging`, pixels and host-made rows of weights go to their offsets there; without it, pixels are rendered into
// `out`: from where they lie, or from memory of the thread's own. With `rendered`, too, samples are rendered into staging,
// as packed RGB rows of bytes, adjusted. Of an image of several views the smallest region that has all of theirs is
// decoded, once; views in staging may share its pixels.
struct Work {
    int64_t count;
    const char* paths;               // file names, each ended by a NUL
    int64_t paths_bytes;             // of all of them
    const int64_t* path_at;          // where each begins
    const uint64_t* memory;          // address of each image's first pixel; 0: it is a file. Null: all are
    const uint8_t* memory_channels;  // 3, or 1: gray; null where `memory` is
    int32_t* sizes;                  // (height, width) of each image
    const int32_t* regions;          // (top, left, height, width) of the pixels that each record reads
    const Record* records;
    uint8_t* status;
    Decode decode;  // null: every file is ODD
    uint8_t* staging;
    int64_t staging_bytes;
    const void* table;  // channels x 256 output values of `element_bytes` each
    void* out;
    int64_t out_elements;
    int32_t element_bytes, channels, channels_last;
    int32_t upright;   // 1: a file whose EXIF orientation is not surely 1 is ODD
    Encoded* encoded;  // where files that another decoder is to have are read to; null: none is
    const Adjustment* adjustments;  // of all samples, one sample's after the other; null: there are none
    int64_t adjustment_count;       // of all of them
    const int64_t* adjusted_at;     // (count + 1) where each sample's begin, and the last one's end
    const Warp* warps;              // that adjustments point to
    int64_t warp_count;
    const Frame* frames;            // likewise
    int64_t frame_count;
    const Grid* grids;              // likewise
    int64_t grid_count;
    const Kernel* kernels;          // likewise
    int64_t kernel_count;
    const uint8_t* rendered;      // 1: this sample is rendered, although there is staging; null: none is
    const Rectangle* rectangles;  // of all samples' outputs, as adjustments; null: there are none
    int64_t rectangle_count;
    const int64_t* erased_at;  // (count + 1) where each sample's begin, and the last one's end
    const void* fills;         // channels x fill_columns values that rectangles get, of `element_bytes` each
    int64_t fill_columns;
    const Work* next;  // another view of the same images: records, and where they go; null: this is the last one
};
