#include <qlib/kernel/dispatch.hpp>

#include <doctest/doctest.h>

using namespace qlib;

TEST_CASE("dispatch: the portable room runs everywhere, and the best one on this machine") {
    CHECK(has_room(isa::portable));
    CHECK(has_room(isa::best));
    CHECK(detail::best_isa() != isa::best);
    CHECK(has_room(detail::best_isa()));
    CHECK(resolve_room(isa::best) == detail::best_isa());
    CHECK(resolve_room(isa::portable) == isa::portable);
    CHECK(check_room(isa::best).ok());
    CHECK(check_room(isa::portable).ok());
}

TEST_CASE("dispatch: the answer stays the same") {
    const isa first = detail::best_isa();
    CHECK(detail::best_isa() == first);
    CHECK(detail::detect_isa() == first);
    CHECK(static_cast<int>(detail::cached_isa) == 1 + static_cast<int>(first));
}

TEST_CASE("dispatch: a room beyond the machine is an error") {
    const auto beyond = static_cast<isa>(static_cast<int>(detail::best_isa()) + 1);
    CHECK(!has_room(beyond));
    CHECK(check_room(beyond).error().code == errc::unsupported);
}

#if defined(__x86_64__)
TEST_CASE("dispatch: agrees with the compiler's own look at the machine") {
    __builtin_cpu_init();
    const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx2") &&
                        __builtin_cpu_supports("fma");
    CHECK(has_room(isa::avx512) == avx512);
}
#endif
