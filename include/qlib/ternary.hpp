#pragma once
// Ternary weights: -1, 0, +1, five to a byte.
#include "format/format.hpp"

namespace qlib::inline v0 {

/// 1.8 bits: base-3 codes under an f16 scale per 80 weights. A row may end inside a block.
struct ternary_g80 : format<ternary_grid, scale_per<80, f16>, inline_blocks<trits>> {};
static_assert(block_bytes<ternary_g80> == 18);

}  // namespace qlib::inline v0
