// Counter-based random numbers and the keyed permutation; the same numbers as gpuload/philox.py.
#pragma once
#include "portable.cuh"

GPULOAD_FN uint64_t high_word(uint64_t a, uint64_t b) {  // of the 128-bit product
    const uint64_t low = 0xffffffffu;
    const uint64_t ah = a >> 32, al = a & low, bh = b >> 32, bl = b & low;
    const uint64_t u = ah * bl + ((al * bl) >> 32), v = al * bh + (u & low);
    return ah * bh + (u >> 32) + (v >> 32);
}

struct Words {
    uint32_t word[4];
};

// Philox4x32-10 (Salmon et al., SC 2011): the block of four words at the counter (draw, position, epoch).
GPULOAD_FN Words philox(uint64_t seed, uint32_t draw, uint64_t position, uint32_t epoch) {
    uint32_t c0 = draw, c1 = uint32_t(position), c2 = uint32_t(position >> 32), c3 = epoch;
    uint32_t k0 = uint32_t(seed), k1 = uint32_t(seed >> 32);
    for (int round = 0; round < 10; ++round) {
        const uint64_t p = uint64_t(0xD2511F53u) * c0, q = uint64_t(0xCD9E8D57u) * c2;
        c0 = uint32_t(q >> 32) ^ c1 ^ k0;
        c1 = uint32_t(q);
        c2 = uint32_t(p >> 32) ^ c3 ^ k1;
        c3 = uint32_t(p);
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return {{c0, c1, c2, c3}};
}

// The first 64 bits of a block.
GPULOAD_FN uint64_t philox_word(uint64_t seed, uint32_t draw, uint64_t position, uint32_t epoch) {
    const Words words = philox(seed, draw, position, epoch);
    return uint64_t(words.word[0]) | uint64_t(words.word[1]) << 32;
}

GPULOAD_FN uint32_t mix(uint32_t x) {
    x ^= x >> 16;
    x *= 0x7FEB352Du;
    x ^= x >> 15;
    x *= 0x846CA68Bu;
    return x ^ (x >> 16);
}

constexpr int ROUNDS = 16;

// The epoch's permutation: a Feistel network on Z_a x Z_b, a * b >= n, then a rotation.
struct Permutation {
    int64_t n, a, b, rotation;
    uint32_t keys[ROUNDS][2];
};

GPULOAD_FN int64_t feistel(const Permutation& p, int64_t x) {
    int64_t left = x / p.b, right = x - left * p.b;
    for (int round = 0; round < ROUNDS; ++round) {
        const bool even = (round & 1) == 0;
        const uint32_t hash = mix(mix(uint32_t(even ? right : left) ^ p.keys[round][0]) + p.keys[round][1]);
        const int64_t side = even ? p.a : p.b;
        int64_t moved = (even ? left : right) + int64_t((uint64_t(hash) * uint64_t(side)) >> 32);
        if (moved >= side) moved -= side;
        (even ? left : right) = moved;
    }
    return left * p.b + right;
}

GPULOAD_FN int64_t permute(const Permutation& p, int64_t position) {
    int64_t y = position;
    do y = feistel(p, y);
    while (y >= p.n);
    y += p.rotation;
    return y >= p.n ? y - p.n : y;
}
