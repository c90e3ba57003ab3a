// nvImageCodec's C API: its functions, found when it is opened, and what its structs are filled with.
#pragma once
#include <dlfcn.h>
#include <nvimgcodec.h>

#include <cstdint>
#include <cstring>

namespace codec {

#define FUNCTIONS(F)                                                                                              \
    F(InstanceCreate) F(InstanceDestroy) F(ExtensionCreate) F(ExtensionDestroy) F(DecoderCreate) F(DecoderDestroy) \
    F(CodeStreamCreateFromHostMem) F(CodeStreamGetSubCodeStream) F(CodeStreamDestroy) F(ImageCreate)              \
    F(ImageDestroy) F(DecoderDecode) F(FutureWaitForAll) F(FutureGetProcessingStatus) F(FutureDestroy)
struct Library {
#define DECLARE(name) decltype(&nvimgcodec##name) name = nullptr;
    FUNCTIONS(DECLARE)
#undef DECLARE
    nvimgcodecExtensionModuleEntryFunc_t extension = nullptr;  // null: nothing is open

    // core: libnvimgcodec.so; module: an extension. 0: good, else which step failed.
    int open(const char* core, const char* module) {
        void *functions = dlopen(core, RTLD_NOW), *decoders = dlopen(module, RTLD_NOW);
        if (!functions || !decoders) return 1;
#define LOAD(name) \
    if (!(name = (decltype(name))dlsym(functions, "nvimgcodec" #name))) return 2;
        FUNCTIONS(LOAD)
#undef LOAD
        extension = (nvimgcodecExtensionModuleEntryFunc_t)dlsym(decoders, "nvimgcodecExtensionModuleEntry");
        return extension ? 0 : 3;
    }
};
#undef FUNCTIONS

template <class T>
T made(nvimgcodecStructureType_t type) {  // every struct, nested ones too, names its type and size
    T s;
    std::memset(&s, 0, sizeof s);
    s.struct_type = type;
    s.struct_size = sizeof s;
    return s;
}
#define MADE(T, TYPE) codec::made<nvimgcodec##T##_t>(NVIMGCODEC_STRUCTURE_TYPE_##TYPE)

// region: top, left, height, width.
inline nvimgcodecCodeStreamView_t view_of(const int32_t* region) {
    auto view = MADE(CodeStreamView, CODE_STREAM_VIEW);
    view.region = MADE(Region, REGION);
    view.region.ndim = 2;
    for (int k = 0; k < 2; ++k) {
        view.region.start[k] = region[k];
        view.region.end[k] = region[k] + region[2 + k];
    }
    return view;
}

// Packed RGB rows of a region, in memory of the host's; `buffer_kind` and `cuda_stream` say otherwise.
inline nvimgcodecImageInfo_t image_of(const int32_t* region, uint8_t* pixels) {
    auto info = MADE(ImageInfo, IMAGE_INFO);
    info.color_spec = NVIMGCODEC_COLORSPEC_SRGB;
    info.sample_format = NVIMGCODEC_SAMPLEFORMAT_I_RGB;
    info.orientation = MADE(Orientation, ORIENTATION);
    info.num_planes = 1;  // interleaved: one plane of three channels
    auto& plane = info.plane_info[0] = MADE(ImagePlaneInfo, IMAGE_PLANE_INFO);
    plane.height = uint32_t(region[2]);
    plane.width = uint32_t(region[3]);
    plane.row_stride = size_t(region[3]) * 3;
    plane.num_channels = 3;
    plane.sample_type = NVIMGCODEC_SAMPLE_DATA_TYPE_UINT8;
    info.buffer = pixels;
    info.buffer_kind = NVIMGCODEC_IMAGE_BUFFER_KIND_STRIDED_HOST;
    return info;
}

inline nvimgcodecBackend_t backend_of(nvimgcodecBackendKind_t kind) {
    auto backend = MADE(Backend, BACKEND);
    backend.kind = kind;
    backend.params = MADE(BackendParams, BACKEND_PARAMS);
    backend.params.load_hint = 1.0f;
    backend.params.load_hint_policy = NVIMGCODEC_LOAD_HINT_POLICY_FIXED;
    return backend;
}

// An instance with one extension, and its decoder.
class Opened {
  public:
    explicit Opened(const Library& library) : nv(library) {}
    Opened(const Opened&) = delete;
    Opened& operator=(const Opened&) = delete;
    ~Opened() {
        if (decoder) nv.DecoderDestroy(decoder);
        if (extension_) nv.ExtensionDestroy(extension_);
        if (instance) nv.InstanceDestroy(instance);
    }

    bool start(const nvimgcodecExecutionParams_t& execution, const char* options) {
        if (!nv.extension) return false;  // nothing is open
        auto create = MADE(InstanceCreateInfo, INSTANCE_CREATE_INFO);
        create.load_builtin_modules = 1;  // the JPEG parser; of the extensions, only the one
        auto extension = MADE(ExtensionDesc, EXTENSION_DESC);
        return !nv.InstanceCreate(&instance, &create) && !nv.extension(&extension) &&
               !nv.ExtensionCreate(instance, &extension_, &extension) &&
               !nv.DecoderCreate(instance, &decoder, &execution, options);
    }

    const Library nv;
    nvimgcodecInstance_t instance = nullptr;
    nvimgcodecDecoder_t decoder = nullptr;

  private:
    nvimgcodecExtension_t extension_ = nullptr;
};

// What one image is decoded from and to. Handles that are not null are used again by the calls that take them.
class Handles {
  public:
    explicit Handles(const Opened& opened) : opened_(&opened) {}
    Handles(const Handles&) = delete;
    Handles& operator=(const Handles&) = delete;
    ~Handles() {
        const Library& nv = opened_->nv;
        if (image) nv.ImageDestroy(image);
        for (auto stream : {part, stream_})
            if (stream) nv.CodeStreamDestroy(stream);
    }

    bool set(const uint8_t* data, int64_t bytes, const int32_t* region, const nvimgcodecImageInfo_t& info) {
        const Library& nv = opened_->nv;
        const auto view = view_of(region);
        return !nv.CodeStreamCreateFromHostMem(opened_->instance, &stream_, data, size_t(bytes), nullptr) &&
               !nv.CodeStreamGetSubCodeStream(stream_, &part, &view) &&
               !nv.ImageCreate(opened_->instance, &image, &info);
    }

    nvimgcodecCodeStream_t part = nullptr;
    nvimgcodecImage_t image = nullptr;

  private:
    const Opened* opened_;
    nvimgcodecCodeStream_t stream_ = nullptr;
};

// Decode and wait for it; false: nothing is known of any.
inline bool decode(const Opened& opened, const nvimgcodecCodeStream_t* from, const nvimgcodecImage_t* to, int count,
                   nvimgcodecProcessingStatus_t* status) {
    const Library& nv = opened.nv;
    const auto params = MADE(DecodeParams, DECODE_PARAMS);  // apply_exif_orientation: 0
    nvimgcodecFuture_t future = nullptr;
    const bool begun = !nv.DecoderDecode(opened.decoder, from, to, count, &params, &future);
    size_t known = size_t(count);
    const bool done = begun && !nv.FutureWaitForAll(future) && !nv.FutureGetProcessingStatus(future, status, &known);
    if (future) nv.FutureDestroy(future);
    return done;
}

}  // namespace codec
