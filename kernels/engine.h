// The CPU engine: one sample, on the thread that decoded it. Same weights and same rounding as render.cu, in an order
// that suits a CPU.
#pragma once
#include "adjust.h"
#include "checks.h"
#include "gauss.h"
#include "passes.h"
#include "share.h"
#include "tensors.h"
#include "warp.h"

namespace engine {

using adjust::Picture;
using passes::Image;
using rows::Rows;
using simd::SLACK;
using simd::STRIP;

// What one thread keeps from record to record.
struct Scratch {
    Rows y, x;
    Buffer grayscale, middle, columns, lines, strip;
};

// And from sample to sample: what is made of a whole picture goes from one buffer to the other.
struct Memory {
    Scratch first, later;  // of samples' first records, and of those of later stages: each keeps its rows of weights
    Buffer pictures[2], adjusting, original, sums;
};

// A picture of so many pixels in a buffer, where it may be written behind.
inline Picture picture_in(Buffer& buffer, int64_t height, int64_t width) {
    return {buffer.room(height * width * 3 + SLACK), height, width};
}

// One record while it is rendered, four lines of the output at a time.
class Rendering {
  public:
    Rendering(const Record& record, Scratch& scratch) : record_(record), scratch_(scratch), y_(scratch.y), x_(scratch.x) {
        y_.make(record.y, record.filter);
        x_.make(record.x, record.filter);
        blank_ = y_.end == 0 || x_.end == 0;
        // where nothing is rounded between them, the passes may change places, and gray may wait for the end
        across_first_ = !x_.plain && (!record.vertical_first || y_.plain);
        gray_first_ = record.grayscale & GRAYSCALE_BEFORE_RESIZE && !(x_.plain && y_.plain);
        gray_last_ = record.grayscale && !(gray_first_ && !(record.grayscale & GRAYSCALE_AFTER_RESIZE));
        line_pitch_ = passes::pitch_of(x_.count);
        lines_ = scratch.lines.room(STRIP * line_pitch_ + SLACK);
    }

    // The lines, RGB: take(y, line).
    template <class Take>
    void each_line(Image source, Take take) {
        if (!blank_ && gray_first_) source = in_grayscale(source);
        if (!blank_ && across_first_) source = all_across(source);
        for (int y = 0; y < y_.count; y += STRIP) {
            const uint8_t* lines[STRIP] = {};
            const int used = std::min(STRIP, y_.count - y);
            if (!blank_) make_lines(source, y, used, lines);
            for (int r = 0; r < used; ++r) take(y + r, finish(lines[r], lines_ + r * line_pitch_));
        }
    }

    // The whole picture, in a buffer.
    Picture picture(const Image& source, Buffer& buffer) {
        const Picture made = picture_in(buffer, y_.count, x_.count);
        const int64_t pitch = made.width * 3;
        each_line(source, [&](int y, const uint8_t* line) { std::memcpy(made.pixels + y * pitch, line, size_t(pitch)); });
        return made;
    }

  private:
    Image in_grayscale(const Image& source) {
        const int64_t width = record_.x.span, height = record_.y.span, pitch = width * 3;
        uint8_t* out = scratch_.grayscale.room(height * pitch + SLACK);
        for (int64_t y = 0; y < height; ++y) passes::to_grayscale(source.row(y), width, source.limit, out + y * pitch);
        return {out, pitch, out + height * pitch + SLACK, 0};
    }

    // The horizontal pass over every row that the vertical one reads.
    Image all_across(const Image& source) {
        const int64_t height = (y_.end - y_.begin + STRIP - 1) / STRIP * STRIP;
        uint8_t* out = scratch_.middle.room(height * line_pitch_ + SLACK);
        for (int y = y_.begin; y < y_.end; y += STRIP) {
            const uint8_t* from[STRIP];
            uint8_t* to[STRIP];
            for (int r = 0; r < STRIP; ++r) {
                from[r] = source.row(std::min(y + r, y_.end - 1));
                to[r] = out + (y - y_.begin + r) * line_pitch_;
            }
            passes::across(from, source.limit, x_, scratch_.strip, to);
        }
        return {out, line_pitch_, out + height * line_pitch_ + SLACK, y_.begin};
    }

