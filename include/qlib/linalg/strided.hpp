#pragma once
// strided: elements at two distances, which may run backwards.
#include "../core/abi.hpp"

#include <cstddef>

namespace qlib::inline QLIB_ABI::detail {

/// Read-only elements: (r, t) stands at data[r * row + t * col]. Steps may be negative: a chain that runs downward.
struct strided {
    const float* data;
    std::ptrdiff_t row, col = 1;
    [[nodiscard]] QLIB_INLINE strided from(std::size_t r, std::size_t t) const noexcept {
        return {data + static_cast<std::ptrdiff_t>(r) * row + static_cast<std::ptrdiff_t>(t) * col, row, col};
    }
};

}  // namespace qlib::inline QLIB_ABI::detail
