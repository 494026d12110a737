// The optional thread pool: every index once, worker numbers in range, loop after loop.
#include <doctest/doctest.h>
#include <qlib/core/thread_pool.hpp>

#include <array>
#include <memory>
// Not under a sanitizer of addresses, which asks for terabytes of them.
#if defined(__unix__) && defined(__cpp_exceptions) && !defined(__SANITIZE_ADDRESS__)
#define QLIB_TEST_LITTLE_MEMORY
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#undef QLIB_TEST_LITTLE_MEMORY
#endif
#endif
#endif
#if defined(QLIB_TEST_LITTLE_MEMORY)
#include <sys/resource.h>
#include <sys/wait.h>
#include <system_error>
#include <unistd.h>
#endif

TEST_CASE("each index runs once, on a worker in range, and run() returns when all are done") {
    for (const std::size_t workers : std::array<std::size_t, 3>{1, 2, 5}) {
        qlib::thread_pool pool(workers);
        CHECK(pool.workers() == workers);
        const qlib::executor_ref run = pool;
        for (const std::size_t count : std::array<std::size_t, 5>{0, 1, 2, 7, 1000}) {
            const auto seen = std::make_unique<std::atomic<int>[]>(count + 1);
            std::atomic<bool> in_range{true};
            run.run(count, [&](std::size_t i, std::size_t worker) {
                ++seen[i];
                if (worker >= workers) in_range = false;
            });
            CHECK(in_range);
            bool once = true;
            for (std::size_t i = 0; i < count; ++i) once = once && seen[i] == 1;
            CHECK(once);
        }
    }
}

TEST_CASE("two workers never share a number at the same time") {
    qlib::thread_pool pool(4);
    std::array<std::atomic<int>, 4> inside{};
    std::atomic<bool> alone{true};
    for (int loop = 0; loop < 200; ++loop)
        pool.run(50, [&](std::size_t, std::size_t worker) {
            if (++inside[worker] != 1) alone = false;
            --inside[worker];
        });
    CHECK(alone);
}

TEST_CASE("no workers asked for means one per hardware thread") {
    CHECK(qlib::thread_pool().workers() >= 1);
}

#if defined(QLIB_TEST_LITTLE_MEMORY)
TEST_CASE("a thread that the system refuses is an exception, and those that ran already end") {
    const pid_t child = fork();
    if (child == 0) {
        const rlimit little{std::size_t{200} << 20, std::size_t{200} << 20};  // room for some stacks, not for 100
        setrlimit(RLIMIT_AS, &little);
        alarm(10);  // the end of a child that hangs
        try {
            qlib::thread_pool pool(100);
        } catch (const std::system_error&) {
            _exit(3);
        }
        _exit(4);
    }
    int end = 0;
    REQUIRE(waitpid(child, &end, 0) == child);
    CHECK(WIFEXITED(end));
    CHECK(WEXITSTATUS(end) == 3);
}
#endif