    // Lines y ... y + used - 1 of the output; null: padding.
    void make_lines(const Image& source, int y, int used, const uint8_t** lines) {
        const int64_t bytes = int64_t(across_first_ ? x_.count : record_.x.span) * 3, pitch = bytes + SLACK;
        uint8_t* columns = scratch_.columns.room(STRIP * pitch);
        for (int r = 0; r < used; ++r) lines[r] = down(source, y + r, bytes, columns + r * pitch);
        if (across_first_) return;
        if (!x_.plain) {
            const uint8_t* from[STRIP];
            uint8_t* to[STRIP];
            for (int r = 0; r < STRIP; ++r) {
                from[r] = columns + r * pitch;
                to[r] = lines_ + r * line_pitch_;
                if (lines[r]) lines[r] = to[r];
            }
            return passes::across(from, columns + STRIP * pitch, x_, scratch_.strip, to);
        }
        const uint8_t* limit = y_.plain ? source.limit : columns + STRIP * pitch;
        for (int r = 0; r < used; ++r)
            if (lines[r]) lines[r] = pick(lines[r], limit, lines_ + r * line_pitch_);
    }

    const uint8_t* down(const Image& source, int y, int64_t bytes, uint8_t* out) const {
        const int first = y_.first(y);
        if (first < 0) return nullptr;
        if (y_.plain) return source.row(first);
        passes::down(source, first, y_.weights(y), y_.n(y), bytes, out);
        return out;
    }

    const uint8_t* pick(const uint8_t* source, const uint8_t* limit, uint8_t* out) const {
        if (x_.straight && !x_.padded()) return source + int64_t(x_.begin) * 3;
        passes::pick(source, limit, x_, out);
        return out;
    }

    // What follows the resize in one line: grayscale, and padding on both sides.
    const uint8_t* finish(const uint8_t* line, uint8_t* out) const {
        if (line && !gray_last_ && !x_.padded()) return line;
        if (!line) {
            passes::paint(record_.fill, 0, x_.count, out);
            return out;
        }
        const int64_t begin = int64_t(x_.shown_begin) * 3, end = int64_t(x_.shown_end) * 3;
        if (gray_last_)
            passes::to_grayscale(line + begin, (end - begin) / 3, line + end, out + begin);
        else if (line != out)
            std::memcpy(out + begin, line + begin, size_t(end - begin));
        passes::paint(record_.fill, 0, x_.shown_begin, out);
        passes::paint(record_.fill, x_.shown_end, x_.count, out);
        return out;
    }

    const Record& record_;
    Scratch& scratch_;
    Rows &y_, &x_;
    bool blank_, across_first_, gray_first_, gray_last_;
    int64_t line_pitch_;
    uint8_t* lines_;
};

// The whole picture of a sample, in the thread's own memory: made by its first record, then, where it has adjustments,
// step by step.
class Developing {
  public:
    Developing(const Work& work, int64_t sample, Memory& memory) : work_(work), sample_(sample), memory_(memory) {}

    Picture picture(const Image& source) {
        picture_ = Rendering(work_.records[sample_], memory_.first).picture(source, memory_.pictures[0]);
        if (!checks::is_adjusted(work_, sample_)) return picture_;
        const Adjustment* step = work_.adjustments + work_.adjusted_at[sample_];
        const Adjustment* end = work_.adjustments + work_.adjusted_at[sample_ + 1];
        for (;; ++step) {  // colors between moves are adjusted together
            const Adjustment* move = std::find_if_not(step, end, adjust::is_color);
            adjust::apply(picture_, step, move - step, memory_.adjusting);
            if (move == end) return picture_;
            take(*move);
            step = move;
        }
    }

