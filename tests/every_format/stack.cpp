// No call takes more than 48 KiB of stack, in any named format, under any fit, in any room: fibers and musl's threads
// have little. With optimization; QLIB_TEST_STACKS in the environment prints all figures.
#include "../support/matrix.hpp"
#include "../support/painted_stack.hpp"
#include "../support/rooms.hpp"
#include "subject.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <string>
#include <utility>

#if !defined(QLIB_TEST_NO_STACKS) && defined(__OPTIMIZE__)
namespace {

using qlib::matrix_view;

#if defined(__clang__)
constexpr std::size_t allowed = std::size_t{50} << 10;  // it spills more
#else
constexpr std::size_t allowed = std::size_t{48} << 10;
#endif

/// A format's calls, each on a painted stack.
struct measured {
    const subject& f;
    std::size_t rows = 20, cols = f.about.block_weights() * (f.about.block_weights() < 100 ? 7 : 3);
    sample::painted_stack stack = {};
    std::vector<float> weights = sample::weights(rows * cols, 7), importance = sample::importance(cols, 8);
    std::vector<float> x = sample::weights(40 * cols, 9);
    std::vector<float> y = std::vector<float>(std::max(rows * cols, 40 * rows));
    std::vector<std::byte> bytes = std::vector<std::byte>(*f.wire_size(rows, cols));

    void look(const std::string& what, const std::function<qlib::status()>& run) {
        qlib::status s;
        const std::size_t taken = stack.taken_by([&] { s = run(); });
        if (!s) FAIL_CHECK(f.name << ", " << what << ": " << s.error().rule);
        if (taken > allowed) FAIL_CHECK(f.name << ", " << what << ": " << taken << " bytes of stack");
        if (std::getenv("QLIB_TEST_STACKS") != nullptr) MESSAGE(f.name << ", " << what << ": " << taken);
    }
    void quantize(const std::string& how_name, const qlib::call& how) {
        for (const qlib::fit fit : {qlib::fit::plain, qlib::fit::search, qlib::fit::reference})
            for (const std::span<const float> w : {std::span<const float>{}, std::span<const float>(importance)})
                look("quantize, fit " + std::to_string(static_cast<int>(fit)) + (w.empty() ? "" : ", weighed") +
                         how_name,
                     [&] {
                         const qlib::quantize_options options{
                             .fit = fit, .importance = w, .on_non_finite = qlib::non_finite::zero};
                         return f.quantize({weights.data(), rows, cols}, bytes, options, how);
                     });
    }
    void multiply(const std::string& how_name, const qlib::call& how) {
        for (const std::size_t n : {1, 3, 40})
            for (const auto mode : {qlib::compute::automatic, qlib::compute::exact})
                look("qgemm of " + std::to_string(n) + (mode == qlib::compute::exact ? ", exact" : "") + how_name, [&] {
                    return f.multiply({y.data(), n, rows}, {x.data(), n, cols}, bytes, {.mode = mode}, how);
                });
    }
};

}  // namespace

TEST_CASE("no call takes more than 48 KiB of stack") {
    for (const subject& f : named_formats()) {
        measured m{f};
        for (const qlib::isa room : sample::rooms()) {
            const qlib::call how{.room = room};
            const std::string name = " in room " + std::to_string(static_cast<int>(room));
            m.quantize(name, how);
            const float was = std::exchange(m.weights[1], std::numeric_limits<float>::infinity());
            m.quantize(", with an infinity" + name, how);
            m.weights[1] = was;
            m.quantize(name, how);
            m.look("dequantize" + name,
                   [&] { return f.dequantize(m.bytes, matrix_view<float>{m.y.data(), m.rows, m.cols}, how); });
            if (f.multiply) m.multiply(name, how);
        }
        auto h = *qlib::hessian::make(m.cols);
        m.look("hessian", [&] { return h.add({m.x.data(), 40, m.cols}); });
        if (f.gptq && !f.about.flat_blocks)
            m.look("gptq", [&] {
                const auto done = f.gptq({m.weights.data(), m.rows, m.cols}, h, m.bytes);
                return done ? qlib::status{} : qlib::status(done.error());
            });
    }
}
#endif
