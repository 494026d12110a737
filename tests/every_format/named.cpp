// The named formats, through any.hpp: what an engine has that chooses formats at run time.
#include "subject.hpp"

#include <qlib/any.hpp>
#include <qlib/formats.hpp>

std::vector<subject> named_formats() {
    std::vector<subject> all;
    for (const qlib::format_id id : qlib::all_format_ids)
        all.push_back(*qlib::visit(id, [&]<qlib::block_format F>() -> qlib::result<subject> {
            return subject{std::string(qlib::format_name(id)),
                           qlib::describe<F>(),
                           constants::block<F>(),
                           [id](std::size_t rows, std::size_t cols) { return qlib::wire_size(id, rows, cols); },
                           [id](const auto& W, auto bytes, const auto& options, const auto& how) {
                               return qlib::quantize_into(id, W, bytes, options, how);
                           },
                           [id](auto bytes, const auto& out, const auto& how) {
                               return qlib::dequantize(
                                   {.format = id, .bytes = bytes, .rows = out.rows, .cols = out.cols}, out, how);
                           },
                           [id](const auto& Y, const auto& X, auto bytes, const auto& options, const auto& how) {
                               return qlib::qgemm(Y, X, {.format = id, .bytes = bytes, .rows = Y.cols, .cols = X.cols},
                                                  options, how);
                           },
                           [id](const auto& W, const auto& h, auto bytes) { return qlib::gptq(id, W, h, bytes); }};
        }));
    return all;
}
