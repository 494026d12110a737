#pragma once
// checkpoint_part: one of the tensors that a checkpoint stores a quantized matrix as.
#include "safetensors_reader.hpp"

namespace qlib::inline QLIB_ABI {

/// A tensor to be written for a matrix: the name behind the layer's
/// ("model.layers.0.mlp.up_proj" + "." + suffix), type and shape.
struct checkpoint_part {
    std::string_view suffix;
    safetensors_type type{};
    std::size_t n_dims = 0;
    std::array<std::uint64_t, 2> dims{1, 1};  ///< 1 beyond n_dims
    std::uint64_t bytes = 0;

    [[nodiscard]] QLIB_INLINE std::span<const std::uint64_t> shape() const noexcept { return {dims.data(), n_dims}; }
};

/// The tensors of one matrix, known before its data are.
struct checkpoint_parts {
    std::array<checkpoint_part, 6> list{};
    std::size_t count = 0;

    [[nodiscard]] QLIB_INLINE std::size_t size() const noexcept { return count; }
    [[nodiscard]] QLIB_INLINE const checkpoint_part& operator[](std::size_t i) const noexcept { return list[i]; }
    [[nodiscard]] QLIB_INLINE const checkpoint_part* begin() const noexcept { return list.data(); }
    [[nodiscard]] QLIB_INLINE const checkpoint_part* end() const noexcept { return list.data() + count; }
};

}  // namespace qlib::inline QLIB_ABI

namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

inline void add_part(checkpoint_parts& parts, std::string_view suffix, safetensors_type type, std::size_t n_dims,
                     std::uint64_t rows, std::uint64_t cols = 1) noexcept {
    const std::uint64_t bytes = saturating_multiply(saturating_multiply(rows, cols), safetensors_bits(type) / 8);
    parts.list[parts.count++] = {suffix, type, n_dims, {rows, cols}, bytes};
}

/// Says which part of a matrix is to be written, and whether `out` is what it needs.
inline status check_part(const checkpoint_parts& parts, std::size_t index, std::span<const std::byte> out) noexcept {
    if (index >= parts.count) return error{errc::argument, "part {0} of {1}", "part", {index, parts.count}};
    if (out.size() != parts[index].bytes)
        return error{errc::shape, "{0} bytes of room for a part of {1}", "part", {out.size(), parts[index].bytes}};
    return {};
}

/// Looks a layer's tensors up: for each suffix sets `slot` where the file has
/// prefix.suffix, and leaves it alone where not.
struct part_lookup {
    std::string_view suffix;
    const safetensors_tensor** slot;
};
inline status find_parts(const safetensors_file& file, std::string_view prefix,
                         std::span<const part_lookup> wanted) noexcept {
    growing<char> name;
    const auto append = [&](std::string_view text) {
        return name.append(std::span<const char>(text.data(), text.size()));
    };
    if (!append(prefix) || !append(".")) return out_of_memory(prefix.size());
    const std::size_t stem = name.size();
    for (const part_lookup& w : wanted) {
        name.cut(stem);
        if (!append(w.suffix)) return out_of_memory(prefix.size());
        if (const safetensors_tensor* const t = file.find({name.data(), name.size()}); t != nullptr) *w.slot = t;
    }
    return {};
}

/// A part that must be there with its data, and have a shape.
inline status check_tensor(const safetensors_tensor* t, const char* operand, std::size_t n_dims) noexcept {
    if (t == nullptr) return error{errc::malformed, "the tensor is missing", operand, {}};
    if (t->n_dims() != n_dims)
        return error{errc::malformed, "{0} dimensions, {1} are needed", operand, {t->n_dims(), n_dims}};
    if (t->data.size() != t->bytes)
        return error{errc::truncated, "the bytes given do not hold its {0} bytes of data", operand, {t->bytes}};
    return {};
}

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE
