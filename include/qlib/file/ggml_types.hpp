#pragma once
// ggml's tensor types: the numbers that GGUF files hold, and the size of their blocks.
#include "../core/result.hpp"

namespace qlib::inline QLIB_ABI {

/// A tensor type of ggml. Rows are cut into blocks of `elements` values, each stored in `bytes` bytes.
struct ggml_type {
    std::string_view name;  ///< as ggml spells it: "f16", "q4_K"
    std::uint32_t elements = 0;
    std::uint32_t bytes = 0;
};

}  // namespace qlib::inline QLIB_ABI

namespace qlib::inline QLIB_ABI::detail {

/// Indexed by number. No elements: removed from ggml, never to be reused.
inline constexpr std::array<ggml_type, 43> ggml_types{{
    {"f32", 1, 4},      {"f16", 1, 2},        {"q4_0", 32, 18},    {"q4_1", 32, 20},     {"", 0, 0},
    {"", 0, 0},         {"q5_0", 32, 22},     {"q5_1", 32, 24},    {"q8_0", 32, 34},     {"q8_1", 32, 36},
    {"q2_K", 256, 84},  {"q3_K", 256, 110},   {"q4_K", 256, 144},  {"q5_K", 256, 176},   {"q6_K", 256, 210},
    {"q8_K", 256, 292}, {"iq2_xxs", 256, 66}, {"iq2_xs", 256, 74}, {"iq3_xxs", 256, 98}, {"iq1_s", 256, 50},
    {"iq4_nl", 32, 18}, {"iq3_s", 256, 110},  {"iq2_s", 256, 82},  {"iq4_xs", 256, 136}, {"i8", 1, 1},
    {"i16", 1, 2},      {"i32", 1, 4},        {"i64", 1, 8},       {"f64", 1, 8},        {"iq1_m", 256, 56},
    {"bf16", 1, 2},     {"", 0, 0},           {"", 0, 0},          {"", 0, 0},           {"tq1_0", 256, 54},
    {"tq2_0", 256, 66}, {"", 0, 0},           {"", 0, 0},          {"", 0, 0},           {"mxfp4", 32, 17},
    {"nvfp4", 64, 36},  {"q1_0", 128, 18},    {"q2_0", 64, 18},
}};

/// The numbers that ik_llama.cpp, a fork of ggml, gave to types of its own, as ranges {first, last}.
inline constexpr std::array<std::array<std::uint32_t, 2>, 15> fork_types{{
    {97, 99},
    {133, 141},
    {144, 158},
    {202, 202},
    {206, 206},
    {208, 208},
    {210, 214},
    {216, 223},
    {229, 230},
    {233, 233},
    {335, 335},
    {337, 340},
    {344, 344},
    {352, 353},
    {397, 399},
}};

}  // namespace qlib::inline QLIB_ABI::detail

namespace qlib::inline QLIB_ABI::inline QLIB_BASE {

/// The tensor type with a number.
///
/// id      the number in a GGUF file
/// error   unsupported, sizes {id}: unknown, removed from ggml, or of a fork, whose rows can have a header of their own
/// source  ggml.c, type_traits
[[nodiscard]] inline result<ggml_type> ggml_type_info(std::uint32_t id) noexcept {
    if (id < detail::ggml_types.size()) {
        if (detail::ggml_types[id].elements != 0) return detail::ggml_types[id];
        return error{errc::unsupported, "type {0} was removed from ggml", "tensor type", {id}};
    }
    for (const auto& range : detail::fork_types)
        if (id >= range[0] && id <= range[1])
            return error{
                errc::unsupported, "type {0} exists only in ik_llama.cpp, a fork of ggml", "tensor type", {id}};
    return error{errc::unsupported, "type {0} is unknown: ggml's types have the numbers 0 to 42", "tensor type", {id}};
}

}  // namespace qlib::inline QLIB_ABI::inline QLIB_BASE
