// The interface of the CPU's native code: one batch of images, as arrays. Its Python twin is gpuload/native.py.
#pragma once
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
    WARPED = 10
};

// What is done to a sample's whole picture once that is there: to its colors, or a warp.
struct Adjustment {
    int32_t kind;  // Kind
    float value;   // a factor, a shift, a number of bits, a threshold, which warp; 0 where there is none
};

enum Map : int32_t { AFFINE = 0, PERSPECTIVE = 1 };

// Where each pixel of an image comes from, in one of the same size: the numbers that Pillow's Image.transform gets.
struct Warp {
    double numbers[8];
    int32_t kind;    // Map
    int32_t filter;  // NEAREST, BILINEAR or BICUBIC
    uint8_t fill[4];
};

// One batch; the arrays have `count` entries. An image is a file, or lies in memory, decoded: uint8, packed rows. With
// `staging`, pixels and host-made rows of weights go to their offsets there; without it, pixels are rendered into
// `out`: from where they lie, or from memory of the thread's own. With `rendered`, too, samples are rendered into staging,
// as packed RGB rows of bytes, adjusted.
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
    const uint8_t* rendered;  // 1: this sample is rendered, although there is staging; null: none is
};
