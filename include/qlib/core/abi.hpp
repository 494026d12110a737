#pragma once
// Version, ABI namespaces, and the guards that keep every result independent of the including program's flags.
//
// Types live in qlib::QLIB_ABI, an inline namespace named after the version: they cross translation units, but not
// versions, of which a program may hold several. Functions live in qlib::QLIB_ABI::QLIB_BASE, named after the
// instruction sets that the compiler may use in the including file (baseline.hpp), so that the linker never swaps the
// code of a file built with -march=native for that of a file built without. Members of types are forced inline, or
// tagged with that name. What the standard library brings has neither, so of it the headers use only what holds no
// float: __builtin_bit_cast, not std::bit_cast.
#include "baseline.hpp"

#if (defined(_MSVC_LANG) ? _MSVC_LANG : __cplusplus) < 202002L
#error "qlib is written in C++20: compile with -std=c++20, or link to the CMake target qlib::qlib"
#include <qlib-needs-C++20>  // there is none: compilers stop here, before the errors that would follow
#endif

#define QLIB_VERSION_MAJOR 0
#define QLIB_VERSION_MINOR 1
#define QLIB_VERSION_PATCH 0
#define QLIB_ABI QLIB_PASTE(v, QLIB_VERSION_MAJOR, _, QLIB_VERSION_MINOR, , , , )  // while the major version is 0

#define QLIB_TEXT_(a) #a
#define QLIB_TEXT(a) QLIB_TEXT_(a)

/// Marks members of public types, see above. A function so marked is compiled into its caller, never as a symbol.
#define QLIB_INLINE [[gnu::__always_inline__]]
/// The same for a lambda, after its parameters.
#define QLIB_INLINE_LAMBDA __attribute__((__always_inline__))
/// Marks the members that are too long for that: the baseline's name becomes part of
/// their symbol, and of those of their lambdas.
#define QLIB_TAGGED [[gnu::abi_tag(QLIB_TEXT(QLIB_BASE))]]

// With the x87 unit a sum of floats is rounded once more, where the compiler likes: other bytes, other scales. (-1 is
// -ffast-math with clang; 16 speaks of floats of 16 bits, which are not used here.)
#if __FLT_EVAL_METHOD__ > 0 && __FLT_EVAL_METHOD__ != 16
#error "qlib needs floats that are computed as floats: compile with -msse2 -mfpmath=sse"
#endif

// -ffast-math in the including program must not reach the code between these two. What no pragma of clang 14 stops,
// contraction into FMA, is stopped at each product instead: numeric/exact.hpp.
#if defined(__clang__)
#define QLIB_EXACT_BEGIN _Pragma("float_control(precise, on, push)")
#define QLIB_EXACT_END _Pragma("float_control(pop)")
#elif defined(__GNUC__)
// In a program that is optimized g++ gives this code little effort: what takes time runs in rooms, which have a level
// of their own. A tenth of the time that a program takes to compile.
#if defined(__OPTIMIZE__) && !defined(__OPTIMIZE_SIZE__)
#define QLIB_EXACT_BEGIN \
    _Pragma("GCC push_options") _Pragma("GCC optimize(\"O1\", \"no-fast-math\", \"fp-contract=off\")")
#else
#define QLIB_EXACT_BEGIN _Pragma("GCC push_options") _Pragma("GCC optimize(\"no-fast-math\", \"fp-contract=off\")")
#endif
#define QLIB_EXACT_END _Pragma("GCC pop_options")
#else
#error "qlib needs g++ 12 or clang++ 14, or newer"
#endif
