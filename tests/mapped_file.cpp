#include <qlib/file/mapped_file.hpp>

#include <doctest/doctest.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

using qlib::mapped_file;

namespace {

/// A file in the system's temporary folder, gone when the test ends.
struct temporary_file {
    std::string path;
    explicit temporary_file(const std::vector<unsigned char>& bytes) {
        const char* folder = std::getenv("TMPDIR");
        path = std::string(folder != nullptr ? folder : "/tmp") + "/qlib-mapped-XXXXXX";
        const int handle = mkstemp(path.data());
        REQUIRE(handle >= 0);
        REQUIRE(write(handle, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
        close(handle);
    }
    temporary_file(const temporary_file&) = delete;
    temporary_file& operator=(const temporary_file&) = delete;
    ~temporary_file() { std::remove(path.c_str()); }
};

std::vector<unsigned char> pattern(std::size_t size) {
    std::vector<unsigned char> bytes(size);
    for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<unsigned char>(i * 31 + (i >> 8));
    return bytes;
}

bool holds(const mapped_file& file, const std::vector<unsigned char>& bytes) {
    if (file.bytes().size() != bytes.size()) return false;
    for (std::size_t i = 0; i < bytes.size(); ++i)
        if (std::to_integer<unsigned char>(file.bytes()[i]) != bytes[i]) return false;
    return true;
}

}  // namespace

TEST_CASE("mapped_file: the whole file, of any size") {
    for (const std::size_t size : {0u, 1u, 4095u, 4096u, 4097u, 100000u}) {
        CAPTURE(size);
        const auto bytes = pattern(size);
        const temporary_file on_disk(bytes);
        const auto file = mapped_file::open(on_disk.path.c_str());
        REQUIRE(file);
        CHECK(holds(*file, bytes));
    }
}

TEST_CASE("mapped_file: moves, and outlives the file's name") {
    const auto bytes = pattern(5000);
    mapped_file kept;
    CHECK(kept.bytes().empty());
    {
        const temporary_file on_disk(bytes);
        auto file = mapped_file::open(on_disk.path.c_str());
        REQUIRE(file);
        mapped_file moved(std::move(*file));
        CHECK(file->bytes().empty());
        kept = std::move(moved);
    }
    CHECK(holds(kept, bytes));
    mapped_file other;
    other = std::move(kept);
    CHECK(holds(other, bytes));
}

TEST_CASE("mapped_file: released bytes stay readable, whatever was asked for") {
    const auto bytes = pattern(100000);
    const temporary_file on_disk(bytes);
    const auto file = mapped_file::open(on_disk.path.c_str());
    REQUIRE(file);
    const std::size_t most = ~std::size_t{0};
    const std::pair<std::size_t, std::size_t> parts[] = {{0, 100000}, {1, 5},       {4096, 4096}, {5000, 20000}, {99999, 1},
                                                         {0, most},   {most, most}, {100000, 0},  {50000, 0}};
    for (const auto& [first, count] : parts) {
        file->release(first, count);
        CHECK(holds(*file, bytes));
    }
    mapped_file().release(0, 1);
}

TEST_CASE("mapped_file: what cannot be mapped says why") {
    const auto missing = mapped_file::open("/nowhere/at/all");
    REQUIRE_FALSE(missing);
    CHECK(missing.error().code == qlib::errc::io);
    CHECK(missing.error().sizes[0] == ENOENT);
    char text[200];
    CHECK(missing.error().format(text) == "mapped_file: the file cannot be mapped, the system's error is " + std::to_string(ENOENT));
    CHECK(mapped_file::open("/tmp").error().sizes[0] == EISDIR);
    CHECK(mapped_file::open("/dev/null").error().sizes[0] == ENODEV);
    CHECK(mapped_file::open("").error().sizes[0] == ENOENT);
}
