#pragma once
// A line on the terminal: how much is done, and how long the rest will take. Silent
// where standard error is no terminal.
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>

class progress_bar {
public:
    /// `total`: units of work, bytes of input.
    progress_bar(std::string what, std::uint64_t total) : what_(std::move(what)), total_(total) {}
    ~progress_bar() { clear(); }
    progress_bar(const progress_bar&) = delete;
    progress_bar& operator=(const progress_bar&) = delete;

    void advance(std::uint64_t units) {
        done_ += units;
        show();
    }
    /// Work that was done by an earlier run: it says nothing of this one's speed.
    void skip(std::uint64_t units) {
        done_ += units;
        skipped_ += units;
    }
    /// Takes the line away, for one that is to stay.
    void clear() {
        if (visible_) std::fputs("\r\x1b[K", stderr);
        visible_ = false;
    }

private:
    using clock = std::chrono::steady_clock;
    static constexpr int width = 30;

    void show() {
        const auto now = clock::now();
        if (!terminal_ || total_ == 0 || (visible_ && now - shown_ < std::chrono::milliseconds(100))) return;
        shown_ = now;
        visible_ = true;
        const double part = static_cast<double>(done_) / static_cast<double>(total_);
        const double seconds = std::chrono::duration<double>(now - start_).count();
        const double speed = static_cast<double>(done_ - skipped_) / seconds;
        const auto left = static_cast<long>(speed > 0 ? static_cast<double>(total_ - done_) / speed : 0);
        const int full = static_cast<int>(part * width);
        std::fprintf(stderr, "\r\x1b[K%s [%.*s%*s] %3.0f %%, %ld:%02ld left", what_.c_str(), full,
                     "##############################", width - full, "", 100 * part, left / 60, left % 60);
        std::fflush(stderr);
    }

    std::string what_;
    std::uint64_t total_, done_ = 0, skipped_ = 0;
    clock::time_point start_ = clock::now(), shown_{};
    bool terminal_ = ::isatty(STDERR_FILENO) != 0, visible_ = false;
};
