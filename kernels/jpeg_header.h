// Which files are ordinary JPEGs, decoded alike by every libjpeg, and their sizes.
//
// Ordinary: 8 bits; grayscale, or YCbCr with components 1, 2, 3 in a usual sampling; Huffman-coded; a plain chain
// of segments up to the scan; and an end marker where the file ends (a truncated file has none). Whatever is
// odd about a file leaves it to Pillow.
#pragma once
#include <cstdint>
#include <cstring>

namespace jpeg {

inline int big16(const uint8_t* p) { return p[0] << 8 | p[1]; }

// A marker that no segment follows (or a fill byte, or none).
inline bool standalone(int marker) { return marker <= 0x01 || marker == 0xFF || (marker >= 0xD0 && marker <= 0xD7); }

// Frames that are not baseline, extended or progressive Huffman: lossless, hierarchical, arithmetic.
inline bool other_frame(int marker) {
    return marker == 0xC3 || (marker >= 0xC5 && marker <= 0xCF && marker != 0xC8 && marker != 0xCC);
}

// size: height, width. The frame header's body, all of its `bytes`.
inline bool frame_size(const uint8_t* body, int bytes, int32_t* size) {
    if (bytes < 6 || body[0] != 8 || bytes != 6 + 3 * body[5]) return false;
    const int components = body[5];
    if (components != 1 && components != 3) return false;
    for (int c = 0; c < components; ++c)
        if (body[6 + 3 * c] != c + 1) return false;
    if (components == 3) {
        const int luma = body[7];
        const bool usual = luma == 0x11 || luma == 0x21 || luma == 0x12 || luma == 0x22;
        if (!usual || body[10] != 0x11 || body[13] != 0x11) return false;
    }
    size[0] = big16(body + 1);
    size[1] = big16(body + 3);
    return size[0] > 0 && size[1] > 0;
}

// Does an APP1 segment say, as plainly as can be, that the image is upright: one orientation, SHORT, 1?
inline bool says_upright(const uint8_t* body, int bytes) {
    if (bytes < 14 || std::memcmp(body, "Exif\0\0", 6)) return false;
    const uint8_t* tiff = body + 6;
    const int64_t size = bytes - 6;
    const bool little = !std::memcmp(tiff, "II*\0", 4);
    if (!little && std::memcmp(tiff, "MM\0*", 4)) return false;
    const auto short_at = [&](int64_t at) { return little ? tiff[at] | tiff[at + 1] << 8 : big16(tiff + at); };
    const auto long_at = [&](int64_t at) -> int64_t {
        const int64_t low = short_at(at + (little ? 0 : 2)), high = short_at(at + (little ? 2 : 0));
        return low | high << 16;
    };
    const int64_t directory = long_at(4);
    if (directory + 2 > size) return false;
    const int64_t entries = short_at(directory);
    if (directory + 2 + 12 * entries > size) return false;
    int orientations = 0;
    for (int64_t k = 0; k < entries; ++k) {
        const int64_t at = directory + 2 + 12 * k;
        if (short_at(at) != 0x0112) continue;
        if (short_at(at + 2) != 3 || long_at(at + 4) != 1 || short_at(at + 8) != 1) return false;
        ++orientations;
    }
    return orientations == 1;
}

// The size of an ordinary JPEG; false: it is odd, or it could not be read.
//
// File has `int64_t bytes()` and `const uint8_t* read(int64_t at, int count)`: so many bytes, valid until the next
// read, null where they are not to be had.
template <class File>
bool header(File& file, bool upright, int32_t* size) {
    const int64_t n = file.bytes();
    size[0] = size[1] = 0;
    if (n < 4) return false;
    const uint8_t* p = file.read(n - 2, 2);
    if (!p || p[0] != 0xFF || p[1] != 0xD9) return false;
    p = file.read(0, 3);
    if (!p || p[0] != 0xFF || p[1] != 0xD8 || p[2] != 0xFF) return false;

    int32_t found[2] = {0, 0};
    int exifs = 0;
    for (int64_t at = 2; at + 4 <= n;) {
        p = file.read(at, 4);
        if (!p || p[0] != 0xFF) return false;
        const int marker = p[1], length = big16(p + 2), bytes = length - 2;
        if (standalone(marker) || other_frame(marker) || length < 2) return false;
        if (marker == 0xDA) {
            std::memcpy(size, found, sizeof found);
            return size[0] > 0;
        }
        const bool frame = marker >= 0xC0 && marker <= 0xC2, adobe = marker == 0xEE, exif = marker == 0xE1 && upright;
        if (frame || exif || (adobe && bytes >= 12)) {
            p = file.read(at + 4, bytes);
            if (!p) return false;
            if (frame && (found[0] || !frame_size(p, bytes, found))) return false;
            if (exif && (exifs++ || !says_upright(p, bytes))) return false;
            if (adobe && !std::memcmp(p, "Adobe", 5) && p[11] != 1) return false;  // RGB or CMYK inside
        }
        at += 2 + length;
    }
    return false;
}

}  // namespace jpeg
