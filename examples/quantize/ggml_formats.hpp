#pragma once
// ggml's tensor types as this program names them, and what replaces one whose blocks do not fill a row.
#include <qlib/file/ggml_types.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

/// The numbers that GGUF files hold.
enum class ggml : std::uint32_t {
    f32 = 0,
    f16 = 1,
    q4_0 = 2,
    q4_1 = 3,
    q5_0 = 6,
    q5_1 = 7,
    q8_0 = 8,
    q2_k = 10,
    q3_k = 11,
    q4_k = 12,
    q5_k = 13,
    q6_k = 14,
    iq2_xxs = 16,
    iq2_xs = 17,
    iq3_xxs = 18,
    iq1_s = 19,
    iq4_nl = 20,
    iq3_s = 21,
    iq2_s = 22,
    iq4_xs = 23,
    iq1_m = 29,
    bf16 = 30,
    tq1_0 = 34,
    tq2_0 = 35,
    mxfp4 = 39,
    nvfp4 = 40,
    q1_0 = 41,
    q2_0 = 42,
};

/// Name and block of a type that is known to exist.
inline qlib::ggml_type info_of(ggml type) { return qlib::ggml_type_info(static_cast<std::uint32_t>(type)).value(); }
inline std::string name_of(ggml type) { return std::string(info_of(type).name); }

inline bool is_float(ggml type) { return type == ggml::f32 || type == ggml::f16 || type == ggml::bf16; }
inline bool fits(ggml type, std::uint64_t cols) { return cols % info_of(type).elements == 0; }

/// Bytes of `weights` weights, as if they filled whole blocks.
inline double bytes_of(ggml type, std::uint64_t weights) {
    const qlib::ggml_type info = info_of(type);
    return static_cast<double>(weights) * info.bytes / info.elements;
}

/// The type with a name, in either case: "q4_k", "Q4_K".
inline std::optional<ggml> find_ggml_type(std::string_view name) {
    const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
    const auto same = [&](std::string_view a, std::string_view b) {
        if (a.size() != b.size()) return false;
        for (std::size_t i = 0; i < a.size(); ++i)
            if (lower(a[i]) != lower(b[i])) return false;
        return true;
    };
    for (std::uint32_t number = 0; number <= static_cast<std::uint32_t>(ggml::q2_0); ++number)
        if (const auto info = qlib::ggml_type_info(number); info && same(info->name, name))
            return static_cast<ggml>(number);
    return std::nullopt;
}

/// What llama.cpp takes when rows of `cols` weights are no whole blocks of `wanted`: a type with blocks of 32, else
/// f16. Where llama.cpp knows no replacement and gives up (q8_0, q4_0, iq4_nl, ... in rows that 32 does not divide) it
/// is f16 here too. Source: llama.cpp, llama-quant.cpp, tensor_type_fallback.
inline ggml type_that_fits(ggml wanted, std::uint64_t cols) {
    if (fits(wanted, cols)) return wanted;
    ggml other = ggml::f16;
    switch (wanted) {
    case ggml::iq1_s:
    case ggml::iq1_m:
    case ggml::iq2_xxs:
    case ggml::iq2_xs:
    case ggml::iq2_s:
    case ggml::iq3_xxs:
    case ggml::iq3_s:
    case ggml::iq4_xs: other = ggml::iq4_nl; break;
    case ggml::q2_0:
    case ggml::q2_k:
    case ggml::q3_k:
    case ggml::tq1_0:
    case ggml::tq2_0: other = ggml::q4_0; break;
    case ggml::q4_k: other = ggml::q5_0; break;
    case ggml::q5_k: other = ggml::q5_1; break;
    case ggml::q6_k: other = ggml::q8_0; break;
    default: break;
    }
    return fits(other, cols) ? other : ggml::f16;
}
