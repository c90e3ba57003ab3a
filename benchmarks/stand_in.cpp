// Decoders that decode nothing, and gpuload's native calls with a clock: what a loader costs beside decoding.
#include <sys/prctl.h>

#include <atomic>
#include <ctime>

#include "share.h"

#define EXPORTED extern "C" __attribute__((visibility("default")))

static std::atomic<int64_t> nanoseconds{0};

static int64_t now() {
    timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return time.tv_sec * 1'000'000'000LL + time.tv_nsec;
}

typedef void (*Call)(const Work*, int64_t first, int64_t count);
static Call real_measure, real_share;

static void timed(Call call, const Work* work, int64_t first, int64_t count) {
    const int64_t start = now();
    call(work, first, count);
    nanoseconds += now() - start;
}

static void sleep_for(int64_t nanoseconds) {
    static thread_local const int exact = prctl(PR_SET_TIMERSLACK, 1);  // Linux adds 50 us else
    (void)exact;
    const timespec pause{nanoseconds / 1'000'000'000, nanoseconds % 1'000'000'000};
    nanosleep(&pause, nullptr);
}

EXPORTED bool sleeps(const uint8_t*, int64_t, const int32_t*, const int32_t*, uint8_t*) {
    sleep_for(400'000);
    return true;
}

EXPORTED bool returns(const uint8_t*, int64_t, const int32_t*, const int32_t*, uint8_t*) { return true; }

EXPORTED void wrap(Call measure, Call share) {
    real_measure = measure;
    real_share = share;
}

EXPORTED void measure(const Work* work, int64_t first, int64_t count) { timed(real_measure, work, first, count); }

EXPORTED void share(const Work* work, int64_t first, int64_t count) { timed(real_share, work, first, count); }

// Shares that touch no file.
EXPORTED void nothing(const Work* work, int64_t first, int64_t count) {
    for (int64_t i = first; i < first + count; ++i) work->status[i] = OK;
}

// The same, away from its thread as long: one pause for all of it.
EXPORTED void away(const Work* work, int64_t first, int64_t count) {
    sleep_for(400'000 * count);
    nothing(work, first, count);
}

// CPU time inside those two on all threads, in nanoseconds.
EXPORTED int64_t inside() { return nanoseconds; }
