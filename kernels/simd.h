// The few vector operations of the CPU engine: intrinsics where there is AVX2, plain C++ elsewhere, the same bits.
//
// Pairs of 8 lanes rather than vectors of 16: compilers make slow code of vector types that a processor has not.
#pragma once
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "colors.cuh"
#include "weights.cuh"

namespace simd {

constexpr int LANES = 16;  // integers that are added at once
constexpr int STRIP = 4;   // rows that the horizontal pass takes at once
constexpr int GROUP = 4;   // outputs that it makes of them at once
constexpr int SLACK = 32;  // bytes that may be read and written behind a row of the engine's own

#if defined(__AVX2__)

struct Lanes {
    __m256i low = _mm256_set1_epi32(HALF), high = low;

    // Add 16 bytes, times a weight.
    void add(const uint8_t* p, int weight) {
        const __m256i w = _mm256_set1_epi32(weight);
        const __m256i l = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)p));
        const __m256i h = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)(p + 8)));
        low = _mm256_add_epi32(low, _mm256_mullo_epi32(l, w));
        high = _mm256_add_epi32(high, _mm256_mullo_epi32(h, w));
        asm volatile("" : "+x"(low), "+x"(high));  // one after the other: g++ would load all first, and spill it
    }
};

inline __m256i shift(__m256i sums) { return _mm256_srai_epi32(sums, WEIGHT_BITS); }

// Sums as 16 bytes, rounded and clipped: packing saturates.
inline void narrow(const Lanes& sums, uint8_t* out) {
    const __m256i mixed = _mm256_packs_epi32(shift(sums.low), shift(sums.high));
    const __m256i halves = _mm256_permute4x64_epi64(mixed, 0xD8);
    const __m128i bytes = _mm_packus_epi16(_mm256_castsi256_si128(halves), _mm256_extracti128_si256(halves, 1));
    _mm_storeu_si128((__m128i*)out, bytes);
}

// Four pixels of 4 bytes, the last of each unused, as packed RGB; 16 bytes are written.
inline void store_rgb(__m128i pixels, uint8_t* out) {
    const __m128i packed = _mm_setr_epi8(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1);
    _mm_storeu_si128((__m128i*)out, _mm_shuffle_epi8(pixels, packed));
}

// Sums of four outputs, each of four rows of (red, green, blue, unused): packing pairs also parts the rows.
inline void narrow_group(const Lanes* sums, uint8_t* const* rows, int64_t at) {
    const auto two = [&](__m256i Lanes::*half) {
        const __m256i a = _mm256_packs_epi32(shift(sums[0].*half), shift(sums[1].*half));
        const __m256i b = _mm256_packs_epi32(shift(sums[2].*half), shift(sums[3].*half));
        return _mm256_packus_epi16(a, b);
    };
    const __m256i first = two(&Lanes::low), second = two(&Lanes::high);
    store_rgb(_mm256_castsi256_si128(first), rows[0] + at);
    store_rgb(_mm256_extracti128_si256(first, 1), rows[1] + at);
    store_rgb(_mm256_castsi256_si128(second), rows[2] + at);
    store_rgb(_mm256_extracti128_si256(second, 1), rows[3] + at);
}

constexpr int TOGETHER = 8;       // pixels that are loaded at once,
constexpr int BYTES_LOADED = 28;  // and how many bytes that reads

// Eight packed RGB pixels, 4 bytes each.
inline __m256i spread(const uint8_t* p) {
    const __m128i each = _mm_setr_epi8(0, 1, 2, -1, 3, 4, 5, -1, 6, 7, 8, -1, 9, 10, 11, -1);
    const __m128i low = _mm_loadu_si128((const __m128i*)p), high = _mm_loadu_si128((const __m128i*)(p + 12));
    return _mm256_shuffle_epi8(_mm256_set_m128i(high, low), _mm256_broadcastsi128_si256(each));
}

