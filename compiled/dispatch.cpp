#include "parts.hpp"
#include <qlib/any/functions.hpp>

namespace {

template <std::size_t... Part>
const qlib::detail::any_operations* among(qlib::format_id id, std::index_sequence<Part...>) noexcept {
    const qlib::detail::any_operations* found = nullptr;
    static_cast<void>(((found = qlib::detail::operations_of_part<Part>(id), found != nullptr) || ...));
    return found;
}

}  // namespace

const qlib::detail::any_operations* qlib::detail::operations_of(format_id id) noexcept {
    return among(id, std::make_index_sequence<compiled_parts>{});
}
