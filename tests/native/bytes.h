// Arrays of bytes from a file: for each its size, as int64, and its bytes. tests/test_barriers.py writes them.
#pragma once
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

using Bytes = std::vector<uint8_t>;  // of exactly their size: a sanitizer sees what is read or written behind it

inline std::FILE* open_bytes(const char* path) {
    std::FILE* file = std::fopen(path, "rb");
    if (!file) std::exit(2);
    return file;
}

// The next array; none at the end of the file.
inline Bytes read_bytes(std::FILE* file) {
    int64_t size = 0;
    if (std::fread(&size, sizeof size, 1, file) != 1) return {};
    Bytes bytes(size);
    if (std::fread(bytes.data(), 1, bytes.size(), file) != bytes.size()) std::exit(2);
    return bytes;
}

template <class T>
const T* as(const Bytes& bytes) {
    return reinterpret_cast<const T*>(bytes.data());
}