// Eight pixels of four rows side by side: pixel 0 of rows 0 to 3, pixel 1 of rows 0 to 3, ...
inline void interleave(const uint8_t* const* rows, int64_t at, uint8_t* out) {
    const __m256i r0 = spread(rows[0] + at), r1 = spread(rows[1] + at);
    const __m256i r2 = spread(rows[2] + at), r3 = spread(rows[3] + at);
    const __m256i a = _mm256_unpacklo_epi32(r0, r1), b = _mm256_unpackhi_epi32(r0, r1);
    const __m256i c = _mm256_unpacklo_epi32(r2, r3), d = _mm256_unpackhi_epi32(r2, r3);
    const __m256i columns[] = {_mm256_unpacklo_epi64(a, c), _mm256_unpackhi_epi64(a, c), _mm256_unpacklo_epi64(b, d),
                               _mm256_unpackhi_epi64(b, d)};  // pixels k and k + 4
    for (int k = 0; k < 4; ++k) {
        _mm_storeu_si128((__m128i*)(out + k * LANES), _mm256_castsi256_si128(columns[k]));
        _mm_storeu_si128((__m128i*)(out + (k + 4) * LANES), _mm256_extracti128_si256(columns[k], 1));
    }
}

// Eight pixels become their luma, three times each; 24 bytes are written.
inline void grayscale(const uint8_t* p, uint8_t* out) {
    // pmaddwd's factors are below 2^15: green counts twice, with half its weight
    const __m256i factors = _mm256_set1_epi64x(19235LL << 48 | 7471LL << 32 | 19235LL << 16 | 19595LL);
    const __m128i each = _mm_setr_epi8(0, 1, 2, 1, 3, 4, 5, 4, 6, 7, 8, 7, 9, 10, 11, 10);
    const auto four = [&](const uint8_t* from) {
        const __m128i pixels = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i*)from), each);
        return _mm256_madd_epi16(_mm256_cvtepu8_epi16(pixels), factors);
    };
    const __m256i sums = _mm256_add_epi32(_mm256_hadd_epi32(four(p), four(p + 12)), _mm256_set1_epi32(32768));
    const __m256i words = _mm256_packs_epi32(_mm256_srli_epi32(sums, 16), _mm256_setzero_si256());
    const __m256i bytes = _mm256_packus_epi16(words, words);  // pixels 0, 1, 4, 5 in one half; 2, 3, 6, 7 in the other
    const __m128i lumas = _mm_unpacklo_epi16(_mm256_castsi256_si128(bytes), _mm256_extracti128_si256(bytes, 1));
    const __m128i first = _mm_setr_epi8(0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 5);
    const __m128i last = _mm_setr_epi8(5, 5, 6, 6, 6, 7, 7, 7, -1, -1, -1, -1, -1, -1, -1, -1);
    _mm_storeu_si128((__m128i*)out, _mm_shuffle_epi8(lumas, first));
    _mm_storel_epi64((__m128i*)(out + 16), _mm_shuffle_epi8(lumas, last));
}

constexpr int BLENDED = 32;  // values that are blended at once

// What is so little that no integer holds it becomes the least one.
inline void blend(const uint8_t* from, const uint8_t* to, float factor, uint8_t* out) {
    const __m256 factors = _mm256_set1_ps(factor), most = _mm256_set1_ps(255);
    const auto eight = [&](int k) {
        const __m256i a = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)(from + k * 8)));
        const __m256i b = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)(to + k * 8)));
        const __m256 added = _mm256_mul_ps(factors, _mm256_cvtepi32_ps(_mm256_sub_epi32(b, a)));
        return _mm256_cvttps_epi32(_mm256_min_ps(_mm256_add_ps(_mm256_cvtepi32_ps(a), added), most));
    };
    const __m256i words[] = {_mm256_packs_epi32(eight(0), eight(1)), _mm256_packs_epi32(eight(2), eight(3))};
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    const __m256i bytes = _mm256_permutevar8x32_epi32(_mm256_packus_epi16(words[0], words[1]), order);
    _mm256_storeu_si256((__m256i*)out, bytes);
}

constexpr int PARTED = 16;  // pixels that are parted into their colors at once

// The bytes of 16 pixels, in three vectors, that a vector of one color has, or those of a color that one of pixels has.
struct Places {
    alignas(16) int8_t of[3][3][16] = {};
    constexpr Places(bool join) {
        for (int color = 0; color < 3; ++color)
            for (int part = 0; part < 3; ++part)
                for (int i = 0; i < 16; ++i) {
                    const int byte = join ? part * 16 + i - color : i * 3 + color - part * 16;
                    const bool is_there = join ? byte % 3 == 0 : byte >= 0 && byte < 16;
                    of[color][part][i] = is_there ? int8_t(join ? byte / 3 : byte) : int8_t(-1);
                }
    }
    __m128i at(int color, int part) const { return _mm_load_si128((const __m128i*)of[color][part]); }
};

