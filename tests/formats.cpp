// The table of named formats: numbers, names, visit.
#include <doctest/doctest.h>
#include <qlib/file/ggml_types.hpp>
#include <qlib/formats.hpp>
#include <qlib/store/view.hpp>

#include <string>

TEST_CASE("ggml's formats have ggml's numbers, names and block sizes") {
    for (const qlib::format_id id : qlib::all_format_ids) {
        if (static_cast<std::uint32_t>(id) >= 0x1000) continue;
        const auto known = qlib::ggml_type_info(static_cast<std::uint32_t>(id));
        REQUIRE(known.has_value());
        const auto matches = qlib::visit(id, [&]<qlib::block_format F>() -> qlib::result<bool> {
            const std::size_t blocks = qlib::block_size<F> / known->elements;  // 1, but for plain numbers
            return qlib::block_size<F> == blocks * known->elements && qlib::block_bytes<F> == blocks * known->bytes;
        });
        CHECK_MESSAGE(*matches, std::string(qlib::format_name(id)));
        CHECK(*qlib::format_named(known->name) == id);
    }
}

TEST_CASE("ids ascend, names lead back, and unknown ones are errors") {
    for (std::size_t i = 0; i < qlib::all_format_ids.size(); ++i) {
        const qlib::format_id id = qlib::all_format_ids[i];
        CHECK(*qlib::format_named(qlib::format_name(id)) == id);
        if (i != 0) CHECK(static_cast<std::uint32_t>(qlib::all_format_ids[i - 1]) < static_cast<std::uint32_t>(id));
    }
    CHECK(*qlib::format_named("q4_k") == qlib::format_id::q4_k);
    CHECK(qlib::format_named("q4_").error().code == qlib::errc::unsupported);
    CHECK(qlib::format_named("").error().code == qlib::errc::unsupported);
    const auto unknown = static_cast<qlib::format_id>(4);
    CHECK(qlib::format_name(unknown).empty());
    const auto none = qlib::visit(unknown, []<qlib::block_format F>() -> qlib::status { return {}; });
    CHECK(none.error().code == qlib::errc::unsupported);
    CHECK(none.error().sizes[0] == 4);
}

TEST_CASE("visit hands arguments on") {
    const auto bits = qlib::visit(
        qlib::format_id::q6_k,
        []<qlib::block_format F>(std::size_t rows, std::size_t cols) -> qlib::result<double> {
            return qlib::bits_per_weight<F>(rows, cols);
        },
        std::size_t{4}, std::size_t{256});
    CHECK(*bits == 6.5625);
}
