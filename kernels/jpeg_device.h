// A batch's share of JPEGs, decoded on a GPU by nvImageCodec's nvJPEG: its hardware engine, or CUDA.
#pragma once
#include <memory>
#include <vector>

#include "checks.h"
#include "codec.h"
#include "share.h"

class DeviceDecoder {
  public:
    explicit DeviceDecoder(const codec::Library& library) : opened_(library) {}

    bool start(int device, int threads) {
        const nvimgcodecBackend_t backends[] = {codec::backend_of(NVIMGCODEC_BACKEND_KIND_HW_GPU_ONLY),
                                                codec::backend_of(NVIMGCODEC_BACKEND_KIND_GPU_ONLY),
                                                codec::backend_of(NVIMGCODEC_BACKEND_KIND_HYBRID_CPU_GPU)};
        auto execution = MADE(ExecutionParams, EXECUTION_PARAMS);
        execution.max_num_cpu_threads = threads;
        execution.device_id = device;
        execution.num_backends = 3;
        execution.backends = backends;
        // chroma is interpolated, as libjpeg-turbo does it: without, colors differ by tens of levels at edges
        return opened_.start(execution, ":fancy_upsampling=1 nvjpeg_cuda_decoder:enable_roi_fancy_upsampling=1");
    }

    void decode(const Work& work, const int64_t* slots, int64_t count, uint8_t* device, void* stream, uint8_t* status) {
        from_.clear();
        to_.clear();
        at_.clear();
        for (int64_t k = 0; k < count; ++k) {
            status[k] = work.status[slots[k]];
            if (status[k] != AWAY) continue;
            status[k] = FAILED;
            Handles& handles = this->handles(from_.size());
            if (!set(handles, work, slots[k], device, stream)) continue;
            from_.push_back(handles.part);
            to_.push_back(handles.image);
            at_.push_back(k);
        }
        done_.assign(at_.size(), 0);
        if (at_.empty() || !codec::decode(opened_, from_.data(), to_.data(), int(at_.size()), done_.data())) return;
        for (size_t j = 0; j < at_.size(); ++j)
            if (done_[j] == NVIMGCODEC_PROCESSING_STATUS_SUCCESS) status[at_[j]] = OK;
    }

  private:
    using Handles = codec::Handles;

    Handles& handles(size_t number) {
        while (handles_.size() <= number) handles_.push_back(std::make_unique<Handles>(opened_));
        return *handles_[number];
    }

    static bool set(Handles& handles, const Work& work, int64_t slot, uint8_t* device, void* stream) {
        const int32_t* region = work.regions + 4 * slot;
        auto info = codec::image_of(region, device + work.records[slot].pixels);
        info.buffer_kind = NVIMGCODEC_IMAGE_BUFFER_KIND_STRIDED_DEVICE;
        info.cuda_stream = static_cast<cudaStream_t>(stream);
        const Encoded& file = work.encoded[slot];
        return handles.set(file.data, file.bytes, region, info);
    }

    codec::Opened opened_;  // outlives the handles
    std::vector<std::unique_ptr<Handles>> handles_;
    std::vector<nvimgcodecCodeStream_t> from_;
    std::vector<nvimgcodecImage_t> to_;
    std::vector<int64_t> at_;  // which of the samples they are
    std::vector<nvimgcodecProcessingStatus_t> done_;
};
