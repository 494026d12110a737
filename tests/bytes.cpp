#include <qlib/file/bytes.hpp>

#include <doctest/doctest.h>

#include <vector>

using namespace qlib;

TEST_CASE("bytes: little-endian numbers at any address") {
    const std::byte raw[9] = {std::byte{0},    std::byte{0x01}, std::byte{0x23}, std::byte{0x45}, std::byte{0x67},
                              std::byte{0x89}, std::byte{0xAB}, std::byte{0xCD}, std::byte{0xEF}};
    CHECK(detail::load_little(raw + 1, 8) == 0xEFCDAB8967452301u);
    CHECK(detail::load_little(raw + 1, 4) == 0x67452301u);
    CHECK(detail::load_little(raw + 1, 0) == 0);
    std::byte copy[9]{};
    detail::store_little(copy + 1, 0xEFCDAB8967452301u, 8);
    CHECK(std::memcmp(copy, raw, 9) == 0);
}

TEST_CASE("bytes: a cursor refuses what is not there, and stays where it is") {
    const std::byte raw[6]{};
    detail::byte_cursor in{raw};
    std::uint32_t number = 1;
    std::span<const std::byte> taken;
    CHECK(in.number(number));
    CHECK(number == 0);
    CHECK_FALSE(in.number(number));
    CHECK_FALSE(in.take(~std::uint64_t{0}, taken));
    CHECK_FALSE(in.take(3, taken));
    CHECK(in.at == 4);
    CHECK(in.take(2, taken));
    CHECK(taken.data() == raw + 4);
    CHECK(in.left() == 0);
    CHECK(in.take(0, taken));
}

TEST_CASE("growing: keeps its elements, and refuses what no memory holds") {
    detail::growing<std::uint32_t> list;
    for (std::uint32_t i = 0; i < 1000; ++i) REQUIRE(list.append(i));
    bool same = true;
    for (std::uint32_t i = 0; i < 1000; ++i) same = same && list[i] == i;
    CHECK(same);
    volatile std::size_t absurd = ~std::size_t{0} / 2;  // volatile: the compiler would warn
    CHECK_FALSE(list.append(std::span<const std::uint32_t>(list.data(), absurd)));
    CHECK(list.size() == 1000);
    detail::growing<std::uint32_t> other = std::move(list);
    CHECK(other.size() == 1000);
    CHECK(list.size() == 0);
    CHECK(list.append(5));
    CHECK(list.view().size() == 1);
    other.cut(2);
    CHECK(other.append(9));
    CHECK(other[2] == 9);
}

TEST_CASE("sink_ref: calls what it was made from") {
    std::vector<std::byte> got;
    auto sink = [&](std::span<const std::byte> bytes) {
        return got.insert(got.end(), bytes.begin(), bytes.end()), got.size() < 4;
    };
    const sink_ref ref = sink;
    const std::byte raw[3] = {std::byte{7}};
    CHECK(ref(raw));
    CHECK_FALSE(ref(raw));
    CHECK(got.size() == 6);
    CHECK_FALSE(sink_ref{}(raw));
    using temporary = decltype([](std::span<const std::byte>) { return true; });
    static_assert(!std::is_constructible_v<sink_ref, temporary>);
    static_assert(std::is_constructible_v<sink_ref, temporary&>);
}
