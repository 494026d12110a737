#include <qlib/file/mapped_file.hpp>

#include <doctest/doctest.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <vector>

using qlib::mapped_file;

namespace {

/// A temporary file, gone when the test ends. No code page of Windows has all letters of its name.
struct temporary_file {
    std::filesystem::path where = std::filesystem::temp_directory_path() / u8"qlib-mapped-ä-模型-я-";
    std::string path;  ///< UTF-8
    explicit temporary_file(const std::vector<unsigned char>& bytes) {
        where += std::to_string(std::random_device()());
        const std::u8string name = where.u8string();
        path.assign(name.begin(), name.end());
        std::ofstream file(where, std::ios::binary);
        file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
        REQUIRE(file.flush().good());
    }
    temporary_file(const temporary_file&) = delete;
    temporary_file& operator=(const temporary_file&) = delete;
    ~temporary_file() {
        std::error_code ignored;
        std::filesystem::remove(where, ignored);  // Windows keeps what is mapped
    }
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
    const std::pair<std::size_t, std::size_t> parts[] = {
        {0, 100000}, {1, 5}, {4096, 4096}, {5000, 20000}, {99999, 1}, {0, most}, {most, most}, {100000, 0}, {50000, 0}};
    for (const auto& [first, count] : parts) {
        file->release(first, count);
        CHECK(holds(*file, bytes));
    }
    mapped_file().release(0, 1);
}

TEST_CASE("mapped_file: what cannot be mapped says why") {
    const auto refused = [](const char* path, std::uint64_t code) {
        const auto file = mapped_file::open(path);
        REQUIRE_FALSE(file);
        CHECK(file.error().code == qlib::errc::io);
        CHECK(file.error().sizes[0] == code);
        char text[200];
        const std::string why = "mapped_file: the file cannot be mapped, the system's error is " + std::to_string(code);
        CHECK(file.error().format(text) == why);
    };
#if defined(_WIN32)
    refused("C:/nowhere/at/all", ERROR_PATH_NOT_FOUND);
    refused("C:/windows", ERROR_ACCESS_DENIED);
    refused("", ERROR_PATH_NOT_FOUND);
    refused("\xFF", ERROR_NO_UNICODE_TRANSLATION);
#else
    refused("/nowhere/at/all", ENOENT);
    refused("/tmp", EISDIR);
    refused("/dev/null", ENODEV);
    refused("", ENOENT);
#endif
}
