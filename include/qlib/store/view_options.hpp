#pragma once
// Where a quantized matrix lies, as far as that can be said without its format.
#include "../core/abi.hpp"

#include <cstddef>
#include <span>

namespace qlib::inline QLIB_ABI {

/// Where the rows of a quantized matrix lie when they are not one tight piece.
template <class Byte> struct view_options {
    /// Distance between rows in bytes, of formats with one plane; 0: rows follow each other.
    std::size_t row_bytes = 0;
    /// Outer values kept elsewhere (NVFP4's tensor scale in GGUF); empty: behind the planes.
    std::span<Byte> outer = {};
};

}  // namespace qlib::inline QLIB_ABI
