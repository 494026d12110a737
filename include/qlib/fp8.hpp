#pragma once
// FP8 weights: OFP8 codes under f32 scales of tiles. Source: DeepSeek-V3 (`weight_scale_inv`, 128 x 128), FBGEMM and vLLM (per row, per tensor).
#include "format/format.hpp"

namespace qlib::inline v0 {

/// E4M3 codes; T = f32 scale per 128 x 128 tile: abs-max / 448.
struct fp8_e4m3_tile128 : format<minifloat_grid<e4m3>, tile_scale<extent{128, 128}>> {};
/// E4M3 codes, an f32 scale per row.
struct fp8_e4m3_row : format<minifloat_grid<e4m3>, scale_per_row<>> {};
/// E4M3 codes, one f32 scale.
struct fp8_e4m3 : format<minifloat_grid<e4m3>, scale_per_tensor<>> {};
static_assert(block_bytes<fp8_e4m3> == 64);

}  // namespace qlib::inline v0
