#include "parts.hpp"
#include <algorithm>
#include <qlib/any/functions.hpp>

namespace {

using finder = const qlib::detail::any_operations* (*)(qlib::format_id) noexcept;
template <std::size_t... Part> constexpr std::array<finder, sizeof...(Part)> finders_of(std::index_sequence<Part...>) {
    return {&qlib::detail::operations_of_part<Part>...};
}
constexpr auto finders = finders_of(std::make_index_sequence<qlib::detail::compiled_parts>{});

}  // namespace

// The i-th named format is in part i % 8: 10 ns where asking one part after the other took up to 20.
const qlib::detail::any_operations* qlib::detail::operations_of(format_id id) noexcept {
    const auto at = std::ranges::lower_bound(all_format_ids, id);
    if (at == all_format_ids.end() || *at != id) return nullptr;
    return finders[static_cast<std::size_t>(at - all_format_ids.begin()) % compiled_parts](id);
}
