#pragma once
// safetensors_tensor: name, type, shape and place of one tensor of a safetensors file, and the types that there are.
#include "name_index.hpp"

namespace qlib::inline QLIB_ABI {

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow"  // g++ 12 takes enumerators for names that hide qlib::f16 and qlib::bf16
/// What a tensor's elements are, in the order in which writers group tensors. Types
/// below 8 bits count elements, not bytes.
enum class safetensors_type : std::uint8_t {
    boolean,
    f4,
    f6_e2m3,
    f6_e3m2,
    u8,
    i8,
    f8_e5m2,
    f8_e4m3,
    f8_e8m0,
    f8_e4m3fnuz,
    f8_e5m2fnuz,
    i16,
    u16,
    f16,
    bf16,
    i32,
    u32,
    f32,
    c64,
    f64,
    i64,
    u64,
};
#pragma GCC diagnostic pop

/// One tensor. A weight matrix W[rows x k] has the shape {rows, k}.
struct safetensors_tensor {
    std::string_view name;  ///< UTF-8 without zero bytes
    safetensors_type type{};
    std::span<const std::uint64_t>
        shape;                 ///< elements along each dimension, the row length last; none: one element; 0 is allowed
    std::uint64_t offset = 0;  ///< bytes from the end of the header
    std::uint64_t bytes = 0;   ///< of data
    std::span<const std::byte> data;  ///< at any address; empty when the parsed span does not reach its end

    [[nodiscard]] QLIB_INLINE std::size_t n_dims() const noexcept { return shape.size(); }
    /// The last dimension; 1 without dimensions.
    [[nodiscard]] QLIB_INLINE std::uint64_t cols() const noexcept { return shape.empty() ? 1 : shape.back(); }
    /// The product of all others. Does not wrap for a tensor of a file.
    [[nodiscard]] QLIB_INLINE std::uint64_t rows() const noexcept {
        std::uint64_t n = 1;
        for (std::size_t d = 0; d + 1 < shape.size(); ++d) n *= shape[d];
        return n;
    }
};

}  // namespace qlib::inline QLIB_ABI

namespace qlib::inline QLIB_ABI::detail {

struct safetensors_type_info {
    std::string_view name;
    std::uint32_t bits;
};

/// Indexed by safetensors_type. source: safetensors, tensor.rs
inline constexpr std::array<safetensors_type_info, 22> safetensors_types{{
    {"BOOL", 8},    {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6},     {"U8", 8},          {"I8", 8},
    {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"I16", 16},
    {"U16", 16},    {"F16", 16},    {"BF16", 16},   {"I32", 32},        {"U32", 32},        {"F32", 32},
    {"C64", 64},    {"F64", 64},    {"I64", 64},    {"U64", 64},
}};

inline constexpr std::uint64_t safetensors_header_limit = 100'000'000;  // the reference's
/// Of one tensor's elements and of all data, far from where adding a header's length could wrap.
inline constexpr std::uint64_t safetensors_size_limit = std::uint64_t{1} << 62;

}  // namespace qlib::inline QLIB_ABI::detail

namespace qlib::inline QLIB_ABI::inline QLIB_BASE {

/// Bits of one element.
[[nodiscard]] constexpr std::uint32_t safetensors_bits(safetensors_type type) noexcept {
    return static_cast<std::size_t>(type) < detail::safetensors_types.size()
               ? detail::safetensors_types[static_cast<std::size_t>(type)].bits
               : 0;
}
/// The name in files, "BF16".
[[nodiscard]] constexpr std::string_view safetensors_name(safetensors_type type) noexcept {
    return static_cast<std::size_t>(type) < detail::safetensors_types.size()
               ? detail::safetensors_types[static_cast<std::size_t>(type)].name
               : std::string_view();
}
/// The type of a name in a file. error: unsupported.
[[nodiscard]] inline result<safetensors_type> safetensors_type_named(std::string_view name) noexcept {
    for (std::size_t i = 0; i < detail::safetensors_types.size(); ++i)
        if (detail::safetensors_types[i].name == name) return static_cast<safetensors_type>(i);
    return error{errc::unsupported, "an unknown type", "dtype", {}};
}

}  // namespace qlib::inline QLIB_ABI::inline QLIB_BASE

namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

/// A broken rule of tensor number `index`, which stands in sizes[3].
[[nodiscard]] inline error safetensors_error(errc code, const char* rule, std::uint64_t index, std::uint64_t a = 0,
                                             std::uint64_t b = 0, std::uint64_t c = 0) noexcept {
    return {code, rule, "tensor", {a, b, c, index}};
}

/// The bytes of a shape. Every product is checked, with empty dimensions counted as
/// 1, so that rows() cannot wrap either.
/// False when elements or bytes overflow; `whole` says whether the elements fill bytes.
[[nodiscard]] inline bool measure_shape(safetensors_type type, std::span<const std::uint64_t> shape,
                                        std::uint64_t& bytes, bool& whole) noexcept {
    std::uint64_t elements = 1, bits = 0;
    bool empty = false;
    for (const std::uint64_t n : shape) {
        empty |= n == 0;
        if (__builtin_mul_overflow(elements, n != 0 ? n : 1, &elements) || elements > safetensors_size_limit)
            return false;
    }
    if (empty) elements = 0;
    if (__builtin_mul_overflow(elements, std::uint64_t{safetensors_bits(type)}, &bits)) return false;
    whole = bits % 8 == 0;
    bytes = bits / 8;
    return true;
}

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE
