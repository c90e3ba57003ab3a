// The CPU's native code, one library: a worker's share of a batch of images, rows of weights, and the words of random
// draws. gpuload/native.py declares what is exported here.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>

#include "checks.h"
#include "engine.h"
#include "files.h"
#include "jpeg_header.h"
#include "random.cuh"

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace {

using passes::Image;

// What one thread keeps from sample to sample; freed when the thread ends.
struct Thread {
    Buffer file, pixels;
    engine::Memory memory;
};
thread_local Thread mine;

// The rows of weights that the kernel does not make itself.
void place_weights(const Work& work, const Record& record) {
    if (record.weights_y >= 0) rows::fill(record.y, record.filter, (int*)(work.staging + record.weights_y));
    if (record.weights_x >= 0) rows::fill(record.x, record.filter, (int*)(work.staging + record.weights_x));
}

// Sample i's region, RGB: to its place in staging, or rendered.
void place(const Work& work, int64_t i, const Image& source) {
    const Record& record = work.records[i];
    if (!work.staging) return engine::render(work, i, source, mine.memory);
    if (checks::is_rendered(work, i))
        return engine::render_bytes(work, i, source, mine.memory, work.staging + record.pixels);
    uint8_t* to = work.staging + record.pixels;
    if (to != source.pixels) passes::pack(source, record.y.span, int64_t(record.x.span) * 3, to);
    place_weights(work, record);
}

// Packed RGB rows of sample i's region.
Image packed(const Work& work, int64_t i, const uint8_t* pixels) {
    const int64_t pitch = int64_t(work.records[i].x.span) * 3;
    return {pixels, pitch, pixels + work.records[i].y.span * pitch, 0};
}

// ---- all views of an image ----

template <class Step>
void each_view(const Work& work, Step step) {
    for (const Work* view = &work; view; view = view->next) step(*view);
}

// Is image i, in each view, as it must be for its pixels to be read and put where they belong?
bool views_fit(const Work& work, int64_t i) {
    bool fit = true;
    each_view(work, [&](const Work& view) {
        fit = fit && i < view.count && checks::record_fits(view, i) &&
              checks::region_fits(view.regions + 4 * i, work.sizes + 2 * i);
    });
    return fit;
}

// The smallest region (top, left, height, width) of image i that has those of all views.
struct Region {
    int32_t at[4];

    Region(const Work& work, int64_t i) {
        std::memcpy(at, work.regions + 4 * i, sizeof at);
        each_view(work, [&](const Work& view) {
            for (int k = 0; k < 2; ++k) {
                const int32_t begin = view.regions[4 * i + k], end = begin + view.regions[4 * i + k + 2];
                const int32_t last = std::max(at[k] + at[k + 2], end);
                at[k] = std::min(at[k], begin);
                at[k + 2] = last - at[k];
            }
        });
    }

    int64_t pitch() const { return int64_t(at[3]) * 3; }
    int64_t bytes() const { return at[2] * pitch(); }
};

// Where the views whose pixels go to staging have them all, at one place; null: they have not, or there are none.
uint8_t* in_staging(const Work& work, int64_t i, const Region& region) {
    uint8_t* found = nullptr;
    bool shared = true;
    each_view(work, [&](const Work& view) {
        if (!view.staging || checks::is_rendered(view, i)) return;
        uint8_t* place = view.staging + view.records[i].pixels;
        shared = shared && !std::memcmp(view.regions + 4 * i, region.at, sizeof region.at) && (!found || found == place);
        found = place;
    });
    return shared ? found : nullptr;
}

// A view's part of the region's packed RGB rows; `slack` bytes behind them may be read, too.
Image part_of(const Region& region, const uint8_t* pixels, const Work& view, int64_t i, int64_t slack) {
    const int32_t* wanted = view.regions + 4 * i;
    const int64_t begin = (wanted[0] - region.at[0]) * region.pitch() + (wanted[1] - region.at[1]) * 3;
    return {pixels + begin, region.pitch(), pixels + region.bytes() + slack, 0};
}

// What `make` makes of the region, packed RGB rows, to where each view has its part; false: it has made nothing.
template <class Make>
bool place_all(const Work& work, int64_t i, const Region& region, Make make) {
    uint8_t* staged = in_staging(work, i, region);
    uint8_t* pixels = staged ? staged : mine.pixels.room(region.bytes() + simd::SLACK);
    if (!make(pixels)) return false;
    const int64_t slack = staged ? 0 : simd::SLACK;
    each_view(work, [&](const Work& view) { place(view, i, part_of(region, pixels, view, i, slack)); });
    return true;
}

// ---- a sample ----

Status measure(const Work& work, int64_t i) {
    if (checks::in_memory(work, i)) return OK;  // its size is known
    if (!work.decode) return ODD;
    if (!checks::path_fits(work, i)) return INVALID;
    const OpenFile file(work.paths + work.path_at[i]);
    if (file.bytes() < 0) return UNREADABLE;
    FileHead head(file, mine.file);
    const bool ordinary = jpeg::header(head, work.upright, work.sizes + 2 * i);
    return head.failed() ? UNREADABLE : ordinary ? OK : ODD;
}

Status from_memory(const Work& work, int64_t i) {
    const int channels = work.memory_channels[i];
    const Region region(work, i);
    const uint8_t* image = reinterpret_cast<const uint8_t*>(work.memory[i]);
    const auto part = [&](const int32_t* wanted) { return passes::part(image, work.sizes + 2 * i, wanted, channels); };
    if (channels == 3 && !in_staging(work, i, region)) {
        each_view(work, [&](const Work& view) { place(view, i, part(view.regions + 4 * i)); });
        return OK;
    }
    place_all(work, i, region, [&](uint8_t* pixels) {
        if (channels == 3)
            passes::pack(part(region.at), region.at[2], region.pitch(), pixels);
        else
            passes::pack_rgb(part(region.at), region.at[2], region.at[3], pixels);
        return true;
    });
    return OK;
}

// Read sample i's file, into memory that `room` gives for its bytes: OK if the header is as the record was made for.
template <class Room>
Status read_file(const Work& work, int64_t i, Room room, WholeFile* whole) {
    const int32_t* size = work.sizes + 2 * i;
    const OpenFile file(work.paths + work.path_at[i]);
    if (file.bytes() < 0) return UNREADABLE;
    uint8_t* data = room(file.bytes());
    *whole = {data, file.read(0, file.bytes(), data)};
    if (whole->size < 0) return UNREADABLE;
    int32_t found[2];
    if (!jpeg::header(*whole, work.upright, found)) return ODD;
    return found[0] == size[0] && found[1] == size[1] ? OK : CHANGED;
}

Status from_file(const Work& work, int64_t i) {
    WholeFile whole;
    const Status status = read_file(work, i, [](int64_t bytes) { return mine.file.room(bytes); }, &whole);
    if (status != OK) return status;
    const Region region(work, i);
    const bool done = place_all(work, i, region, [&](uint8_t* pixels) {
        return work.decode(whole.data, whole.size, work.sizes + 2 * i, region.at, pixels);
    });
    return done ? OK : FAILED;
}

uint8_t* room(Encoded& file, int64_t bytes) {
    if (EXACT ? bytes != file.room : bytes > file.room) {
        std::free(file.data);
        file = {nullptr, 0, 0};
        const int64_t more = EXACT ? bytes : bytes + bytes / 2;
        file.data = static_cast<uint8_t*>(std::malloc(size_t(std::max<int64_t>(more, 1))));
        if (!file.data) throw std::bad_alloc();
        file.room = more;
    }
    return file.data;
}

// A file that another decoder is to have; the rest of what the kernel wants of the sample is made here.
Status read_away(const Work& work, int64_t i) {
    if (!work.encoded || !work.staging || !views_fit(work, i) || !checks::path_fits(work, i)) return INVALID;
    bool rendered = false;  // which is done here
    each_view(work, [&](const Work& view) { rendered = rendered || checks::is_rendered(view, i); });
    if (rendered) return INVALID;
    each_view(work, [&](const Work& view) { place_weights(view, view.records[i]); });
    Encoded& file = work.encoded[i];
    WholeFile whole;
    const Status status = read_file(work, i, [&](int64_t bytes) { return room(file, bytes); }, &whole);
    file.bytes = status == OK ? whole.size : 0;
    return status == OK ? AWAY : status;
}

// The region of an image in memory, as a PPM file.
void write_ppm(const Work& work, int64_t i, Encoded& file) {
    const int32_t *region = work.regions + 4 * i, height = region[2], width = region[3];
    char head[64];
    const int64_t begin = std::snprintf(head, sizeof head, "P6\n%d %d\n255\n", width, height);
    uint8_t* to = room(file, begin + int64_t(height) * width * 3);
    std::memcpy(to, head, size_t(begin));
    const int channels = work.memory_channels[i];
    const uint8_t* image = reinterpret_cast<const uint8_t*>(work.memory[i]);
    const Image source = passes::part(image, work.sizes + 2 * i, region, channels);
    if (channels == 3)
        passes::pack(source, height, int64_t(width) * 3, to + begin);
    else
        passes::pack_rgb(source, height, width, to + begin);
    file.bytes = begin + int64_t(height) * width * 3;
}

// Sample i encoded, for a decoder that is not called from here: its file, or the region of an image in memory.
Status load(const Work& work, int64_t i) {
    const bool in_memory = checks::in_memory(work, i);
    if (!work.encoded || !checks::region_fits(work.regions + 4 * i, work.sizes + 2 * i) ||
        !(in_memory ? checks::memory_fits(work, i) : checks::path_fits(work, i)))
        return INVALID;
    Encoded& file = work.encoded[i];
    file.bytes = 0;
    if (in_memory) {
        write_ppm(work, i, file);
        return OK;
    }
    WholeFile whole;
    const Status status = read_file(work, i, [&](int64_t bytes) { return room(file, bytes); }, &whole);
    if (status == OK) file.bytes = whole.size;
    return status;
}

Status share(const Work& work, int64_t i) {
    const bool in_memory = checks::in_memory(work, i);
    if (!in_memory && !work.decode) return ODD;
    if (!views_fit(work, i) || !(in_memory ? checks::memory_fits(work, i) : checks::path_fits(work, i))) return INVALID;
    return in_memory ? from_memory(work, i) : from_file(work, i);
}

// Do something for each of a share's samples that has this status; memory that runs out fails that sample alone.
template <class Step>
void for_each(const Work& work, int64_t first, int64_t count, Step step, Status wanted = TODO) {
    if (first < 0) return;
    for (int64_t i = first; i < work.count && i - first < count; ++i) {
        if (work.status[i] != wanted) continue;
        try {
            work.status[i] = step(work, i);
        } catch (const std::bad_alloc&) {
            work.status[i] = FAILED;
        }
    }
}

}  // namespace

