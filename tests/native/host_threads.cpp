// A program for ThreadSanitizer: the CPU's native code on one batch by four threads, as the loader's workers call it.
// What they make must be what one thread makes. tests/test_barriers.py writes the batch.
#include <thread>

#include "bytes.h"
#include "host.cpp"

constexpr int WORKERS = 4;

// A decoder whose pixels depend on the file and on the region.
static bool decode(const uint8_t* data, int64_t bytes, const int32_t*, const int32_t* region, uint8_t* out) {
    for (int64_t i = 0; i < int64_t(region[2]) * region[3] * 3; ++i) out[i] = data[(region[0] + 7 * i) % bytes];
    return true;
}

// Measure, then decode and place, or place what was decoded elsewhere: every `workers`-th sample on one thread.
static void work_at(Work& work, int worker, int workers) {
    for (int64_t i = worker; i < work.count; i += workers) {
        gpuload_measure(&work, i, 1);
        if (work.status[i] != OK) continue;
        if (i % 3) {
            work.status[i] = TODO;
            gpuload_share(&work, i, 1);
            continue;
        }
        const int32_t* region = work.regions + 4 * i;
        const Bytes pixels(int64_t(region[2]) * region[3] * 3, uint8_t(i));
        work.status[i] = gpuload_put(&work, i, pixels.data());
    }
}

struct Made {
    Bytes out, staging, status;

    bool operator==(const Made& other) const {
        return out == other.out && staging == other.staging && status == other.status;
    }
};

static Made make(Work work, bool staged, int64_t staging_bytes, int workers) {
    const int64_t out_bytes = work.out_elements * work.element_bytes;
    Made made = {Bytes(out_bytes), Bytes(staged ? staging_bytes : 0), Bytes(work.count, TODO)};
    work.out = made.out.data();
    work.status = made.status.data();
    work.staging = staged ? made.staging.data() : nullptr;
    work.staging_bytes = staging_bytes;
    std::vector<std::thread> threads;
    for (int worker = 0; worker < workers; ++worker)
        threads.emplace_back([&work, worker, workers] { work_at(work, worker, workers); });
    for (std::thread& thread : threads) thread.join();
    return made;
}

int main(int, char** arguments) {
    std::FILE* file = open_bytes(arguments[1]);
    const Bytes head = read_bytes(file), paths = read_bytes(file), path_at = read_bytes(file);
    const Bytes regions = read_bytes(file), records = read_bytes(file), table = read_bytes(file);
    std::fclose(file);
    const int64_t* n = as<int64_t>(head);
    Bytes sizes(n[0] * 2 * sizeof(int32_t));
    Work work = {};
    work.count = n[0];
    work.paths = as<char>(paths);
    work.paths_bytes = int64_t(paths.size());
    work.path_at = as<int64_t>(path_at);
    work.sizes = reinterpret_cast<int32_t*>(sizes.data());
    work.regions = as<int32_t>(regions);
    work.records = as<Record>(records);
    work.decode = decode;
    work.table = table.data();
    work.out_elements = n[1];
    work.element_bytes = int32_t(n[2]);
    work.channels = int32_t(n[3]);
    for (const bool staged : {false, true}) {
        const Made by_one = make(work, staged, n[4], 1), by_many = make(work, staged, n[4], WORKERS);
        if (by_one.status != Bytes(n[0], OK)) return std::fprintf(stderr, "samples failed\n"), 1;
        if (!(by_one == by_many)) return std::fprintf(stderr, "threads make other bytes\n"), 1;
    }
    std::printf("%d samples\n", int(n[0]));
}
