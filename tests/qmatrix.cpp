// qmatrix: owned, aligned, movable.
#include <doctest/doctest.h>
#include <qlib/legacy_quants.hpp>
#include <qlib/store/qmatrix.hpp>

#include <utility>

TEST_CASE("a matrix owns zeroed, aligned bytes, and gives them away by moving") {
    auto made = qlib::qmatrix<qlib::q4_0>::make(3, 64);
    REQUIRE(made.has_value());
    qlib::qmatrix<qlib::q4_0> m = std::move(*made);
    CHECK(m.rows() == 3);
    CHECK(m.cols() == 64);
    REQUIRE(m.bytes().size() == 3 * 2 * 18);
    CHECK(reinterpret_cast<std::uintptr_t>(m.bytes().data()) % 64 == 0);
    for (const std::byte b : m.bytes()) CHECK(b == std::byte{0});
    const std::byte* at = m.bytes().data();
    qlib::qmatrix<qlib::q4_0> other;
    other = std::move(m);
    CHECK(other.bytes().data() == at);
    CHECK(other.view().block(0, 0)[0] == at);
    CHECK(qlib::qmatrix<qlib::q4_0>::make(1, 31).error().code == qlib::errc::ragged);
    CHECK(qlib::qmatrix<qlib::q4_0>::make(std::size_t{1} << 50, 32).error().code == qlib::errc::memory);
}
