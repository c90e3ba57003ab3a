// erase: rectangles of a rendered batch, one sample's after the other, each over those before.
//
// A block makes every so many rows of one sample, so that where rectangles overlap the same block writes twice.
#include "erase.cuh"

template <class Out>
GPULOAD_FN void erase(const Record* records, const Rectangle* rectangles, const int64_t* begins, Fills<Out> fills,
                      int channels, int channels_last, Out* out) {
    const Record& record = records[block_x()];
    const Canvas<Out> canvas = {out + record.output, record.y.extent, record.x.extent, channels, channels_last};
    for (int64_t i = begins[block_x()]; i < begins[block_x() + 1]; ++i) {
        erase(canvas, rectangles[i], fills, block_y(), blocks_y());
        barrier();
    }
}

// As of render: the output type is known by its width alone.
GPULOAD_KERNEL erase_1(const Record* records, const Rectangle* rectangles, const int64_t* begins, const uint8_t* fills,
                       int64_t columns, int channels, int channels_last, uint8_t* out) {
    erase(records, rectangles, begins, Fills<uint8_t>{fills, columns}, channels, channels_last, out);
}
GPULOAD_KERNEL erase_2(const Record* records, const Rectangle* rectangles, const int64_t* begins,
                       const uint16_t* fills, int64_t columns, int channels, int channels_last, uint16_t* out) {
    erase(records, rectangles, begins, Fills<uint16_t>{fills, columns}, channels, channels_last, out);
}
GPULOAD_KERNEL erase_4(const Record* records, const Rectangle* rectangles, const int64_t* begins,
                       const uint32_t* fills, int64_t columns, int channels, int channels_last, uint32_t* out) {
    erase(records, rectangles, begins, Fills<uint32_t>{fills, columns}, channels, channels_last, out);
}
