// The loop under all long functions: progress, cancellation, errors by lowest index;
// and the scratch that calls are given.
#include "support/matrix.hpp"
#include "support/threads.hpp"
#include "support/witnesses.hpp"

#include <doctest/doctest.h>
#include <qlib/gptq.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>

namespace {
qlib::hessian some_hessian(std::size_t cols) {
    const auto X = sample::weights(300 * cols, 3, 1.0);
    auto h = qlib::hessian::make(cols);
    REQUIRE(h->add({X.data(), 300, cols}).ok());
    return std::move(*h);
}
}  // namespace

TEST_CASE("progress counts up to the end and is never told by two at once") {
    test_threads pool(3);
    std::atomic<int> inside{0};
    bool alone = true, in_order = true;
    std::size_t last = 0, calls = 0;
    const auto tell = [&](std::size_t done, std::size_t total) {
        alone = alone && ++inside == 1;
        in_order = in_order && done <= total && total == 100;
        last = std::max(last, done);
        ++calls;
        --inside;
        return true;
    };
    CHECK(
        qlib::detail::for_each_task({.run = pool, .progress = tell}, 100, [](std::size_t, std::size_t) -> qlib::status {
            return {};
        }).ok());
    CHECK(alone);
    CHECK(in_order);
    CHECK(calls >= 1);
    calls = 0;
    CHECK(qlib::detail::for_each_task({.progress = tell}, 100, [](std::size_t, std::size_t) -> qlib::status {
              return {};
          }).ok());
    CHECK(calls == 100);
    CHECK(last == 100);
}

TEST_CASE("a progress callback that is slower than the work hears of its end, and never goes back") {
    test_threads pool(4);
    for (int run = 0; run < 20; ++run) {
        std::size_t last = 0;
        bool ascending = true;
        const auto slow = [&](std::size_t done, std::size_t) {
            std::this_thread::sleep_for(std::chrono::microseconds(300));
            ascending = ascending && done > last;
            last = done;
            return true;
        };
        const auto nothing = [](std::size_t, std::size_t) -> qlib::status { return {}; };
        CHECK(qlib::detail::for_each_task({.run = pool, .progress = slow}, 50, nothing).ok());
        CHECK(ascending);
        CHECK(last == 50);
    }
}

TEST_CASE("quantize and gptq stop when progress says so") {
    const auto x = sample::weights(200 * 256, 1);
    const auto stop = [](std::size_t done, std::size_t) { return done < 2; };
    const auto q = qlib::quantize<qlib::q4_0>({x.data(), 200, 256}, qlib::plain_fit{}, {}, {.progress = stop});
    REQUIRE(!q.has_value());
    CHECK(q.error().code == qlib::errc::cancelled);
    const auto g =
        qlib::gptq<qlib::q4_0>({x.data(), 200, 256}, some_hessian(256), qlib::plain_fit{}, {}, {.progress = stop});
    REQUIRE(!g.has_value());
    CHECK(g.error().code == qlib::errc::cancelled);
}

TEST_CASE_TEMPLATE("gptq works in exactly the scratch that it asks for, at any address, and in not one byte less", F,
                   qlib::q4_k, witness::own, qlib::nf4_dq) {
    constexpr std::size_t rows = 40, cols = 256;
    const auto x = sample::weights(rows * cols, 2);
    const auto factor = qlib::factorize(some_hessian(cols));
    REQUIRE(factor.has_value());
    const auto want = qlib::gptq<F>({x.data(), rows, cols}, *factor, qlib::plain_fit{});
    test_threads pool(2);
    const std::size_t bytes = qlib::gptq_scratch_bytes<F>(rows, cols, 2);
    for (const std::size_t shift : std::array<std::size_t, 3>{0, 1, 63}) {
        std::vector<std::byte> memory(bytes + shift);
        const auto scratch = std::span(memory).subspan(shift);
        const auto got =
            qlib::gptq<F>({x.data(), rows, cols}, *factor, qlib::plain_fit{}, {}, {.run = pool, .scratch = scratch});
        REQUIRE(got.has_value());
        CHECK(std::ranges::equal(got->weights.bytes(), want->weights.bytes()));
        const auto less = qlib::gptq<F>({x.data(), rows, cols}, *factor, qlib::plain_fit{}, {},
                                        {.run = pool, .scratch = scratch.first(bytes - 1)});
        REQUIRE(!less.has_value());
        CHECK(less.error().code == qlib::errc::scratch);
        CHECK(less.error().sizes[1] == bytes);
    }
}
