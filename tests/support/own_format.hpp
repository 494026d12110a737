#pragma once
// A user's own format, in one line: 3-bit codes of a codebook, an E4M3 scale per 48
// weights, an f32 scale of the tensor.
#include <qlib/format/format.hpp>

inline constexpr std::array<float, 8> own_levels{-1.f, -.58f, -.3f, -.09f, .1f, .33f, .62f, 1.f};
struct own_format
    : qlib::format<qlib::codebook_grid<own_levels>, qlib::scale_per<48, qlib::e4m3>, qlib::inline_blocks<>> {
    static constexpr std::uint32_t number = 0x10000;  // by which any.hpp knows it
};
