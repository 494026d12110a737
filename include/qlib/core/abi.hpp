#pragma once
// Version, ABI namespaces, and the guards that keep every result independent of the including program's flags.
//
// Types live in qlib::v0: they cross translation units. Functions live in qlib::v0::QLIB_BASE, an inline namespace named
// after the instruction sets that the including file was compiled for, so that the linker never swaps the code of a
// file built with -march=native for that of a file built without. Members of types are forced inline, or tagged with that name.

#if (defined(_MSVC_LANG) ? _MSVC_LANG : __cplusplus) < 202002L
#error "qlib is written in C++20: compile with -std=c++20, or link to the CMake target qlib::qlib"
#include <qlib-needs-C++20>  // there is none: compilers stop here, before the errors that would follow
#endif

#define QLIB_VERSION_MAJOR 0
#define QLIB_VERSION_MINOR 1
#define QLIB_VERSION_PATCH 0

#if defined(__AVX512VNNI__)
#define QLIB_BASE_LEVEL x86_64_avx512vnni
#elif defined(__AVX512F__)
#define QLIB_BASE_LEVEL x86_64_avx512
#elif defined(__AVXVNNI__)
#define QLIB_BASE_LEVEL x86_64_avxvnni
#elif defined(__AVX2__)
#define QLIB_BASE_LEVEL x86_64_avx2
#elif defined(__AVX__)
#define QLIB_BASE_LEVEL x86_64_avx
#elif defined(__SSE4_1__)
#define QLIB_BASE_LEVEL x86_64_sse4
#elif defined(__x86_64__)
#define QLIB_BASE_LEVEL x86_64
#elif defined(__ARM_FEATURE_SVE)
#define QLIB_BASE_LEVEL aarch64_sve
#elif defined(__ARM_FEATURE_MATMUL_INT8)
#define QLIB_BASE_LEVEL aarch64_i8mm
#elif defined(__ARM_FEATURE_DOTPROD)
#define QLIB_BASE_LEVEL aarch64_dotprod
#elif defined(__aarch64__)
#define QLIB_BASE_LEVEL aarch64
#else
#define QLIB_BASE_LEVEL other
#endif
#if defined(__FMA__) && !defined(__AVX2__)
#define QLIB_BASE_FMA _fma
#else
#define QLIB_BASE_FMA
#endif
#define QLIB_PASTE_(a, b, c) a##b##c
#define QLIB_PASTE(a, b, c) QLIB_PASTE_(a, b, c)
#define QLIB_BASE QLIB_PASTE(base_, QLIB_BASE_LEVEL, QLIB_BASE_FMA)
#define QLIB_TEXT_(a) #a
#define QLIB_TEXT(a) QLIB_TEXT_(a)

/// Marks members of public types, see above. A function so marked is compiled into its caller, never as a symbol.
#define QLIB_INLINE [[gnu::always_inline]]
/// The same for a lambda, after its parameters.
#define QLIB_INLINE_LAMBDA __attribute__((always_inline))
/// Marks the members that are too long for that: the baseline's name becomes part of their symbol, and of those of their lambdas.
#define QLIB_TAGGED [[gnu::abi_tag(QLIB_TEXT(QLIB_BASE))]]

// -ffast-math in the including program must not reach the code between these two. What no pragma of clang 14 stops,
// contraction into FMA, is stopped at each product instead: numeric/exact.hpp.
#if defined(__clang__)
#define QLIB_EXACT_BEGIN _Pragma("float_control(precise, on, push)")
#define QLIB_EXACT_END _Pragma("float_control(pop)")
#elif defined(__GNUC__)
#define QLIB_EXACT_BEGIN _Pragma("GCC push_options") _Pragma("GCC optimize(\"no-fast-math\", \"fp-contract=off\")")
#define QLIB_EXACT_END _Pragma("GCC pop_options")
#else
#error "qlib needs g++ 12 or clang++ 14, or newer"
#endif
