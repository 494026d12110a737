#pragma once
// Defines the functions of any.hpp. Include it in exactly one source file of a program: it compiles every named format
// for every instruction set, which takes minutes. A file that needs fewer names them, and may say what they must do:
//
//     #include <qlib/instantiate.hpp>
//     QLIB_INSTANTIATE(q4_k, q8_0, ::my::format)
//
//     #include <qlib/instantiate.hpp>
//     QLIB_INSTANTIATE_ONLY(operations::decode | operations::multiply, q4_k, q8_0)
//
// Types and operations are seen from namespace qlib. A format of one's own has a member `number`, from 0x10000 on.
#include "any/functions.hpp"
#include "any/instantiation.hpp"

namespace qlib::inline QLIB_ABI::detail {

/// What this file instantiates: all, unless a line below this header specializes it.
template <class Nothing> struct instantiated : part_of_named<0, 1> {};

inline namespace QLIB_BASE {
// Compilers instantiate function templates at the end of the file; the specialization has come by then.
template <class Nothing> const any_operations* instantiated_operations(format_id id) noexcept {
    return instantiated<Nothing>::operations_of(id);
}
}  // namespace QLIB_BASE

const any_operations* operations_of(format_id id) noexcept { return instantiated_operations<void>(id); }

}  // namespace qlib::inline QLIB_ABI::detail

#undef QLIB_INSTANTIATE  // by which the single header is asked for this part of it
#define QLIB_INSTANTIATE(...) QLIB_INSTANTIATE_ONLY(operations::all, __VA_ARGS__)
#define QLIB_INSTANTIATE_ONLY(which, ...)                                               \
    namespace qlib::inline QLIB_ABI::detail {                                                 \
    template <> struct instantiated<void> : instantiation<which, 0, 1, __VA_ARGS__> {}; \
    }
