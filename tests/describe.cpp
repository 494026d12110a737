// describe<F>() and its JSON, read back by a parser of somebody else's. That the bytes mean what it says:
// tests/describe_reader.
#include "support/matrix.hpp"
#include "support/own_format.hpp"
#include "support/witnesses.hpp"

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>
#include <qlib/format/describe.hpp>
#include <qlib/formats.hpp>
#include <qlib/store/view.hpp>

#include <cstdlib>
#include <string>

namespace {

using nlohmann::json;
using qlib::detail::bits_of;

std::string text_of(const qlib::description& d, std::string_view name = {}) {
    std::string text(qlib::to_json(d, {}, name), '?');
    CHECK(qlib::to_json(d, text, name) == text.size());
    return text;
}

float number(const json& j) {
    return j.is_string() ? std::strtof(j.get<std::string>().c_str(), nullptr) : j.get<float>();
}

/// The text says what the description says.
void check_text(std::string_view name, const qlib::description& d) {
    const json j = json::parse(text_of(d, name));
    CHECK(j["name"] == name);
    CHECK(j["group"] == d.group);
    CHECK(j["groups"] == d.groups);
    CHECK(j["vec"] == d.vec);
    CHECK(j["block_weights"] == d.block_weights());
    CHECK(j["block_bytes"] == d.block_bytes());
    CHECK(j["planes"].size() == d.planes.size());
    CHECK(j["complete"] == d.complete());
    CHECK(j.contains("outer") == (d.outer_bytes + d.tensor_bytes != 0));
    REQUIRE(j["levels"].size() == d.levels.size());
    bool same = true;
    for (std::size_t i = 0; i < d.levels.size(); ++i) {
        const float l = d.levels[i];
        same = same && (l != l ? j["levels"][i] == "nan" : bits_of(number(j["levels"][i])) == bits_of(l));
    }
    CHECK(same);

    std::size_t in_fields = 0, code_bits = 0;
    for (const json& f : j["fields"]) in_fields += f["bytes"].get<std::size_t>();
    for (const json& p : j["codes"]["planes"]) code_bits += p["width"].get<std::size_t>();
    CHECK(in_fields == (d.fields.empty() ? 0 : d.block_bytes()));
    CHECK(code_bits == (d.code_planes.empty() ? 0 : d.code_bits));
}

/// The description says what the format says, and the text what the description says.
template <class F> void check_json(std::string_view name) {
    CAPTURE(name);
    constexpr qlib::description d = qlib::describe<F>();
    bool same = d.group == F::group && d.groups == F::groups && d.vec == F::vec && d.map == F::map &&
                d.block_bytes() == qlib::block_bytes<F> && d.levels.size() == F::grid::size &&
                (d.outer_bytes + d.tensor_bytes != 0) == qlib::has_outer<F>;
    for (std::size_t i = 0; same && i < F::grid::size; ++i) same = bits_of(d.levels[i]) == bits_of(F::grid::level(i));
    CHECK(same);
    check_text(name, d);
}

/// A format written out by hand, of which only the concept's own members are known: ten
/// bits of levels in two bytes, decided at run time.
struct handmade {
    struct grid {
        static constexpr std::size_t size = 1024;
        static constexpr float level(std::size_t i) { return static_cast<float>(i) - 512.0f; }
    };
    static constexpr std::size_t group = 2, groups = 1, vec = 1;
    static constexpr qlib::form map = qlib::form::scaled;
    static constexpr qlib::extent tile{};
    static constexpr std::array<std::size_t, 1> planes{8};
    using outer = qlib::no_outer;
    using code = std::uint16_t;
    struct params {
        float s = 0;
    };
    static code nearest(const float* u, const float*) {
        return static_cast<code>(qlib::detail::round_clamped(*u, -512, 511) + 512);
    }
    static void level(code c, float* l) { *l = grid::level(c); }
    static outer fit_outer(const qlib::tile_stats&) { return {}; }
    static float outer_scale(outer) { return 1; }
    static params project(const std::array<qlib::affine, 1>& wishes, outer) { return {wishes[0].s}; }
    static qlib::affine at(const params& p, std::size_t) { return {p.s, 0}; }
    static void store(const params&, std::span<const code>, const std::array<std::byte*, 1>&) {}
    static params load(const std::array<const std::byte*, 1>&, outer, std::span<code>) { return {}; }
};

/// Sub-scales of which no bit stands for itself.
struct gray_scales {
    static constexpr std::size_t groups = 2, bytes = 2;
    static constexpr int sub_bits = 7, min_bits = 0;
    static constexpr bool sub_signed = false;
    static constexpr void store(const std::array<std::int8_t, 2>& sub, const std::array<std::uint8_t, 2>&,
                                std::byte* out) {
        for (std::size_t g = 0; g < 2; ++g) out[g] = static_cast<std::byte>(sub[g] ^ sub[g] >> 1);
    }
    static constexpr void load(const std::byte* in, std::array<std::int8_t, 2>& sub, std::array<std::uint8_t, 2>&) {
        for (std::size_t g = 0; g < 2; ++g) {
            unsigned v = std::to_integer<unsigned>(in[g]) & 127;
            for (unsigned shift = 4; shift != 0; shift /= 2) v ^= v >> shift;
            sub[g] = static_cast<std::int8_t>(v);
        }
    }
};
struct gray : qlib::format<qlib::uint_grid<4>, qlib::two_level<16, gray_scales>> {};

struct planar_offsets : qlib::format<qlib::uint_grid<4>, qlib::scale_offset_per<32, qlib::bf16>, qlib::planar<>> {};

}  // namespace

