// Formats that nobody has named: other widths, maps, groups, layouts, floats of
// other hardware, one written out by hand.
#include "../support/kernel_formats.hpp"
#include "subject.hpp"

#include <qlib/dequantize.hpp>
#include <qlib/integer.hpp>

namespace {

struct fnuz_rows : qlib::format<qlib::minifloat_grid<qlib::e4m3fnuz>, qlib::scale_per_row<>> {};
struct small_floats
    : qlib::format<qlib::minifloat_grid<qlib::e2m3>, qlib::scale_per<24, qlib::bf16>, qlib::inline_blocks<>> {};
struct int3_mx
    : qlib::int_format<qlib::int_spec{
          .bits = 3, .group = 32, .scale = qlib::scale_type::power_of_two, .layout = qlib::placement::planar}> {};

template <class F> subject of(const char* name) {
    return {name,
            qlib::describe<F>(),
            constants::block<F>(),
            [](std::size_t rows, std::size_t cols) -> qlib::result<std::size_t> {
                if (const qlib::status s = qlib::detail::check_shape<F>(rows, cols, "matrix"); !s) return s.error();
                return qlib::wire_size<F>(rows, cols);
            },
            [](const auto& W, auto bytes, const auto& options, const auto& how) -> qlib::status {
                const auto to = qlib::qspan<F>::over(bytes, W.rows, W.cols);
                if (!to) return to.error();
                if (options.fit == qlib::fit::plain)
                    return qlib::quantize_into<F>(W, *to, qlib::plain_fit{}, options, how);
                return qlib::quantize_into<F>(W, *to, qlib::search_fit{}, options, how);
            },
            [](auto bytes, const auto& out, const auto& how) -> qlib::status {
                const auto q = qlib::qview<F>::over(bytes, out.rows, out.cols);
                return q ? qlib::dequantize<F>(*q, out, how) : qlib::status(q.error());
            }};
}

}  // namespace

std::vector<subject> custom_formats() {
    using namespace kernel_formats;
    return {of<dense1>("1 bit"),
            of<dense2>("2 bits, zero point"),
            of<dense3>("3 bits, bf16 scale"),
            of<dense5>("5 bits, offset, planar"),
            of<dense7>("7 bits, codes first"),
            of<book3>("7 levels, E4M3 scale"),
            of<groups_of_6>("5 groups of 6"),
            of<pairs>("3 pairs"),
            of<row4>("4 bits per row"),
            of<tensor3>("3 bits per tensor"),
            of<tile4>("4 bits per tile"),
            of<own_layout>("own layout"),
            of<lattice8>("own lattice"),
            of<fnuz_rows>("FNUZ per row"),
            of<small_floats>("E2M3, groups of 24"),
            of<int3_mx>("3 bits, power of two")};
}
