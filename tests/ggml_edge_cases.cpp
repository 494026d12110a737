// Zeros, constants, NaN, infinities, subnormals and huge weights: ggml's own bytes wherever they are valid, an error
// wherever they are not.
//
// data/ggml-edge-cases.txt records mainline ggml d99724f2 on x86-64 without FMA contraction. Under "== type" each line
// is one row of 256 weights: its name; im, whether an importance of ones was given; valid, ggml's own validation; some
// decoded values; the bytes of the first block, run-length coded.
#include <doctest/doctest.h>
#include <qlib/dequantize.hpp>
#include <qlib/formats.hpp>
#include <qlib/quantize.hpp>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

namespace {

constexpr std::size_t cols = 256;

struct edge_case {
    std::string format, name;
    bool importance = false, valid = false;
    std::map<std::size_t, std::string> decoded;  // index -> as printf's %g writes it
    std::vector<std::byte> block;
};

std::vector<std::byte> run_lengths(std::istream& in) {
    std::vector<std::byte> bytes;
    for (std::string run; in >> run;) {
        const std::size_t star = run.find('*');
        bytes.insert(bytes.end(), star == std::string::npos ? 1 : std::stoul(run.substr(star + 1)),
                     static_cast<std::byte>(std::stoul(run, nullptr, 16)));
    }
    return bytes;
}

edge_case parsed(const std::string& format, const std::string& line) {
    std::istringstream in(line);
    edge_case e{.format = format, .name = {}, .decoded = {}, .block = {}};
    in >> e.name;
    for (std::string word; in >> word && word != "|";) {
        const std::string value = word.substr(word.find('=') + 1);
        if (word.starts_with("im=")) e.importance = value == "1";
        else if (word.starts_with("valid=")) e.valid = value == "1";
        else e.decoded[std::stoul(word.substr(word.find('[') + 1))] = value;
    }
    e.block = run_lengths(in);
    return e;
}

std::vector<edge_case> read_cases(const std::string& path) {
    std::ifstream file(path);
    REQUIRE_MESSAGE(file, path << " cannot be read");
    std::vector<edge_case> cases;
    std::string format;
    for (std::string line; std::getline(file, line);) {
        if (line.starts_with("== ")) format = line.substr(3);
        else if (!line.empty()) cases.push_back(parsed(format, line));
    }
    return cases;
}

/// In bits, as -ffast-math in this file would make one of both zeros.
std::vector<float> weights_of(const std::string& name) {
    const std::map<std::string, std::uint32_t> constants{{"zero", 0},
                                                         {"negzero", 0x80000000u},
                                                         {"const+1", 0x3F800000u},
                                                         {"const-1", 0xBF800000u},
                                                         {"denorm1e-40", 0x000116C2u}};
    std::vector<float> x(cols);
    for (std::size_t i = 0; i < cols; ++i) {
        x[i] = 0.01f * static_cast<float>(static_cast<int>(i * 37 % 29) - 14);
        if (name == "huge1e8") x[i] = i % 2 != 0 ? 1e8f : -1e8f;
        if (constants.contains(name)) x[i] = qlib::detail::float_of(constants.at(name));
    }
    if (name == "one_nan@3") x[3] = qlib::detail::float_of(0x7FC00000u);
    if (name == "one_inf@3") x[3] = qlib::detail::float_of(0x7F800000u);
    return x;
}

/// What qlib makes of a case: an error, or all goes into `bytes` and `decoded`.
qlib::status encode(const edge_case& e, std::vector<std::byte>& bytes, std::vector<float>& decoded) {
    const auto x = weights_of(e.name);
    const std::vector<float> ones(cols, 1.0f);
    const qlib::quantize_options options{.importance =
                                             e.importance ? std::span<const float>(ones) : std::span<const float>()};
    return qlib::visit(*qlib::format_named(e.format), [&]<qlib::block_format F>() -> qlib::status {
        if constexpr (qlib::has_lane_reference<F>) {
            const auto q = qlib::quantize<F>({x.data(), 1, cols}, qlib::reference_fit{}, options);
            if (!q) return q.error();
            bytes.assign(q->bytes().begin(), q->bytes().begin() + qlib::block_bytes<F>);
            return qlib::dequantize(*q, {decoded.data(), 1, cols});
        } else {
            return qlib::error{};  // not ggml's: not worth compiling
        }
    });
}

std::string printed(float x) {
    char text[32];
    std::snprintf(text, sizeof text, "%g", static_cast<double>(x));
    return text;
}

/// ggml rounds log2 of a subnormal down, to -133, and casts 127 - 2 - 133 to an unsigned byte, which is undefined: 0xF8
/// there, the scale of 2^120. qlib stores the smallest scale, 0.
bool depends_on_undefined_behaviour(const edge_case& e) { return e.format == "mxfp4" && e.name == "denorm1e-40"; }

bool is_dense(qlib::format_id id) {
    return id == qlib::format_id::dense_f32 || id == qlib::format_id::dense_f16 || id == qlib::format_id::dense_bf16;
}

/// Those are in tests/iq_lattices.cpp.
bool is_lattice(qlib::format_id id) {
    return *qlib::visit(id, []<qlib::block_format F>() -> qlib::result<bool> { return F::vec != 1; });
}

}  // namespace

TEST_SUITE("bytes") {
TEST_CASE("ggml's edge cases") {
    const char* folder = std::getenv("QLIB_TEST_DATA");
    if (folder == nullptr) {
        MESSAGE("skipped: QLIB_TEST_DATA does not name the folder tests/data");
        return;
    }
    const auto cases = read_cases(std::string(folder) + "/ggml-edge-cases.txt");
    std::size_t formats = 0;
    for (const qlib::format_id id : qlib::all_format_ids)
        formats += static_cast<std::uint32_t>(id) < 0x1000 && !is_dense(id) && !is_lattice(id) ? 1 : 0;
    CHECK(cases.size() == formats * 16);  // eight kinds of rows, each with and without importance

    for (const edge_case& e : cases) {
        CAPTURE(e.format);
        CAPTURE(e.name);
        CAPTURE(e.importance);
        std::vector<std::byte> bytes;
        std::vector<float> decoded(cols);
        const qlib::status s = encode(e, bytes, decoded);
        if (e.name.starts_with("one_")) {
            CHECK(s.error().code == qlib::errc::non_finite);
            CHECK(s.error().sizes[1] == 3);
        } else if (!e.valid) {
            CHECK(!s.ok());
            CHECK(s.error().code == qlib::errc::overflow);
        } else {
            REQUIRE(s.ok());
            const bool own = depends_on_undefined_behaviour(e);
            CHECK(bytes == (own ? std::vector<std::byte>(17) : e.block));
            for (const auto& [i, text] : e.decoded) CHECK(printed(decoded[i]) == text);
        }
    }
}
}  // TEST_SUITE("bytes")
