#pragma once
// Bytes in and out of files: bounded little-endian reading, arrays that grow, and the caller's output.
#include "../core/memory.hpp"

#include <type_traits>

namespace qlib::inline QLIB_ABI {

/// Where a writer's bytes go: any callable bool(std::span<const std::byte>) that returns false when it could not take
/// them all, and does not throw. Borrowed: it binds to variables only, never to a temporary, and must outlive its use.
class sink_ref {
public:
    QLIB_INLINE sink_ref() noexcept = default;
    template <class Sink>
    requires(!std::is_same_v<std::remove_const_t<Sink>, sink_ref> && std::is_object_v<Sink> &&
             std::is_invocable_r_v<bool, Sink&, std::span<const std::byte>>)
    QLIB_INLINE QLIB_TAGGED sink_ref(Sink& sink) noexcept
        : object_(const_cast<void*>(static_cast<const void*>(__builtin_addressof(sink)))),
          call_([](void* object, std::span<const std::byte> bytes) -> bool {
              return (*static_cast<Sink*>(object))(bytes);
          }) {}
    [[nodiscard]] QLIB_INLINE bool operator()(std::span<const std::byte> bytes) const {
        return call_ != nullptr && call_(object_, bytes);
    }

private:
    void* object_ = nullptr;
    bool (*call_)(void*, std::span<const std::byte>) = nullptr;
};

}  // namespace qlib::inline QLIB_ABI

namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

/// The little-endian number in n <= 8 bytes, at any address and on any host.
[[nodiscard]] QLIB_INLINE inline std::uint64_t load_little(const std::byte* p, std::size_t n) noexcept {
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < n; ++i) value |= static_cast<std::uint64_t>(p[i]) << (8 * i);
    return value;
}
QLIB_INLINE inline void store_little(std::byte* p, std::uint64_t value, std::size_t n) noexcept {
    for (std::size_t i = 0; i < n; ++i) p[i] = static_cast<std::byte>(value >> (8 * i) & 0xFF);
}

[[nodiscard]] QLIB_INLINE inline std::string_view text_of(std::span<const std::byte> bytes) noexcept {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
[[nodiscard]] QLIB_INLINE inline std::span<const std::byte> bytes_of(std::string_view text) noexcept {
    return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE

namespace qlib::inline QLIB_ABI::detail {

/// A position in bytes that belong to somebody else. What does not fit into the rest
/// is refused, and nothing moves then.
struct byte_cursor {
    std::span<const std::byte> bytes;
    std::size_t at = 0;

    [[nodiscard]] QLIB_INLINE std::size_t left() const noexcept { return bytes.size() - at; }
    [[nodiscard]] QLIB_INLINE bool take(std::uint64_t count, std::span<const std::byte>& out) noexcept {
        if (count > left()) return false;
        out = bytes.subspan(at, static_cast<std::size_t>(count));
        at += out.size();
        return true;
    }
    template <class T> [[nodiscard]] QLIB_INLINE bool number(T& out) noexcept {
        std::span<const std::byte> raw;
        if (!take(sizeof(T), raw)) return false;
        out = static_cast<T>(load_little(raw.data(), sizeof(T)));
        return true;
    }
};

/// An array of trivial elements that grows by doubling: its memory follows what was
/// put in, never what a file announced.
template <class T> class growing {
public:
    QLIB_INLINE growing() noexcept = default;
    QLIB_INLINE growing(growing&& other) noexcept
        : storage_(std::move(other.storage_)),
          size_(std::exchange(other.size_, 0)) {}
    QLIB_INLINE growing& operator=(growing&& other) noexcept {
        storage_ = std::move(other.storage_);
        (std::swap)(size_, other.size_);
        return *this;
    }
    [[nodiscard]] QLIB_INLINE std::size_t size() const noexcept { return size_; }
    [[nodiscard]] QLIB_INLINE T* data() noexcept { return storage_.data(); }
    [[nodiscard]] QLIB_INLINE const T* data() const noexcept { return storage_.data(); }
    [[nodiscard]] QLIB_INLINE T& operator[](std::size_t i) noexcept { return storage_[i]; }
    [[nodiscard]] QLIB_INLINE const T& operator[](std::size_t i) const noexcept { return storage_[i]; }
    [[nodiscard]] QLIB_INLINE std::span<const T> view() const noexcept { return {storage_.data(), size_}; }
    /// Forgets the elements from `size` on.
    QLIB_INLINE void cut(std::size_t size) noexcept { size_ = size; }

    /// Copies elements behind the last; they may not lie in this array. False, and no change, without memory.
    [[nodiscard]] QLIB_INLINE bool append(std::span<const T> items) noexcept {
        if (items.size() > storage_.size() - size_ && !reserve(saturating_add(size_, items.size()))) return false;
        if (!items.empty()) std::memcpy(static_cast<void*>(storage_.data() + size_), items.data(), items.size_bytes());
        size_ += items.size();
        return true;
    }
    [[nodiscard]] QLIB_INLINE bool append(const T& item) noexcept { return append(std::span<const T>(&item, 1)); }

private:
    QLIB_INLINE bool reserve(std::size_t needed) noexcept {
        const std::size_t doubled = saturating_multiply(storage_.size(), 2);
        buffer<T> larger;
        if (!larger.allocate(needed > doubled ? needed : doubled)) return false;
        if (size_ != 0) std::memcpy(static_cast<void*>(larger.data()), storage_.data(), size_ * sizeof(T));
        storage_ = std::move(larger);
        return true;
    }
    buffer<T> storage_;
    std::size_t size_ = 0;
};

}  // namespace qlib::inline QLIB_ABI::detail
