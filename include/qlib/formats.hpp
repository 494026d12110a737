#pragma once
// Every named format; visit() goes from a number at run time to the type at compile time.
#include "dense.hpp"
#include "format_id.hpp"
#include "fp8.hpp"
#include "integer.hpp"
#include "iq_lattices.hpp"
#include "iq_quants.hpp"
#include "k_quants.hpp"
#include "legacy_quants.hpp"
#include "mx.hpp"
#include "nf4.hpp"
#include "ternary.hpp"

namespace qlib::inline QLIB_ABI::inline QLIB_BASE {

/// use.operator()<F>(arguments...) for the format of an id. An unknown id gives
/// errc::unsupported, so `use` returns a status or a result.
///
///     visit(id, [&]<block_format F>() -> status { return dequantize(*qview<F>::over(bytes, rows, cols), out); });
template <class Use, class... Arguments> constexpr auto visit(format_id id, Use&& use, Arguments&&... arguments) {
    using R = decltype(use.template operator()<q4_0>(arguments...));
    switch (id) {
#define QLIB_FORMAT(type, number, name) \
    case format_id::type: return use.template operator()<type>(arguments...);
        QLIB_NAMED_FORMATS(QLIB_FORMAT)
#undef QLIB_FORMAT
    }
    return R(error{errc::unsupported, "there is no format number {0}", "format", {static_cast<std::uint64_t>(id)}});
}

}  // namespace qlib::inline QLIB_ABI::inline QLIB_BASE
