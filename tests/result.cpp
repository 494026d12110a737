#include <qlib/core/result.hpp>

#include <doctest/doctest.h>

#if !defined(_WIN32)
#include <sys/wait.h>
#include <unistd.h>
#endif

#include <csignal>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <type_traits>

using namespace qlib;

namespace {

constexpr error example{
    errc::shape, "{0} rows, but {1} in W; {3} and {0} again", "X", {12, 7, 0, 18446744073709551615u}};

std::string text(const error& e, std::size_t room = 200, std::string_view name = {}) {
    std::string buffer(room, '#');
    return std::string(e.format(buffer, name));
}

result<std::unique_ptr<int>> half(int x) {
    if (x % 2 != 0) return error{errc::argument, "{0} is odd", "x", {static_cast<std::uint64_t>(x)}};
    return std::make_unique<int>(x / 2);
}

#if !defined(_WIN32)
/// Whether `body`, in a process of its own, ends that by a trap.
template <class Body> bool traps(Body body) {
    const pid_t child = fork();
    if (child == 0) {
        for (const int trap : {SIGILL, SIGTRAP}) std::signal(trap, SIG_DFL);  // not the test runner's handlers
        body();
        _exit(0);
    }
    int state = 0;
    waitpid(child, &state, 0);
    return WIFSIGNALED(state) && (WTERMSIG(state) == SIGILL || WTERMSIG(state) == SIGTRAP);
}
#endif

}  // namespace

TEST_CASE("result: an error becomes a sentence") {
    CHECK(text(example) == "X: 12 rows, but 7 in W; 18446744073709551615 and 12 again");
    CHECK(text(example, 200, "blk.0.attn_q") ==
          "blk.0.attn_q: X: 12 rows, but 7 in W; 18446744073709551615 and 12 again");
    CHECK(text({errc::memory, "no memory"}) == "no memory");
    CHECK(text({}) == "");
}

TEST_CASE("result: a sentence is cut where the buffer ends") {
    const std::string whole = text(example);
    for (std::size_t room = 0; room <= whole.size(); ++room) CHECK(text(example, room) == whole.substr(0, room));
    CHECK(example.format({}).empty());
}

TEST_CASE("result: braces that name no size stay as they are") {
    CHECK(text({errc::argument, "{4} {x} {} { {0"}) == "{4} {x} {} { {0");
    CHECK(text({errc::argument, "{"}) == "{");
    CHECK(text({errc::argument, "{{2}}", "", {0, 0, 5, 0}}) == "{5}");
}

TEST_CASE("result: status") {
    constexpr status good;
    static_assert(good.ok() && static_cast<bool>(good));
    constexpr status bad = example;
    static_assert(!bad.ok() && !static_cast<bool>(bad) && bad.error().code == errc::shape && bad.error().sizes[1] == 7);
    CHECK(text(good.error()) == "");
    CHECK(text(bad.error()) == text(example));
}

TEST_CASE("result: holds a value or an error") {
    auto even = half(8);
    REQUIRE(even.has_value());
    CHECK(static_cast<bool>(even));
    CHECK(**even == 4);
    CHECK(*even.value() == 4);
    CHECK(even->get() == even.value().get());
    const std::unique_ptr<int> taken = std::move(even).value();
    CHECK(*taken == 4);

    const auto odd = half(7);
    CHECK(!odd.has_value());
    CHECK(odd.error().code == errc::argument);
    CHECK(text(odd.error()) == "x: 7 is odd");
}

TEST_CASE("result: moves between values and errors") {
    auto a = half(2), b = half(3);
    a = half(6);
    CHECK(**a == 3);
    b = std::move(a);
    REQUIRE(b.has_value());
    CHECK(**b == 3);
    b = half(5);
    REQUIRE(!b.has_value());
    CHECK(text(b.error()) == "x: 5 is odd");
    b = half(10);
    CHECK(**b == 5);
    auto& self = b;
    b = std::move(self);
    CHECK(**b == 5);
    const result<std::unique_ptr<int>> c = std::move(b);
    CHECK(**c == 5);
    static_assert(std::is_nothrow_move_constructible_v<result<std::string>> &&
                  !std::is_copy_constructible_v<result<std::string>>);
}

#if !defined(_WIN32)
TEST_CASE("result: the value of an error traps") {
    CHECK(!traps([] { static_cast<void>(*half(2)); }));
    CHECK(traps([] { static_cast<void>(half(3).value()); }));
    CHECK(traps([] { static_cast<void>(*half(3)); }));
    CHECK(traps([] {
        const auto r = half(3);
        static_cast<void>(r->get());
    }));
}
#endif
