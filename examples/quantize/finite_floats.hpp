#pragma once
// No NaN and no infinity goes from one file to another: what is copied is looked at like what is quantized.
#include "../common/failure.hpp"
#include "model.hpp"

#include <qlib/file/ggml_data_check.hpp>

/// ggml's number for elements that are checked as its own are: also for types of safetensors that no ggml model has.
inline std::optional<std::uint32_t> checked_type_of(const source_tensor& t) {
    if (t.type) return static_cast<std::uint32_t>(*t.type);
    if (t.type_name == "F64") return 28;
    if (t.type_name == "C64") return 0;  // pairs of f32
    return std::nullopt;
}

/// Whether a byte is a NaN, or an infinity, of a type of 8 bits. Integers have none.
inline bool is_bad_byte(std::string_view type, std::byte b) {
    const auto bits = static_cast<unsigned>(b);
    if (type == "F8_E4M3") return (bits & 0x7F) == 0x7F;
    if (type == "F8_E5M2") return (bits & 0x7C) == 0x7C;
    if (type == "F8_E8M0") return bits == 0xFF;
    return type.ends_with("FNUZ") && bits == 0x80;
}

/// Elements of a tensor's data, or blocks of them, as it is read in pieces: how many bytes no piece may cut.
inline std::size_t indivisible_bytes(const source_tensor& t) {
    const auto type = checked_type_of(t);
    const auto info = type ? qlib::ggml_type_info(*type) : qlib::result<qlib::ggml_type>(qlib::ggml_type{});
    return info && info->bytes != 0 ? info->bytes : 1;
}

[[noreturn]] inline void fail_non_finite(const source_tensor& t, std::uint64_t element, bool is_scale) {
    const std::uint64_t cols = std::max<std::uint64_t>(1, t.cols());
    throw std::runtime_error(t.title() + ": " + (is_scale ? "the scale of the weights from " : "the weight in ") +
                             "row " + std::to_string(element / cols) + ", column " + std::to_string(element % cols) +
                             (is_scale ? " on" : "") + " is not finite: a NaN or an infinity");
}

/// error: a float that is not finite, in bytes [first, first + bytes.size()) of a tensor's data
inline void check_floats(const source_tensor& t, std::span<const std::byte> bytes, std::uint64_t first) {
    if (const auto type = checked_type_of(t)) {
        const auto info = qlib::ggml_type_info(*type);
        const qlib::status s = qlib::check_ggml_data(*type, bytes);
        if (s || !info) return;
        if (s.error().code != qlib::errc::non_finite) fail(s.error(), t.title());
        const std::uint64_t element = first / info->bytes * info->elements + s.error().sizes[1];
        return fail_non_finite(t, t.type_name == "C64" ? element / 2 : element, info->elements != 1);
    }
    if (!t.type_name.starts_with("F8")) return;
    const auto bad = std::ranges::find_if(bytes, [&](std::byte b) { return is_bad_byte(t.type_name, b); });
    if (bad != bytes.end()) fail_non_finite(t, first + static_cast<std::uint64_t>(bad - bytes.begin()), false);
}
