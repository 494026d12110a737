#pragma once
// call: how a long function is to be run. The last parameter of each.
#include "executor.hpp"

#include <cstdint>
#include <span>

namespace qlib::inline QLIB_ABI {

/// A room: the code for one instruction set. room/isa.hpp lists them; isa{} is isa::best.
enum class isa : std::uint8_t;

/// Which code served a call.
struct call_report {
    isa room{};             ///< never `best` after a call
    const char* mode = "";  ///< "integer" or "exact" for qgemm, the fit's name for an encoder
    /// Codes are taken in as "bits", unpacked by the room, or by the format's own "load", slower; encoders work in
    /// "lanes", or on "blocks" one by one, slower.
    const char* path = "";
    const char* why = "";  ///< what keeps the format from a faster way; empty: nothing
    /// Of a product: "rows" of weights are streamed past few rows of X, or unpacked to "panels" for many.
    const char* kernel = "";
};

/// What is told of a long call's progress: anything callable as bool(done, total) in equal parts of
/// the work. False cancels: the call ends soon, with errc::cancelled and its output unspecified.
/// Called from any worker, but by one at a time.
class progress_ref {
public:
    QLIB_INLINE constexpr progress_ref() noexcept = default;
    template <class Progress>
    requires(!std::same_as<std::remove_cvref_t<Progress>, progress_ref>) &&
        std::is_invocable_r_v<bool, Progress&, std::size_t, std::size_t> QLIB_INLINE QLIB_TAGGED
        progress_ref(Progress&& progress) noexcept
        : object_(const_cast<void*>(static_cast<const void*>(__builtin_addressof(progress)))),
    call_([](void* object, std::size_t done, std::size_t total) -> bool {
        return (*static_cast<std::remove_reference_t<Progress>*>(object))(done, total);
    }) {}
    QLIB_INLINE bool operator()(std::size_t done, std::size_t total) const {
        return call_ == nullptr || call_(object_, done, total);
    }
    [[nodiscard]] QLIB_INLINE explicit operator bool() const noexcept { return call_ != nullptr; }

private:
    void* object_ = nullptr;
    bool (*call_)(void*, std::size_t, std::size_t) = nullptr;
};

struct call {
    executor_ref run = serial;
    /// Memory to work in, at any address. Empty: allocated. Smaller than the
    /// function's scratch_bytes() says: errc::scratch.
    std::span<std::byte> scratch = {};
    progress_ref progress = {};
    isa room{};  ///< another room than the machine's best, for tests; errc::unsupported when it lacks it
    call_report* report = nullptr;  ///< filled in when given
};

}  // namespace qlib::inline QLIB_ABI
