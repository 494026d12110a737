#pragma once
// gguf_value: one metadata value of a GGUF file, still in the file's bytes, with getters that check the stored type.
#include "bytes.hpp"

namespace qlib::inline QLIB_ABI {

/// What a metadata value is. The numbers of the file.
enum class gguf_type : std::uint32_t { u8, i8, u16, i16, u32, i32, f32, boolean, string, array, u64, i64, f64 };

struct gguf_value;

}  // namespace qlib::inline QLIB_ABI

namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

inline result<std::uint64_t> gguf_uint(const gguf_value& v) noexcept;
inline result<std::int64_t> gguf_int(const gguf_value& v) noexcept;
inline result<double> gguf_float(const gguf_value& v) noexcept;
inline result<bool> gguf_bool(const gguf_value& v) noexcept;
inline result<std::string_view> gguf_text(const gguf_value& v) noexcept;
inline result<gguf_value> gguf_element(const gguf_value& v, std::uint64_t i) noexcept;

/// Bytes of one number of a type; 0 for strings, arrays and unknown types.
[[nodiscard]] constexpr std::size_t gguf_number_bytes(gguf_type type) noexcept {
    constexpr std::uint8_t bytes[13] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    return static_cast<std::uint32_t>(type) < 13 ? bytes[static_cast<std::uint32_t>(type)] : 0;
}

/// The string at the front of `rest`, which moves behind it. What is cut off counts as empty.
[[nodiscard]] QLIB_INLINE inline std::string_view next_string(byte_cursor& rest) noexcept {
    std::uint64_t length = 0;
    std::span<const std::byte> text;
    if (!rest.number(length) || !rest.take(length, text)) rest.at = rest.bytes.size();
    return text_of(text);
}

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE

namespace qlib::inline QLIB_ABI {

/// The strings of a value, in order: for (std::string_view s : value.strings()). They lie in the file's bytes.
class gguf_strings {
public:
    struct end_mark {};
    class iterator {
    public:
        QLIB_INLINE explicit iterator(std::span<const std::byte> rest) noexcept : rest_{rest} {}
        [[nodiscard]] QLIB_INLINE std::string_view operator*() const noexcept {
            detail::byte_cursor here = rest_;
            return detail::next_string(here);
        }
        QLIB_INLINE iterator& operator++() noexcept {
            static_cast<void>(detail::next_string(rest_));
            return *this;
        }
        [[nodiscard]] QLIB_INLINE bool operator!=(end_mark) const noexcept { return rest_.left() != 0; }

    private:
        detail::byte_cursor rest_;
    };
    QLIB_INLINE explicit gguf_strings(std::span<const std::byte> bytes) noexcept : bytes_(bytes) {}
    [[nodiscard]] QLIB_INLINE iterator begin() const noexcept { return iterator(bytes_); }
    [[nodiscard]] QLIB_INLINE end_mark end() const noexcept { return {}; }

private:
    std::span<const std::byte> bytes_;
};

/// A metadata value. One that parse() made is well formed; on any other the getters
/// are safe, and answer errors or nothing.
struct gguf_value {
    gguf_type type{};          ///< array, or what the one element is
    gguf_type element_type{};  ///< of an array's elements; else as `type`
    std::uint64_t count = 0;   ///< elements; 1 where the value is no array
    std::span<const std::byte>
        bytes;  ///< the elements as in the file: packed numbers, or strings each behind its u64 length

    [[nodiscard]] QLIB_INLINE bool is_array() const noexcept { return type == gguf_type::array; }

    // The one element of a value that is no array. error: malformed, sizes {type of
    // the value}, when it is of another kind.
    /// An integer of any width that is not negative. Writers disagree on u32, u64 and i32 for counts.
    [[nodiscard]] QLIB_INLINE result<std::uint64_t> as_uint() const noexcept { return detail::gguf_uint(*this); }
    /// An integer of any width that fits.
    [[nodiscard]] QLIB_INLINE result<std::int64_t> as_int() const noexcept { return detail::gguf_int(*this); }
    /// An f32 or f64.
    [[nodiscard]] QLIB_INLINE result<double> as_float() const noexcept { return detail::gguf_float(*this); }
    [[nodiscard]] QLIB_INLINE result<bool> as_bool() const noexcept { return detail::gguf_bool(*this); }
    /// The text in the file's bytes: not terminated, and not checked to be UTF-8.
    [[nodiscard]] QLIB_INLINE result<std::string_view> as_string() const noexcept { return detail::gguf_text(*this); }

    /// Element i of an array of numbers or booleans, as a value of its own: v.at(i)->as_uint(). error: argument when
    /// i >= count or the value is no such array. Strings have no constant-time access: walk strings().
    [[nodiscard]] QLIB_INLINE result<gguf_value> at(std::uint64_t i) const noexcept {
        return detail::gguf_element(*this, i);
    }
    /// The strings of an array of strings, or the one of a string; none for any other type.
    [[nodiscard]] QLIB_INLINE gguf_strings strings() const noexcept {
        return gguf_strings(element_type == gguf_type::string ? bytes : std::span<const std::byte>{});
    }
};

/// A key and its value, both in the file's bytes.
struct gguf_entry {
    std::string_view key;
    gguf_value value;
};

}  // namespace qlib::inline QLIB_ABI

namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

[[nodiscard]] inline error wrong_type(const gguf_value& v, const char* rule) noexcept {
    return {errc::malformed, rule, "metadata value", {static_cast<std::uint64_t>(v.type)}};
}

/// The bits of a number, sign-extended to 64; false when the value is no integer.
[[nodiscard]] inline bool gguf_integer(const gguf_value& v, std::uint64_t& bits, bool& negative) noexcept {
    const std::size_t bytes = gguf_number_bytes(v.type);
    const bool real = v.type == gguf_type::f32 || v.type == gguf_type::f64 || v.type == gguf_type::boolean;
    if (bytes == 0 || real || v.bytes.size() != bytes) return false;
    const bool is_signed =
        v.type == gguf_type::i8 || v.type == gguf_type::i16 || v.type == gguf_type::i32 || v.type == gguf_type::i64;
    bits = load_little(v.bytes.data(), bytes);
    negative = is_signed && bits >> (8 * bytes - 1) != 0;
    if (negative && bytes < 8) bits |= ~std::uint64_t{0} << (8 * bytes);
    return true;
}

inline result<std::uint64_t> gguf_uint(const gguf_value& v) noexcept {
    std::uint64_t bits = 0;
    bool negative = false;
    if (!gguf_integer(v, bits, negative)) return wrong_type(v, "value type {0} where an integer is needed");
    if (negative) return wrong_type(v, "a negative number where none is allowed");
    return bits;
}

inline result<std::int64_t> gguf_int(const gguf_value& v) noexcept {
    std::uint64_t bits = 0;
    bool negative = false;
    if (!gguf_integer(v, bits, negative)) return wrong_type(v, "value type {0} where an integer is needed");
    if (!negative && bits >> 63 != 0) return wrong_type(v, "a number of 2^63 or more where a signed one is needed");
    return static_cast<std::int64_t>(bits);
}

inline result<double> gguf_float(const gguf_value& v) noexcept {
    if (v.type == gguf_type::f32 && v.bytes.size() == 4)
        return double{__builtin_bit_cast(float, static_cast<std::uint32_t>(load_little(v.bytes.data(), 4)))};
    if (v.type == gguf_type::f64 && v.bytes.size() == 8)
        return __builtin_bit_cast(double, load_little(v.bytes.data(), 8));
    return wrong_type(v, "value type {0} where a floating-point number is needed");
}

inline result<bool> gguf_bool(const gguf_value& v) noexcept {
    if (v.type != gguf_type::boolean || v.bytes.size() != 1)
        return wrong_type(v, "value type {0} where a boolean is needed");
    return v.bytes[0] != std::byte{0};
}

inline result<std::string_view> gguf_text(const gguf_value& v) noexcept {
    byte_cursor rest{v.bytes};
    const std::string_view text = next_string(rest);
    if (v.type != gguf_type::string || v.bytes.size() != 8 + text.size())
        return wrong_type(v, "value type {0} where a string is needed");
    return text;
}

inline result<gguf_value> gguf_element(const gguf_value& v, std::uint64_t i) noexcept {
    const std::size_t bytes = gguf_number_bytes(v.element_type);
    if (!v.is_array() || bytes == 0)
        return error{
            errc::argument, "only arrays of numbers have elements that can be reached by index", "metadata value", {}};
    if (i >= v.count || i >= v.bytes.size() / bytes)
        return error{errc::argument, "element {0} of an array of {1}", "metadata value", {i, v.count}};
    return gguf_value{v.element_type, v.element_type, 1, v.bytes.subspan(static_cast<std::size_t>(i) * bytes, bytes)};
}

/// Moves `in` behind `count` elements of a type that is no array. The error has sizes {bytes needed, bytes there} when
/// they are not there, and none of the elements is kept: memory does not follow `count`.
inline status skip_elements(byte_cursor& in, gguf_type type, std::uint64_t count, std::uint64_t longest) noexcept {
    const auto ends_early = [&](std::uint64_t more) {
        const std::size_t needed = saturating_add(in.at, more);
        return error{
            errc::truncated, "at least {0} bytes are needed, {1} are there", "metadata", {needed, in.bytes.size()}};
    };
    const std::size_t each = type == gguf_type::string ? 8 : gguf_number_bytes(type);  // at least
    std::uint64_t bytes = 0;
    if (__builtin_mul_overflow(count, each, &bytes) || bytes > in.left())
        return ends_early(saturating_multiply(count, each));
    if (type == gguf_type::string) {
        for (std::uint64_t i = 0; i < count; ++i) {
            std::uint64_t length = 0;
            std::span<const std::byte> text;
            if (!in.number(length)) return ends_early(8);
            if (length > longest)
                return error{errc::malformed, "a string of {0} bytes, {1} are allowed", "metadata", {length, longest}};
            if (!in.take(length, text)) return ends_early(length);
        }
        return {};
    }
    std::span<const std::byte> numbers;
    static_cast<void>(in.take(bytes, numbers));
    if (type == gguf_type::boolean)
        for (const std::byte b : numbers)
            if (b > std::byte{1})
                return error{errc::malformed,
                             "a boolean of {0}: it must be 0 or 1",
                             "metadata",
                             {static_cast<std::uint64_t>(b)}};
    return {};
}

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE
