// The CPU engine: one sample, on the thread that decoded it. Same weights and same rounding as render.cu, in an order
// that suits a CPU.
#pragma once
#include "adjust.h"
#include "passes.h"
#include "share.h"
#include "warp.h"

namespace engine {

using passes::Image;
using rows::Rows;
using simd::SLACK;
using simd::STRIP;

// What one thread keeps from sample to sample.
struct Scratch {
    Rows y, x;
    Buffer grayscale, middle, columns, lines, strip, whole, memory;
};

// One sample while it is rendered, four lines of the output at a time.
class Rendering {
  public:
    Rendering(const Work& work, int64_t sample, Scratch& scratch)
        : work_(work), record_(work.records[sample]), scratch_(scratch), y_(scratch.y), x_(scratch.x) {
        const Record& record = record_;
        if (work.adjustments) {
            adjustments_ = work.adjustments + work.adjusted_at[sample];
            adjustment_count_ = work.adjusted_at[sample + 1] - work.adjusted_at[sample];
        }
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

    template <class Out>
    void run(const Image& source, const Out* table, Out* out) {
        out += record_.output;
        if (!adjustment_count_)
            return each_line(source, [&](int y, const uint8_t* line) { emit(y, line, table, out); });
        const adjust::Picture whole = picture(source);
        for (int y = 0; y < y_.count; ++y) emit(y, whole.pixels + y * whole.width * 3, table, out);
    }

    // The whole picture, adjusted, in the thread's own memory: it may be written behind.
    adjust::Picture picture(const Image& source) {
        const adjust::Picture made = {scratch_.whole.room(int64_t(y_.count) * x_.count * 3 + SLACK), y_.count, x_.count};
        const int64_t pitch = made.width * 3;
        each_line(source, [&](int y, const uint8_t* line) { std::memcpy(made.pixels + y * pitch, line, size_t(pitch)); });
        adjust_all(made);
        return made;
    }

  private:
    // Colors between warps are adjusted together.
    void adjust_all(const adjust::Picture& picture) {
        const Adjustment *step = adjustments_, *end = adjustments_ + adjustment_count_;
        for (;; ++step) {
            const Adjustment* warp = std::find_if(step, end, [](const Adjustment& one) { return one.kind == WARPED; });
            adjust::apply(picture, step, warp - step, scratch_.memory);
            if (warp == end) return;
            warp::apply(work_.warps[int64_t(warp->value)], picture, scratch_.memory);
            step = warp;
        }
    }

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

    template <class Out>
    void emit(int y, const uint8_t* line, const Out* table, Out* out) const {
        const int64_t width = x_.count, plane = width * y_.count;
        Out* to = out + y * width * (work_.channels_last ? work_.channels : 1);
        passes::emit(line, width, table, work_.channels, plane, work_.channels_last, to);
    }

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

    const Work& work_;
    const Record& record_;
    Scratch& scratch_;
    Rows &y_, &x_;
    bool blank_, across_first_, gray_first_, gray_last_;
    int64_t line_pitch_;
    uint8_t* lines_;
    const Adjustment* adjustments_ = nullptr;
    int64_t adjustment_count_ = 0;
};

// A sample's pixels, RGB rows of its region, into its place in the output.
inline void render(const Work& work, int64_t sample, const Image& source, Scratch& scratch) {
    Rendering rendering(work, sample, scratch);
    switch (work.element_bytes) {
        case 1: return rendering.run(source, (const uint8_t*)work.table, (uint8_t*)work.out);
        case 2: return rendering.run(source, (const uint16_t*)work.table, (uint16_t*)work.out);
        default: return rendering.run(source, (const uint32_t*)work.table, (uint32_t*)work.out);
    }
}

// The same as bytes: packed RGB rows.
inline void render_bytes(const Work& work, int64_t sample, const Image& source, Scratch& scratch, uint8_t* out) {
    const adjust::Picture made = Rendering(work, sample, scratch).picture(source);
    std::memcpy(out, made.pixels, size_t(made.bytes()));
}

}  // namespace engine
