#pragma once
// executor_ref: how qlib borrows the caller's threads. It starts none of its own.
#include "abi.hpp"

#include <concepts>
#include <cstddef>
#include <type_traits>

namespace qlib::inline QLIB_ABI {

/// One parallel loop's body: task(i, worker) for an index i, on worker 0 <= worker < workers().
class task_ref {
public:
    template <class Task>
    requires(!std::same_as<std::remove_cvref_t<Task>, task_ref>) &&
        std::invocable<Task&, std::size_t, std::size_t> QLIB_INLINE QLIB_TAGGED task_ref(Task&& task) noexcept
        : object_(const_cast<void*>(static_cast<const void*>(__builtin_addressof(task)))),
    call_([](void* object, std::size_t i, std::size_t worker) {
        (*static_cast<std::remove_reference_t<Task>*>(object))(i, worker);
    }) {}
    QLIB_INLINE void operator()(std::size_t i, std::size_t worker) const { call_(object_, i, worker); }

private:
    void* object_;
    void (*call_)(void*, std::size_t, std::size_t);
};

/// Anything that can run a loop: run(count, task) calls task(i, worker) once for each i < count, in any
/// order and on any threads, never two at a time with the same worker number, and returns when all calls are
/// done; workers() >= 1 bounds the worker numbers.
template <class E> concept executor = requires(E& e, std::size_t count, task_ref task) {
    e.run(count, task);
    { e.workers() } -> std::convertible_to<std::size_t>;
};

/// A borrowed executor. Default: the calling thread.
class executor_ref {
public:
    QLIB_INLINE constexpr executor_ref() noexcept = default;
    template <class E>
    requires(!std::same_as<std::remove_cvref_t<E>, executor_ref>) &&
        executor<std::remove_reference_t<E>> QLIB_INLINE QLIB_TAGGED executor_ref(E&& e) noexcept
        : object_(const_cast<void*>(static_cast<const void*>(__builtin_addressof(e)))),
    run_([](void* object, std::size_t count, task_ref task) {
        static_cast<std::remove_reference_t<E>*>(object)->run(count, task);
    }),
    workers_([](void* object) {
        return static_cast<std::size_t>(static_cast<std::remove_reference_t<E>*>(object)->workers());
    }) {}

    QLIB_INLINE void run(std::size_t count, task_ref task) const {
        if (run_ != nullptr) run_(object_, count, task);
        else
            for (std::size_t i = 0; i < count; ++i) task(i, 0);
    }
    [[nodiscard]] QLIB_INLINE std::size_t workers() const {
        const std::size_t n = workers_ != nullptr ? workers_(object_) : 1;
        return n != 0 ? n : 1;
    }

private:
    void* object_ = nullptr;
    void (*run_)(void*, std::size_t, task_ref) = nullptr;
    std::size_t (*workers_)(void*) = nullptr;
};

/// The calling thread.
inline constexpr executor_ref serial{};

}  // namespace qlib::inline QLIB_ABI
