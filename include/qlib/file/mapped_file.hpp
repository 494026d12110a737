#pragma once
// mapped_file: a whole file as read-only memory. Not part of qlib.hpp, as it asks the operating system.
#include "../core/memory.hpp"

#if defined(_WIN32)
#ifndef WIN32_LEAN_AND_MEAN
#define WIN32_LEAN_AND_MEAN
#endif
#ifndef NOMINMAX
#define NOMINMAX
#endif
#include <windows.h>
#else
#include <cerrno>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

namespace qlib::inline QLIB_ABI {

/// A file mapped into memory, read-only, until the object goes; move-only. Pages are read when they are touched.
///
/// No program can defend itself against a file that shrinks while it is mapped: touching a page behind the new end is a
/// signal (SIGBUS) or an exception of the system. Map what nobody else writes to, or read into memory of your own.
class mapped_file {
public:
    QLIB_INLINE mapped_file() noexcept = default;
    QLIB_INLINE mapped_file(mapped_file&& other) noexcept
        : data_(std::exchange(other.data_, nullptr)),
          size_(std::exchange(other.size_, 0)) {}
    QLIB_INLINE mapped_file& operator=(mapped_file&& other) noexcept {
        (std::swap)(data_, other.data_);
        (std::swap)(size_, other.size_);
        return *this;
    }
    QLIB_INLINE ~mapped_file() { close(); }

    /// Maps the file of a path, which on Windows is UTF-8, whatever the system's code page. An empty file has no bytes.
    /// error: io, sizes {errno, or GetLastError() on Windows}; also for what is no regular file
    [[nodiscard]] QLIB_TAGGED static result<mapped_file> open(const char* path) noexcept;

    /// The whole file; starts at a page.
    [[nodiscard]] QLIB_INLINE std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }

    /// Says that bytes [first, first + count) will not be needed soon: the system may take back the
    /// memory of all whole pages among them. They stay readable, and are read from the file again when
    /// touched. What lies beyond the end is ignored.
    QLIB_TAGGED void release(std::size_t first, std::size_t count) const noexcept;

private:
    QLIB_TAGGED void close() noexcept;
    const std::byte* data_ = nullptr;
    std::size_t size_ = 0;
};

#if defined(_WIN32)

namespace detail::inline QLIB_BASE {
/// UTF-8 as Windows' own functions want it; nothing when it is none, or there is no memory: GetLastError() says which.
inline buffer<wchar_t> wide_path(const char* path) noexcept {
    buffer<wchar_t> wide;
    const int size = MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path, -1, nullptr, 0);  // counts the last zero
    if (size <= 0) return wide;
    if (!wide.allocate(static_cast<std::size_t>(size))) SetLastError(ERROR_NOT_ENOUGH_MEMORY);
    else MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path, -1, wide.data(), size);
    return wide;
}
}  // namespace detail::inline QLIB_BASE

inline result<mapped_file> mapped_file::open(const char* path) noexcept {
    const auto failed = [](DWORD code) {
        return error{errc::io, "the file cannot be mapped, the system's error is {0}", "mapped_file", {code}};
    };
    const detail::buffer<wchar_t> wide = detail::wide_path(path);
    if (wide.size() == 0) return failed(GetLastError());
    const HANDLE file =
        CreateFileW(wide.data(), GENERIC_READ, FILE_SHARE_READ, nullptr, OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, nullptr);
    if (file == INVALID_HANDLE_VALUE) return failed(GetLastError());
    mapped_file mapped;
    LARGE_INTEGER size{};
    DWORD code = GetFileSizeEx(file, &size) != 0 ? 0 : GetLastError();
    if (code == 0 && static_cast<std::uint64_t>(size.QuadPart) > static_cast<std::size_t>(-1) / 2)
        code = ERROR_NOT_ENOUGH_MEMORY;
    if (code == 0 && size.QuadPart != 0) {
        const HANDLE mapping = CreateFileMappingW(file, nullptr, PAGE_READONLY, 0, 0, nullptr);
        const void* const data = mapping != nullptr
                                     ? MapViewOfFile(mapping, FILE_MAP_READ, 0, 0, static_cast<SIZE_T>(size.QuadPart))
                                     : nullptr;
        if (data == nullptr) code = GetLastError();
        if (mapping != nullptr) CloseHandle(mapping);  // the view keeps it open
        mapped.data_ = static_cast<const std::byte*>(data);
        mapped.size_ = data != nullptr ? static_cast<std::size_t>(size.QuadPart) : 0;
    }
    CloseHandle(file);
    if (code != 0) return failed(code);
    return mapped;
}
inline void mapped_file::close() noexcept {
    if (data_ != nullptr) UnmapViewOfFile(data_);
}
inline void mapped_file::release(std::size_t first, std::size_t count) const noexcept {
    if (first >= size_) return;
    count = count < size_ - first ? count : size_ - first;
    // Unlocking pages that are not locked takes them out of the working set, and fails: that is documented.
    if (count != 0) VirtualUnlock(const_cast<std::byte*>(data_) + first, count);
}

#else

inline result<mapped_file> mapped_file::open(const char* path) noexcept {
    const auto failed = [](int code) {
        return error{errc::io,
                     "the file cannot be mapped, the system's error is {0}",
                     "mapped_file",
                     {static_cast<std::uint64_t>(code)}};
    };
    int file = -1;
    do file = ::open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);  // a pipe must not keep us waiting
    while (file < 0 && errno == EINTR);
    if (file < 0) return failed(errno);
    mapped_file mapped;
    struct ::stat about {};
    int code = ::fstat(file, &about) == 0 ? 0 : errno;
    if (code == 0 && !S_ISREG(about.st_mode)) code = S_ISDIR(about.st_mode) ? EISDIR : ENODEV;
    if (code == 0 && static_cast<std::uint64_t>(about.st_size) > static_cast<std::size_t>(-1) / 2) code = EFBIG;
    if (code == 0 && about.st_size != 0) {
        const auto size = static_cast<std::size_t>(about.st_size);
        void* const data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file, 0);
        if (data == MAP_FAILED) {
            code = errno;
        } else {
            mapped.data_ = static_cast<const std::byte*>(data);
            mapped.size_ = size;
        }
    }
    ::close(file);  // the mapping stays
    if (code != 0) return failed(code);
    return mapped;
}
inline void mapped_file::close() noexcept {
    if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}
inline void mapped_file::release(std::size_t first, std::size_t count) const noexcept {
    if (first >= size_) return;
    const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    const std::size_t end = count < size_ - first ? first + count : size_;
    const std::size_t begin = (first + page - 1) / page * page;
    // The last page is ours alone.
    const std::size_t stop = end == size_ ? (end + page - 1) / page * page : end / page * page;
    if (begin < stop) ::madvise(const_cast<std::byte*>(data_) + begin, stop - begin, MADV_DONTNEED);
}

#endif

}  // namespace qlib::inline QLIB_ABI
