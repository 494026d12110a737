#pragma once
// QLIB_ROOM(features) ... QLIB_ROOM_END: a stretch of code compiled for an instruction set that the including program
// need not be compiled for. Everything between inherits it: functions, templates, members, lambdas. Rules:
//   includes stand before the room, never in it (or the standard library's inline functions are compiled for it too);
//   no objects with constructors at namespace scope, no hidden friends, no default
//     member initialisers that call an intrinsic;
//   no lambda that uses intrinsics goes to a helper outside (g++ 12 does not inline it);
//   `features` is a list of features, never arch=.
#include "../core/abi.hpp"

#define QLIB_PRAGMA_(...) _Pragma(#__VA_ARGS__)
#define QLIB_PRAGMA(...) QLIB_PRAGMA_(__VA_ARGS__)
/// How far g++ optimizes rooms, whatever the including program asks for. Plain loops become vectors as under O3,
/// which beyond that makes code half as large again and compiling it half as long, and no hot loop faster. Tests
/// that are compiled often define QLIB_QUICK_ROOMS.
#if defined(QLIB_QUICK_ROOMS)
#define QLIB_ROOM_LEVEL "O1"
#else
#define QLIB_ROOM_LEVEL "O2", "vect-cost-model=dynamic"
#endif
/// The same for the portable room. On x86-64 only machines without AVX2 are left to it, and every program compiles it.
#if defined(__x86_64__)
#define QLIB_PORTABLE_LEVEL "O1"
#else
#define QLIB_PORTABLE_LEVEL QLIB_ROOM_LEVEL
#endif
#if defined(__clang__)
#define QLIB_ROOM(features)                                                                   \
    QLIB_PRAGMA(clang attribute push(__attribute__((target(features))), apply_to = function)) \
    QLIB_EXACT_BEGIN
#define QLIB_ROOM_END \
    QLIB_EXACT_END    \
    _Pragma("clang attribute pop")
#else
// g++ 12 warns of uninitialised variables inside its own intrinsics.
#define QLIB_ROOM(features)                                                                                          \
    _Pragma("GCC push_options") QLIB_PRAGMA(GCC target(features))                                                    \
        QLIB_PRAGMA(GCC optimize(QLIB_ROOM_LEVEL, "no-fast-math", "fp-contract=off")) _Pragma("GCC diagnostic push") \
            _Pragma("GCC diagnostic ignored \"-Wuninitialized\"")                                                    \
                _Pragma("GCC diagnostic ignored \"-Wmaybe-uninitialized\"")
#define QLIB_ROOM_END _Pragma("GCC diagnostic pop") _Pragma("GCC pop_options")
#endif
