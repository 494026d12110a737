#pragma once
// Memory that ends where a page begins that nobody may touch: a read or write beyond the end stops the test.
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <span>

template <class T> class guarded {
public:
    /// `count` elements, the last of them in front of the guard.
    explicit guarded(std::size_t count) : count_(count) {
        const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
        size_ = (count * sizeof(T) + page - 1) / page * page + page;
        void* const p = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED) std::abort();
        base_ = static_cast<std::byte*>(p);
        if (mprotect(base_ + size_ - page, page, PROT_NONE) != 0) std::abort();
        begin_ = reinterpret_cast<T*>(base_ + size_ - page - count * sizeof(T));
    }
    explicit guarded(std::span<const T> from) : guarded(from.size()) { std::memcpy(begin_, from.data(), from.size_bytes()); }
    guarded(const guarded&) = delete;
    guarded& operator=(const guarded&) = delete;
    ~guarded() { munmap(base_, size_); }
    [[nodiscard]] T* data() { return begin_; }
    [[nodiscard]] std::span<T> span() { return {begin_, count_}; }

private:
    std::size_t count_, size_ = 0;
    std::byte* base_ = nullptr;
    T* begin_ = nullptr;
};
