#pragma once
// The file that an imatrix is written to: whole or not at all, and never in place of anything but an older imatrix.
#include "../common/failure.hpp"

#include <qlib/file/imatrix.hpp>
#include <qlib/file/mapped_file.hpp>

#include <cstdio>
#include <filesystem>
#include <random>

class imatrix_output {
public:
    /// error: there is a file of this name that is no imatrix; the model, say, or the text
    explicit imatrix_output(const std::string& path) : path_(std::filesystem::weakly_canonical(path)) {
        refuse_others();
        part_ = path_;
        part_ += "." + std::to_string(std::random_device()()) + ".part";
        file_ = std::fopen(part_.c_str(), "wbx");  // x: a file of that name would be somebody's
        if (file_ == nullptr) throw std::runtime_error(part_.string() + ": cannot be created");
    }
    imatrix_output(const imatrix_output&) = delete;
    imatrix_output& operator=(const imatrix_output&) = delete;
    ~imatrix_output() {
        if (file_ != nullptr) std::fclose(file_);
        std::error_code ignored;
        std::filesystem::remove(part_, ignored);  // after keep() there is none
    }

    [[nodiscard]] bool write(std::span<const std::byte> bytes) {
        return std::fwrite(bytes.data(), 1, bytes.size(), file_) == bytes.size();
    }
    /// Puts it where it belongs.
    void keep() {
        const bool closed = std::fclose(std::exchange(file_, nullptr)) == 0;
        if (!closed) throw std::runtime_error(path_.string() + ": cannot be written");
        std::filesystem::rename(part_, path_);
    }

private:
    void refuse_others() const {
        if (!std::filesystem::exists(path_)) return;
        const auto file = qlib::mapped_file::open(path_.c_str());
        if (!file || !qlib::imatrix_file::parse(file->bytes()))
            throw std::runtime_error(path_.string() + ": is there already, and is no imatrix");
    }

    std::filesystem::path path_, part_;
    std::FILE* file_ = nullptr;
};
