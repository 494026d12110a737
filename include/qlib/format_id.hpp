#pragma once
// The named formats as numbers and names: what programs need that never see a format's type.
#include "core/result.hpp"

/// All named formats: X(type, number, name). The numbers of ggml's formats are ggml's own (GGUF, field `type`).
#define QLIB_NAMED_FORMATS(X)                                                                                          \
    X(dense_f32, 0, "F32") X(dense_f16, 1, "F16") X(q4_0, 2, "Q4_0") X(q4_1, 3, "Q4_1") X(q5_0, 6, "Q5_0")             \
    X(q5_1, 7, "Q5_1") X(q8_0, 8, "Q8_0") X(q2_k, 10, "Q2_K") X(q3_k, 11, "Q3_K") X(q4_k, 12, "Q4_K")                  \
    X(q5_k, 13, "Q5_K") X(q6_k, 14, "Q6_K") X(iq2_xxs, 16, "IQ2_XXS") X(iq2_xs, 17, "IQ2_XS")                          \
    X(iq3_xxs, 18, "IQ3_XXS") X(iq1_s, 19, "IQ1_S") X(iq4_nl, 20, "IQ4_NL") X(iq3_s, 21, "IQ3_S")                      \
    X(iq2_s, 22, "IQ2_S") X(iq4_xs, 23, "IQ4_XS") X(iq1_m, 29, "IQ1_M") X(dense_bf16, 30, "BF16")                      \
    X(tq1_0, 34, "TQ1_0") X(tq2_0, 35, "TQ2_0") X(mxfp4, 39, "MXFP4") X(nvfp4, 40, "NVFP4") X(q1_0, 41, "Q1_0")        \
    X(q2_0, 42, "Q2_0") X(nf4, 0x1000, "NF4") X(nf4_dq, 0x1001, "NF4_DQ") X(fp4, 0x1002, "FP4")                        \
    X(fp4_dq, 0x1003, "FP4_DQ") X(fp8_e4m3, 0x1010, "FP8_E4M3") X(fp8_e4m3_row, 0x1011, "FP8_E4M3_ROW")                \
    X(fp8_e4m3_tile128, 0x1012, "FP8_E4M3_TILE128") X(fp8_e5m2, 0x1013, "FP8_E5M2")                                    \
    X(fp8_e5m2_row, 0x1014, "FP8_E5M2_ROW") X(fp8_e5m2_tile128, 0x1015, "FP8_E5M2_TILE128")                            \
    X(int4_g32, 0x1020, "INT4_G32") X(int4_g128, 0x1021, "INT4_G128") X(int4_g128_asym, 0x1022, "INT4_G128_ASYM")      \
    X(int8_row, 0x1023, "INT8_ROW") X(int4_g32_asym, 0x1024, "INT4_G32_ASYM") X(ternary_g80, 0x1030, "TERNARY_G80")    \
    X(mxfp8_e4m3, 0x1040, "MXFP8_E4M3") X(mxfp8_e5m2, 0x1041, "MXFP8_E5M2") X(mxfp6_e3m2, 0x1042, "MXFP6_E3M2")        \
    X(mxfp6_e2m3, 0x1043, "MXFP6_E2M3") X(mxfp4_ocp, 0x1044, "MXFP4_OCP") X(mxint8, 0x1045, "MXINT8")                  \
    X(nvfp4_modelopt, 0x1050, "NVFP4_MODELOPT") X(nvfp4_compressed_tensors, 0x1051, "NVFP4_COMPRESSED_TENSORS")

namespace qlib::inline QLIB_ABI {

/// A named format as a number. ggml's formats have ggml's numbers; the others begin at 0x1000.
enum class format_id : std::uint32_t {
#define QLIB_FORMAT(type, number, name) type = number,
    QLIB_NAMED_FORMATS(QLIB_FORMAT)
#undef QLIB_FORMAT
};

/// All of them, ascending.
inline constexpr std::array all_format_ids{
#define QLIB_FORMAT(type, number, name) format_id::type,
    QLIB_NAMED_FORMATS(QLIB_FORMAT)
#undef QLIB_FORMAT
};

}  // namespace qlib::inline QLIB_ABI

namespace qlib::inline QLIB_ABI::inline QLIB_BASE {

/// The name of a format, "Q4_K"; empty for an unknown id.
[[nodiscard]] constexpr std::string_view format_name(format_id id) noexcept {
    switch (id) {
#define QLIB_FORMAT(type, number, name) \
    case format_id::type: return name;
        QLIB_NAMED_FORMATS(QLIB_FORMAT)
#undef QLIB_FORMAT
    }
    return {};
}

/// The format of a name, in either case; "q4_k", "Q4_K". error: unsupported.
[[nodiscard]] inline result<format_id> format_named(std::string_view text) noexcept {
    const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
    for (const format_id id : all_format_ids) {
        const std::string_view known = format_name(id);
        bool same = known.size() == text.size();
        for (std::size_t i = 0; same && i < text.size(); ++i) same = lower(known[i]) == lower(text[i]);
        if (same) return id;
    }
    return error{errc::unsupported, "there is no format of this name", "format", {}};
}

}  // namespace qlib::inline QLIB_ABI::inline QLIB_BASE
