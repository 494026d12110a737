#include <qlib/core/memory.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <limits>
#include <type_traits>
#include <utility>

using namespace qlib::detail;

namespace {
constexpr std::size_t huge = std::numeric_limits<std::size_t>::max();
struct pair {
    double a, b;
};
}  // namespace

static_assert(saturating_multiply(6, 7) == 42 && saturating_multiply(huge, 1) == huge &&
              saturating_multiply(huge, 0) == 0);
static_assert(saturating_multiply(std::size_t{1} << 32, std::size_t{1} << 32) == huge &&
              saturating_multiply(huge / 2 + 1, 2) == huge);
static_assert(saturating_add(6, 7) == 13 && saturating_add(huge, 1) == huge && saturating_add(huge - 1, 1) == huge);
static_assert(divide_up(0, 4) == 0 && divide_up(1, 4) == 1 && divide_up(4, 4) == 1 && divide_up(5, 4) == 2 &&
              divide_up(huge, 2) == huge / 2 + 1);
static_assert(round_up(0, 64) == 0 && round_up(1, 64) == 64 && round_up(64, 64) == 64 && round_up(65, 64) == 128);
static_assert(!std::is_copy_constructible_v<buffer<float>> && std::is_nothrow_move_constructible_v<buffer<float>>);

TEST_CASE("memory: a buffer is aligned to 64 bytes and writable to its end") {
    for (const std::size_t count : {1u, 3u, 16u, 1000u}) {
        buffer<pair> b;
        REQUIRE(b.allocate(count));
        CHECK(b.size() == count);
        CHECK(reinterpret_cast<std::uintptr_t>(b.data()) % 64 == 0);
        b[0] = {1, 2};
        b[count - 1] = {3, 4};
        CHECK(std::as_const(b)[count - 1].b == 4);
        CHECK(std::as_const(b).data() == b.data());
    }
}

TEST_CASE("memory: no elements need no memory") {
    buffer<float> b;
    CHECK(b.data() == nullptr);
    CHECK(b.allocate(0));
    CHECK(b.data() == nullptr);
    REQUIRE(b.allocate(5));
    CHECK(b.allocate(0));
    CHECK(b.size() == 0);
    CHECK(b.data() == nullptr);
}

TEST_CASE("memory: what cannot be had is refused, and the buffer is empty then") {
    for (const std::size_t count : {huge, huge / 2, huge / 4, huge / 8, std::size_t{1} << 58}) {
        buffer<float> b;
        REQUIRE(b.allocate(10));
        CHECK(!b.allocate(count));
        CHECK(b.data() == nullptr);
        CHECK(b.size() == 0);
    }
}

TEST_CASE("memory: moving hands the bytes over") {
    buffer<int> a;
    REQUIRE(a.allocate(3));
    a[2] = 42;
    const int* where = a.data();
    buffer<int> b = std::move(a);
    CHECK(b.data() == where);
    CHECK(b.size() == 3);
    CHECK(b[2] == 42);
    CHECK(a.data() == nullptr);
    CHECK(a.size() == 0);
    buffer<int> c;
    REQUIRE(c.allocate(7));
    c = std::move(b);
    CHECK(c.data() == where);
    CHECK(c.size() == 3);
}

TEST_CASE("memory: the error says how much was wanted") {
    char text[64];
    CHECK(out_of_memory(4096).code == qlib::errc::memory);
    CHECK(out_of_memory(4096).format(text) == "no memory for 4096 bytes");
}
