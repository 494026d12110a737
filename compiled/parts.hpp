#pragma once
// How dispatch.cpp finds the tables that the parts have made: by name, without constructors at load.
#include <qlib/any/operations.hpp>

namespace qlib::inline QLIB_ABI::detail {

inline constexpr std::size_t compiled_parts = 8;

/// operations_of() among the formats of one part.
template <std::size_t Part> const any_operations* operations_of_part(format_id id) noexcept;

}  // namespace qlib::inline QLIB_ABI::detail
