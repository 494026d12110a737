#include "support/rooms.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <string_view>

using namespace qlib;

TEST_CASE("isa: the portable room runs everywhere, and the best one on this machine") {
    CHECK(has_room(isa::portable));
    CHECK(has_room(isa::best));
    CHECK(detail::best_isa() != isa::best);
    CHECK(has_room(detail::best_isa()));
    CHECK(resolve_room(isa::best) == detail::best_isa());
    CHECK(check_room(isa::best).ok());
    for (const isa room : sample::rooms()) {
        CHECK(resolve_room(room) == room);
        CHECK(check_room(room).ok());
    }
}

TEST_CASE("isa: the best is the first of those built that the machine has, and portable the last of them") {
    CHECK(sample::rooms().front() == detail::best_isa());
    CHECK(sample::rooms().back() == isa::portable);
    CHECK(built_rooms.back() == isa::portable);
    CHECK(std::ranges::count(built_rooms, isa::best) == 0);
}

TEST_CASE("isa: the answer stays the same") {
    const isa first = detail::best_isa();
    CHECK(detail::best_isa() == first);
    const unsigned set = detail::machine_rooms();
    CHECK(detail::detect_rooms() == set);
    CHECK(detail::cached_rooms == set);
    unsigned here = 0;
    for (const isa room : sample::rooms()) here |= detail::room_bit(room);
    CHECK(here == set);
}

TEST_CASE("isa: a room that no machine has is an error") {
    for (const isa room : {sample::no_room, isa{32}, isa{33}, isa{34}, isa{255}}) {
        CHECK(!has_room(room));
        CHECK(check_room(room).error().code == errc::unsupported);
    }
}

TEST_CASE("isa: a room needs all of its features, and the system must save its registers") {
    constexpr detail::cpu_bits needed{1, 2, 4, 6};
    static_assert(needed.has(needed));
    static_assert(detail::cpu_bits{~0u, ~0u, ~0u, ~0u}.has(needed));
    static_assert(needed.has({}));
    static_assert(!detail::cpu_bits{0, 2, 4, 6}.has(needed));
    static_assert(!detail::cpu_bits{1, 0, 4, 6}.has(needed));
    static_assert(!detail::cpu_bits{1, 2, 0, 6}.has(needed));
    static_assert(!detail::cpu_bits{1, 2, 4, 2}.has(needed));
}

TEST_CASE("isa: numbers and names are the ABI's, also of rooms that are not built here") {
    using namespace std::literals;
    static_assert(isa{} == isa::best);
    static_assert(isa{1} == isa::portable && isa{2} == isa::avx512 && isa{3} == isa::avx2);
    CHECK(room_name(isa::best) == "best"sv);
    CHECK(room_name(isa::portable) == "portable"sv);
    CHECK(room_name(isa::avx512) == "avx512"sv);
    CHECK(room_name(isa::avx2) == "avx2"sv);
}

#if defined(__x86_64__)
TEST_CASE("isa: agrees with the compiler's own look at the machine") {
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                        __builtin_cpu_supports("avx512vnni");
    CHECK(has_room(isa::avx2) == avx2);  // every machine with AVX2 has F16C, which clang 14 cannot be asked for
    CHECK(has_room(isa::avx512) == avx512);
}
#endif
