// nvImageCodec as far as kernels/codec.h calls it, for tests: its "GPU" is a function of the test's. Structs that are
// not as its header says, calls in a wrong order and handles that were destroyed end the process.
#include <nvimgcodec.h>

#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

#define EXPORT extern "C" __attribute__((visibility("default")))
#define MUST(condition) \
    if (!(condition)) { std::fprintf(stderr, "fake nvImageCodec: not %s\n", #condition); std::abort(); }

namespace {

// What is to become of one image: encoded bytes, region (top, left, height, width), where its pixels go, the stream.
typedef nvimgcodecProcessingStatus_t (*Decodes)(const uint8_t* data, int64_t bytes, const int32_t* region, uint8_t* out,
                                                void* stream);
Decodes decodes = nullptr;
int late = 0, starts = 1, live = 0;

template <class T>
void check(const T* s, nvimgcodecStructureType_t type) {
    MUST(s->struct_type == type && s->struct_size == sizeof(T));
}

}  // namespace

struct nvimgcodecInstance { int unused; };
struct nvimgcodecExtension { int unused; };
struct nvimgcodecDecoder { int unused; };
struct nvimgcodecCodeStream {
    const uint8_t* data;
    size_t bytes;
    int32_t region[4];
};
struct nvimgcodecImage { nvimgcodecImageInfo_t info; };
struct nvimgcodecFuture {
    std::vector<nvimgcodecProcessingStatus_t> status;
    std::thread work;
    bool is_done = false;
};

namespace {

template <class T>
nvimgcodecStatus_t make(T** handle) {
    live += *handle == nullptr;
    if (!*handle) *handle = new T();
    return NVIMGCODEC_STATUS_SUCCESS;
}
template <class T>
nvimgcodecStatus_t end(T* handle) {
    MUST(handle);
    --live;
    delete handle;
    return NVIMGCODEC_STATUS_SUCCESS;
}

}  // namespace

// The test's own: who decodes, whether the work is done behind the caller's back, and whether a decoder starts.
EXPORT void fake_set(Decodes function, int is_late, int it_starts) {
    decodes = function;
    late = is_late;
    starts = it_starts;
}
EXPORT int fake_live() { return live; }  // handles

EXPORT nvimgcodecStatus_t nvimgcodecExtensionModuleEntry(nvimgcodecExtensionDesc_t* desc) {
    check(desc, NVIMGCODEC_STRUCTURE_TYPE_EXTENSION_DESC);
    return NVIMGCODEC_STATUS_SUCCESS;
}
EXPORT nvimgcodecStatus_t nvimgcodecInstanceCreate(nvimgcodecInstance_t* made, const nvimgcodecInstanceCreateInfo_t* info) {
    check(info, NVIMGCODEC_STRUCTURE_TYPE_INSTANCE_CREATE_INFO);
    return make(made);
}
EXPORT nvimgcodecStatus_t nvimgcodecInstanceDestroy(nvimgcodecInstance_t handle) { return end(handle); }
EXPORT nvimgcodecStatus_t nvimgcodecExtensionCreate(nvimgcodecInstance_t, nvimgcodecExtension_t* made,
                                                    nvimgcodecExtensionDesc_t*) {
    return make(made);
}
EXPORT nvimgcodecStatus_t nvimgcodecExtensionDestroy(nvimgcodecExtension_t handle) { return end(handle); }
EXPORT nvimgcodecStatus_t nvimgcodecDecoderCreate(nvimgcodecInstance_t, nvimgcodecDecoder_t* made,
                                                  const nvimgcodecExecutionParams_t* execution, const char* options) {
    check(execution, NVIMGCODEC_STRUCTURE_TYPE_EXECUTION_PARAMS);
    MUST(options && execution->device_id >= 0 && execution->max_num_cpu_threads > 0 && execution->num_backends > 0);
    for (int i = 0; i < execution->num_backends; ++i) {
        check(&execution->backends[i], NVIMGCODEC_STRUCTURE_TYPE_BACKEND);
        check(&execution->backends[i].params, NVIMGCODEC_STRUCTURE_TYPE_BACKEND_PARAMS);
        MUST(execution->backends[i].kind != NVIMGCODEC_BACKEND_KIND_CPU_ONLY);
    }
    return starts ? make(made) : NVIMGCODEC_STATUS_ARCH_MISMATCH;
}
EXPORT nvimgcodecStatus_t nvimgcodecDecoderDestroy(nvimgcodecDecoder_t handle) { return end(handle); }

EXPORT nvimgcodecStatus_t nvimgcodecCodeStreamCreateFromHostMem(nvimgcodecInstance_t, nvimgcodecCodeStream_t* made,
                                                                const unsigned char* data, size_t bytes,
                                                                const nvimgcodecCodeStreamView_t*) {
    if (bytes == 0) return NVIMGCODEC_STATUS_BAD_CODESTREAM;
    make(made);
    (*made)->data = data;
    (*made)->bytes = bytes;
    return NVIMGCODEC_STATUS_SUCCESS;
}
EXPORT nvimgcodecStatus_t nvimgcodecCodeStreamGetSubCodeStream(nvimgcodecCodeStream_t whole, nvimgcodecCodeStream_t* made,
                                                               const nvimgcodecCodeStreamView_t* view) {
    check(view, NVIMGCODEC_STRUCTURE_TYPE_CODE_STREAM_VIEW);
    check(&view->region, NVIMGCODEC_STRUCTURE_TYPE_REGION);
    MUST(view->region.ndim == 2);
    make(made);
    const auto& region = view->region;
    **made = {whole->data, whole->bytes, {region.start[0], region.start[1], region.end[0] - region.start[0],
                                          region.end[1] - region.start[1]}};
    return NVIMGCODEC_STATUS_SUCCESS;
}
EXPORT nvimgcodecStatus_t nvimgcodecCodeStreamDestroy(nvimgcodecCodeStream_t handle) { return end(handle); }

EXPORT nvimgcodecStatus_t nvimgcodecImageCreate(nvimgcodecInstance_t, nvimgcodecImage_t* made,
                                                const nvimgcodecImageInfo_t* info) {
    check(info, NVIMGCODEC_STRUCTURE_TYPE_IMAGE_INFO);
    check(&info->orientation, NVIMGCODEC_STRUCTURE_TYPE_ORIENTATION);
    check(&info->plane_info[0], NVIMGCODEC_STRUCTURE_TYPE_IMAGE_PLANE_INFO);
    make(made);
    (*made)->info = *info;
    return NVIMGCODEC_STATUS_SUCCESS;
}
EXPORT nvimgcodecStatus_t nvimgcodecImageDestroy(nvimgcodecImage_t handle) { return end(handle); }

EXPORT nvimgcodecStatus_t nvimgcodecDecoderDecode(nvimgcodecDecoder_t decoder, const nvimgcodecCodeStream_t* streams,
                                                  const nvimgcodecImage_t* images, int count,
                                                  const nvimgcodecDecodeParams_t* params, nvimgcodecFuture_t* future) {
    check(params, NVIMGCODEC_STRUCTURE_TYPE_DECODE_PARAMS);
    MUST(decoder && count > 0 && !params->apply_exif_orientation);
    auto* made = *future = new nvimgcodecFuture();
    ++live;
    made->status.assign(size_t(count), NVIMGCODEC_PROCESSING_STATUS_UNKNOWN);
    std::vector<nvimgcodecCodeStream_t> from(streams, streams + count);
    std::vector<nvimgcodecImage_t> to(images, images + count);
    auto work = [=] {
        for (int i = 0; i < count; ++i) {
            const auto &info = to[size_t(i)]->info, *image = &info;
            const auto& plane = image->plane_info[0];
            const int32_t* region = from[size_t(i)]->region;
            MUST(info.buffer_kind == NVIMGCODEC_IMAGE_BUFFER_KIND_STRIDED_DEVICE && info.num_planes == 1);
            MUST(plane.num_channels == 3 && plane.row_stride == size_t(plane.width) * 3);
            MUST(int32_t(plane.height) == region[2] && int32_t(plane.width) == region[3]);
            made->status[size_t(i)] = decodes(from[size_t(i)]->data, int64_t(from[size_t(i)]->bytes), region,
                                              static_cast<uint8_t*>(info.buffer), info.cuda_stream);
        }
        made->is_done = true;
    };
    if (late) made->work = std::thread(work);
    else work();
    return NVIMGCODEC_STATUS_SUCCESS;
}
EXPORT nvimgcodecStatus_t nvimgcodecFutureWaitForAll(nvimgcodecFuture_t future) {
    if (future->work.joinable()) future->work.join();
    return NVIMGCODEC_STATUS_SUCCESS;
}
EXPORT nvimgcodecStatus_t nvimgcodecFutureGetProcessingStatus(nvimgcodecFuture_t future,
                                                              nvimgcodecProcessingStatus_t* status, size_t* count) {
    MUST(!future->work.joinable() && future->is_done && *count == future->status.size());
    for (size_t i = 0; i < *count; ++i) status[i] = future->status[i];
    return NVIMGCODEC_STATUS_SUCCESS;
}
EXPORT nvimgcodecStatus_t nvimgcodecFutureDestroy(nvimgcodecFuture_t future) {
    MUST(!future->work.joinable());
    return end(future);
}
