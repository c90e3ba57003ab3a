// Regions of JPEGs, decoded by nvImageCodec through its C API: by its libjpeg-turbo on the calling thread, or on a GPU.
// A library of its own, built where nvImageCodec is installed. gpuload_jpeg_decode is a `Decode` of share.h.
#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <vector>

#include "checks.h"
#include "codec.h"
#include "jpeg_device.h"
#include "share.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace {

codec::Library nv;

// One thread's decoder: threads that shared an instance would wait for each other.
class Decoder {
  public:
    Decoder() : opened_(nv), handles_(opened_) {}

    bool start() {
        const auto backend = codec::backend_of(NVIMGCODEC_BACKEND_KIND_CPU_ONLY);
        auto execution = MADE(ExecutionParams, EXECUTION_PARAMS);
        execution.max_num_cpu_threads = 1;  // the calling one; no thread is started
        execution.device_id = NVIMGCODEC_DEVICE_CPU_ONLY;
        execution.num_backends = 1;
        execution.backends = &backend;
        return opened_.start(execution, "");
    }

    bool decode(const uint8_t* data, int64_t bytes, const int32_t* region, uint8_t* out) {
        nvimgcodecProcessingStatus_t status = 0;
        return handles_.set(data, bytes, region, codec::image_of(region, out)) &&
               codec::decode(opened_, &handles_.part, &handles_.image, 1, &status) &&
               status == NVIMGCODEC_PROCESSING_STATUS_SUCCESS;
    }

  private:
    codec::Opened opened_;
    codec::Handles handles_;
};

std::atomic<int> forks{0};  // how many forks lie between the process that loaded this library and the present one

// What one thread keeps from sample to sample.
struct Thread {
    std::unique_ptr<Decoder> decoder;
    int made_at = 0;  // `forks` when the decoder was made
    std::vector<uint8_t> wide;

    ~Thread() { forget_parents(); }

    // A forked child leaves its parent's decoder alone: what that refers to is not whole in the child.
    void forget_parents() {
        if (made_at != forks) decoder.release();
    }
};
thread_local Thread mine;

// The calling thread's decoder, null where it does not start.
Decoder* decoder() {
    mine.forget_parents();
    if (!mine.decoder) {
        auto fresh = std::make_unique<Decoder>();
        if (!fresh->start()) return nullptr;
        mine.decoder = std::move(fresh);
        mine.made_at = forks;
    }
    return mine.decoder.get();
}

constexpr int32_t NARROW = 16;  // columns; libjpeg-turbo upsamples the chroma of a narrower region in a simpler way

bool decode(const uint8_t* data, int64_t bytes, const int32_t* size, const int32_t* region, uint8_t* out) {
    Decoder* with = checks::region_fits(region, size) ? decoder() : nullptr;
    if (!with) return false;
    const int32_t least = std::min(NARROW, size[1]);
    if (region[3] >= least) return with->decode(data, bytes, region, out);

    const int32_t wide[4] = {region[0], std::min(region[1], size[1] - least), region[2], least};
    mine.wide.resize(size_t(wide[2]) * wide[3] * 3);
    if (!with->decode(data, bytes, wide, mine.wide.data())) return false;
    const uint8_t* from = mine.wide.data() + (region[1] - wide[1]) * 3;
    for (int32_t y = 0; y < region[2]; ++y)
        std::memcpy(out + size_t(y) * region[3] * 3, from + size_t(y) * wide[3] * 3, size_t(region[3]) * 3);
    return true;
}

}  // namespace

// Once, before any decoding. library: libnvimgcodec.so; extension: libjpeg_turbo_ext.so; 0: good, else which step
// failed.
EXPORT int gpuload_jpeg_open(const char* library, const char* extension) {
    if (const int failed = nv.open(library, extension)) return failed;
    if (pthread_atfork(nullptr, nullptr, [] { ++forks; })) return 3;
    return Decoder().start() ? 0 : 4;
}

EXPORT bool gpuload_jpeg_decode(const uint8_t* data, int64_t bytes, const int32_t* size, const int32_t* region,
                                uint8_t* out) {
    try {
        return decode(data, bytes, size, region, out);
    } catch (...) {  // out of memory, here or in nvImageCodec
        return false;
    }
}

// A decoder of a GPU's, null where it does not start. library: as above; extension: libnvjpeg_ext.so; threads: of its
// own, on the CPU.
EXPORT void* gpuload_device_start(const char* library, const char* extension, int device, int threads) {
    try {
        codec::Library opened;
        if (opened.open(library, extension)) return nullptr;
        auto fresh = std::make_unique<DeviceDecoder>(opened);
        return fresh->start(device, threads) ? fresh.release() : nullptr;
    } catch (...) {
        return nullptr;
    }
}

EXPORT void gpuload_device_end(void* decoder) { delete static_cast<DeviceDecoder*>(decoder); }

// Decode these samples of a batch, as far as they are AWAY, to their places in a GPU's memory, on a stream; it returns
// when the encoded bytes are no longer needed. status: of each; OK: its pixels will be there when the stream's work is
// done.
EXPORT void gpuload_device_decode(void* decoder, const Work* work, const int64_t* slots, int64_t count, uint8_t* device,
                                  void* stream, uint8_t* status) {
    try {
        static_cast<DeviceDecoder*>(decoder)->decode(*work, slots, count, device, stream, status);
    } catch (...) {
        std::memset(status, FAILED, size_t(count));
    }
}
