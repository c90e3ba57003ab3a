// torchvision's Gaussian blur of a tensor of bytes, bit for bit: each channel's neighbors, in floats, weighted and added
// up row by row, products and sums fused, where the image beyond its edges is mirrored. Whether this machine's torch adds
// in this order, and fuses, is tried out before any of it is used (gpuload/recipes/as_torch.py).
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>

#include "adjust.h"
#include "share.h"

namespace gauss {

using adjust::Picture;

constexpr int TOGETHER = 64;  // values of a row that are summed at once, in registers

inline int64_t mirrored(int64_t at, int64_t length) { return at < 0 ? -at : at < length ? at : 2 * (length - 1) - at; }

class Blurring {
  public:
    Blurring(const Kernel& kernel, const Picture& picture, Buffer& memory)
        : kernel_(kernel), picture_(picture), bytes_(picture.width * 3), beside_(kernel.across / 2), beyond_(kernel.down / 2),
          pitch_(bytes_ + beside_ * 6 + TOGETHER) {
        const int64_t products = int64_t(kernel.across) * kernel.down;
        weights_ = reinterpret_cast<float*>(memory.room((products + kernel.down * pitch_) * int64_t(sizeof(float))));
        lines_ = weights_ + products;
        for (int i = 0; i < kernel.down; ++i)
            for (int k = 0; k < kernel.across; ++k) weights_[i * kernel.across + k] = kernel.y[i] * kernel.x[k];
    }

    // In place: of the rows that those below need, floats are kept.
    void run() {
        int64_t kept = 0;
        for (int64_t y = 0; y < picture_.height; ++y) {
            for (const int64_t end = std::min(y + beyond_ + 1, picture_.height); kept < end; ++kept) keep(kept);
            const float* lines[MOST_KERNEL];
            for (int i = 0; i < kernel_.down; ++i) lines[i] = line(mirrored(y + i - beyond_, picture_.height));
            for (int64_t x = 0; x < bytes_; x += TOGETHER) put(lines, x, picture_.pixels + y * bytes_ + x);
        }
    }

  private:
    float* line(int64_t y) const { return lines_ + y % kernel_.down * pitch_; }

    void keep(int64_t y) const {
        const uint8_t* from = picture_.pixels + y * bytes_;
        float* to = line(y) + beside_ * 3;
        for (int64_t i = 0; i < bytes_; ++i) to[i] = from[i];
        for (int64_t x = 1; x <= beside_; ++x)
            for (int c = 0; c < 3; ++c) {
                to[c - x * 3] = from[x * 3 + c];
                to[bytes_ - 3 + x * 3 + c] = from[bytes_ - 3 - x * 3 + c];
            }
        std::fill_n(to + bytes_ + beside_ * 3, TOGETHER, 0.0f);
    }

    void put(const float* const* lines, int64_t x, uint8_t* to) const {
        float sums[TOGETHER] = {};
        for (int i = 0; i < kernel_.down; ++i)
            for (int k = 0; k < kernel_.across; ++k) {
                const float weight = weights_[i * kernel_.across + k];
                const float* from = lines[i] + x + k * 3;
                for (int n = 0; n < TOGETHER; ++n) sums[n] = std::fma(from[n], weight, sums[n]);
            }
        for (int n = 0, end = int(std::min<int64_t>(TOGETHER, bytes_ - x)); n < end; ++n)
            to[n] = uint8_t(std::nearbyint(std::min(std::max(sums[n], 0.0f), 255.0f)));
    }

    const Kernel& kernel_;
    const Picture& picture_;
    int64_t bytes_, beside_, beyond_, pitch_;
    float *weights_, *lines_;
};

inline void apply(const Kernel& kernel, const Picture& picture, Buffer& memory) {
    Blurring(kernel, picture, memory).run();
}

}  // namespace gauss
