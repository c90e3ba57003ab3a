// Regions of JPEGs, decoded by nvImageCodec's libjpeg-turbo on the calling thread, through its C API: a library of
// its own, built where nvImageCodec is installed. gpuload_jpeg_decode is a `Decode` of share.h.
#include <dlfcn.h>
#include <nvimgcodec.h>
#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <vector>

#include "checks.h"
#include "share.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace {

#define FUNCTIONS(F)                                                                                              \
    F(InstanceCreate) F(InstanceDestroy) F(ExtensionCreate) F(ExtensionDestroy) F(DecoderCreate) F(DecoderDestroy) \
    F(CodeStreamCreateFromHostMem) F(CodeStreamGetSubCodeStream) F(CodeStreamDestroy) F(ImageCreate)              \
    F(ImageDestroy) F(DecoderDecode) F(FutureWaitForAll) F(FutureGetProcessingStatus) F(FutureDestroy)
struct Library {
#define DECLARE(name) decltype(&nvimgcodec##name) name;
    FUNCTIONS(DECLARE)
#undef DECLARE
    nvimgcodecExtensionModuleEntryFunc_t libjpeg_turbo;
} nv;

template <class T>
T made(nvimgcodecStructureType_t type) {  // every struct, nested ones too, names its type and size
    T s;
    std::memset(&s, 0, sizeof s);
    s.struct_type = type;
    s.struct_size = sizeof s;
    return s;
}
#define MADE(T, TYPE) made<nvimgcodec##T##_t>(NVIMGCODEC_STRUCTURE_TYPE_##TYPE)

nvimgcodecCodeStreamView_t view_of(const int32_t* region) {
    auto view = MADE(CodeStreamView, CODE_STREAM_VIEW);
    view.region = MADE(Region, REGION);
    view.region.ndim = 2;
    for (int k = 0; k < 2; ++k) {
        view.region.start[k] = region[k];
        view.region.end[k] = region[k] + region[2 + k];
    }
    return view;
}

nvimgcodecImageInfo_t image_of(int32_t height, int32_t width, uint8_t* pixels) {
    auto info = MADE(ImageInfo, IMAGE_INFO);
    info.color_spec = NVIMGCODEC_COLORSPEC_SRGB;
    info.sample_format = NVIMGCODEC_SAMPLEFORMAT_I_RGB;
    info.orientation = MADE(Orientation, ORIENTATION);
    info.num_planes = 1;  // interleaved: one plane of three channels
    auto& plane = info.plane_info[0] = MADE(ImagePlaneInfo, IMAGE_PLANE_INFO);
    plane.height = uint32_t(height);
    plane.width = uint32_t(width);
    plane.row_stride = size_t(width) * 3;
    plane.num_channels = 3;
    plane.sample_type = NVIMGCODEC_SAMPLE_DATA_TYPE_UINT8;
    info.buffer = pixels;
    info.buffer_kind = NVIMGCODEC_IMAGE_BUFFER_KIND_STRIDED_HOST;
    return info;
}

// One thread's decoder: threads that shared an instance would wait for each other. Handles that are not null are
// used again by the calls that take them.
class Decoder {
  public:
    Decoder() = default;
    Decoder(const Decoder&) = delete;
    Decoder& operator=(const Decoder&) = delete;
    ~Decoder() {
        if (image_) nv.ImageDestroy(image_);
        for (auto stream : {part_, stream_})
            if (stream) nv.CodeStreamDestroy(stream);
        if (decoder_) nv.DecoderDestroy(decoder_);
        if (extension_) nv.ExtensionDestroy(extension_);
        if (instance_) nv.InstanceDestroy(instance_);
    }

    bool start() {
        if (!nv.libjpeg_turbo) return false;  // nothing is open
        auto create = MADE(InstanceCreateInfo, INSTANCE_CREATE_INFO);
        create.load_builtin_modules = 1;  // the JPEG parser; of the extensions, only libjpeg_turbo is loaded
        auto extension = MADE(ExtensionDesc, EXTENSION_DESC);
        if (nv.InstanceCreate(&instance_, &create) || nv.libjpeg_turbo(&extension) ||
            nv.ExtensionCreate(instance_, &extension_, &extension))
            return false;
        auto backend = MADE(Backend, BACKEND);
        backend.kind = NVIMGCODEC_BACKEND_KIND_CPU_ONLY;
        backend.params = MADE(BackendParams, BACKEND_PARAMS);
        backend.params.load_hint = 1.0f;
        backend.params.load_hint_policy = NVIMGCODEC_LOAD_HINT_POLICY_FIXED;
        auto execution = MADE(ExecutionParams, EXECUTION_PARAMS);
        execution.max_num_cpu_threads = 1;  // the calling one; no thread is started
        execution.device_id = NVIMGCODEC_DEVICE_CPU_ONLY;
        execution.num_backends = 1;
        execution.backends = &backend;
        return !nv.DecoderCreate(instance_, &decoder_, &execution, "");
    }

    bool decode(const uint8_t* data, int64_t bytes, const int32_t* region, uint8_t* out) {
        const auto view = view_of(region);
        const auto info = image_of(region[2], region[3], out);
        const auto params = MADE(DecodeParams, DECODE_PARAMS);  // apply_exif_orientation: 0
        nvimgcodecFuture_t future = nullptr;
        if (nv.CodeStreamCreateFromHostMem(instance_, &stream_, data, size_t(bytes), nullptr) ||
            nv.CodeStreamGetSubCodeStream(stream_, &part_, &view) || nv.ImageCreate(instance_, &image_, &info) ||
            nv.DecoderDecode(decoder_, &part_, &image_, 1, &params, &future))
            return false;
        nvimgcodecProcessingStatus_t status = 0;
        size_t count = 1;
        const bool done = !nv.FutureWaitForAll(future) && !nv.FutureGetProcessingStatus(future, &status, &count);
        nv.FutureDestroy(future);
        return done && status == NVIMGCODEC_PROCESSING_STATUS_SUCCESS;
    }

  private:
    nvimgcodecInstance_t instance_ = nullptr;
    nvimgcodecExtension_t extension_ = nullptr;
    nvimgcodecDecoder_t decoder_ = nullptr;
    nvimgcodecCodeStream_t stream_ = nullptr, part_ = nullptr;
    nvimgcodecImage_t image_ = nullptr;
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
    void *core = dlopen(library, RTLD_NOW), *module = dlopen(extension, RTLD_NOW);
    if (!core || !module) return 1;
#define LOAD(name) \
    if (!(nv.name = (decltype(nv.name))dlsym(core, "nvimgcodec" #name))) return 2;
    FUNCTIONS(LOAD)
#undef LOAD
    nv.libjpeg_turbo = (nvimgcodecExtensionModuleEntryFunc_t)dlsym(module, "nvimgcodecExtensionModuleEntry");
    if (!nv.libjpeg_turbo || pthread_atfork(nullptr, nullptr, [] { ++forks; })) return 3;
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
