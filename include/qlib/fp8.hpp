#pragma once
// FP8 weights and activations: OFP8 codes under f32 scales of tiles. Source: DeepSeek-V3 (`weight_scale_inv`,
// 128 x 128), FBGEMM and vLLM (per row, per tensor).
#include "format/format.hpp"

namespace qlib::inline QLIB_ABI {

// A token is a row of activations: a matrix of them with one scale per token is fp8_e4m3_row, or fp8_e5m2_row. The
// scale of a tile is its abs-max / the largest code, 448 or 57344; codes are rounded to nearest even and saturate.

/// E4M3 codes; T = f32 scale per 128 x 128 tile: abs-max / 448.
struct fp8_e4m3_tile128 : format<minifloat_grid<e4m3>, tile_scale<extent{128, 128}>> {};
/// E4M3 codes, an f32 scale per row.
struct fp8_e4m3_row : format<minifloat_grid<e4m3>, scale_per_row<>> {};
/// E4M3 codes, one f32 scale.
struct fp8_e4m3 : format<minifloat_grid<e4m3>, scale_per_tensor<>> {};
/// The same with E5M2 codes: one bit less of precision, twice the binades.
struct fp8_e5m2_tile128 : format<minifloat_grid<e5m2>, tile_scale<extent{128, 128}>> {};
struct fp8_e5m2_row : format<minifloat_grid<e5m2>, scale_per_row<>> {};
struct fp8_e5m2 : format<minifloat_grid<e5m2>, scale_per_tensor<>> {};
static_assert(block_bytes<fp8_e4m3> == 64 && block_bytes<fp8_e5m2> == 64);

}  // namespace qlib::inline QLIB_ABI
