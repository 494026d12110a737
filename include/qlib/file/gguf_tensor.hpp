#pragma once
// gguf_tensor: name, shape, type and place of one tensor of a GGUF file, and the rules that its shape must keep.
#include "bytes.hpp"
#include "ggml_types.hpp"

namespace qlib::inline QLIB_ABI {

/// One tensor. ne[0] is the length of a contiguous row, so a weight matrix W[rows x k] has ne = {k, rows, 1, 1}.
struct gguf_tensor {
    std::string_view name;                        ///< 1 to 1024 bytes
    std::uint32_t n_dims = 0;                     ///< 0 to 4
    std::array<std::uint64_t, 4> ne{1, 1, 1, 1};  ///< elements along each dimension; 1 beyond n_dims; 0 is allowed
    std::uint32_t type = 0;                       ///< see ggml_type_info
    std::uint64_t offset = 0;         ///< bytes from the start of the file's data section, a multiple of its alignment
    std::uint64_t bytes = 0;          ///< of data; 0 when a dimension is 0
    std::span<const std::byte> data;  ///< at any address; empty when the parsed span does not reach its end

    [[nodiscard]] QLIB_INLINE std::uint64_t cols() const noexcept { return ne[0]; }
    [[nodiscard]] QLIB_INLINE std::uint64_t rows() const noexcept { return ne[1] * ne[2] * ne[3]; }
};

/// The longest tensor name, in bytes, that programs built on ggml load: its struct has room for 64 with the terminator.
/// The format has no such limit, and diffusion models have longer names.
inline constexpr std::size_t gguf_ggml_name_limit = 63;

}  // namespace qlib::inline QLIB_ABI

namespace qlib::inline QLIB_ABI::detail {

inline constexpr std::uint32_t gguf_default_alignment = 32;
inline constexpr std::uint64_t gguf_alignment_limit = std::uint64_t{1}
                                                      << 20;  // ggml has none; real files have 32 or 64
inline constexpr std::size_t gguf_name_limit = 1024;          // the format has none; ggml reads gguf_ggml_name_limit
inline constexpr std::size_t gguf_key_limit = 65535;
/// Of one tensor's elements and bytes, far from where rounding up or adding a file's length could wrap.
inline constexpr std::uint64_t gguf_size_limit = std::uint64_t{1} << 62;

}  // namespace qlib::inline QLIB_ABI::detail

namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

/// A broken rule of tensor or metadata pair number `index`, which stands in sizes[3].
[[nodiscard]] inline error gguf_error(errc code, const char* rule, const char* operand, std::uint64_t index,
                                      std::uint64_t a = 0, std::uint64_t b = 0, std::uint64_t c = 0) noexcept {
    return {code, rule, operand, {a, b, c, index}};
}

[[nodiscard]] inline error bad_tensor(std::uint64_t index, const char* rule, std::uint64_t a = 0,
                                      std::uint64_t b = 0) noexcept {
    return gguf_error(errc::malformed, rule, "tensor", index, a, b);
}

/// Checks a key or tensor name as readers must. A NUL would make two names equal for
/// programs that pass them on as C strings.
inline status check_name(std::string_view name, std::size_t longest, const char* operand,
                         std::uint64_t index) noexcept {
    if (name.empty()) return gguf_error(errc::malformed, "#{3} has an empty name", operand, index);
    if (name.size() > longest)
        return gguf_error(errc::malformed, "#{3} has a name of {0} bytes, {1} are allowed", operand, index, name.size(),
                          longest);
    if (__builtin_memchr(name.data(), 0, name.size()) != nullptr)
        return gguf_error(errc::malformed, "#{3} has a zero byte in its name", operand, index);
    return {};
}

/// Checks type and shape of tensor `index`, and sets its bytes. Every product is checked, with empty dimensions counted
/// as 1, so that rows() of a tensor that passed cannot wrap either.
inline status measure_tensor(gguf_tensor& t, std::uint64_t index) noexcept {
    const auto type = ggml_type_info(t.type);
    if (!type) {
        error e = type.error();
        e.sizes[3] = index;
        return e;
    }
    std::uint64_t elements = 1;
    bool empty = false;
    for (const std::uint64_t n : t.ne) {
        if (n >> 63 != 0) return bad_tensor(index, "#{3} has a negative dimension");
        empty |= n == 0;
        if (__builtin_mul_overflow(elements, n != 0 ? n : 1, &elements) || elements > gguf_size_limit)
            return bad_tensor(index, "#{3} has dimensions whose product overflows");
    }
    if (t.ne[0] % type->elements != 0)
        return bad_tensor(index, "#{3} has rows of {0} elements, its type stores blocks of {1}", t.ne[0],
                          type->elements);
    if (__builtin_mul_overflow(elements / type->elements, type->bytes, &t.bytes) || t.bytes > gguf_size_limit)
        return bad_tensor(index, "#{3} has dimensions whose size in bytes overflows");
    if (empty) t.bytes = 0;
    return {};
}

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE
