// Writes one line of JSON per format that describes itself completely: its description, a matrix of random bytes, and
// the floats that qlib decodes from it. reader.py must come to the same floats.
#include "../support/matrix.hpp"
#include "../support/own_format.hpp"

#include <qlib/dequantize.hpp>
#include <qlib/format/describe.hpp>
#include <qlib/formats.hpp>

#include <cstdio>
#include <string>

namespace {

struct offsets_apart : qlib::format<qlib::uint_grid<3>, qlib::scale_offset_per<40, qlib::bf16>, qlib::planar<>> {};
struct codes_first : qlib::format<qlib::restricted_grid<5>, qlib::scale_per<24, qlib::e8m0, 2>,
                                  qlib::inline_blocks<qlib::sequential, qlib::field::codes, qlib::field::scales>> {};
struct shifted_rows : qlib::format<qlib::uint_grid<4>, qlib::scale_per_row<qlib::f16, qlib::form::shifted>> {};
struct offset_tiles
    : qlib::format<qlib::uint_grid<8>, qlib::tile_scale<qlib::extent{2, 128}, qlib::bf16, qlib::form::offset>> {};

void print_hex(const char* name, std::span<const std::byte> bytes) {
    std::printf(",\"%s\":\"", name);
    for (const std::byte b : bytes) std::printf("%02x", std::to_integer<unsigned>(b));
    std::printf("\"");
}

/// 3 rows that end inside a block where the format has such ends.
template <qlib::block_format F> int print_case(std::string_view name) {
    constexpr qlib::description d = qlib::describe<F>();
    const std::size_t rows = 3,
                      cols = F::tile.cols + 2 * d.block_weights() + (d.ragged_rows ? d.block_weights() / 2 + 3 : 0);
    sample::random r{cols};
    std::vector<std::byte> bytes(qlib::wire_size<F>(rows, cols));
    for (std::byte& b : bytes) b = static_cast<std::byte>(r.next());
    const auto q = qlib::qspan<F>::over(bytes, rows, cols);
    if (!q) return 1;
    for (std::size_t t = 0; t < qlib::detail::tiling<F>(rows, cols).count() && qlib::has_outer<F>; ++t) {
        const auto size = static_cast<float>(t + 1);
        q->set_outer(t, F::fit_outer({.low = -0.1f * size, .high = 0.3f}));
    }
    std::vector<float> y(rows * cols);
    if (!qlib::dequantize<F>(*q, {y.data(), rows, cols})) return 1;

    std::string text(qlib::to_json(d, {}, name), ' ');
    qlib::to_json(d, text, name);
    std::printf("{\"format\":%s,\"rows\":%zu,\"cols\":%zu", text.c_str(), rows, cols);
    print_hex("bytes", bytes);
    print_hex("floats", std::as_bytes(std::span<const float>(y)));
    std::printf("}\n");
    return 0;
}

}  // namespace

int main() {
    int failed = print_case<own_format>("own_format") + print_case<offsets_apart>("offsets_apart") +
                 print_case<codes_first>("codes_first") + print_case<shifted_rows>("shifted_rows") +
                 print_case<offset_tiles>("offset_tiles");
    for (const qlib::format_id id : qlib::all_format_ids) {
        const auto one = qlib::visit(id, [&]<qlib::block_format F>() -> qlib::result<int> {
            if constexpr (qlib::describe<F>().complete()) return print_case<F>(qlib::format_name(id));
            else return 0;
        });
        failed += one ? *one : 1;
    }
    return failed;
}