EXPORT int gpuload_record_bytes() { return sizeof(Record); }
EXPORT int gpuload_work_bytes() { return sizeof(Work); }

// Read the files' headers: sizes, and OK, UNREADABLE or ODD.
EXPORT void gpuload_measure(const Work* work, int64_t first, int64_t count) { for_each(*work, first, count, measure); }

// Read, decode and place samples whose sizes are known, or place those that lie in memory.
EXPORT void gpuload_share(const Work* work, int64_t first, int64_t count) { for_each(*work, first, count, share); }

// Read the files of samples that are AWAY; those that cannot be decoded elsewhere get another status.
EXPORT void gpuload_read(const Work* work, int64_t first, int64_t count) {
    for_each(*work, first, count, read_away, AWAY);
}

// Bring samples that are to be done into memory, encoded.
EXPORT void gpuload_load(const Work* work, int64_t first, int64_t count) { for_each(*work, first, count, load); }

// Give back the memory of files.
EXPORT void gpuload_release(Encoded* files, int64_t count) {
    for (int64_t i = 0; i < count; ++i) std::free(files[i].data);
}

// Place the pixels of one sample, decoded elsewhere: packed RGB rows of its region's height and width.
EXPORT uint8_t gpuload_put(const Work* work, int64_t i, const uint8_t* pixels) {
    if (i < 0 || i >= work->count || !checks::record_fits(*work, i)) return INVALID;
    try {
        place(*work, i, packed(*work, i, pixels));
    } catch (const std::bad_alloc&) {
        return FAILED;
    }
    return OK;
}

// Rows of weights of one axis: int32, extent x (2 + ksize).
EXPORT uint8_t gpuload_weights(const Axis* axis, int filter, int* rows) {
    if (!checks::in(filter, NEAREST, TORCH_NEAREST) || !checks::axis_fits(*axis, filter)) return INVALID;
    rows::fill(*axis, filter, rows);
    return OK;
}

// words: n x (4 * blocks), those of blocks block_first ... of each position.
EXPORT void gpuload_philox(uint64_t seed, uint32_t epoch, const uint64_t* positions, int64_t n, uint32_t block_first,
                           uint32_t blocks, uint32_t* words) {
    for (int64_t i = 0; i < n; ++i)
        for (uint32_t block = 0; block < blocks; ++block, words += 4) {
            const Words made = philox(seed, block_first + block, positions[i], epoch);
            std::memcpy(words, made.word, sizeof made.word);
        }
}
