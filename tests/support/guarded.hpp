#pragma once
// Memory that ends where a page begins that nobody may touch: a read or write beyond the end stops the test.
#if defined(_WIN32)
#ifndef NOMINMAX
#define NOMINMAX
#endif
#include <windows.h>
#else
#include <sys/mman.h>
#include <unistd.h>
#endif

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <span>

/// Whole pages, the last of them closed.
class guarded_pages {
public:
    explicit guarded_pages(std::size_t bytes) : size_((bytes + page - 1) / page * page + page) {
#if defined(_WIN32)
        void* const p = VirtualAlloc(nullptr, size_, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
        DWORD before = 0;
        begin_ = static_cast<std::byte*>(p);
        if (p == nullptr || VirtualProtect(end(), page, PAGE_NOACCESS, &before) == 0) std::abort();
#else
        void* const p = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        begin_ = static_cast<std::byte*>(p);
        if (p == MAP_FAILED || mprotect(end(), page, PROT_NONE) != 0) std::abort();
#endif
    }
    guarded_pages(const guarded_pages&) = delete;
    guarded_pages& operator=(const guarded_pages&) = delete;
    ~guarded_pages() {
#if defined(_WIN32)
        VirtualFree(begin_, 0, MEM_RELEASE);
#else
        munmap(begin_, size_);
#endif
    }
    [[nodiscard]] std::byte* end() const { return begin_ + size_ - page; }

private:
    static constexpr std::size_t page = 65536;  // no system has larger ones
    std::byte* begin_ = nullptr;
    std::size_t size_ = 0;
};

template <class T> class guarded {
public:
    /// `count` elements, the last of them in front of the guard.
    explicit guarded(std::size_t count)
        : pages_(count * sizeof(T)), begin_(reinterpret_cast<T*>(pages_.end() - count * sizeof(T))), count_(count) {}
    explicit guarded(std::span<const T> from) : guarded(from.size()) {
        if (!from.empty()) std::memcpy(begin_, from.data(), from.size_bytes());
    }
    [[nodiscard]] T* data() { return begin_; }
    [[nodiscard]] std::span<T> span() { return {begin_, count_}; }

private:
    guarded_pages pages_;
    T* begin_;
    std::size_t count_;
};