  private:
    void take(const Adjustment& step) {
        switch (step.kind) {
            case WARPED: picture_ = warped(work_.warps[int64_t(step.value)], other()); break;
            case FRAMED: picture_ = framed(work_.frames[int64_t(step.value)], other()); break;
            case GRIDDED: picture_ = gridded(work_.grids[int64_t(step.value)], other()); break;
            case BLURRED: gauss::apply(work_.kernels[int64_t(step.value)], picture_, memory_.adjusting); break;
            case MIXING:
                sums_ = reinterpret_cast<float*>(memory_.sums.room(picture_.bytes() * int64_t(sizeof(float))));
                original_ = picture_in(memory_.original, picture_.height, picture_.width);
                std::memcpy(original_.pixels, picture_.pixels, size_t(picture_.bytes()));
                tensors::begin(picture_, step.value, sums_);
                break;
            case ADDED:
                tensors::add(picture_, step.value, sums_);
                std::memcpy(picture_.pixels, original_.pixels, size_t(picture_.bytes()));
                break;
            case MIXED: tensors::end(sums_, picture_); break;
            default: tensors::apply(picture_, step, memory_.adjusting);
        }
    }

    // The buffer that the picture does not lie in.
    Buffer& other() {
        current_ ^= 1;
        return memory_.pictures[current_];
    }

    Picture warped(const Warp& warp, Buffer& buffer) {
        const Picture made = picture_in(buffer, warp.height, warp.width);
        warp::apply(warp, picture_, made, memory_.adjusting);
        return made;
    }

    Picture gridded(const Grid& grid, Buffer& buffer) {
        const Picture made = picture_in(buffer, picture_.height, picture_.width);
        tensors::Sampling(grid, picture_, made).run();
        return made;
    }

    Picture framed(const Frame& frame, Buffer& buffer) {
        const int32_t size[2] = {int32_t(picture_.height), int32_t(picture_.width)};
        const Image source = passes::part(picture_.pixels, size, frame.region, 3);
        return Rendering(frame.record, memory_.later).picture(source, buffer);
    }

    const Work& work_;
    int64_t sample_;
    Memory& memory_;
    int current_ = 0;  // the buffer that the picture lies in
    Picture picture_ = {}, original_ = {};
    float* sums_ = nullptr;
};

// The rectangles of a sample that is rendered at such a size, one over the other.
template <class Out>
void erase(const Work& work, int64_t sample, int64_t height, int64_t width, Out* out) {
    if (!work.rectangles) return;
    const Fills<Out> fills = {static_cast<const Out*>(work.fills), work.fill_columns};
    const Canvas<Out> canvas = {out, int(height), int(width), work.channels, work.channels_last};
    for (int64_t i = work.erased_at[sample]; i < work.erased_at[sample + 1]; ++i)
        ::erase(canvas, work.rectangles[i], fills, 0, 1);
}

template <class Out>
void render(const Work& work, int64_t sample, const Image& source, Memory& memory, const Out* table, Out* out) {
    const auto emit = [&](int64_t y, const uint8_t* line, int64_t height, int64_t width) {
        Out* to = out + y * width * (work.channels_last ? work.channels : 1);
        passes::emit(line, width, table, work.channels, width * height, work.channels_last, to);
    };
    const Record& record = work.records[sample];
    out += record.output;
    if (checks::is_adjusted(work, sample)) {
        const Picture made = Developing(work, sample, memory).picture(source);
        for (int64_t y = 0; y < made.height; ++y) emit(y, made.pixels + y * made.width * 3, made.height, made.width);
        erase(work, sample, made.height, made.width, out);
    } else {
        const auto take = [&](int y, const uint8_t* line) { emit(y, line, record.y.extent, record.x.extent); };
        Rendering(record, memory.first).each_line(source, take);
        erase(work, sample, record.y.extent, record.x.extent, out);
    }
}

// A sample's pixels, RGB rows of its region, into its place in the output.
inline void render(const Work& work, int64_t sample, const Image& source, Memory& memory) {
    switch (work.element_bytes) {
        case 1: return render(work, sample, source, memory, (const uint8_t*)work.table, (uint8_t*)work.out);
        case 2: return render(work, sample, source, memory, (const uint16_t*)work.table, (uint16_t*)work.out);
        default: return render(work, sample, source, memory, (const uint32_t*)work.table, (uint32_t*)work.out);
    }
}

// The same as bytes: packed RGB rows.
inline void render_bytes(const Work& work, int64_t sample, const Image& source, Memory& memory, uint8_t* out) {
    const Picture made = Developing(work, sample, memory).picture(source);
    std::memcpy(out, made.pixels, size_t(made.bytes()));
}

}  // namespace engine
