// Files, read without waiting for what is no file, into memory that a thread keeps.
#pragma once
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <memory>

#if defined(__SANITIZE_ADDRESS__)
constexpr bool EXACT = true;  // then it sees what reaches one byte too far, or what an earlier sample left
#else
constexpr bool EXACT = false;
#endif

// Memory that grows to the largest need and stays; what was in it is lost where it grows.
class Buffer {
  public:
    uint8_t* room(int64_t bytes) {
        if (EXACT ? bytes != bytes_ : bytes > bytes_) {
            memory_.reset();
            bytes_ = 0;
            const int64_t more = EXACT ? bytes : bytes + bytes / 2;
            memory_.reset(new uint8_t[size_t(more)]);
            bytes_ = more;
        }
        return memory_.get();
    }

  private:
    std::unique_ptr<uint8_t[]> memory_;
    int64_t bytes_ = 0;
};

// A regular file, open.
class OpenFile {
  public:
    explicit OpenFile(const char* path) {
        do handle_ = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);  // a FIFO would wait for its writer
        while (handle_ < 0 && errno == EINTR);
        struct stat info;
        if (handle_ >= 0 && fstat(handle_, &info) == 0 && S_ISREG(info.st_mode)) bytes_ = info.st_size;
    }
    OpenFile(const OpenFile&) = delete;
    OpenFile& operator=(const OpenFile&) = delete;
    ~OpenFile() {
        if (handle_ >= 0) close(handle_);
    }

    int64_t bytes() const { return bytes_; }  // -1: no regular file

    // How many of `count` bytes at `at` there are; -1: reading failed.
    int64_t read(int64_t at, int64_t count, uint8_t* out) const {
        int64_t done = 0;
        while (done < count) {
            const ssize_t got = pread(handle_, out + done, size_t(count - done), at + done);
            if (got == 0) break;
            if (got < 0 && errno != EINTR) return -1;
            done += std::max<ssize_t>(got, 0);
        }
        return done;
    }

  private:
    int handle_ = -1;
    int64_t bytes_ = -1;
};

// A file that is in memory, for the header's parser.
struct WholeFile {
    const uint8_t* data;
    int64_t size;

    int64_t bytes() const { return size; }
    const uint8_t* read(int64_t at, int count) const { return at + count <= size ? data + at : nullptr; }
};

// Parts of a file, for the header's parser: what it asks for, and the 16 KB that follow.
class FileHead {
  public:
    FileHead(const OpenFile& file, Buffer& memory) : file_(file), memory_(memory.room(ROOM)) {
        held_ = file.read(0, std::min<int64_t>(file.bytes(), AHEAD), memory_);
    }

    bool failed() const { return held_ < 0; }
    int64_t bytes() const { return file_.bytes(); }

    const uint8_t* read(int64_t at, int count) {
        if (at == bytes() - 2 && count == 2 && at + count > begin_ + held_)  // the end marker: not for long
            return file_.read(at, count, end_) == count ? end_ : nullptr;
        if (at < begin_ || at + count > begin_ + held_) {
            begin_ = at;
            held_ = file_.read(at, std::min<int64_t>(bytes() - at, std::max<int64_t>(count, AHEAD)), memory_);
        }
        return at + count <= begin_ + held_ ? memory_ + (at - begin_) : nullptr;
    }

  private:
    static constexpr int64_t AHEAD = 16 * 1024, ROOM = 64 * 1024;  // a segment has less than 64 KB

    const OpenFile& file_;
    uint8_t* memory_;
    uint8_t end_[2];
    int64_t begin_ = 0, held_ = 0;
};
