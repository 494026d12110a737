#pragma once
// The ready-made fits, and the choice between them at run time.
#include "../core/options.hpp"
#include "plain.hpp"
#include "reference.hpp"
#include "search.hpp"

namespace qlib::inline QLIB_ABI {

namespace detail {
/// use(fit object) for the enumerator.
template <class Use> QLIB_INLINE constexpr auto with_fit(fit f, const Use& use) {
    switch (f) {
    case fit::plain: return use(plain_fit{});
    case fit::reference: return use(reference_fit{});
    case fit::search: break;
    }
    return use(search_fit{});
}
}  // namespace detail

}  // namespace qlib::inline QLIB_ABI