inline void part(const uint8_t* pixels, uint8_t* red, uint8_t* green, uint8_t* blue) {
    static constexpr Places places(false);
    uint8_t* to[] = {red, green, blue};
    for (int color = 0; color < 3; ++color) {
        __m128i found = _mm_setzero_si128();
        for (int k = 0; k < 3; ++k) {
            const __m128i bytes = _mm_loadu_si128((const __m128i*)(pixels + 16 * k));
            found = _mm_or_si128(found, _mm_shuffle_epi8(bytes, places.at(color, k)));
        }
        _mm_storeu_si128((__m128i*)to[color], found);
    }
}

inline void join(const uint8_t* red, const uint8_t* green, const uint8_t* blue, uint8_t* pixels) {
    static constexpr Places places(true);
    const uint8_t* from[] = {red, green, blue};
    for (int k = 0; k < 3; ++k) {
        __m128i made = _mm_setzero_si128();
        for (int color = 0; color < 3; ++color) {
            const __m128i bytes = _mm_loadu_si128((const __m128i*)from[color]);
            made = _mm_or_si128(made, _mm_shuffle_epi8(bytes, places.at(color, k)));
        }
        _mm_storeu_si128((__m128i*)(pixels + 16 * k), made);
    }
}

constexpr int GRAYS = 16;  // gray pixels that become RGB at once

inline void to_rgb(const uint8_t* gray, uint8_t* out) {
    const __m128i pixels = _mm_loadu_si128((const __m128i*)gray);
    const __m128i each[] = {_mm_setr_epi8(0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 5),
                            _mm_setr_epi8(5, 5, 6, 6, 6, 7, 7, 7, 8, 8, 8, 9, 9, 9, 10, 10),
                            _mm_setr_epi8(10, 11, 11, 11, 12, 12, 12, 13, 13, 13, 14, 14, 14, 15, 15, 15)};
    for (int k = 0; k < 3; ++k) _mm_storeu_si128((__m128i*)(out + 16 * k), _mm_shuffle_epi8(pixels, each[k]));
}

#else

typedef int32_t Quad __attribute__((vector_size(16)));

struct Lanes {
    Quad part[4] = {Quad{} + HALF, Quad{} + HALF, Quad{} + HALF, Quad{} + HALF};

    void add(const uint8_t* p, int weight) {
        for (int k = 0; k < 4; ++k, p += 4) part[k] += Quad{p[0], p[1], p[2], p[3]} * weight;
    }
};

inline void narrow(const Lanes& sums, uint8_t* out) {
    for (int k = 0; k < LANES; ++k) out[k] = to_byte(sums.part[k / 4][k % 4]);
}

inline void narrow_group(const Lanes* sums, uint8_t* const* rows, int64_t at) {
    for (int r = 0; r < STRIP; ++r)
        for (int i = 0; i < GROUP; ++i)
            for (int c = 0; c < 3; ++c) rows[r][at + 3 * i + c] = to_byte(sums[i].part[r][c]);
}

constexpr int TOGETHER = 1;
constexpr int BYTES_LOADED = 3;

inline void interleave(const uint8_t* const* rows, int64_t at, uint8_t* out) {
    for (int r = 0; r < STRIP; ++r) std::memcpy(out + 4 * r, rows[r] + at, 3);
}

inline void grayscale(const uint8_t* p, uint8_t* out) {
    const uint8_t l = luma(p[0], p[1], p[2]);
    out[0] = out[1] = out[2] = l;
}

constexpr int BLENDED = 1;

inline void blend(const uint8_t* from, const uint8_t* to, float factor, uint8_t* out) { *out = ::blend(*from, *to, factor); }

constexpr int PARTED = 1;

inline void part(const uint8_t* pixels, uint8_t* red, uint8_t* green, uint8_t* blue) {
    *red = pixels[0], *green = pixels[1], *blue = pixels[2];
}

inline void join(const uint8_t* red, const uint8_t* green, const uint8_t* blue, uint8_t* pixels) {
    pixels[0] = *red, pixels[1] = *green, pixels[2] = *blue;
}

constexpr int GRAYS = 1;

inline void to_rgb(const uint8_t* gray, uint8_t* out) { std::memset(out, *gray, 3); }

#endif

}  // namespace simd
