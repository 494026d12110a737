#pragma once
// The two ends of the pipe: a file in memory, and a file that appears under its name only when it is complete.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <span>
#include <stdexcept>
#include <string>

[[noreturn]] inline void fail_with_errno(const std::string& path) { throw std::runtime_error(path + ": " + std::strerror(errno)); }

/// A whole file, mapped read-only: pages are read when they are looked at, and dropped when memory is short.
class input_file {
public:
    explicit input_file(const std::string& path) {
        const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
        struct stat info {};
        if (descriptor < 0 || ::fstat(descriptor, &info) != 0) fail_with_errno(path);
        size_ = static_cast<std::size_t>(info.st_size);
        if (size_ != 0) data_ = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, descriptor, 0);
        if (data_ == MAP_FAILED) fail_with_errno(path);
        ::close(descriptor);
    }
    input_file(const input_file&) = delete;
    input_file& operator=(const input_file&) = delete;
    ~input_file() {
        if (size_ != 0) ::munmap(data_, size_);
    }
    [[nodiscard]] std::span<const std::byte> bytes() const { return {static_cast<const std::byte*>(data_), size_}; }

private:
    void* data_ = nullptr;
    std::size_t size_ = 0;
};

/// Writes next to the target under a temporary name. keep() renames; without it nothing is left behind, and a file that had the
/// target's name is still there. So the output may even be the input.
class output_file {
public:
    explicit output_file(std::string path) : path_(std::move(path)), temporary_(path_ + ".part" + std::to_string(::getpid())) {
        file_ = std::fopen(temporary_.c_str(), "wbx");
        if (file_ == nullptr) fail_with_errno(temporary_);
    }
    output_file(const output_file&) = delete;
    output_file& operator=(const output_file&) = delete;
    ~output_file() {
        if (file_ != nullptr) std::fclose(file_);
        if (!kept_) std::remove(temporary_.c_str());
    }
    /// The sink of a qlib::gguf_writer.
    bool operator()(std::span<const std::byte> bytes) { return std::fwrite(bytes.data(), 1, bytes.size(), file_) == bytes.size(); }
    void keep() {
        if (std::fclose(std::exchange(file_, nullptr)) != 0) fail_with_errno(temporary_);
        std::filesystem::rename(temporary_, path_);
        kept_ = true;
    }

private:
    std::string path_, temporary_;
    std::FILE* file_ = nullptr;
    bool kept_ = false;
};
