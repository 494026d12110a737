#pragma once
// Files: a whole one as memory, and one that is read and written at any place.
#include <qlib/file/mapped_file.hpp>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

/// What the operating system refused. Work that was done until then is kept.
[[noreturn]] inline void fail_with_errno(const std::string& path) {
    throw std::system_error(errno, std::generic_category(), path);
}

/// A file's descriptor.
class descriptor {
public:
    descriptor(const std::string& path, int flags)
        : path_(path),
          number_(::open(path.c_str(), flags | O_CLOEXEC, 0666)) {
        if (number_ < 0) fail_with_errno(path);
    }
    descriptor(descriptor&& other) noexcept
        : path_(std::move(other.path_)),
          number_(std::exchange(other.number_, -1)) {}
    ~descriptor() {
        if (number_ >= 0) ::close(number_);
    }
    [[nodiscard]] int number() const { return number_; }
    [[nodiscard]] const std::string& path() const { return path_; }
    [[nodiscard]] std::uint64_t size() const {
        struct stat info {};
        if (::fstat(number_, &info) != 0) fail_with_errno(path_);
        return static_cast<std::uint64_t>(info.st_size);
    }
    /// Reads bytes [first, first + count) in pieces, for use(span). False when the file ends before.
    template <class Use> bool read(std::uint64_t first, std::uint64_t count, const Use& use) const {
        std::vector<std::byte> buffer(std::size_t{1} << 20);
        while (count != 0) {
            const ::ssize_t n =
                ::pread(number_, buffer.data(), static_cast<std::size_t>(std::min<std::uint64_t>(count, buffer.size())),
                        static_cast<::off_t>(first));
            if (n < 0 && errno == EINTR) continue;
            if (n < 0) fail_with_errno(path_);
            if (n == 0) return false;
            use(std::span<const std::byte>(buffer).first(static_cast<std::size_t>(n)));
            first += static_cast<std::uint64_t>(n);
            count -= static_cast<std::uint64_t>(n);
        }
        return true;
    }
    void resize(std::uint64_t bytes) const {
        if (::ftruncate(number_, static_cast<::off_t>(bytes)) != 0) fail_with_errno(path_);
    }
    void write(std::uint64_t first, std::span<const std::byte> bytes) const {
        while (!bytes.empty()) {
            const ::ssize_t n = ::pwrite(number_, bytes.data(), bytes.size(), static_cast<::off_t>(first));
            if (n < 0 && errno == EINTR) continue;
            if (n < 0) fail_with_errno(path_);
            bytes = bytes.subspan(static_cast<std::size_t>(n));
            first += static_cast<std::uint64_t>(n);
        }
    }

private:
    std::string path_;
    int number_;
};

/// A whole file as memory.
inline qlib::mapped_file map_file(const std::string& path) {
    auto file = qlib::mapped_file::open(path.c_str());
    if (file) return std::move(file).value();
    errno = static_cast<int>(file.error().sizes[0]);
    fail_with_errno(path);
}
/// Gives the memory of a part of a file's bytes back.
inline void release(const qlib::mapped_file& file, std::span<const std::byte> part) {
    file.release(static_cast<std::size_t>(part.data() - file.bytes().data()), part.size());
}
