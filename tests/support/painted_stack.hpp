#pragma once
// How much stack a function takes: it runs on a stack of its own, painted before, whose paint is looked at afterwards.
#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(memory_sanitizer) || __has_feature(thread_sanitizer)
#define QLIB_TEST_NO_STACKS
#endif
#endif
#if !defined(__GLIBC__) || defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define QLIB_TEST_NO_STACKS  // no other stacks there, or others' frames on them
#endif

#if !defined(QLIB_TEST_NO_STACKS)
#include <ucontext.h>

namespace sample {

class painted_stack {
public:
    /// Bytes that `f` touched. It runs once before: what the linker does at a first call is none of its own.
    std::size_t taken_by(const std::function<void()>& f) {
        f();
        stack_.assign(size / sizeof paint, paint);
        running() = &f;
        ucontext_t back{}, there{};
        getcontext(&there);
        there.uc_stack.ss_sp = stack_.data();
        there.uc_stack.ss_size = size;
        there.uc_link = &back;
        makecontext(&there, [] { (*running())(); }, 0);
        swapcontext(&back, &there);
        std::size_t clean = 0;
        while (clean < stack_.size() && stack_[clean] == paint) ++clean;
        return size - clean * sizeof paint;
    }

private:
    static constexpr std::size_t size = std::size_t{512} << 10;
    static constexpr std::uint64_t paint = 0x9E3779B97F4A7C15;
    static const std::function<void()>*& running() {
        static const std::function<void()>* f = nullptr;
        return f;
    }
    std::vector<std::uint64_t> stack_;
};

}  // namespace sample
#endif
