#pragma once
// The macros that other libraries' headers leave behind, in the worst form that is about. What qlib includes comes
// first: nobody's standard library survives them.
#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cerrno>
#include <cmath>
#include <concepts>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <mutex>
#include <new>
#include <span>
#include <string_view>
#include <thread>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>
#if defined(__x86_64__)
#include <immintrin.h>
#endif
#if defined(_WIN32)
#include <windows.h>
#else
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

// windows.h and what it brings; min and max as without NOMINMAX
#undef min
#undef max
#define min(a, b) ((a) < (b) ? (a) : (b))
#define max(a, b) ((a) > (b) ? (a) : (b))
#if !defined(_WIN32)
#define near
#define far
#define huge
#define small char
#define hyper __int64
#define pascal __stdcall
#define cdecl __cdecl
#define rad1 0x0420
#define interface struct
#define uuid(a) deprecated
#define IN
#define OUT
#define OPTIONAL
#define CALLBACK
#define CONST const
#define DELETE 0x10000L
#define ERROR 0
#define NO_ERROR 0
#define STRICT 1
#define TEXT(x) L##x
#define THIS void
#define TRUE 1
#define FALSE 0
#endif

// X11
#define None 0L
#define Bool int
#define Status int
#define Success 0
#define Always 2
#define Complex 0
#define Convex 2
#define Unsorted 0
#define Above 0
#define Below 1
#define True 1
#define False 0

// Qt
#define slots
#define signals public
#define emit
#define foreach(a, b) for (a : b)
#define forever for (;;)

// Unreal, and assert.h of Apple's system
#define check(x) static_assert(false)
#define verify(x) static_assert(false)
#define require(x, label) static_assert(false)
#define ensure(x) static_assert(false)
#define unimplemented() static_assert(false)
#define cast(x) static_assert(false)
#undef FORCEINLINE
#define FORCEINLINE inline

// Arduino, ESP-IDF, and newlib's ctype.h
#define F(x) static_assert(false)
#define abs(x) ((x) > 0 ? (x) : -(x))
#define round(x) ((x) >= 0 ? (long)((x) + 0.5) : (long)((x)-0.5))
#define radians(x) ((x) * 0.017)
#define degrees(x) ((x) * 57.3)
#define constrain(x, low, high) ((x) < (low) ? (low) : (x))
#define sq(x) ((x) * (x))
#define square(x) ((x) * (x))
#define bit(b) (1UL << (b))
#define word(...) makeWord(__VA_ARGS__)
#define swap(a, b) static_assert(false)
#define HIGH 1
#define LOW 0
#define PI 3.14
#define DEFAULT 1
#define EXTERNAL 0
#define _U 1
#define _L 2
#define _N 4
#define _S 8
#define _B 128

// Objective-C and Foundation
#define nil nullptr
#define Nil nullptr
#define YES true
#define NO false
#if !defined(__OBJC__)  // there they are the compiler's
#define IBOutlet
#define IBAction void
#endif
#define MIN(a, b) min(a, b)
#define MAX(a, b) max(a, b)

// complex.h, termios.h, sys/param.h, sys/sysmacros.h, term.h, X11/Xos.h, C23's stddef.h, g++ with GNU extensions
#define I static_assert(false)
#define B0 0
#define ECHO 10
#define major(x) (x)
#define minor(x) (x)
#define howmany(x, y) (((x) + ((y)-1)) / (y))
#define roundup(x, y) (x)
#define index(s, c) strchr(s, c)
#define lines static_assert(false)
#define columns static_assert(false)
#define unreachable() __builtin_unreachable()
#define unix 1
#define linux 1
#define i386 1

// what code bases call their own
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define always_inline inline
#define countof(x) (sizeof(x) / sizeof(*(x)))
#define stringify(x) #x
#ifndef CHECK
#define CHECK(x) static_assert(false)
#endif
#ifndef assert
#define assert(x, ...) ((void)0)
#endif
