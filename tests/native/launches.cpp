// A program for sanitizers: launches from a file, each with memory of exactly its size, and what each must give.
// tests/test_barriers.py writes the file.
#include "bytes.h"
#include "cuda_on_cpu.cpp"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, bytes)
#define ASAN_UNPOISON_MEMORY_REGION(address, bytes)
#endif

static void allow(const Bytes& staging, int64_t at, int64_t bytes) {
    if (at >= 0) ASAN_UNPOISON_MEMORY_REGION(staging.data() + at, bytes);
}

static int64_t row_bytes(const Axis& axis) { return int64_t(axis.extent) * (ROW_HEAD + axis.ksize) * sizeof(int); }

// Only what belongs to a sample may be read, not the bytes between two samples.
static void guard(const Bytes& staging, const Record* records, int64_t count) {
    ASAN_POISON_MEMORY_REGION(staging.data(), staging.size());
    for (int64_t i = 0; i < count; ++i) {
        const Record& record = records[i];
        allow(staging, record.pixels, int64_t(record.y.span) * record.x.span * 3);
        allow(staging, record.weights_y, row_bytes(record.y));
        allow(staging, record.weights_x, row_bytes(record.x));
    }
}

static void render(const int64_t* n, std::FILE* file, Bytes& out) {
    const Bytes records = read_bytes(file), staging = read_bytes(file), table = read_bytes(file);
    const Record* of = as<Record>(records);
    guard(staging, of, n[0]);
    cuda_render(of, int(n[0]), staging.data(), table.data(), int(n[1]), int(n[2]), int(n[3]), int(n[4]), out.data());
    allow(staging, 0, int64_t(staging.size()));
}

static void adjust(const int64_t* n, std::FILE* file, Bytes& out) {
    const Bytes pictures = read_bytes(file), steps = read_bytes(file), warps = read_bytes(file);
    Bytes scratch = read_bytes(file);
    const Bytes table = read_bytes(file);
    cuda_adjust(as<Adjusted>(pictures), int(n[0]), as<Adjustment>(steps), as<Warp>(warps), scratch.data(), table.data(),
                int(n[1]), int(n[2]), int(n[3]), out.data());
}

static void erase(const int64_t* n, std::FILE* file, Bytes& out) {
    const Bytes records = read_bytes(file), rectangles = read_bytes(file), begins = read_bytes(file);
    const Bytes fills = read_bytes(file);
    cuda_erase(as<Record>(records), int(n[0]), as<Rectangle>(rectangles), as<int64_t>(begins), fills.data(), n[1],
               int(n[2]), int(n[3]), int(n[4]), int(n[5]), out.data());
}

static void gather(const int64_t* n, std::FILE* file, Bytes& out) {
    const Bytes source = read_bytes(file), indices = read_bytes(file);
    cuda_gather(source.data(), as<int64_t>(indices), n[0], n[1], int(n[2]), out.data());
}

static void fill(const int64_t* n, std::FILE* file, Bytes& out) {
    const Bytes values = read_bytes(file), places = read_bytes(file), filling = read_bytes(file);
    cuda_pad(values.data(), as<int64_t>(places), as<Filling>(filling), int(n[0]), out.data());
}

static void order(int64_t kind, const int64_t* n, std::FILE* file, int64_t* out) {
    const Bytes given = read_bytes(file);
    switch (kind) {
        case 'p': return cuda_order_permuted(as<Permutation>(given), n[0], n[1], out);
        case 'r': return cuda_order_replaced(n[0], uint32_t(n[1]), n[2], n[3], n[4], out);
        default: return cuda_order_weighted(n[0], uint32_t(n[1]), as<int64_t>(given), n[2], n[3], n[4], out);
    }
}

int main(int, char** arguments) {
    std::FILE* file = open_bytes(arguments[1]);
    int launches = 0;
    for (Bytes head; !(head = read_bytes(file)).empty(); ++launches) {
        const int64_t* n = as<int64_t>(head);
        const Bytes expected = read_bytes(file);
        Bytes out(expected.size(), 0xAB);
        switch (n[0]) {
            case 'i': render(n + 1, file, out); break;
            case 'a': adjust(n + 1, file, out); break;
            case 'e': erase(n + 1, file, out); break;
            case 'g': gather(n + 1, file, out); break;
            case 'f': fill(n + 1, file, out); break;
            default: order(n[0], n + 1, file, reinterpret_cast<int64_t*>(out.data()));
        }
        if (out == expected) continue;
        std::fprintf(stderr, "launch %d (%c) gives other bytes\n", launches, char(n[0]));
        return 1;
    }
    std::fclose(file);
    std::printf("%d launches\n", launches);
}