TEST_CASE("descriptions are constants") {
    static_assert(qlib::describe<qlib::q4_0>().block_bytes() == 18);
    static_assert(qlib::describe<qlib::q4_0>().fields[0].type == std::string_view("f16"));
    static_assert(qlib::describe<qlib::q5_0>().code_planes[0].shift == 4);
    static_assert(qlib::describe<qlib::q4_k>().sub_bit[6].index == 4 &&
                  qlib::describe<qlib::q4_k>().sub_bit[6].weight == 16);
    static_assert(qlib::describe<qlib::q3_k>().sub_base[0] == -32);
    static_assert(qlib::describe<own_format>().levels[7] == 1.0f);
    static_assert([] {
        std::array<char, 2000> text{};
        return qlib::to_json(qlib::describe<own_format>(), text) < text.size() && text[0] == '{';
    }());
}

TEST_CASE("JSON of every named format") {
    // TQ1_0 packs trits as no other does, the _DQ formats quantize their scales by a table; codes of several weights
    // are grids of their own
    const auto is_own = [](std::string_view name, std::size_t vec) {
        return vec != 1 || name == "TQ1_0" || name == "NF4_DQ" || name == "FP4_DQ";
    };
    for (const qlib::format_id id : qlib::all_format_ids) {
        const auto done = qlib::visit(id, [&]<qlib::block_format F>() -> qlib::status {
            check_json<F>(qlib::format_name(id));
            CHECK(qlib::describe<F>().complete() == !is_own(qlib::format_name(id), F::vec));
            return {};
        });
        CHECK(done.ok());
    }
}

TEST_CASE("JSON of the witnesses and of formats that are the user's own") {
    check_json<witness::lattice>("lattice");
    CHECK_FALSE(qlib::describe<witness::lattice>().codes_are_levels);
    CHECK(qlib::describe<witness::lattice>().fields.size() == 3);
    check_json<own_format>("own");
    CHECK(qlib::describe<own_format>().complete());
    check_json<planar_offsets>("planar");
    CHECK(qlib::describe<planar_offsets>().complete());
    CHECK(qlib::describe<planar_offsets>().fields[1].type == std::string_view("bf16"));

    check_json<handmade>("handmade");
    const auto by_hand = qlib::describe<handmade>();
    CHECK_FALSE(by_hand.complete());
    CHECK_FALSE(by_hand.codes_are_levels);  // the compiler cannot see it
    CHECK(by_hand.layout == qlib::code_layout::own);
    CHECK(by_hand.fields.empty());
    CHECK(by_hand.block_bytes() == 8);

    check_json<gray>("gray");
    const auto coded = qlib::describe<gray>();
    CHECK_FALSE(coded.complete());
    CHECK(coded.fields[1].type == std::string_view("own"));
    CHECK(coded.sub_bits == 7);
    CHECK(coded.sub_bit.empty());
}

TEST_CASE("JSON is cut where the buffer ends, and names are quoted") {
    const std::string whole = text_of(qlib::describe<qlib::q4_0>());
    for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{100}, whole.size() - 1}) {
        std::string part(size + 8, '#');
        CHECK(qlib::to_json(qlib::describe<qlib::q4_0>(), {part.data(), size}) == whole.size());
        CHECK(part == whole.substr(0, size) + "########");
    }
    const std::string name = "a \"quoted\" \\ name\n\x01";
    CHECK(json::parse(text_of(qlib::describe<qlib::q4_0>(), name))["name"] == name);
}

TEST_CASE("every float's nine digits give it back") {
    const auto written = [](float x) {
        std::array<char, 32> text{};
        qlib::detail::json_writer w(text);
        w.number(x);
        CHECK(w.size() < text.size());
        return std::string(text.data(), w.size());
    };
    CHECK(written(0.0f) == "0.0");
    CHECK(written(-0.0f) == "-0.0");
    CHECK(written(-127.0f) == "-127.0");
    CHECK(written(0.1f) == "0.100000001");
    CHECK(written(0.00048828125f) == "0.00048828125");
    CHECK(written(16777216.0f) == "16777216.0");
    CHECK(written(0x1p-149f) == "1.40129846e-45");
    CHECK(written(3.40282347e38f) == "3.40282347e38");
    CHECK(written(999999999.0f) == "1.0e9");
    CHECK(written(qlib::detail::float_of(0xFF800000u)) == "\"-inf\"");
    sample::random r{1};
    bool same = true;
    for (int i = 0; i < 20000; ++i) {
        const float x = qlib::detail::float_of(static_cast<std::uint32_t>(r.next()));
        if (!qlib::detail::is_finite(x)) continue;
        const std::string text = written(x);
        same = same && bits_of(std::strtof(text.c_str(), nullptr)) == bits_of(x) && json::parse(text).is_number_float();
    }
    CHECK(same);
}
