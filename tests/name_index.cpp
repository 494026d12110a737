#include <qlib/file/name_index.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

using namespace qlib;

namespace {

struct name_list {
    std::vector<std::string> names;
    detail::buffer<std::size_t> order;
    std::string_view operator()(std::size_t i) const { return names[i]; }
    explicit name_list(std::vector<std::string> n) : names(std::move(n)) {
        REQUIRE(detail::sort_names(order, names.size(), *this));
    }
};

}  // namespace

TEST_CASE("name_index: sorts as std::sort does, finds what is there and nothing else") {
    std::uint32_t state = 7;
    for (std::size_t count = 0; count < 70; ++count) {
        std::vector<std::string> names;
        for (std::size_t i = 0; i < count; ++i) {
            std::string name;
            for (std::uint32_t n = (state = state * 1664525u + 1013904223u) >> 30; n-- != 0;)
                name += static_cast<char>(
                    "a\0\xFF"[(state = state * 1664525u + 1013904223u) >> 16 & 1 ? 0 : (state >> 20) % 3]);
            names.push_back(name + std::to_string(state >> 28));
        }
        const name_list all(names);
        std::vector<std::pair<std::string, std::size_t>> sorted;
        for (std::size_t i = 0; i < count; ++i) sorted.emplace_back(names[i], i);
        std::sort(sorted.begin(), sorted.end());
        bool same = true, found = true;
        std::size_t duplicate = count;
        for (std::size_t p = 0; p < count; ++p) {
            same = same && all.order[p] == sorted[p].second;
            found = found && names[detail::find_name(all.order, names[p], all)] == names[p];
            if (p + 1 < count && duplicate == count && sorted[p].first == sorted[p + 1].first) duplicate = p;
        }
        CHECK(same);
        CHECK(found);
        CHECK(detail::find_duplicate(all.order, all) == duplicate);
        CHECK(detail::find_name(all.order, "b", all) == count);
    }
}

TEST_CASE("name_index: a prefix stands first, bytes count as unsigned") {
    CHECK(detail::compare_names("a", "ab") < 0);
    CHECK(detail::compare_names("b", "ab") > 0);
    CHECK(detail::compare_names("\xFF", "a") > 0);
    CHECK(detail::compare_names("", "") == 0);
    CHECK(detail::compare_names({}, "a") < 0);
}

TEST_CASE("name_index: names made to be bad cost no more than others") {
    // One prefix for all, in falling order, every name twice: quick sorts and weak hashes go quadratic here.
    std::vector<std::string> names;
    for (int i = 20000; i-- > 0;) names.push_back("blk.0.same_prefix." + std::to_string(100000 + i / 2));
    const name_list all(std::move(names));
    CHECK(detail::find_duplicate(all.order, all) == 0);
    CHECK(detail::find_name(all.order, "blk.0.same_prefix.100007", all) == 20000 - 16);
}
